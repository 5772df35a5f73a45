"""The differences between two values, found from their nodes.

Equal digests are passed over, so a small difference in a large value costs few reads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple, TypeVar

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.link import Link
from bundlerun.bundles.value import files
from bundlerun.bundles.value.differences import Change, Differences
from bundlerun.bundles.value.kind import (
    BY_TAG,
    CONTAINERS,
    HAVE_ENTRIES,
    MAX_DEPTH,
    PLAIN,
    entry_pair,
    inline_value,
    kind_in,
    tag_of,
)
from bundlerun.bundles.value.nodes import (
    Read,
    check_level,
    children,
    count_of,
    node_term,
    only,
    read_node,
    root_term,
)
from bundlerun.bundles.value.outline import leaf_outline
from bundlerun.errors import IntegrityError

MOST_CHANGES = 1_000
"""Changes that are described; the rest is counted."""

Columns = Sequence[tuple[str, str]]
"""The names and types of a table's columns, in their order."""

Schema = Callable[[Link], "Columns | None"]
"""The columns of a table, None where nobody can say: its bytes are not here."""


def differences(
    old: Link, new: Link, read: Read, *, schema: Schema | None = None, most: int = MOST_CHANGES
) -> Differences:
    """The differences from the value ``old`` to ``new``, in the order of the tree.

    ``read`` is asked for nodes only, ``schema`` for the columns of tables whose bytes differ.
    Raises IntegrityError for malformed nodes, and what they raise.
    """
    if old == new:
        return Differences({}, ())
    comparing = _Comparing(read, schema or (lambda link: None), most)
    left, right = (root_term(read_node(link, read)) for link in (old, new))
    comparing.terms(left, right, "value", 0)
    if not comparing.counts:
        # Equal terms under two digests: one of them was not written here.
        comparing.note("changed", "value", left, right)
    return Differences(dict(comparing.counts), tuple(comparing.changes))


