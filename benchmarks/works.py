"""The works that both sides do, and what is read off them: one function a work, rows of a table."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PIPES = 20

Figures = dict[str, Any]
"""What a side measured, by name: seconds, bytes and counts."""


class SideFailed(Exception):
    """One side could not do a work; the text is the end of its output."""


@dataclass(frozen=True)
class Target:
    """What bundlerun's figure is to reach: at most ``most``, of Disdat's figure or by itself."""

    most: float
    of_disdat: bool = False
    words: str = ""

    def met(self, ours: float, theirs: float | None) -> bool:
        """Whether it is reached. A share of a figure that is not there is not."""
        if not self.of_disdat:
            return ours <= self.most
        return theirs is not None and ours <= self.most * theirs


@dataclass(frozen=True)
class Row:
    """One figure of both sides, in ``unit``; None where a side has none."""

    work: str
    unit: str
    ours: float | None
    theirs: float | None
    target: Target | None = None


@dataclass(frozen=True)
class Side:
    """A script that does the works, and the Python that runs it."""

    python: Path
    script: Path

    def do(self, work: str, env: Mapping[str, str], **options: object) -> Figures:
        """One work in a process of its own; what it measured. Raises SideFailed."""
        command = [str(self.python), str(self.script), work]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(env))
        if done.returncode:
            raise SideFailed(f"{self.script.name} {work}: {(done.stdout + done.stderr)[-2000:]}")
        found: Figures = json.loads(done.stdout.splitlines()[-1])
        return found


@dataclass(frozen=True)
class Place:
    """Where a work is done: the two sides, and what a work may need of services."""

    ours: Side
    theirs: Side
    env: Mapping[str, str]
    failures: list[str]
    remote: str = ""
    base_image: str = ""

    def one(self, side: Side, work: str, **options: object) -> Figures:
        """One side's figures of a work; none, and a line in ``failures``, where it cannot do it."""
        try:
            return side.do(work, self.env, **options)
        except SideFailed as error:
            self.failures.append(str(error))
            return {}

    def both(self, work: str, **options: object) -> tuple[Figures, Figures]:
        """bundlerun's and Disdat's figures of one work, one after the other."""
        return self.one(self.ours, work, **options), self.one(self.theirs, work, **options)


def _row(
    work: str,
    unit: str,
    sides: tuple[Figures, Figures],
    key: str,
    target: Target | None = None,
) -> Row:
    """The figure ``key`` of both sides; times are measured in seconds, sizes in bytes."""
    scale = {"ms": 1e3, "MB": 1e-6, "KB": 1e-3}.get(unit, 1)
    ours, theirs = (side[key] * scale if key in side else None for side in sides)
    return Row(work, unit, ours, theirs, target)


def _quotient(side: Figures, other: Figures, key: str) -> float | None:
    return side[key] / other[key] if key in side and key in other else None


def cli_start(place: Place) -> list[Row]:
    """The time until `--help` is there."""
    found = place.both("cli_start")
    return [_row("CLI start, `--help`", "ms", found, "seconds", Target(1 / 5, True, "1/5"))]


def add_commit(place: Place) -> list[Row]:
    """Small bundles, many."""
    found = place.both("add_commit", count=1000)
    title = "add + commit, a dict with a 1 KB file, 1,000 bundles"
    return [
        _row(f"{title}: a bundle", "ms", found, "seconds", Target(1 / 3, True, "1/3")),
        _row("the same: disk a bundle", "KB", found, "bytes"),
        _row("the same: files a bundle", "", found, "files"),
    ]


def get_latest(place: Place) -> list[Row]:
    """Newest of many."""
    found = place.both("get_latest", count=1000)
    return [_row("get latest, one name with 1,000 versions", "ms", found, "seconds")]


def transfer(place: Place) -> list[Row]:
    """1,000 files to the remote, one of them changed, and into an empty place."""
    pushed, pulled = [], []
    for name, side in (("bundlerun", place.ours), ("disdat", place.theirs)):
        options = {"remote": f"{place.remote}/{name}", "count": 1000}
        phases = place.one(side, "push", **options)
        pushed.append(phases)
        newest = phases.get("v2", {}).get("id")
        pulled.append(place.one(side, "pull", id=newest, **options) if newest else {})
    first = (pushed[0].get("v1", {}), pushed[1].get("v1", {}))
    second = (pushed[0].get("v2", {}), pushed[1].get("v2", {}))
    down = (pulled[0], pulled[1])
    one_file = Target(first[0].get("up_bytes", 0) / 50 / 1e6, words="one file: 1/50 of version 1")
    return [
        _row("push, 1,000 files x 10 KB: requests", "", first, "requests", Target(4)),
        _row("push, 1,000 files x 10 KB: sent", "MB", first, "up_bytes"),
        _row("push, 1,000 files x 10 KB: time", "s", first, "seconds"),
        _row("push of version 2, one file changed: requests", "", second, "requests", Target(4)),
        _row("push of version 2, one file changed: sent", "MB", second, "up_bytes", one_file),
        _row("push of version 2, one file changed: time", "s", second, "seconds"),
        _row("pull + localize of version 2: requests", "", down, "requests", Target(8)),
        _row("pull + localize of version 2: received", "MB", down, "down_bytes"),
        _row("pull + localize of version 2: time", "s", down, "seconds"),
    ]


def chain(place: Place) -> list[Row]:
    """Trivial pipes one after the other, on a machine with few and with many contexts."""
    one = place.both("chain", count=PIPES, contexts=1)
    many = place.both("chain", count=PIPES, contexts=100)
    first, again = Target(4), Target(1.5)
    title = f"chain of {PIPES} pipes"
    rows = []
    for found, words in ((one, "1 context"), (many, "100 contexts")):
        rows.append(_row(f"{title}, {words}: first, a pipe", "ms", found, "first", first))
        rows.append(_row(f"{title}, {words}: no-op, a pipe", "ms", found, "again", again))
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
        _row("image of Disdat's example pipeline", "MB", found, "image_bytes", half),
        _row("of it the common base image", "MB", found, "base_bytes"),
        _row("build again after a one-line edit", "s", found, "rebuild"),
        _row("`docker run IMAGE python -c pass`", "s", found, "bare"),
        _row(
            "`run --backend Local`, whole command less that: new work", "s", over, "first", second
        ),
        _row("`run --backend Local`, whole command: no-op", "s", found, "run_again"),
    ]


@dataclass(frozen=True)
class Work:
    """A named work and the services that it needs, of: s3, engine."""

    name: str
    do: Callable[[Place], list[Row]]
    needs: frozenset[str] = frozenset()


WORKS = (
    Work("cli", cli_start),
    Work("add", add_commit),
    Work("get", get_latest),
    Work("transfer", transfer, frozenset({"s3"})),
    Work("chain", chain),
    Work("image", image, frozenset({"engine"})),
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
