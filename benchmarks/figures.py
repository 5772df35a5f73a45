"""What a work is made of: two sides, the figures that they measure, and the rows read off them."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import Gateway

Figures = dict[str, Any]
"""What a side measured, by name: seconds, bytes and counts. ``NAME_best`` beside ``NAME`` is the
best of the times of which ``NAME`` is the median."""

PEAK_MEMORY_MB = 250


class SideFailed(Exception):
    """One side could not do a work; the text is the end of its output."""


@dataclass(frozen=True)
class Target:
    """What bundlerun's figure is to reach: at most ``most``, or that share of the other side's."""

    most: float
    of_other: bool = False
    words: str = ""

    def met(self, ours: float, theirs: float | None) -> bool:
        """Whether it is reached. A share of a figure that is not there is not."""
        if not self.of_other:
            return ours <= self.most
        return theirs is not None and ours <= self.most * theirs


@dataclass(frozen=True)
class Row:
    """One figure of both sides, in ``unit``; None where a side has none. ``best`` are the best
    times where the figures are medians; ``other`` is who the other side is."""

    work: str
    unit: str
    ours: float | None
    theirs: float | None
    target: Target | None = None
    best: tuple[float | None, float | None] = (None, None)
    other: str = "Disdat"


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
    """Where a work is done: the sides, and what a work may need of services.

    ``env`` leads through the counting proxy, ``direct`` straight to the S3 server.
    """

    ours: Side
    theirs: Side
    boto3: Side
    env: Mapping[str, str]
    failures: list[str]
    direct: Mapping[str, str]
    gateway: Gateway | None = None
    remote: str = ""
    base_image: str = ""
    cloudknot: Side | None = None

    def one(self, side: Side, work: str, *, direct: bool = False, **options: object) -> Figures:
        """One side's figures of a work; none, and a line in ``failures``, where it cannot do it."""
        try:
            return side.do(work, self.direct if direct else self.env, **options)
        except SideFailed as error:
            self.failures.append(str(error))
            return {}

    def both(self, work: str, **options: object) -> tuple[Figures, Figures]:
        """bundlerun's and Disdat's figures of one work, one after the other."""
        return self.one(self.ours, work, **options), self.one(self.theirs, work, **options)


def row(
    work: str,
    unit: str,
    sides: tuple[Figures, Figures],
    key: str,
    target: Target | None = None,
    other: str = "Disdat",
) -> Row:
    """The figure ``key`` of both sides; times are measured in seconds, sizes in bytes."""
    scale = {"ms": 1e3, "MB": 1e-6, "KB": 1e-3}.get(unit, 1)

    def scaled(name: str) -> tuple[float | None, float | None]:
        ours, theirs = (side[name] * scale if name in side else None for side in sides)
        return ours, theirs

    ours, theirs = scaled(key)
    return Row(work, unit, ours, theirs, target, scaled(f"{key}_best"), other)


def peak(title: str, sides: tuple[Figures, Figures], other: str = "Disdat") -> Row:
    """The most memory that a side's process held in a work."""
    target = Target(PEAK_MEMORY_MB)
    return row(f"{title}: peak memory", "MB", sides, "peak_bytes", target, other)


def median_of(rounds: Sequence[Figures]) -> Figures:
    """Of several times the same work: the median of each figure, and its best."""
    if not rounds or not all(rounds):
        return {}
    found: Figures = {}
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        if all(isinstance(value, (int, float)) for value in values):
            found[name] = statistics.median(values)
            found[f"{name}_best"] = min(values)
    return found


@dataclass(frozen=True)
class Work:
    """A named work and what it needs, of: s3, engine, cloudknot.

    ``long``: only on request or with --all. ``latency_ms`` is added to each S3 request.
    """

    name: str
    do: Callable[[Place], list[Row]]
    needs: frozenset[str] = frozenset()
    long: bool = False
    latency_ms: float = 0.0
