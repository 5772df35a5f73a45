"""The outline of a value: its tree with names, kinds and sizes, no leaf fetched."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from bundlerun.bundles.link import Link
from bundlerun.bundles.value import files
from bundlerun.bundles.value.kind import (
    CONTAINERS,
    PLAIN,
    entry_pair,
    inline_value,
    kind_in,
    malformed,
    tag_of,
)
from bundlerun.bundles.value.nodes import (
    Read,
    count_of,
    entries_of,
    node_term,
    only,
    read_node,
    root_term,
)

MOST_ENTRIES = 100
"""Entries shown of one container; the rest is counted."""

MOST_PARTS = 2_000
"""Parts shown of one value."""

DEEPEST = 12

_TEXT = 200
"""Characters shown of a text."""


def outline(root: Link, read: Read) -> dict[str, Any]:
    """The outline of a value, as JSON can hold it, from nodes alone.

    For each part it has ``type``, and where the part has them ``value``, ``name``, ``size``
    (bytes), ``count``, ``entries`` and ``more`` (entries left out). Raises IntegrityError.
    """
    return _Outlining(read).part(root_term(read_node(root, read)), 0)


class _Outlining:
    def __init__(self, read: Read) -> None:
        self._read = read
        self._left = MOST_PARTS

    def part(self, term: Any, depth: int) -> dict[str, Any]:
        """The outline of a term."""
        self._left -= 1
        tag = "" if type(term) in PLAIN else tag_of(term)
        if tag == "node":
            link = Link.from_json(only(term, "node")["node"])
            term = node_term(read_node(link, self._read))
            tag = "" if type(term) in PLAIN else tag_of(term)
        if tag in CONTAINERS:
            return self._container(tag, only(term, tag)[tag], depth)
        found = leaf_outline(tag, term)
        if tag and kind_in(tag, term).has_files:
            found |= self._files(term[tag])
        return found

    def _container(self, tag: str, body: Any, depth: int) -> dict[str, Any]:
        count = count_of(body)
        if depth >= DEEPEST:
            return {"type": tag, "count": count, "entries": [], "more": count}
        entries = []
        for each in self._some(body):
            if CONTAINERS[tag].is_mapping:
                key, inner = entry_pair(each)
                entries.append({"key": key_outline(key)} | self.part(inner, depth + 1))
            else:
                entries.append(self.part(each, depth + 1))
        return {"type": tag, "count": count, "entries": entries, "more": count - len(entries)}

    def _some(self, body: Any) -> Iterator[Any]:
        if type(body) not in (list, dict):
            raise malformed(body)
        for each in islice(entries_of(body, self._read), MOST_ENTRIES):
            if self._left <= 0:
                return
            yield each

    def _files(self, body: Any) -> dict[str, Any]:
        found = [files.entry_of(each) for each in self._some(body)]
        self._left -= len(found)
        count = count_of(body)
        entries = [
            {"path": each.path, "size": each.link.size} if each.link else {"path": each.path}
            for each in found
        ]
        return {"count": count, "entries": entries, "more": count - len(found)}


def leaf_outline(tag: str, term: Any) -> dict[str, Any]:
    """The outline of a term that is not a container, its files left out.

    Raises IntegrityError.
    """
    if tag:
        kind = kind_in(tag, term)
        if kind.outline is not None:
            return kind.outline(term)
        links = kind.links(term)
        if links:
            return {"type": tag, "size": sum(link.size for link in links)}
    return _single(inline_value(term))


def key_outline(term: Any) -> Any:
    """The outline of the key of a dict.

    Raises IntegrityError.
    """
    found = leaf_outline("" if type(term) in PLAIN else tag_of(term), term)
    return found["value"] if "value" in found else f"({found['type']} of {found['size']} bytes)"


def _single(value: Any) -> dict[str, Any]:
    kind = type(value).__name__
    if type(value) is str:
        shown = value.encode("utf-8", "replace").decode()[:_TEXT]
        return {"type": kind, "value": shown, "size": len(value)}
    if type(value) is int and value.bit_length() > 1024:
        return {"type": kind, "value": f"{value.bit_length()} bits"}
    if type(value) in (bool, int, type(None)):
        return {"type": kind, "value": value}
    return {"type": kind, "value": repr(value)[:_TEXT] if type(value) is float else _shown(value)}


def _shown(value: Any) -> str:
    return repr(value[:64]) if type(value) is bytes else str(value)
