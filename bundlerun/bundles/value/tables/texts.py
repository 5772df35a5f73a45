"""The texts in a packed table: in its columns, its cells of JSON and its labels.

``pa`` is the module pyarrow, which ``tables`` alone imports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundlerun.bundles.value.scalars import base64_bytes
from bundlerun.bundles.value.tables import arrow

_SEARCHED_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """The texts to look for.

    In columns: those that the RE2 ``pattern`` finds. Elsewhere, where they are few: all of a JSON
    text that has one of ``marks`` in it.
    """

    pattern: str
    marks: tuple[str, ...]


def of_table(pa: Any, table: Any, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """The place of each text, and the text; of a column each different text once."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        where = "the index" if name.startswith("__index_") else f"column {name!r:.80}"
        for array in column.chunks:
            for text in _of_array(pa, array, wanted):
                yield where, text
        yield "the name of a column", name
    for data in (table.schema.metadata or {}).values():
        for text in _of_json(pa, data, wanted):
            yield "the labels or attrs", text


def _of_array(pa: Any, array: Any, wanted: Wanted) -> Iterator[str]:
    types, kind = pa.types, array.type
    if str(kind) in ("string_view", "binary_view"):  # newer than the oldest pyarrow of ours
        kind = pa.large_string() if str(kind) == "string_view" else pa.large_binary()
        array = array.cast(kind)
    if types.is_string(kind) or types.is_large_string(kind):
        if _has_mark(array, wanted):
            has = pa.compute.match_substring_regex(array, wanted.pattern)
            yield from pa.compute.unique(array.filter(has)).to_pylist()
    elif types.is_large_binary(kind):
        for mark in wanted.marks if _has_mark(array, wanted) else ():
            has = pa.compute.match_substring(array, mark)
            for cell in array.filter(has).to_pylist():
                yield from _of_json(pa, cell, wanted)
    else:
        for inner in _inside(pa, array):
            yield from _of_array(pa, inner, wanted)


def _has_mark(array: Any, wanted: Wanted) -> bool:
    """Whether a mark is anywhere in the bytes of the texts.

    This is ten times as fast as text by text.
    """
    data = memoryview(array.buffers()[2] or b"")
    marks = [mark.encode() for mark in wanted.marks]
    for at in range(0, len(data), _SEARCHED_BYTES):
        some = bytes(data[at : at + _SEARCHED_BYTES + max(map(len, marks), default=0)])
        if any(mark in some for mark in marks):
            return True
    return False


def _inside(pa: Any, array: Any) -> list[Any]:
    """The arrays that a nested one is made of."""
    types, kind = pa.types, array.type
    if isinstance(array, pa.ExtensionArray):
        return [array.storage]
    if types.is_dictionary(kind):
        return [array.dictionary]
    if types.is_run_end_encoded(kind):
        return [array.values]
    if types.is_struct(kind):
        return list(array.flatten())
    if types.is_map(kind):
        return [array.keys, array.items]
    if types.is_nested(kind) and hasattr(array, "flatten"):
        return [array.flatten()]
    return []


def _of_json(pa: Any, data: bytes, wanted: Wanted) -> Iterator[str]:
    """The texts in what ``pandas`` writes as JSON: cells, labels and attrs."""
    if b'"arrow"' not in data and not any(mark.encode() in data for mark in wanted.marks):
        return
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):  # bytes of the user's
        return
    for key, text in _leaves(found):
        if key == "arrow":
            labels = arrow.read(pa, pa.py_buffer(base64_bytes(text)))
            yield from (each for _, each in of_table(pa, labels, wanted))
        else:
            yield text


def _leaves(found: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts of a parsed JSON text, each with the key that it stands under."""
    if isinstance(found, str):
        yield key, found
    elif isinstance(found, list):
        for each in found:
            yield from _leaves(each, key)
    elif isinstance(found, dict):
        for inner, each in found.items():
            yield from _leaves(each, inner)
