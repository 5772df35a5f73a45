"""The works that both sides do, and what is read off them: one function a work, rows of a table.

Those on a store stand in works_store, those with a remote in works_remote; here are the others.
"""

from __future__ import annotations

import os

import works_knot as knot
import works_remote as remote
import works_store as store
from figures import Figures, Place, Row, Target, Work, row

PIPES = 20


def _quotient(side: Figures, other: Figures, key: str) -> float | None:
    return side[key] / other[key] if key in side and key in other else None


def cli_start(place: Place) -> list[Row]:
    """The time until `--help` is there."""
    found = place.both("cli_start")
    return [row("CLI start, `--help`", "ms", found, "seconds", Target(1 / 5, True, "1/5"))]


def chain(place: Place) -> list[Row]:
    """Trivial pipes one after the other, on a machine with few and with many contexts."""
    one = place.both("chain", count=PIPES, contexts=1)
    many = place.both("chain", count=PIPES, contexts=100)
    first, again = Target(4), Target(1.5)
    title = f"chain of {PIPES} pipes"
    rows = []
    for found, words in ((one, "1 context"), (many, "100 contexts")):
        rows.append(row(f"{title}, {words}: first, a pipe", "ms", found, "first", first))
        rows.append(row(f"{title}, {words}: no-op, a pipe", "ms", found, "again", again))
    # By the no-op: the first one waits for the disk 20 times, which varies more than contexts do.
    ours, theirs = (_quotient(many[side], one[side], "again") for side in (0, 1))
    flat = Target(1.5, words="flat: 1.5")
    rows.append(Row(f"{title}, no-op: 100 contexts over 1", "x", ours, theirs, flat))
    return rows


def _over_bare(side: Figures) -> Figures:
    """What a run takes over starting a container of the same image, seconds."""
    if not side:
        return {}
    return {"first": side["run_first"] - side["bare"]}


def image(place: Place) -> list[Row]:
    """Disdat-Luigi's example pipeline as an image on the same base, and runs of it."""
    found = place.both("dockerize", base=place.base_image)
    over = (_over_bare(found[0]), _over_bare(found[1]))
    half, second = Target(1 / 2, True, "1/2"), Target(1)
    return [
        row("image of Disdat's example pipeline", "MB", found, "image_bytes", half),
        row("of it the common base image", "MB", found, "base_bytes"),
        row("build again after a one-line edit", "s", found, "rebuild"),
        row("`docker run IMAGE python -c pass`", "s", found, "bare"),
        row("`run --backend Local`, whole command less that: new work", "s", over, "first", second),
        row("`run --backend Local`, whole command: no-op", "s", found, "run_again"),
    ]


_S3 = frozenset({"s3"})
# cloudknot is not imported without an engine.
_CLOUDKNOT = frozenset({"engine", "cloudknot"})

WORKS = (
    Work("cli", cli_start),
    Work("add", store.add_commit),
    Work("add-100k", store.add_very_many, long=True),
    Work("get", store.get_latest),
    Work("get-1m", store.get_of_a_million, long=True),
    Work("contexts", store.many_contexts),
    Work("transfer", remote.transfer, _S3),
    Work("latency", remote.far_transfer, _S3, long=True, latency_ms=30),
    Work("versions", remote.pull_one, _S3),
    Work("versions-100k", remote.pull_one_of_very_many, _S3, long=True),
    Work("files-100k", remote.many_files, _S3, long=True),
    Work("large", remote.large_file, _S3),
    Work("chain", chain),
    Work("image", image, frozenset({"engine"})),
    Work("knot", knot.import_and_make, _CLOUDKNOT),
    Work("map-100", knot.map_hundred, _CLOUDKNOT),
    Work("map-1k", knot.map_thousand, _CLOUDKNOT),
    Work("map-1k-futures", knot.map_thousand_futures, _CLOUDKNOT, long=True),
    Work("map-wait", knot.wait, _CLOUDKNOT),
    Work("map-memory", knot.memory),
    Work("map-local", knot.local, frozenset({"engine"})),
)


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would lead a side to somebody's account."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BUNDLERUN_", "DISDAT_", "PYTHON"))
    }
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**kept, **nowhere, "AWS_EC2_METADATA_DISABLED": "true"}
