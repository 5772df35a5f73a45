"""Cells: small values inside a table (object columns, labels, attrs), whole in one JSON text."""

from __future__ import annotations

import json
from typing import Any

from bundlerun.bundles.value import arrays
from bundlerun.bundles.value.cures import cure
from bundlerun.bundles.value.nodes import only
from bundlerun.bundles.value.scalars import (
    FLATTER,
    MAPPINGS,
    MAX_DEPTH,
    PLAIN,
    SCALARS,
    SEQUENCES,
    CannotKeep,
    check_bare,
    is_scalar,
    scalar,
    tag_of,
)
from bundlerun.bundles.value.tables import pandas_scalars
from bundlerun.errors import IntegrityError

_SEQUENCES = {kind: b'{"%s":[' % tag.encode() for tag, kind in SEQUENCES.items()}
_MAPPINGS = {kind: b'{"%s":[' % tag.encode() for tag, kind in MAPPINGS.items()}


def cell_bytes(value: Any, depth: int = 0) -> bytes:
    """A single value, of numpy and pandas too, or lists, tuples, dicts and Counters of them.

    Raises CannotKeep.
    """
    encode = SCALARS.get(type(value))
    if encode is not None:
        return encode(value)
    if depth >= MAX_DEPTH:
        raise CannotKeep(f"it is nested deeper than {MAX_DEPTH}", hint=FLATTER)
    kind = type(value)
    if kind in _SEQUENCES:
        inner = b",".join(cell_bytes(each, depth + 1) for each in value)
        return _SEQUENCES[kind] + inner + b"]}"
    if kind in _MAPPINGS:
        if kind is not dict:
            check_bare(value)
        pairs = (
            b"[%s,%s]" % (cell_bytes(key, depth + 1), cell_bytes(each, depth + 1))
            for key, each in value.items()
        )
        return _MAPPINGS[kind] + b",".join(pairs) + b"]}"
    if arrays.is_scalar(value):
        return b'{"scalar":"%s"}' % arrays.scalar_base64(value)
    found = pandas_scalars.cell_bytes(value, lambda each: cell_bytes(each, depth + 1))
    if found is not None:
        return found
    raise CannotKeep(f"a {kind.__module__}.{kind.__qualname__} inside a table", hint=cure(value))


def cell_value(data: bytes) -> Any:
    """The inverse of ``cell_bytes``. Raises IntegrityError."""
    try:
        term = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a cell of a table is no JSON: {error!s:.120}") from error
    return term_value(term)


def term_value(term: Any, depth: int = 0) -> Any:
    """The value of a parsed cell. Raises IntegrityError."""
    if type(term) in PLAIN:
        return term
    tag = tag_of(term)
    if is_scalar(tag):
        return scalar(term)
    inner = only(term, tag)[tag]
    if tag == "scalar":
        return arrays.scalar_of(inner)
    if tag == "pandas":
        return pandas_scalars.value_of(inner, lambda each: term_value(each, depth + 1))
    if depth >= MAX_DEPTH or type(inner) is not list:
        raise IntegrityError(f"a cell of a table is malformed: {term!r:.120}")
    if tag in SEQUENCES:
        return SEQUENCES[tag](term_value(each, depth + 1) for each in inner)
    if tag in MAPPINGS and all(type(each) is list and len(each) == 2 for each in inner):
        return MAPPINGS[tag](_dict(inner, depth))
    raise IntegrityError(f"a cell of a table is malformed: {term!r:.120}")


def _dict(pairs: list[list[Any]], depth: int) -> dict[Any, Any]:
    try:
        return {term_value(key, depth + 1): term_value(value, depth + 1) for key, value in pairs}
    except TypeError as error:
        raise IntegrityError(f"a cell of a table has a bad key: {error!s:.120}") from error
