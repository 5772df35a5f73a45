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
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from measuring import (
    FILE_BYTES,
    SMALL_FILE_BYTES,
    add_a_line,
    bare_run_seconds,
    best_seconds,
    change_one_file,
    counted,
    disk_use,
    image_size_bytes,
    process_seconds,
    write_files,
    write_random,
)

HERE = Path(__file__).resolve().parent
BUNDLERUN = str(Path(sys.executable).parent / "bundlerun")
MODULE = Path("functional", "common_tasks.py")
PIPE = "functional.common_tasks.A"


def _context(remote: str = "") -> Any:
    """The module, with a context called `work` made and chosen, and bound where asked."""
    import bundlerun as br

    br.context_create("work")
    br.switch("work")
    if remote:
        br.bind_remote("work", remote)
    return br


def cli_start(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Whole-process time of `bundlerun --help`."""
    return {"seconds": process_seconds([BUNDLERUN, "--help"], 5)}


def add_commit(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Create and commit N bundles of a dict with a 1 KB file; time a bundle, disk a bundle."""
    br = _context()
    sources = []
    for number in range(given.count):
        sources.append(home / f"source{number:05}.bin")
        write_random(sources[-1], SMALL_FILE_BYTES, number)

    queue = iter(enumerate(sources))

    def a_tenth() -> None:
        for number, source in islice(queue, given.count // 10):
            br.add(f"bundle{number}", {"file": br.File(source)}, commit=True)

    seconds = 10 * best_seconds(a_tenth, 10)
    use = disk_use(home / ".bundlerun")
    return {
        "seconds": seconds / given.count,
        "files": use["files"] / given.count,
        "bytes": use["bytes"] / given.count,
    }


def get_latest(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Get the newest of N committed versions of one name."""
    br = _context()
    for number in range(given.count):
        br.add("name", {"number": [number]}, commit=True)
    if br.get("name") != {"number": [given.count - 1]}:
        raise RuntimeError(f"the newest is {br.get('name')}")
    return {"seconds": best_seconds(lambda: br.get("name"), 20)}


def push(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Push N files of 10 KB; then version 2 with one changed file."""
    folder = home / "files"
    write_files(folder, given.count)
    br = _context(given.remote)
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
    br = _context(given.remote)
    with counted() as found:
        br.pull("big", localize=True)
        folder = br.get("big")
        sizes = [path.stat().st_size for path in Path(folder.path).iterdir()]
    if len(sizes) != given.count or set(sizes) != {FILE_BYTES}:
        raise RuntimeError(f"{len(sizes)} files of {set(sizes)} bytes arrived")
    if br.find("big").id != given.id:
        raise RuntimeError("another version than the newest arrived")
    return found


def chain(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A chain of N trivial pipes, the best of 5, with M contexts on the machine; time a pipe."""
    import bundlerun as br

    for number in range(given.contexts):
        br.context_create(f"context{number}")
    br.switch("context0")
    from chain_pipes import Step

    def apply(salt: int) -> None:
        params = {"number": given.count, "salt": salt}
        br.apply("-", f"out{salt}", Step, params=params, pipe_root=HERE)

    apply(0)
    salts = iter(range(1, 6))
    first = best_seconds(lambda: apply(next(salts)), 5, pause_s=1)
    if br.get("out5") != given.count:
        raise RuntimeError(f"the chain's value is {br.get('out5')}")
    again = best_seconds(lambda: apply(5), 5)
    return {"first": first / given.count, "again": again / given.count}


def dockerize(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Image of the same example pipeline: size; build again after a one-line edit; runs of it."""
    os.environ["BUNDLERUN_BASE_IMAGE"] = given.base
    br = _context(f"file://{home / 'remote'}")
    example = home / "example"
    shutil.copytree(HERE / "example", example)
    build = [BUNDLERUN, "dockerize", str(example), PIPE]
    image = "bundlerun-functional-common_tasks"
    found: dict[str, Any] = {"build": process_seconds(build)}
    found["image_bytes"] = image_size_bytes(image)
    found["base_bytes"] = image_size_bytes(given.base)
    edits = []
    for _ in range(3):
        add_a_line(example / MODULE)
        edits.append(process_seconds(build))
    found["rebuild"] = min(edits)
    found["bare"] = bare_run_seconds(image)
    found.update(_runs(br))
    return found


def _runs(br: Any) -> dict[str, float]:
    """Times of `run --backend Local`: the best of 3 with new numbers each, of 3 with old ones."""
    command = [BUNDLERUN, "run", "--backend", "Local", "-", "out", PIPE, "--int_array"]
    first = min(process_seconds([*command, f"[10, 100, {number}]"]) for number in range(3))
    if br.get("out") != 112:
        raise RuntimeError(f"the run's output is {br.get('out')!r}")
    return {"run_first": first, "run_again": process_seconds([*command, "[10, 100, 2]"], 3)}


WORKS = {
    "cli_start": cli_start,
    "add_commit": add_commit,
    "get_latest": get_latest,
    "push": push,
    "pull": pull,
    "chain": chain,
    "dockerize": dockerize,
}


def main() -> None:
    """Do the named work in a home folder of its own, and print what was measured."""
    parser = argparse.ArgumentParser(description="One piece of work, done with bundlerun.")
    parser.add_argument("work", choices=sorted(WORKS))
    parser.add_argument("--count", type=int, default=1000, help="bundles, versions, files, pipes")
    parser.add_argument("--contexts", type=int, default=1)
    parser.add_argument("--remote", default="", help="s3://bucket/prefix")
    parser.add_argument("--id", default="", help="id of the bundle that a pull must bring")
    parser.add_argument("--base", default="python:3.11-slim", help="base image")
    given = parser.parse_args()
    os.environ.setdefault("USER", getpass.getuser())
    for variable in [name for name in os.environ if name.startswith("BUNDLERUN_")]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory(prefix="bench-bundlerun-") as name:
        os.environ["HOME"] = name
        os.chdir(name)
        answer, sys.stdout = sys.stdout, sys.stderr
        found = WORKS[given.work](Path(name), given)
    print(json.dumps(found), file=answer)


if __name__ == "__main__":
    main()
