"""The outline of a value: its tree with names, kinds and sizes, and no leaf fetched."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.value import arrays, files
from bundlerun.bundles.value.decode import file_name, is_long, node_term, root_term, size_of
from bundlerun.bundles.value.nodes import Read, count_of, entries_of, only, read_node
from bundlerun.bundles.value.scalars import CONTAINERS, MAPPINGS, PLAIN, is_scalar, scalar, tag_of
from bundlerun.errors import IntegrityError, SettingsError

MOST_ENTRIES = 100
"""Entries shown of one container; the rest is counted."""

MOST_PARTS = 2_000
"""Parts shown of one value."""

DEEPEST = 12

_TEXT = 200
"""Characters shown of a text."""


def outline(root: Link, read: Read) -> dict[str, Any]:
    """The value as a small tree that JSON can hold: ``type`` for each part, and as it has them
    ``value``, ``name``, ``size`` (bytes), ``count``, ``entries`` and ``more`` (entries left out).

    Reads nodes only. Raises IntegrityError.
    """
    return _Outlining(read).part(root_term(read_node(root, read)), 0)


def outline_of(term: Any, read: Read) -> dict[str, Any]:
    """The outline of one term. Raises IntegrityError."""
    return _Outlining(read).part(term, 0)


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
        if tag == "" or (is_scalar(tag) and not is_long(tag, term)):
            return _single(scalar(term))
        if is_long(tag, term):
            return {"type": tag, "size": Link.from_json(term[tag]).size}
        if tag in CONTAINERS:
            return self._container(tag, only(term, tag)[tag], depth)
        if tag == "directory":
            return self._directory(only(term, tag, "name", "size"))
        return _leaf(tag, term)

    def _container(self, tag: str, body: Any, depth: int) -> dict[str, Any]:
        count = count_of(body)
        if depth >= DEEPEST:
            return {"type": tag, "count": count, "entries": [], "more": count}
        entries = []
        for each in self._some(body):
            if tag not in MAPPINGS:
                entries.append(self.part(each, depth + 1))
                continue
            if type(each) is not list or len(each) != 2:
                raise IntegrityError(f"an entry of a dict is malformed: {each!r:.120}")
            entries.append({"key": self._key(each[0])} | self.part(each[1], depth + 1))
        return {"type": tag, "count": count, "entries": entries, "more": count - len(entries)}

    def _some(self, body: Any) -> Iterator[Any]:
        if type(body) not in (list, dict):
            raise IntegrityError(f"a part of a value is malformed: {body!r:.120}")
        for each in islice(entries_of(body, self._read), MOST_ENTRIES):
            if self._left <= 0:
                return
            yield each

    def _key(self, term: Any) -> Any:
        if type(term) not in PLAIN and is_long(tag_of(term), term):
            return f"({tag_of(term)} of {Link.from_json(term[tag_of(term)]).size} bytes)"
        return _single(scalar(term))["value"]

    def _directory(self, term: dict[str, Any]) -> dict[str, Any]:
        found = [files.entry_of(each) for each in self._some(term["directory"])]
        self._left -= len(found)
        count = count_of(term["directory"])
        return {
            "type": "directory",
            "name": file_name(term["name"]),
            "size": size_of(term["size"]),
            "count": count,
            "entries": [
                {"path": each.path, "size": each.link.size} if each.link else {"path": each.path}
                for each in found
            ],
            "more": count - len(found),
        }


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


def _leaf(tag: str, term: dict[str, Any]) -> dict[str, Any]:
    if tag == "file":
        only(term, tag, "name", optional=frozenset({"x"}))
        size = Link.from_json(term[tag]).size
        return {"type": tag, "name": file_name(term["name"]), "size": size}
    if tag == "array":
        dtype, shape = _about(only(term, tag, "about")["about"], str, list)
        size = Link.from_json(term[tag]).size
        return {"type": tag, "dtype": dtype, "shape": shape, "size": size}
    if tag == "table":
        rows, columns = _about(only(term, tag, "as", "about")["about"], int, int)
        found = {"type": tag, "as": term["as"], "rows": rows, "columns": columns}
        return found | {"size": Link.from_json(term[tag]).size}
    if tag == "bundle":
        bundle = BundleRecord.from_json(only(term, tag)[tag])
        return {"type": tag, "name": bundle.name, "id": bundle.id}
    if tag == "scalar":
        try:
            value = arrays.scalar_of(only(term, tag)[tag])
        except SettingsError:
            return {"type": "numpy scalar", "value": "(numpy is not installed)"}
        return {"type": f"numpy.{type(value).__name__}", "value": str(value)[:_TEXT]}
    raise IntegrityError(f"a part of a value is malformed: {term!r:.120}")


def _about(found: Any, *kinds: type) -> list[Any]:
    if type(found) is not list or [type(each) for each in found] != list(kinds):
        raise IntegrityError(f"a part of a value is malformed: {found!r:.120}")
    return found
