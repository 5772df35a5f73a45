"""Cells: small values inside a table (object columns, labels, attrs), whole in one JSON text."""

from __future__ import annotations

import json
import sys
from typing import Any

from bundlerun.bundles import arrays
from bundlerun.bundles.needed import needed
from bundlerun.bundles.nodes import only
from bundlerun.bundles.terms import MAX_DEPTH, SCALARS, CannotKeep, is_scalar, scalar, tag_of
from bundlerun.bundles.terms import PLAIN as _PLAIN
from bundlerun.errors import IntegrityError


def cell_bytes(value: Any, depth: int = 0) -> bytes:
    """A single value, a numpy scalar, pandas' NA or NaT, or lists, tuples and dicts of them.

    Raises CannotKeep.
    """
    encode = SCALARS.get(type(value))
    if encode is not None:
        return encode(value)
    if depth >= MAX_DEPTH:
        raise CannotKeep(f"it is nested deeper than {MAX_DEPTH}")
    if type(value) in (list, tuple):
        inner = b",".join(cell_bytes(each, depth + 1) for each in value)
        return b'{"%s":[%s]}' % (type(value).__name__.encode(), inner)
    if type(value) is dict:
        pairs = (
            b"[%s,%s]" % (cell_bytes(key, depth + 1), cell_bytes(each, depth + 1))
            for key, each in value.items()
        )
        return b'{"dict":[%s]}' % b",".join(pairs)
    if arrays.is_scalar(value):
        return b'{"scalar":"%s"}' % arrays.scalar_base64(value)
    pandas = sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return b'{"pandas":"NA"}' if value is pandas.NA else b'{"pandas":"NaT"}'
    kind = type(value)
    raise CannotKeep(f"a {kind.__module__}.{kind.__qualname__} inside a table")


def cell_value(data: bytes) -> Any:
    """The inverse of ``cell_bytes``. Raises IntegrityError."""
    try:
        term = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a cell of a table is no JSON: {error!s:.120}") from error
    return term_value(term)


def term_value(term: Any, depth: int = 0) -> Any:
    """The value of a parsed cell. Raises IntegrityError."""
    if type(term) in _PLAIN:
        return term
    tag = tag_of(term)
    if is_scalar(tag):
        return scalar(term)
    inner = only(term, tag)[tag]
    if tag == "scalar":
        return arrays.scalar_of(inner)
    if tag == "pandas" and inner in ("NA", "NaT"):
        return getattr(needed("pandas"), inner)
    if depth >= MAX_DEPTH or type(inner) is not list:
        raise IntegrityError(f"a cell of a table is malformed: {term!r:.120}")
    if tag in ("list", "tuple"):
        found = [term_value(each, depth + 1) for each in inner]
        return found if tag == "list" else tuple(found)
    if tag == "dict" and all(type(each) is list and len(each) == 2 for each in inner):
        return _dict(inner, depth)
    raise IntegrityError(f"a cell of a table is malformed: {term!r:.120}")


def _dict(pairs: list[list[Any]], depth: int) -> dict[Any, Any]:
    try:
        return {term_value(key, depth + 1): term_value(value, depth + 1) for key, value in pairs}
    except TypeError as error:
        raise IntegrityError(f"a cell of a table has a bad key: {error!s:.120}") from error
