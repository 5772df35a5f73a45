"""Selection of parts of a value by path; only nodes that can lead to one are read.

The path of a part is the keys and indexes from the root on, joined by ``/``; below a Directory the
relative paths of its files follow, below a bundle within the value that bundle's own paths. A value
that is one single thing has a File's name as its path, else ``value``.
"""

from __future__ import annotations

import fnmatch
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.value import files
from bundlerun.bundles.value.kind import (
    BY_TAG,
    CONTAINERS,
    HAVE_ENTRIES,
    MAX_DEPTH,
    MAX_VALUES,
    PLAIN,
    entry_pair,
    inline_value,
    kind_in,
    tag_of,
)
from bundlerun.bundles.value.nodes import (
    MAX_NODE_BYTES,
    check_level,
    children,
    node_term,
    parse_node,
    root_term,
)
from bundlerun.bundles.value.scalars import text_of
from bundlerun.bundles.value.walk import MaybeRead
from bundlerun.errors import IntegrityError

MOST_TOLD = 12
"""Paths that a message names of what is there."""

_WILD = re.compile(r"[*?[]")


@dataclass
class Picked:
    """The outcome of a selection.

    ``links`` are the objects of the parts that were asked for, ``absent`` the nodes that have to be
    brought before the rest is known, ``unmatched`` the patterns that nothing fitted, ``there`` some
    of the paths that there are.
    """

    links: dict[Digest, Link] = field(default_factory=dict)
    absent: dict[Digest, Link] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)


def pick(root: Link, read: MaybeRead, patterns: Sequence[str]) -> Picked:
    """The parts of the value ``root`` whose paths fit ``patterns``, with all below.

    One pattern must fit. Patterns are those of the module fnmatch, with case; ``*`` goes over ``/``
    too, so ``images/*`` is all in ``images``, as is ``images`` itself. Raises IntegrityError for
    malformed nodes.
    """
    picking = _Picking(read, patterns)
    picking.look_into(root)
    return picking.all()


def pick_term(term: Any, read: MaybeRead) -> Picked:
    """All objects that it takes to make the value of ``term``.

    Files and folders stay where they are, and so does the value of a bundle within it. Raises
    IntegrityError for malformed nodes.
    """
    picking = _Picking(read, ["*"], untouched=True)
    picking.take(term)
    return picking.all()


class _Part(NamedTuple):
    """The place of a part; ``hit`` when it, or what it is in, was asked for."""

    path: str
    hit: bool
    depth: int

    def inner(self, name: str) -> _Part:
        return _Part(f"{self.path}/{name}" if self.path else name, self.hit, self.depth + 1)


class _Node(NamedTuple):
    """A node yet to be looked into.

    ``kind`` as in ``walk``; ``at`` is the index of its first entry in a list.
    """

    link: Link
    kind: str
    part: _Part
    level: int = 0
    at: int = 0


