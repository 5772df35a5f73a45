"""The objects that a value needs, found without making the value."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.value import files
from bundlerun.bundles.value.kind import (
    CONTAINERS,
    HAVE_ENTRIES,
    MAX_DEPTH,
    PLAIN,
    entry_pair,
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
from bundlerun.errors import IntegrityError

MaybeRead = Callable[[Link], "bytes | None"]


class _Node(NamedTuple):
    """A node yet to be looked into.

    ``kind`` is "root", "term", or the container's whose entries of that ``level`` it has.
    """

    link: Link
    kind: str
    level: int = 0


class Part(NamedTuple):
    """An object that a value needs, and what it is."""

    link: Link
    is_node: bool = False
    is_table: bool = False


class _Table(NamedTuple):
    """A leaf that is a table."""

    link: Link


def links(root: Link, read: MaybeRead) -> Iterator[tuple[Link, bool]]:
    """The links of ``parts``, each with whether it is a node."""
    return ((link, is_node) for link, is_node, _ in _walked(root, read))


def parts(root: Link, read: MaybeRead) -> Iterator[Part]:
    """Every object that the value needs, once.

    A node comes before what it names, level after level, and the digests of an object's parts
    before the object. Where ``read`` gives None (the node is not here), what lies below that node
    is left out. Raises IntegrityError for malformed nodes and for a digest that is given
    two sizes.
    """
    return (Part(*each) for each in _walked(root, read))


def _walked(root: Link, read: MaybeRead) -> Iterator[tuple[Link, bool, bool]]:
    """The fields of ``parts``: there may be millions."""
    sizes: dict[Digest, int] = {root.digest: root.size}
    looked: set[tuple[Digest, str, int]] = set()
    pending = deque([_Node(root, "root")])
    yield root, True, False
    while pending:
        node = pending.popleft()
        mark = (node.link.digest, node.kind, node.level)
        if mark in looked:
            continue
        looked.add(mark)
        if node.link.size > MAX_NODE_BYTES:
            raise IntegrityError(f"the node {node.link.digest} cannot have {node.link.size} bytes")
        data = read(node.link)
        if data is None:
            continue
        for found in _named(node, parse_node(node.link, data)):
            link = found if isinstance(found, Link) else found.link
            for each in filter(None, (link.parts_link, link)):
                known = sizes.get(each.digest)
                if known is None:
                    sizes[each.digest] = each.size
                    # The digests of a table's parts are not a table.
                    is_table = each is link and isinstance(found, _Table)
                    yield each, isinstance(found, _Node), is_table
                elif known != each.size:
                    raise IntegrityError(
                        f"{each.digest} cannot have both {known} and {each.size} bytes"
                    )
            if isinstance(found, _Node):
                pending.append(found)


def _named(node: _Node, found: Any) -> Iterator[_Node | _Table | Link]:
    """The nodes and leaves that a parsed node names."""
    if node.kind == "root":
        yield from _in_terms([(root_term(found), 0)])
    elif node.kind == "term":
        yield from _in_terms([(node_term(found), 0)])
    elif node.level > 0:
        check_level(found, node.level)
        yield from _below(node.kind, found)
    else:
        entries = check_level(found, 0)["entries"]
        yield from _in_entries(node.kind, entries)


def _below(kind: str, body: Any) -> Iterator[_Node]:
    level, below = children(body)
    for link, _ in below:
        yield _Node(link, kind, level - 1)


def _in_entries(tag: str, entries: list[Any]) -> Iterator[_Node | _Table | Link]:
    if tag in CONTAINERS:
        yield from _in_terms([(each, 0) for each in _flat(tag, entries)])
        return
    for each in entries:
        link = files.entry_of(each).link
        if link is not None:
            yield link


def _flat(tag: str, entries: list[Any]) -> list[Any]:
    """The terms in a container's entries."""
    if not CONTAINERS[tag].is_mapping:
        return entries
    return [term for each in entries for term in entry_pair(each)]


def _in_terms(stack: list[tuple[Any, int]]) -> Iterator[_Node | _Table | Link]:
    """The nodes and leaves that these terms name, and the terms within them."""
    while stack:
        term, depth = stack.pop()
        if type(term) in PLAIN:
            continue
        tag = tag_of(term)
        if tag in HAVE_ENTRIES:
            inner = term[tag]
            if type(inner) is not list:
                yield from _below(tag, inner)
            elif tag not in CONTAINERS:
                yield from _in_entries(tag, inner)
            elif depth > MAX_DEPTH:
                raise IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")
            else:
                stack.extend((each, depth + 1) for each in reversed(_flat(tag, inner)))
        elif tag == "node":
            yield _Node(Link.from_json(term[tag]), "term")
        else:
            kind = kind_in(tag, term)
            if kind.root is not None:
                yield _Node(kind.root(term), "root")
            yield from map(_Table, kind.links(term)) if kind.is_table else kind.links(term)
