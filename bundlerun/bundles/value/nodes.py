"""Nodes: the objects of a value's tree, cut so that a small change sends little.

A node is canonical JSON, named by its digest. The entries of a small container stand in the node of
its parent; those of a larger one are cut into nodes of their own, at places that the entries
themselves choose, so an entry that comes, goes or changes moves no other cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import check_format
from bundlerun.errors import BadValue, IntegrityError

INLINE_ENTRIES = 64
INLINE_BYTES = 16 * 1024
"""A container of more entries, or of more bytes, is cut into nodes."""

OWN_NODE_BYTES = 2 * 1024
"""An entry of more bytes gets a node of its own."""

MAX_NODE_BYTES = 4 * 1024 * 1024
"""No node is larger; a link to a larger one is refused before it is read."""

MAX_LEVEL = 12
"""Levels of nodes above the entries: at 16 entries a node and more, 2**48 entries."""

_FEWEST, _MOST = 16, 256
"""The entries of a node.

The floor makes every level shorter than the one below, whatever the hashes.
"""

_LONG = 96
"""From here on a cut is sought eight times as often, so that few nodes are long."""

_MOST_BYTES = 64 * 1024

Read = Callable[[Link], bytes]


def link_bytes(link: Link) -> bytes:
    """A link as canonical JSON."""
    if link.parts is not None:
        return b'["%s",%d,"%s"]' % (link.digest.encode(), link.size, link.parts.encode())
    return b'["%s",%d]' % (link.digest.encode(), link.size)


def put_node(data: bytes, put: Callable[[bytes], Link]) -> Link:
    """Keep a node.

    Raises BadValue when it is too large to be read again.
    """
    if len(data) > MAX_NODE_BYTES:
        raise BadValue(
            f"one part of the value takes {len(data)} bytes; {MAX_NODE_BYTES} at most",
            hint="a File or an Array for what is large",
        )
    return put(data)


def cut(entries: list[bytes], put: Callable[[bytes], Link]) -> bytes:
    """The JSON of a container's entries, cut into nodes where they are many.

    ``[entry, ...]``, or where they are many ``{"level":n,"entries":[[digest, size, entries below],
    ...]}`` over nodes of that form.
    """
    level = 0
    counts = [1] * len(entries)
    while len(entries) > INLINE_ENTRIES or sum(map(len, entries)) > INLINE_BYTES:
        if level and len(entries) == 1:
            break
        upper: list[bytes] = []
        upper_counts: list[int] = []
        for start, end in _pieces(entries):
            link = put_node(_level(level, entries[start:end]), put)
            total = sum(counts[start:end])
            upper.append(b'["%s",%d,%d]' % (link.digest.encode(), link.size, total))
            upper_counts.append(total)
        entries, counts, level = upper, upper_counts, level + 1
    return _level(level, entries) if level else b"[" + b",".join(entries) + b"]"


def _level(level: int, entries: list[bytes]) -> bytes:
    return b'{"level":%d,"entries":[' % level + b",".join(entries) + b"]}"


def _pieces(entries: list[bytes]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for at, entry in enumerate(entries):
        size += len(entry)
        count = at + 1 - start
        if count < _FEWEST and size < _MOST_BYTES:
            continue
        mask = 63 if count < _LONG else 7
        chosen = hashlib.sha256(entry).digest()[-1] & mask == 0
        if chosen or count == _MOST or size >= _MOST_BYTES:
            yield start, at + 1
            start, size = at + 1, 0
    if start < len(entries):
        yield start, len(entries)


def parse_node(link: Link, data: bytes) -> Any:
    """The JSON of a node.

    Raises IntegrityError when the bytes are not the link's or not JSON.
    """
    if len(data) != link.size or digest_of(data) != link.digest:
        raise IntegrityError(f"the node {link.digest} is damaged: its bytes have another digest")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"the node {link.digest} is not JSON: {error!s:.200}") from error


def read_node(link: Link, read: Read) -> Any:
    """The JSON of a node.

    Raises IntegrityError, also for a size that no node has.
    """
    if link.size > MAX_NODE_BYTES:
        raise IntegrityError(f"the node {link.digest} cannot have {link.size} bytes")
    return parse_node(link, read(link))


def only(found: Any, *required: str, optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """``found`` as an object of exactly these keys.

    Raises IntegrityError.
    """
    if type(found) is not dict or not (set(required) <= found.keys() <= {*required, *optional}):
        raise IntegrityError(f"a part of a value is malformed: {found!r:.120}")
    return found


def children(found: Any) -> tuple[int, list[tuple[Link, int]]]:
    """The level of entries that were cut, and each node below with its entry count.

    Raises IntegrityError.
    """
    fields = only(found, "level", "entries")
    level, below = fields["level"], fields["entries"]
    if type(level) is not int or not 0 < level <= MAX_LEVEL or type(below) is not list:
        raise IntegrityError(f"a node is malformed: {found!r:.120}")
    return level, [_counted(each) for each in below]


def _counted(found: Any) -> tuple[Link, int]:
    if type(found) is not list or len(found) != 3:
        raise IntegrityError(f"a node is malformed: {found!r:.120}")
    count = found[2]
    # A node without entries would let a small object stand for endless work.
    if type(count) is not int or count < 1:
        raise IntegrityError(f"a node has a count of {count!r:.80} entries")
    return Link.from_json(found[:2]), count


def count_of(found: Any) -> int:
    """The number of entries that a container says it has.

    Raises IntegrityError.
    """
    if type(found) is list:
        return len(found)
    return sum(count for _, count in children(found)[1])


def entries_of(found: Any, read: Read) -> Iterator[Any]:
    """The entries of a container, node after node.

    Raises IntegrityError.
    """
    if type(found) is list:
        yield from found
        return
    level, below = children(found)
    yield from _entries_below(level, below, read)


def _entries_below(level: int, below: list[tuple[Link, int]], read: Read) -> Iterator[Any]:
    for link, count in below:
        found = check_level(read_node(link, read), level - 1)
        if level > 1:
            inner = children(found)[1]
            if sum(each for _, each in inner) != count:
                raise IntegrityError(
                    f"the node {link.digest} does not have the entries that its parent counts"
                )
            yield from _entries_below(level - 1, inner, read)
            continue
        if len(found["entries"]) != count:
            raise IntegrityError(
                f"the node {link.digest} does not have the entries that its parent counts"
            )
        yield from found["entries"]


def check_level(found: Any, level: int) -> dict[str, Any]:
    """``found`` as a node of entries of that level.

    Raises IntegrityError.
    """
    fields = only(found, "level", "entries")
    if fields["level"] != level or type(fields["entries"]) is not list:
        raise IntegrityError(f"a node of level {level} is malformed: {found!r:.120}")
    return fields


def root_term(found: Any) -> Any:
    """The term in a parsed root.

    Raises IntegrityError, also for an unknown format.
    """
    check_format(found)
    return only(found, "format", "value")["value"]


def node_term(found: Any) -> Any:
    """The term in a parsed node of one term, which is not just another such node.

    Raises IntegrityError.
    """
    term = only(found, "term")["term"]
    if type(term) is dict and "node" in term:
        raise IntegrityError("a node holds nothing but another node")
    return term
