"""Cells: small values inside a table, whole in one JSON text.

They stand in object columns, labels and attrs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bundlerun.bundles.value.cures import cure
from bundlerun.bundles.value.kind import (
    BY_TAG,
    CONTAINER_TYPES,
    CONTAINERS,
    FLATTER,
    MAX_DEPTH,
    PLAIN,
    CannotKeep,
    inline_value,
    kind_of,
    tag_of,
)
from bundlerun.bundles.value.nodes import only
from bundlerun.bundles.value.tables import pandas_scalars
from bundlerun.errors import IntegrityError


def cell_bytes(value: Any, depth: int = 0) -> bytes:
    """The JSON of a single value, or of lists, tuples, dicts and Counters of them.

    Single values of numpy and pandas are kept too. Raises CannotKeep.
    """
    kind = type(value)
    container = CONTAINER_TYPES.get(kind)
    row = kind_of(value) if container is None else None
    if row is not None and row.write is not None:
        return row.write(value)
    if depth >= MAX_DEPTH:
        raise CannotKeep(f"it is nested deeper than {MAX_DEPTH}", hint=FLATTER)
    if container is not None:
        if container.check is not None:
            container.check(value)
        inner = _pairs(value, depth) if container.is_mapping else _cells(value, depth)
        return b'{"%s":[%s]}' % (container.tag.encode(), b",".join(inner))
    found = pandas_scalars.cell_bytes(value, lambda each: cell_bytes(each, depth + 1))
    if found is not None:
        return found
    raise CannotKeep(f"a {kind.__module__}.{kind.__qualname__} inside a table", hint=cure(value))


def _cells(values: Iterable[Any], depth: int) -> Iterator[bytes]:
    for each in values:
        yield cell_bytes(each, depth + 1)


def _pairs(value: Mapping[Any, Any], depth: int) -> Iterator[bytes]:
    for key, each in value.items():
        yield b"[%s,%s]" % (cell_bytes(key, depth + 1), cell_bytes(each, depth + 1))


def cell_value(data: bytes) -> Any:
    """The inverse of ``cell_bytes``.

    Raises IntegrityError.
    """
    try:
        term = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a cell of a table is not JSON: {error!s:.120}") from error
    return term_value(term)


def term_value(term: Any, depth: int = 0) -> Any:
    """The value of a parsed cell.

    Raises IntegrityError.
    """
    if type(term) in PLAIN:
        return term
    tag = tag_of(term)
    row = BY_TAG.get(tag)
    if row is not None and row.read is not None:
        return inline_value(term)
    inner = only(term, tag)[tag]
    if tag == "pandas":
        return pandas_scalars.value_of(inner, lambda each: term_value(each, depth + 1))
    container = CONTAINERS.get(tag)
    if depth >= MAX_DEPTH or type(inner) is not list or container is None:
        raise IntegrityError(f"a cell of a table is malformed: {term!r:.120}")
    if not container.is_mapping:
        return container.makes(term_value(each, depth + 1) for each in inner)
    if any(type(each) is not list or len(each) != 2 for each in inner):
        raise IntegrityError(f"a cell of a table is malformed: {term!r:.120}")
    return container.makes(_dict(inner, depth))


def _dict(pairs: list[list[Any]], depth: int) -> dict[Any, Any]:
    try:
        return {term_value(key, depth + 1): term_value(value, depth + 1) for key, value in pairs}
    except TypeError as error:
        raise IntegrityError(f"a cell of a table has a bad key: {error!s:.120}") from error
