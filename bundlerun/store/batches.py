"""Many values in queries of a bounded length."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

_BATCH = 500
"""Values a query: SQLite builds of old take 999 parameters."""

T = TypeVar("T")


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """``items`` in lists short enough for one query."""
    rest = iter(items)
    while some := list(itertools.islice(rest, _BATCH)):
        yield some


def marks(values: Sequence[object]) -> str:
    """A question mark a value, for ``IN (...)``."""
    return ",".join("?" * len(values))
