"""Nodes and leaves back into a value, none of it believed before it is checked."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import Source
from bundlerun.bundles.value.kind import (
    BY_TAG,
    CONTAINERS,
    MAX_DEPTH,
    MAX_VALUES,
    PLAIN,
    entry_pair,
    kind_in,
    malformed,
    read_inline,
    tag_of,
)
from bundlerun.bundles.value.nodes import entries_of, node_term, only, read_node, root_term
from bundlerun.errors import IntegrityError


def decode_value(root: Link, source: Source) -> object:
    """The value whose root this is, equal to the one that was frozen.

    Files and directories come to this disk when their ``path`` is first asked for. Raises
    IntegrityError for bytes or nodes that are not what they should be, SettingsError when a library
    that the value needs is not installed.
    """
    term = root_term(read_node(root, source.read))
    source.ahead(term)
    return Thawing(source).value(term, 0)


class Thawing:
    """The making of values from terms, which counts their parts."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._parts = 0

    def value(self, term: Any, depth: int) -> Any:
        """The value of a term that stands in ``depth`` containers."""
        self._parts += 1
        if self._parts > MAX_VALUES:
            raise IntegrityError(f"a value has more than {MAX_VALUES} parts")
        if type(term) in PLAIN:
            return term
        tag = tag_of(term)
        kind = BY_TAG.get(tag)
        if kind is not None:
            return read_inline(kind, term) if kind.decode is None else kind.decode(term, self)
        if tag in CONTAINERS:
            return self._container(tag, term, depth)
        if tag != "node":
            raise malformed(term)
        link = Link.from_json(only(term, "node")["node"])
        return self.value(node_term(read_node(link, self.source.read)), depth)

    def _container(self, tag: str, term: dict[str, Any], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise IntegrityError(f"a value is nested deeper than {MAX_DEPTH}")
        row, body = CONTAINERS[tag], only(term, tag)[tag]
        if type(body) not in (list, dict):
            raise malformed(term)
        entries = entries_of(body, self.source.read)
        if row.is_mapping:
            return row.makes(self._dict(entries, depth))
        found = [self.value(each, depth + 1) for each in entries]
        return found if row.makes is list else row.makes(found)

    def _dict(self, entries: Iterator[Any], depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for entry in entries:
            term, value = entry_pair(entry)
            key = self.key(term)
            if key in found:
                raise IntegrityError(f"a dict has the key {term!r:.80} twice")
            found[key] = self.value(value, depth + 1)
        return found

    def key(self, term: Any) -> Any:
        """The key of a dict that a term stands for."""
        if type(term) in PLAIN:
            return term
        kind = kind_in(tag_of(term), term)
        if not kind.is_key:
            raise malformed(term)
        found = read_inline(kind, term) if kind.decode is None else kind.decode(term, self)
        if type(found) is Decimal and found.is_snan():
            raise IntegrityError(f"{found} cannot be the key of a dict")
        return found

    def read(self, link: Link) -> bytes:
        """The bytes of an object.

        Raises IntegrityError when they are not as many as ``link`` says.
        """
        data = self.source.read(link)
        if len(data) != link.size:
            raise IntegrityError(f"{link.digest} has {len(data)} bytes, not {link.size}")
        return data

    def held(self, link: Link) -> Any:
        """The path of an object's file, or a buffer of its bytes.

        Raises IntegrityError.
        """
        found = self.source.map(link)
        if found is None:
            return self.read(link)
        size = found.stat().st_size if isinstance(found, Path) else memoryview(found).nbytes
        if size != link.size:
            raise IntegrityError(f"{link.digest} has {size} bytes, not {link.size}")
        return found
