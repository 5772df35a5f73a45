"""polars' frames and series as Arrow columns, and back.

A Categorical's codes depend on what the process did before, so it travels as text and is cast back;
the dtypes stand next to the columns, since Arrow does not know all of polars'.
"""

from __future__ import annotations

import sys
from typing import Any

from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.errors import IntegrityError

_PLAIN = (
    *("Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "String", "Binary", "Date", "Time", "Null"),
)


def is_frame(value: object) -> bool:
    """Whether ``value`` is exactly a polars DataFrame or Series."""
    polars = sys.modules["polars"]
    return type(value) in (polars.DataFrame, polars.Series)


def pack(value: Any) -> tuple[Any, dict[str, Any]]:
    """The Arrow table and the description of a frame or series.

    Raises CannotKeep for a dtype that does not come back, Python objects among them.
    """
    polars = sys.modules["polars"]
    frame = value.to_frame() if type(value) is polars.Series else value
    specs = []
    for name, dtype in frame.schema.items():
        try:
            specs.append(_spec(polars, dtype))
        except CannotKeep as error:
            raise CannotKeep(f"column {name!r}: {error.reason}", hint=error.hint) from error
    meta = {"dtypes": specs, "series": frame is not value, "rows": frame.height}
    table = _physical(polars, frame).to_arrow()
    back = unpack(polars, table, meta)
    if not _same(back, value):
        raise CannotKeep("it does not come back equal", hint="value.to_arrow()")
    return table, meta


def _same(a: Any, b: Any) -> bool:
    """Whether two frames, or two series, are equal, gaps included.

    Compared are names, dtypes and values.
    """
    if hasattr(a, "schema"):
        return bool(a.schema == b.schema and a.equals(b))
    return bool(a.name == b.name and a.dtype == b.dtype and a.equals(b))


def unpack(polars: Any, table: Any, meta: Any) -> Any:
    """The frame or series of a table and its description ``meta``.

    Raises IntegrityError, KeyError, TypeError, ValueError or polars' own errors when the
    description is not what ``pack`` writes.
    """
    dtypes = [_dtype(polars, spec) for spec in meta["dtypes"]]
    if len(dtypes) != table.num_columns:
        raise IntegrityError("the columns of a polars table are not those that were written")
    if not dtypes:
        return polars.DataFrame(height=meta["rows"]) if meta["rows"] else polars.DataFrame()
    # polars gives a column without a name one of its own, so names are set at the end.
    names = table.column_names
    frame = polars.from_arrow(table.rename_columns([str(at) for at in range(len(names))]))
    frame = frame.with_columns(
        polars.col(name).cast(dtype)
        for name, dtype in zip(frame.columns, dtypes, strict=True)
        if frame.schema[name] != dtype
    )
    frame.columns = names
    return frame.to_series(0) if meta["series"] else frame


def _physical(polars: Any, frame: Any) -> Any:
    wanted = {name: _as_text(polars, dtype) for name, dtype in frame.schema.items()}
    changed = {name: dtype for name, dtype in wanted.items() if dtype != frame.schema[name]}
    return frame.cast(changed) if changed else frame


def _as_text(polars: Any, dtype: Any) -> Any:
    """``dtype`` with String in the place of every Categorical and Enum."""
    if isinstance(dtype, (polars.Categorical, polars.Enum)):
        return polars.String()
    if isinstance(dtype, polars.Array):
        return polars.Array(_as_text(polars, dtype.inner), dtype.size)
    if isinstance(dtype, polars.List):
        return polars.List(_as_text(polars, dtype.inner))
    if isinstance(dtype, polars.Struct):
        return polars.Struct(
            [polars.Field(each.name, _as_text(polars, each.dtype)) for each in dtype.fields]
        )
    return dtype


def _spec(polars: Any, dtype: Any) -> Any:
    """A dtype as JSON."""
    kind = type(dtype).__name__
    if kind in _PLAIN:
        return kind
    if kind == "Categorical":
        if dtype != polars.Categorical():
            raise CannotKeep(f"the dtype {dtype}", hint="cast(polars.Categorical)")
        return kind
    if kind == "Enum":
        return {kind: dtype.categories.to_list()}
    if kind == "List":
        return {kind: _spec(polars, dtype.inner)}
    if kind == "Array":
        return {kind: [_spec(polars, dtype.inner), dtype.size]}
    if kind == "Struct":
        return {kind: [[each.name, _spec(polars, each.dtype)] for each in dtype.fields]}
    if kind == "Datetime":
        return {kind: [dtype.time_unit, dtype.time_zone]}
    if kind == "Duration":
        return {kind: dtype.time_unit}
    if kind == "Decimal":
        return {kind: [dtype.precision, dtype.scale]}
    raise CannotKeep(f"the dtype {dtype}", hint=_cure(kind))


def _cure(kind: str) -> str:
    if kind == "Object":
        return "map_elements(str, return_dtype=polars.String)"
    if kind in ("Int128", "UInt128"):
        return "cast(polars.Decimal(38, 0)), or cast(polars.String)"
    return "cast(polars.String)"


def _dtype(polars: Any, spec: Any) -> Any:
    """The inverse of ``_spec``."""
    if isinstance(spec, str):
        if spec not in (*_PLAIN, "Categorical"):
            raise ValueError(f"no dtype: {spec!r:.80}")
        return getattr(polars, spec)()
    ((kind, inner),) = spec.items()
    if kind == "List":
        return polars.List(_dtype(polars, inner))
    if kind == "Array":
        return polars.Array(_dtype(polars, inner[0]), inner[1])
    if kind == "Struct":
        return polars.Struct([polars.Field(name, _dtype(polars, each)) for name, each in inner])
    if kind in ("Enum", "Duration"):
        return getattr(polars, kind)(inner)
    if kind in ("Datetime", "Decimal"):
        return getattr(polars, kind)(*inner)
    raise ValueError(f"no dtype: {kind!r:.80}")
