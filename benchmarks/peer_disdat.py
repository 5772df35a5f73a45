"""Disdat's side of the benchmark. Run with the Python of `disdat_env.sh`'s environment.

Each subcommand does one piece of work and prints one line of JSON with times in seconds and
counts. All state lies in a home folder that is made for the call and removed after it, or in
``--home``. Disdat is imported after HOME is set, since it looks there.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import getpass
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from measuring import (
    FILE_BYTES,
    add_a_line,
    bare_runs,
    change_one_file,
    counted,
    disk_use,
    home_folder,
    image_ids,
    image_size_bytes,
    median_and_best,
    open_files,
    output_of,
    peak_bytes,
    processes,
    repeated,
    seconds_of,
    tenths,
    write_files,
)

VENV = Path(sys.prefix)
DSDT = str(VENV / "bin" / "dsdt")
MODULE = Path("functional", "common_tasks.py")
PIPE = "functional.common_tasks.A"


def cli_start(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Whole-process time of `dsdt --help`."""
    return processes("seconds", [DSDT, "--help"], 5)


def add_commit(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Create and commit N bundles of a dict with a 1 KB file; time a bundle, disk a bundle."""
    import disdat.api as api

    api.context("work")

    def add(number: int, source: Path) -> None:
        api.Bundle("work", name=f"bundle{number}", data={"file": [str(source)]}).commit()

    found = tenths(home, given.count, add)
    use = disk_use(home / ".disdat")
    return {**found, **{key: value / given.count for key, value in use.items()}}


def get_latest(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Get the newest of N committed versions of one name."""
    import disdat.api as api

    api.context("work")
    for number in range(given.count):
        api.Bundle("work", name="name", data={"number": [number]}).commit()
    newest = api.get("work", "name")
    if list(newest.data["number"]) != [given.count - 1]:
        raise RuntimeError(f"the newest is {newest.data}")
    return repeated("seconds", lambda: api.get("work", "name").data, 20)


def get_contexts(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Get the newest bundle of each of N contexts in one process; files that it then has open."""
    import disdat.api as api

    names = [f"context{number}" for number in range(given.contexts)]
    for number, name in enumerate(names):
        api.context(name)
        api.Bundle(name, name="name", data=number).commit()
    for number, name in enumerate(names):
        if api.get(name, "name").data != number:
            raise RuntimeError(f"{name} has the bundle of another context")
    found: dict[str, Any] = repeated("seconds", lambda: api.get(names[-1], "name").data, 20)
    return {**found, "open_files": open_files()}


def _without_encryption(params: dict[str, Any], **_: object) -> None:
    params.pop("ServerSideEncryption", None)


def _remote(url: str) -> Any:
    """Disdat's API, with a context called `work` bound to ``url``.

    Disdat asks for encryption by S3's own keys, which Ceph's gateway refuses over plain HTTP: the
    wish is taken out before a request is made. Nothing else is changed. Its clients are made here,
    so that no measured call has to.
    """
    import boto3
    import disdat.api as api
    import disdat.utility.aws_s3 as aws_s3

    boto3.setup_default_session()
    events = boto3.DEFAULT_SESSION.events
    events.register("before-parameter-build.s3", _without_encryption)
    aws_s3.get_s3_client()
    aws_s3.get_s3_resource()
    api.context("work")
    api.remote("work", "work", url)
    return api


def push(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Push N files of 10 KB; then version 2 with one changed file."""
    folder = home / "files"
    write_files(folder, given.count)
    api = _remote(given.remote)
    phases: dict[str, Any] = {}
    for version in ("v1", "v2"):
        if version == "v2":
            change_one_file(folder)
        bundle = api.add("work", "big", str(folder))
        bundle.commit()
        before = disk_use(home / ".disdat")["bytes"]
        with counted() as phases[version]:
            api.push("work", "big")
        # It exits 0 and says nothing when a push fails.
        if phases[version]["up_bytes"] < given.count * FILE_BYTES:
            raise RuntimeError(f"the push did not send its files: {phases[version]}")
        phases[version]["store_bytes"] = before
        phases[version]["id"] = bundle.uuid
    return phases


def pull(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pull one bundle with its bytes into a home that has nothing. By id: by name all versions."""
    api = _remote(given.remote)
    with counted() as found:
        api.pull("work", uuid=given.id, localize=True)
    links = api.get("work", None, uuid=given.id).data
    sizes = {os.path.getsize(str(link).removeprefix("file://")) for link in links}
    if len(links) != given.count or sizes != {FILE_BYTES}:
        raise RuntimeError(f"{len(links)} files of {sizes} bytes arrived")
    return found


def chain(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A chain of N trivial tasks, 5 times, with M contexts on the machine; time a task."""
    import disdat.api as api
    import disdatluigi.api as pipes
    import luigi
    from disdatluigi.pipe import PipeTask

    class Step(PipeTask):  # type: ignore[misc]
        number = luigi.IntParameter()
        salt = luigi.IntParameter()

        def pipe_requires(self) -> None:
            if self.number > 1:
                params = {"number": self.number - 1, "salt": self.salt}
                self.add_dependency("before", Step, params)

        def pipe_run(self, before: int = 0) -> int:
            return before + 1

    globals()["Step"] = Step
    for number in range(given.contexts):
        api.context(f"context{number}")

    def apply(salt: int) -> None:
        params = {"number": given.count, "salt": salt}
        pipes.apply("context0", Step, output_bundle=f"out{salt}", params=params)

    apply(0)
    salts = iter(range(1, 6))
    found = repeated("first", lambda: apply(next(salts)), 5, pause_s=1, share=given.count)
    value = api.get("context0", "out5").data
    if value != given.count:
        raise RuntimeError(f"the chain's value is {value}")
    return {**found, **repeated("again", lambda: apply(5), 5, share=given.count)}


def dockerize(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Image of Disdat-Luigi's own example pipeline: size; build again after a one-line edit.

    Then runs of its pipe: whole process, first and again with nothing to do.
    """
    # The name that the patched Dockerfile starts from.
    output_of(["docker", "tag", given.base, "bundlerun-bench-disdat-base"])
    os.environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    example = home / "example"
    shutil.copytree(VENV / "example", example)
    build = [DSDT, "dockerize", str(example)]
    image = "disdat-test-pipelines"
    old = image_ids(image)
    found: dict[str, Any] = processes("build", build, 1)
    found["image_bytes"] = image_size_bytes(image)
    found["base_bytes"] = image_size_bytes(given.base)
    times = []
    for _ in range(3):
        add_a_line(example / MODULE)
        old += image_ids(image)
        times.append(seconds_of(lambda: output_of(build)))
    found.update(median_and_best("rebuild", times))
    found.update(bare_runs(image))
    output_of([DSDT, "context", "work"])
    output_of([DSDT, "switch", "work"])
    found.update(_runs(example))
    # Its runs leave their containers, its builds the images that lost their name.
    containers = output_of(["docker", "ps", "-aq", "--filter", f"ancestor={image}"]).split()
    if containers:
        output_of(["docker", "rm", "-f", *containers])
    output_of(["docker", "rmi", *(set(old) - set(image_ids(image)))])
    return found


def _runs(example: Path) -> dict[str, float]:
    """Times of `run --backend Local`: 3 with new numbers each, 3 with old ones."""
    command = [DSDT, "run", "--backend", "Local", "--no-push-intermediates", "-o", "out"]
    command += [str(example), PIPE, "--int_array"]
    numbers = iter(range(3))

    def new() -> None:
        output_of([*command, f"[10, 100, {next(numbers)}]"])

    found = repeated("run_first", new, 3)
    value = output_of([DSDT, "cat", "out"])
    if "112" not in value:
        raise RuntimeError(f"the run's output is {value!r}")
    return {**found, **processes("run_again", [*command, "[10, 100, 2]"], 3)}


WORKS = {
    "cli_start": cli_start,
    "add_commit": add_commit,
    "get_latest": get_latest,
    "get_contexts": get_contexts,
    "push": push,
    "pull": pull,
    "chain": chain,
    "dockerize": dockerize,
}


def main() -> None:
    """Do the named work in a home folder of its own, and print what was measured."""
    parser = argparse.ArgumentParser(description="One piece of work, done with Disdat.")
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument("--count", type=int, default=1000, help="bundles, versions, files, tasks")
    parser.add_argument("--contexts", type=int, default=1)
    parser.add_argument("--remote", default="", help="s3://bucket/prefix")
    parser.add_argument("--id", default="", help="uuid of the bundle to pull")
    parser.add_argument("--base", default="python:3.11-slim", help="base image")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("USER", getpass.getuser())
    with home_folder("bench-disdat-") as home:
        os.environ["HOME"] = str(home)
        os.chdir(home)
        output_of([DSDT, "init"])
        # Disdat prints as it goes; the answer alone goes to standard output.
        answer, sys.stdout = sys.stdout, sys.stderr
        found = WORKS[given.work](home, given)
    print(json.dumps({"peak_bytes": peak_bytes(), **found}), file=answer)


if __name__ == "__main__":
    main()
