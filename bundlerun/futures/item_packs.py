"""Packs of items and of outcomes: many small entries in one object, by number.

``b"BRP1"``, the count of entries (4 bytes), the offset at which each entry ends (8 bytes each,
counted from the start of the pack), the entries. Numbers are little-endian. A reader that wants a
few neighbours asks for their slice of the table, and then for their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from bundlerun.errors import BadValue, IntegrityError

PACK_BYTES = 16 << 20
"""The largest pack: what a child or a client may hold in memory without a thought."""

_MAGIC = b"BRP1"
_HEAD = struct.Struct("<4sI")
_END_BYTES = 8

_DAMAGED = "the map again: the object on the remote is not what the run wrote"


def packed(entries: Sequence[bytes]) -> bytes:
    """The pack of ``entries``."""
    start = _HEAD.size + _END_BYTES * len(entries)
    ends = [start + end for end in accumulate(map(len, entries))]
    head = _HEAD.pack(_MAGIC, len(entries))
    return b"".join([head, struct.pack(f"<{len(ends)}Q", *ends), *entries])


class Packer:
    """The packer of entries that come one by one, into packs of PACK_BYTES at most.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._size = _HEAD.size

    def add(self, entry: bytes) -> bytes | None:
        """Take one more entry; the pack of those before it, where it did not fit in.

        Raises BadValue for an entry that fits in no pack.
        """
        size = len(entry) + _END_BYTES
        if _HEAD.size + size > PACK_BYTES:
            raise BadValue(
                f"an item takes {len(entry)} bytes, more than a pack of {PACK_BYTES} has",
                hint="a bundlerun.File, or a bundle, for what is large",
            )
        full = self.rest() if self._size + size > PACK_BYTES else None
        self._entries.append(entry)
        self._size += size
        return full

    def rest(self) -> bytes | None:
        """The pack of what was added since the last one; None: nothing was."""
        if not self._entries:
            return None
        pack = packed(self._entries)
        self._entries, self._size = [], _HEAD.size
        return pack


def entries_of(data: bytes) -> list[bytes]:
    """The entries of a pack.

    Raises IntegrityError for bytes that are not one.
    """
    count = _count(data)
    table = data[_HEAD.size : _HEAD.size + _END_BYTES * count]
    start = _HEAD.size + _END_BYTES * count
    bounds = _bounds(start, table, count)
    if bounds[-1] != len(data):
        raise IntegrityError(
            f"a pack has {len(data)} bytes, and its table says {bounds[-1]}", hint=_DAMAGED
        )
    return [data[begin:end] for begin, end in pairwise(bounds)]


def read_entries(read: Callable[[int, int], bytes | None], first: int, count: int) -> list[bytes]:
    """``count`` entries of a pack from number ``first``, by two reads of it.

    ``read`` gives ``length`` bytes from ``start``, fewer where the pack ends earlier, None where
    there is no such pack. Raises IntegrityError for that, and for a pack that has not all of them.
    """
    if not count:
        return []
    # The end of the entry before is the start of the first; before entry 0 the head says it.
    at = _HEAD.size + _END_BYTES * (first - 1) if first else 0
    length = _HEAD.size + _END_BYTES * (first + count) - at
    table = _read(read, at, length)
    if first:
        start = int.from_bytes(table[:_END_BYTES], "little")
        table = table[_END_BYTES:]
    else:
        start = _HEAD.size + _END_BYTES * _count(table)
        table = table[_HEAD.size :]
    bounds = _bounds(start, table, count)
    data = _read(read, start, bounds[-1] - start) if bounds[-1] > start else b""
    return [data[begin - start : end - start] for begin, end in pairwise(bounds)]


def _count(data: bytes) -> int:
    """The count in the head of a pack.

    Raises IntegrityError.
    """
    if len(data) < _HEAD.size:
        raise IntegrityError(f"a pack ends after {len(data)} bytes", hint=_DAMAGED)
    magic, count = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise IntegrityError(f"a pack of an unknown form: {magic!r}", hint=_DAMAGED)
    return int(count)


def _bounds(start: int, table: bytes, count: int) -> list[int]:
    """The offsets at which each of ``count`` entries begins, and the last ends.

    The first is at ``start``, the others are as ``table`` says. Raises IntegrityError unless they
    follow each other within a pack.
    """
    if len(table) != _END_BYTES * count:
        raise IntegrityError(f"a pack has fewer than the {count} entries asked for", hint=_DAMAGED)
    bounds = [start, *struct.unpack(f"<{count}Q", table)]
    # Before memory is asked for what it claims.
    if bounds[-1] > PACK_BYTES or any(end < begin for begin, end in pairwise(bounds)):
        raise IntegrityError("the table of a pack is malformed", hint=_DAMAGED)
    return bounds


def _read(read: Callable[[int, int], bytes | None], start: int, length: int) -> bytes:
    data = read(start, length)
    if data is None:
        raise IntegrityError("a pack of the run is not on the remote", hint=_DAMAGED)
    if len(data) != length:
        raise IntegrityError(
            f"a pack ends early: {len(data)} bytes from {start}, not {length}", hint=_DAMAGED
        )
    return data
