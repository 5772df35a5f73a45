"""Works with an S3 remote: pushes and pulls, of many files, of many versions, of a large file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from figures import Figures, Place, Row, Target, median_of, peak, row
from measuring import write_large

FILES = 1_000
MANY_FILES = 100_000
LARGE_BYTES = 2_000_000_000
ROUNDS = 3


def transfer(place: Place) -> list[Row]:
    """1,000 files to the remote, one of them changed, and into an empty place."""
    return _transfer(place, "")


def far_transfer(place: Place) -> list[Row]:
    """The same with 30 ms of latency a request."""
    return _transfer(place, ", at 30 ms")


def _transfer(place: Place, where: str) -> list[Row]:
    pushed, pulled = [], []
    for name, side in (("bundlerun", place.ours), ("disdat", place.theirs)):
        options = {"remote": f"{place.remote}/{name}", "count": FILES}
        phases = place.one(side, "push", **options)
        pushed.append(phases)
        newest = phases.get("v2", {}).get("id")
        pulled.append(place.one(side, "pull", id=newest, **options) if newest else {})
    first = (pushed[0].get("v1", {}), pushed[1].get("v1", {}))
    second = (pushed[0].get("v2", {}), pushed[1].get("v2", {}))
    down = (pulled[0], pulled[1])
    one, two = f"push, {FILES:,} files x 10 KB{where}", f"push of version 2, one changed{where}"
    home = f"pull + localize of version 2{where}"
    tenth = Target(1 / 10, True, "1/10")
    return [
        row(f"{one}: requests", "", first, "requests", Target(6)),
        row(f"{one}: sent", "MB", first, "up_bytes"),
        row(f"{one}: time", "s", first, "seconds"),
        row(f"{two}: requests", "", second, "requests", Target(4)),
        row(f"{two}: sent", "KB", second, "up_bytes", Target(30)),
        row(f"{two}: time", "s", second, "seconds"),
        row(f"{home}: requests", "", down, "requests", Target(8)),
        row(f"{home}: received", "MB", down, "down_bytes"),
        row(f"{home}: time", "s", down, "seconds", tenth),
        peak(one, (pushed[0], pushed[1])),
        peak(home, down),
    ]


def pull_one(place: Place) -> list[Row]:
    """One by name from a remote of 1,000 versions."""
    return _pull_one(place, 1_000)


def pull_one_of_very_many(place: Place) -> list[Row]:
    """One by name from a remote of 100,000 versions."""
    return _pull_one(place, 100_000)


def _pull_one(place: Place, count: int) -> list[Row]:
    remote = f"{place.remote}/versions"
    made = place.one(place.ours, "make_versions", direct=True, remote=remote, count=count)
    found = place.one(place.ours, "pull_one", remote=remote, id=made["id"]) if made else {}
    title = f"pull one by name, {count:,} versions on the remote"
    return [
        row(f"{title}: requests", "", (found, {}), "requests", Target(5)),
        row(f"{title}: received", "KB", (found, {}), "down_bytes"),
        row(f"{title}: time", "ms", (found, {}), "seconds"),
        peak(title, (found, {})),
    ]


def many_files(place: Place) -> list[Row]:
    """100,000 files of 1 KB: added, added again unchanged, one changed and pushed, pulled."""
    options = {"remote": f"{place.remote}/files", "count": MANY_FILES}
    found = place.one(place.ours, "push_many", **options)
    pulled = place.one(place.ours, "pull_many", **options) if found else {}
    title = f"{MANY_FILES:,} files x 1 KB"
    times = (found, {})
    folder = (pulled, {"checkout": pulled["plain"]} if pulled else {})
    first, second = (found.get("v1", {}), {}), (found.get("v2", {}), {})
    return [
        row(f"first add, {title}", "s", times, "add"),
        row(f"re-add unchanged, {title}", "s", times, "again", Target(1.5)),
        row(f"re-add with one changed, {title}", "s", times, "changed", Target(1.5)),
        row(f"push, {title}: requests", "", first, "requests"),
        row(f"push, {title}: time", "s", first, "seconds"),
        row(f"push with one changed, {title}: requests", "", second, "requests", Target(6)),
        row(f"push with one changed, {title}: sent", "KB", second, "up_bytes"),
        row(f"push with one changed, {title}: time", "s", second, "seconds", Target(2)),
        row(f"pull + localize, {title}: requests", "", (pulled, {}), "requests"),
        row(f"pull + localize, {title}: time", "s", (pulled, {}), "seconds"),
        row(f"its files in a folder, {title}: time", "s", folder, "checkout", None, "plain writes"),
        peak(f"add and push, {title}", times),
        peak(f"pull + localize, {title}", (pulled, {})),
    ]


def large_file(place: Place) -> list[Row]:
    """One file of 2 GB beside boto3's own transfer of it, taking turns."""
    assert place.gateway is not None  # this work needs s3
    pushed: tuple[list[Figures], list[Figures]] = ([], [])
    pulled: tuple[list[Figures], list[Figures]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="bench-large-") as name:
        file = Path(name, "large.bin")
        write_large(file, LARGE_BYTES)
        for turn in range(2 * ROUNDS):
            which = (turn + turn // 2) % 2  # who goes first changes too
            side = (place.ours, place.boto3)[which]
            # The server keeps everything in memory: it is removed after each.
            with place.gateway.bucket() as bucket:
                options = {"remote": f"s3://{bucket}/large", "file": file}
                pushed[which].append(place.one(side, "push_large", direct=True, **options))
                pulled[which].append(place.one(side, "pull_large", direct=True, **options))
    up = (median_of(pushed[0]), median_of(pushed[1]))
    down = (median_of(pulled[0]), median_of(pulled[1]))
    title = f"{LARGE_BYTES // 10**9} GB file"
    near = Target(1.15, True, "1.15 x boto3's")
    once = Target(1.01, words="once")
    rows = []
    for way, found in (("push", up), ("pull + localize", down)):
        rows += [
            row(f"{way}, {title}: time", "s", found, "seconds", near, "boto3"),
            row(f"{way}, {title}: CPU", "s", found, "cpu", None, "boto3"),
            row(f"{way}, {title}: disk at most, files", "", (found[0], {}), "copies", once),
            peak(f"{way}, {title}", found, "boto3"),
        ]
    return [row(f"add, {title}: time", "s", (up[0], {}), "add"), *rows]