class _Comparing:
    def __init__(self, read: Read, schema: Schema, most: int) -> None:
        self._read = read
        self._schema = schema
        self._most = most
        self.counts: Counter[str] = Counter()
        self.changes: list[Change] = []

    def terms(self, old: Any, new: Any, where: str, depth: int) -> None:
        """Compare two terms that stand at the same place."""
        # As JSON: to Python True is 1.
        if canonical_json(old) == canonical_json(new):
            return
        if depth > MAX_DEPTH:
            raise IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")
        old, new = self._inner(old), self._inner(new)
        tag = _tag(old)
        if tag != _tag(new) or tag not in HAVE_ENTRIES:
            self.note("changed", where, old, new)
        elif tag not in CONTAINERS:
            self._directories(tag, old, new, where)
        elif CONTAINERS[tag].is_mapping:
            self._dicts(tag, old, new, where, depth)
        else:
            self._lists(only(old, tag)[tag], only(new, tag)[tag], where, depth)

    def note(self, what: str, where: str, old: Any = None, new: Any = None) -> None:
        """Take a change down; ``old`` and ``new`` are terms."""
        self.counts[what] += 1
        if len(self.changes) >= self._most:
            return
        before = None if what == "added" else self._told(old)
        after = None if what == "removed" else self._told(new)
        tag = _tag(old)
        both = tag == _tag(new) and tag in BY_TAG and BY_TAG[tag].is_table
        columns = tuple(self._columns(old, new)) if both else ()
        self.changes.append(Change(what, where, before, after, columns))

    def _inner(self, term: Any) -> Any:
        """The term itself where it stands in a node of its own."""
        if _tag(term) != "node":
            return term
        return node_term(read_node(Link.from_json(only(term, "node")["node"]), self._read))

    def _told(self, term: Any) -> dict[str, Any]:
        term = self._inner(term)
        tag = _tag(term)
        if tag in CONTAINERS:
            return {"type": tag, "count": count_of(only(term, tag)[tag])}
        found = leaf_outline(tag, term)
        if tag in HAVE_ENTRIES:
            found["count"] = count_of(term[tag])
        return found

    def _columns(self, old: Any, new: Any) -> Iterator[tuple[str, str | None, str | None]]:
        kind = kind_in(_tag(old), old)
        (left,), (right,) = kind.links(old), kind.links(new)
        if left == right:
            return
        before, after = self._schema(left), self._schema(right)
        if before is None or after is None:
            return
        was, now = dict(before), dict(after)
        for name in dict.fromkeys([*was, *now]):
            if was.get(name) != now.get(name):
                yield name, was.get(name), now.get(name)

    def _directories(self, tag: str, old: Any, new: Any, where: str) -> None:
        names = [leaf_outline(tag, term).get("name") for term in (old, new)]
        left, right = differing_entries(old[tag], new[tag], self._read)
        was = {entry.path: entry for entry in map(files.entry_of, left)}
        now = {entry.path: entry for entry in map(files.entry_of, right)}
        for path in sorted(was.keys() | now.keys()):
            before, after = was.get(path), now.get(path)
            what = "added" if before is None else "removed" if after is None else "changed"
            if before != after:
                self._file(what, f"{where}/{path}", before, after)
        if names[0] != names[1]:
            self.note("changed", where, old, new)

    def _file(self, what: str, where: str, old: Any, new: Any) -> None:
        self.counts[what] += 1
        if len(self.changes) < self._most:
            self.changes.append(Change(what, where, _entry(old), _entry(new)))

    def _dicts(self, tag: str, old: Any, new: Any, where: str, depth: int) -> None:
        left, right = differing_entries(only(old, tag)[tag], only(new, tag)[tag], self._read)
        was, now = dict(map(_pair, left)), dict(map(_pair, right))
        before = sum(self.counts.values())
        for key in dict.fromkeys([*was, *now]):
            inner = f"{where}[{_key(key)}]"
            if key not in now:
                self.note("removed", inner, was[key])
            elif key not in was:
                self.note("added", inner, new=now[key])
            else:
                self.terms(was[key], now[key], inner, depth + 1)
        if sum(self.counts.values()) == before:
            # The same entries in another order, which a dict keeps.
            self.note("moved", where, old, new)

    def _lists(self, old: Any, new: Any, where: str, depth: int) -> None:
        for was, now in differing_runs(old, new, self._read):
            paired = min(len(was.entries), len(now.entries))
            for at in range(paired):
                inner = f"{where}[{now.start + at}]"
                self.terms(was.entries[at], now.entries[at], inner, depth + 1)
            for at, entry in _rest(was, paired):
                self.note("removed", f"{where}[{at}]", entry)
            for at, entry in _rest(now, paired):
                self.note("added", f"{where}[{at}]", new=entry)


def _rest(run: Run, start: int) -> Iterator[tuple[int, Any]]:
    for at in range(start, len(run.entries)):
        yield run.start + at, run.entries[at]


def _tag(term: Any) -> str:
    return "" if type(term) in PLAIN else tag_of(term)


def _pair(found: Any) -> tuple[bytes, Any]:
    """The key of a dict's entry as JSON, and the term below it."""
    key, term = entry_pair(found)
    return canonical_json(key), term


def _key(data: bytes) -> str:
    """A key as Python writes it; texts as JSON does."""
    term = json.loads(data)
    tag = _tag(term)
    if tag == "":
        return data.decode()[:200] if type(term) is str else repr(term)
    links = kind_in(tag, term).links(term)
    return f"({tag} of {links[0].size} bytes)" if links else f"{inline_value(term)!r:.200}"


def _entry(entry: Any) -> dict[str, Any] | None:
    if entry is None:
        return None
    if entry.link is None:
        return {"type": "folder"}
    found = {"type": "file", "size": entry.link.size, "digest": entry.link.digest[:16]}
    return {**found, "executable": True} if entry.executable else found


MOST_ALIGNED = 4_096
"""The longest stretch that is aligned; longer ones are compared place by place.

Aligning takes time by the square of the length at worst.
"""

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
    """The entries of each of two containers that the other lacks, in any place.

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
    """The stretches in which two lists differ, in their order, as each has them.

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
            raise IntegrityError(
                f"the node {link.digest} does not have the entries that its parent counts"
            )
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