class _Picking:
    def __init__(
        self, read: MaybeRead, patterns: Sequence[str], *, untouched: bool = False
    ) -> None:
        self._read = read
        self._untouched = untouched
        self._patterns = {each: _fitting(each.rstrip("/")) for each in patterns}
        self._starts = [_WILD.split(each.rstrip("/"), maxsplit=1)[0] for each in patterns]
        self._unmatched = dict.fromkeys(patterns)
        self._everything = "*" in patterns
        self._looked: set[tuple[Digest, str, int]] = set()
        self._pending: deque[_Node] = deque()
        self._parts = 0
        self._found = Picked()

    def look_into(self, root: Link) -> None:
        self._pending.append(_Node(root, "root", _Part("", self._everything, 0)))

    def take(self, term: Any) -> None:
        self._term(term, _Part("", self._everything, 0))

    def all(self) -> Picked:
        while self._pending:
            node = self._pending.popleft()
            mark = (node.link.digest, node.kind, node.level)
            if node.part.hit and not self._asks():
                # Below here paths say nothing more, so the same node is the same work.
                if mark in self._looked:
                    continue
                self._looked.add(mark)
            found = self._parsed(node.link)
            if found is not None:
                self._node(node, found)
        self._found.unmatched = [] if self._everything else list(self._unmatched)
        return self._found

    def _asks(self) -> bool:
        return bool(self._unmatched) and not self._everything

    def _parsed(self, link: Link) -> Any:
        if link.size > MAX_NODE_BYTES:
            raise IntegrityError(f"the node {link.digest} cannot have {link.size} bytes")
        data = self._read(link)
        if data is None:
            self._found.absent[link.digest] = link
            return None
        return parse_node(link, data)

    def _node(self, node: _Node, found: Any) -> None:
        if node.kind == "root":
            self._term(root_term(found), node.part)
        elif node.kind == "term":
            self._term(node_term(found), node.part)
        elif node.level > 0:
            check_level(found, node.level)
            self._below(node.kind, found, node.part, node.at)
        else:
            self._entries(node.kind, check_level(found, 0)["entries"], node.part, node.at)

    def _below(self, kind: str, body: Any, part: _Part, at: int) -> None:
        level, below = children(body)
        for link, count in below:
            self._pending.append(_Node(link, kind, part, level - 1, at))
            at += count

    def _entries(self, kind: str, entries: list[Any], part: _Part, at: int) -> None:
        for index, entry in enumerate(entries, start=at):
            if kind not in CONTAINERS:
                found = files.entry_of(entry)
                inner = self._wanted(part.inner(found.path))
                if inner is not None and inner.hit and found.link is not None:
                    self._take(found.link)
                continue
            term, name = entry, str(index)
            if CONTAINERS[kind].is_mapping:
                key, term = entry_pair(entry)
                name = self._key(key)
            inner = self._wanted(part.inner(name))
            if inner is not None:
                self._term(term, inner)

    def _key(self, term: Any) -> str:
        links = () if type(term) in PLAIN else kind_in(tag_of(term), term).links(term)
        if not links:
            return str(inline_value(term))
        # A long key is an object of its own, and needed whatever is asked for.
        data = self._read(links[0])
        if data is None:
            self._found.absent[links[0].digest] = links[0]
            return ""
        return text_of(data) if tag_of(term) == "str" else str(data)

    def _wanted(self, part: _Part) -> _Part | None:
        """``part`` with what its own path says; None when nothing in it is wanted."""
        self._parts += 1
        if self._parts > MAX_VALUES:
            raise IntegrityError(f"a value has more than {MAX_VALUES} parts")
        if self._everything or (part.hit and not self._unmatched):
            return part
        fitting = [each for each, fits in self._patterns.items() if fits.match(part.path)]
        for each in fitting:
            self._unmatched.pop(each, None)
        below = f"{part.path}/"
        if part.hit or fitting:
            return part._replace(hit=True)
        if any(below.startswith(start) or start.startswith(below) for start in self._starts):
            return part
        self._tell(part.path)
        return None

    def _term(self, term: Any, part: _Part) -> None:
        if part.depth > MAX_DEPTH + 1:
            raise IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")
        tag = "" if type(term) in PLAIN else tag_of(term)
        if tag == "node":
            self._pending.append(_Node(Link.from_json(term[tag]), "term", part))
        elif self._untouched and tag in BY_TAG and BY_TAG[tag].on_touch:
            return
        elif tag in HAVE_ENTRIES:
            if type(term[tag]) is list:
                self._entries(tag, term[tag], part, 0)
            else:
                self._below(tag, term[tag], part, 0)
        elif tag in BY_TAG and (root := BY_TAG[tag].root) is not None:
            inner = part._replace(depth=part.depth + 1)
            self._pending.append(_Node(root(term), "root", inner))
        else:
            self._leaf(tag, term, part)

    def _leaf(self, tag: str, term: Any, part: _Part) -> None:
        kind = kind_in(tag, term) if tag else None
        if not part.path:
            single = kind.name(term) if kind else "value"
            alone = self._wanted(part._replace(path=single))
            if alone is None:
                return
            part = alone
        if not part.hit:
            self._tell(part.path)
        elif kind is not None:
            for link in kind.links(term):
                self._take(link)

    def _take(self, link: Link) -> None:
        for each in _with_parts(link):
            self._found.links.setdefault(each.digest, each)

    def _tell(self, path: str) -> None:
        if len(self._found.there) < MOST_TOLD:
            self._found.there.append(path)


def _fitting(pattern: str) -> re.Pattern[str]:
    """The expression for the paths that ``pattern`` fits, and for those below them.

    A folder within a Directory has no entry of its own.
    """
    return re.compile(f"{fnmatch.translate(pattern)}|{fnmatch.translate(pattern + '/*')}")


def _with_parts(link: Link) -> Iterator[Link]:
    if link.parts_link is not None:
        yield link.parts_link
    yield link
