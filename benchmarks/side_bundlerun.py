"""bundlerun's side of the benchmark: the same work as `peer_disdat.py`, through the public API.

Each subcommand does one piece of work and prints one line of JSON with times in seconds and
counts. All state lies in a home folder that is made for the call and removed after it.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import side_knot
import side_remote
import side_store
from measuring import (
    FILE_BYTES,
    add_a_line,
    bare_runs,
    change_one_file,
    counted,
    disk_use,
    home_folder,
    image_size_bytes,
    median_and_best,
    output_of,
    peak_bytes,
    processes,
    repeated,
    seconds_of,
    tenths,
    write_files,
)

HERE = Path(__file__).resolve().parent
BUNDLERUN = str(Path(sys.executable).parent / "bundlerun")
MODULE = Path("functional", "common_tasks.py")
PIPE = "functional.common_tasks.A"


def _context() -> Any:
    """The module, with a context called `work` made and chosen."""
    import bundlerun as br

    br.context("work")
    br.switch("work")
    return br


def cli_start(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Whole-process time of `bundlerun --help`."""
    return processes("seconds", [BUNDLERUN, "--help"], 5)


def add_commit(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Create and commit N bundles of a dict with a 1 KB file; time a bundle, disk a bundle."""
    br = _context()

    def add(number: int, source: Path) -> None:
        br.add(f"bundle{number}", {"file": br.File(source)}, commit=True)

    found = tenths(home, given.count, add)
    use = disk_use(home / ".bundlerun")
    return {**found, **{key: value / given.count for key, value in use.items()}}


def get_latest(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Get the newest of N committed versions of one name."""
    br = _context()
    for number in range(given.count):
        br.add("name", {"number": [number]}, commit=True)
    if br.get("name") != {"number": [given.count - 1]}:
        raise RuntimeError(f"the newest is {br.get('name')}")
    return repeated("seconds", lambda: br.get("name"), 20)


def push(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Push N files of 10 KB; then version 2 with one changed file."""
    folder = home / "files"
    write_files(folder, given.count)
    br = side_remote.bound(given.remote)
    phases: dict[str, Any] = {}
    for version in ("v1", "v2"):
        if version == "v2":
            change_one_file(folder)
        bundle = br.add("big", br.Directory(folder), commit=True)
        before = disk_use(home / ".bundlerun")["bytes"]
        with counted() as phases[version]:
            br.push("big")
        phases[version]["store_bytes"] = before
        phases[version]["id"] = bundle.id
    return phases


def pull(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pull the newest version into a home that has nothing, up to its files in a folder."""
    br = side_remote.bound(given.remote)
    with counted() as found:
        br.pull("big", localize=True)
        folder = br.get("big")
        sizes = [path.stat().st_size for path in Path(folder.path).iterdir()]
    if len(sizes) != given.count or set(sizes) != {FILE_BYTES}:
        raise RuntimeError(f"{len(sizes)} files of {set(sizes)} bytes arrived")
    arrived = br.find("big")
    if arrived is None or arrived.id != given.id:
        raise RuntimeError("another version than the newest arrived")
    return found


def chain(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A chain of N trivial pipes, 5 times, with M contexts on the machine; time a pipe."""
    import bundlerun as br

    for number in range(given.contexts):
        br.context(f"context{number}")
    br.switch("context0")
    from chain_pipes import Step

    def apply(salt: int) -> None:
        params = {"number": given.count, "salt": salt}
        br.apply("-", f"out{salt}", Step, params=params, pipe_root=HERE)

    apply(0)
    salts = iter(range(1, 6))
    found = repeated("first", lambda: apply(next(salts)), 5, pause_s=1, share=given.count)
    if br.get("out5") != given.count:
        raise RuntimeError(f"the chain's value is {br.get('out5')}")
    return {**found, **repeated("again", lambda: apply(5), 5, share=given.count)}


def dockerize(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Image of the same example pipeline: size; build again after a one-line edit; runs of it."""
    os.environ["BUNDLERUN_BASE_IMAGE"] = given.base
    br = side_remote.bound(f"file://{home / 'remote'}")
    example = home / "example"
    shutil.copytree(HERE / "example", example)
    build = [BUNDLERUN, "dockerize", str(example), PIPE]
    image = "bundlerun-functional-common_tasks"
    found: dict[str, Any] = processes("build", build, 1)
    found["image_bytes"] = image_size_bytes(image)
    found["base_bytes"] = image_size_bytes(given.base)
    edits = []
    for _ in range(3):
        add_a_line(example / MODULE)
        edits.append(seconds_of(lambda: output_of(build)))
    found.update(median_and_best("rebuild", edits))
    found.update(bare_runs(image))
    found.update(_runs(br))
    return found


def _runs(br: Any) -> dict[str, float]:
    """Times of `run --backend Local`: 3 with new numbers each, 3 with old ones."""
    command = [BUNDLERUN, "run", "--backend", "Local", "-", "out", PIPE, "--int_array"]
    numbers = iter(range(3))

    def new() -> None:
        output_of([*command, f"[10, 100, {next(numbers)}]"])

    found = repeated("run_first", new, 3)
    if br.get("out") != 112:
        raise RuntimeError(f"the run's output is {br.get('out')!r}")
    return {**found, **processes("run_again", [*command, "[10, 100, 2]"], 3)}


WORKS = {
    "cli_start": cli_start,
    "add_commit": add_commit,
    "get_latest": get_latest,
    "get_of_many": side_store.get_of_many,
    "get_contexts": side_store.get_contexts,
    "make_versions": side_remote.make_versions,
    "pull_one": side_remote.pull_one,
    "push_many": side_remote.push_many,
    "pull_many": side_remote.pull_many,
    "push_large": side_remote.push_large,
    "pull_large": side_remote.pull_large,
    "push": push,
    "pull": pull,
    "chain": chain,
    "dockerize": dockerize,
    "import_time": side_knot.import_time,
    "make_knot": side_knot.make_knot,
    "map_items": side_knot.map_items,
    "wait_for_jobs": side_knot.wait_for_jobs,
    "many_items": side_knot.many_items,
    "map_local": side_knot.map_local,
}


def main() -> None:
    """Do the named work in a home folder of its own, and print what was measured."""
    parser = argparse.ArgumentParser(description="One piece of work, done with bundlerun.")
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument(
        "--count", type=int, default=1000, help="bundles, versions, files, pipes, items"
    )
    parser.add_argument("--contexts", type=int, default=1)
    parser.add_argument("--remote", default="", help="s3://bucket/prefix")
    parser.add_argument("--id", default="", help="id of the bundle that a pull must bring")
    parser.add_argument("--file", type=Path, default=Path(), help="the large file")
    parser.add_argument("--base", default="python:3.11-slim", help="base image")
    parser.add_argument("--seconds", type=float, default=60, help="how long is waited for jobs")
    given = parser.parse_args()
    os.environ.setdefault("USER", getpass.getuser())
    for variable in [name for name in os.environ if name.startswith("BUNDLERUN_")]:
        del os.environ[variable]
    with home_folder("bench-bundlerun-") as home:
        os.environ["HOME"] = str(home)
        os.chdir(home)
        answer, sys.stdout = sys.stdout, sys.stderr
        found = WORKS[given.work](home, given)
    print(json.dumps({"peak_bytes": peak_bytes(), **found}), file=answer)


if __name__ == "__main__":
    main()
