"""Where two containers' entries differ, found from the top: a node that both have is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple, TypeVar

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.links import Link
from bundlerun.bundles.nodes import Read, check_level, children, read_node
from bundlerun.errors import IntegrityError

MOST_ALIGNED = 4_096
"""Longer stretches are compared place by place: aligning takes time by their square at worst."""

T = TypeVar("T")


class Run(NamedTuple):
    """Entries that stand one after the other, and the index of the first of them."""

    start: int
    entries: list[Any]


class _Piece(NamedTuple):
    """Some nodes of one level, or entries (level -1), from the entry ``start`` on."""

    start: int
    level: int
    items: list[Any]


def differing_entries(one: Any, other: Any, read: Read) -> tuple[list[Any], list[Any]]:
    """The entries of each of two containers that the other has not, wherever they stand.

    For containers without doubles, directories and dicts. Raises IntegrityError.
    """
    left, right = _top(one), _top(other)
    while True:
        while right.level > left.level:
            right = _opened(right, read)
        while left.level > right.level:
            left = _opened(left, read)
        left, right = _without(left, right), _without(right, left)
        if left.level < 0:
            return left.items, right.items
        left, right = _opened(left, read), _opened(right, read)


def differing_runs(old: Any, new: Any, read: Read) -> Iterator[tuple[Run, Run]]:
    """The stretches in which two lists differ, in their order: what stands there in each.

    Raises IntegrityError.
    """
    pending = [(_top(old), _top(new))]
    while pending:
        was, now = pending.pop()
        if was.level == now.level == -1:
            for mine, yours in _aligned(was, now):
                yield Run(mine.start, mine.items), Run(yours.start, yours.items)
        elif was.level != now.level:
            higher = was if was.level > now.level else now
            opened = _opened(higher, read)
            pending.append((opened, now) if higher is was else (was, opened))
        else:
            pairs = list(_aligned(was, now))
            pending += [(_opened(a, read), _opened(b, read)) for a, b in reversed(pairs)]


def _top(body: Any) -> _Piece:
    if type(body) is list:
        return _Piece(0, -1, body)
    level, below = children(body)
    return _Piece(0, level - 1, list(below))


def _opened(piece: _Piece, read: Read) -> _Piece:
    """One level further down."""
    items: list[Any] = []
    for link, count in piece.items:
        node = check_level(read_node(link, read), piece.level)
        below: list[Any] = node["entries"] if piece.level == 0 else list(children(node)[1])
        if (len(below) if piece.level == 0 else sum(each for _, each in below)) != count:
            raise IntegrityError(f"the node {link.digest} has not the entries it should have")
        items += below
    return _Piece(piece.start, piece.level - 1, items)


def _name(piece: _Piece, item: Any) -> str | bytes:
    if piece.level < 0:
        return canonical_json(item)
    link: Link = item[0]
    return link.digest


def _without(piece: _Piece, other: _Piece) -> _Piece:
    known = {_name(other, item) for item in other.items}
    left = [item for item in piece.items if _name(piece, item) not in known]
    return _Piece(piece.start, piece.level, left)


def _aligned(was: _Piece, now: _Piece) -> Iterator[tuple[_Piece, _Piece]]:
    """The stretches of two pieces of one level that are not equal."""
    left, right = ([_name(piece, item) for item in piece.items] for piece in (was, now))
    starts = _starts(was), _starts(now)
    for a, b, c, d in _blocks(left, right):
        yield (
            _Piece(starts[0][a], was.level, was.items[a:b]),
            _Piece(starts[1][c], now.level, now.items[c:d]),
        )


def _starts(piece: _Piece) -> list[int]:
    """The index of the first entry of each item, and of what would follow the last."""
    found = [piece.start]
    for item in piece.items:
        found.append(found[-1] + (1 if piece.level < 0 else item[1]))
    return found


def _blocks(left: Sequence[T], right: Sequence[T]) -> Iterator[tuple[int, int, int, int]]:
    head = 0
    while head < min(len(left), len(right)) and left[head] == right[head]:
        head += 1
    tail = 0
    least = min(len(left), len(right)) - head
    while tail < least and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    ends = len(left) - tail, len(right) - tail
    if max(ends) - head > MOST_ALIGNED:
        yield head, ends[0], head, ends[1]
        return
    matcher = SequenceMatcher(None, left[head : ends[0]], right[head : ends[1]], autojunk=False)
    for what, a, b, c, d in matcher.get_opcodes():
        if what != "equal":
            yield head + a, head + b, head + c, head + d
