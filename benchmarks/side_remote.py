"""bundlerun's side of the works with a remote that need more than a line."""

from __future__ import annotations

import argparse
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring import (
    SMALL_FILE_BYTES,
    counted,
    cpu_seconds,
    disk_use,
    disk_watched,
    many_path,
    median_and_best,
    seconds_of,
    write_many,
    write_random,
)

TRUSTED_AFTER_S = 3
"""A file that is younger than 2 s may change again without its times telling."""


def bound(remote: str) -> Any:
    """The module, with a context called `work` made, chosen and bound."""
    import bundlerun as br

    br.context("work")
    br.switch("work")
    br.remote("work", remote)
    return br


def make_versions(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A remote with N versions of one name: one is pushed, and the records of the others written.

    Version N is the pushed bundle again; the bundles of those between are nowhere, since nobody
    who wants the newest asks for them.
    """
    br = bound(given.remote)
    from bundlerun.bundles.digest import digest_of
    from bundlerun.bundles.record import new_id
    from bundlerun.remotes.keys import bundle_key
    from bundlerun.remotes.records import VersionRecord

    bundle = br.add("name", {"number": [1]}, commit=True)
    br.push("name")
    workspace = br.open()
    context = workspace.scope.context()
    remote = workspace.scope.remote(context)
    record = digest_of(remote.get(bundle_key(bundle.id)) or b"")
    uuid = context.remote_uuid or ""

    def write(n: int) -> None:
        id = bundle.id if n == given.count else new_id()
        version = VersionRecord(uuid, "name", n, id, record)
        if not remote.put_new(version.key, version.to_bytes()):
            raise RuntimeError(f"{version.key} is there already")

    begin = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(write, range(2, given.count + 1)):
            pass
    return {"id": bundle.id, "seconds": time.perf_counter() - begin}


def pull_one(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pull the newest version of a name into a home that has nothing."""
    br = bound(given.remote)
    with counted() as found:
        (bundle,) = br.pull("name")
    if bundle.id != given.id or br.get("name") != {"number": [1]}:
        raise RuntimeError(f"{bundle.id} arrived, not {given.id}")
    return found


def push_many(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Add and push N files of 1 KB; add them again unchanged, and with one changed; push that."""
    folder = home / "files"
    write_many(folder, given.count)
    br = bound(given.remote)
    time.sleep(TRUSTED_AFTER_S)
    found: dict[str, Any] = {}

    def add() -> None:
        found["id"] = br.add("files", br.Directory(folder), commit=True).id

    found["add"] = seconds_of(add)
    with counted() as found["v1"]:
        br.push("files")
    # Unchanged versions are not pushed with what follows: they are removed.
    again = []
    for _ in range(3):
        again.append(seconds_of(add))
        br.rm(f"files@{found['id']}")
    found.update(median_and_best("again", again))
    write_random(many_path(folder, given.count // 2), SMALL_FILE_BYTES, 10_000_000)
    time.sleep(TRUSTED_AFTER_S)
    found["changed"] = seconds_of(add)
    with counted() as found["v2"]:
        br.push("files")
    return found


def pull_many(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pull what `push_many` pushed into a home that has nothing; then its files in a folder."""
    br = bound(given.remote)
    with counted() as found:
        br.pull("files", localize=True)
    found["checkout"] = seconds_of(lambda: br.get("files").path)
    folder = Path(br.get("files").path)
    found["plain"] = 10 * seconds_of(lambda: write_many(home / "plain", given.count // 10))
    count = sum(1 for path in folder.rglob("*") if path.is_file())
    if count != given.count:
        raise RuntimeError(f"{count} files arrived")
    return found


def push_large(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Add and push one large file; the most on disk meanwhile, in copies of the file."""
    br = bound(given.remote)
    found: dict[str, Any] = {
        "add": seconds_of(lambda: br.add("large", br.File(given.file), commit=True))
    }
    before = cpu_seconds()
    with disk_watched(home / ".bundlerun", found, "disk"):
        found["seconds"] = seconds_of(lambda: br.push("large"))
    found["cpu"] = cpu_seconds() - before
    found["copies"] = found["disk"] / given.file.stat().st_size
    return found


def pull_large(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Pull one large file into a home that has nothing; the most on disk, in copies of it."""
    br = bound(given.remote)
    found: dict[str, Any] = {}
    before = cpu_seconds()
    with disk_watched(home / ".bundlerun", found, "disk"):
        found["seconds"] = seconds_of(lambda: br.pull("large", localize=True))
    found["cpu"] = cpu_seconds() - before
    found["copies"] = found["disk"] / given.file.stat().st_size
    if _sha256(Path(br.get("large").path)) != _sha256(given.file):
        raise RuntimeError("other bytes came back than were sent")
    found["copies_used"] = disk_use(home / ".bundlerun")["bytes"] / given.file.stat().st_size
    return found


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()
