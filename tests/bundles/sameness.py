"""Equality as it is promised: types, order, signs of zero, folds, gaps and names included."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa


def same(a: Any, b: Any) -> bool:
    """Whether nothing tells the two values apart."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    for kind, compare in _BY_KIND.items():
        if isinstance(a, kind):
            return compare(a, b)
    return bool(a == b)


def same_zone(a: dt.tzinfo | None, b: dt.tzinfo | None) -> bool:
    """Whether two zones are of one kind, offset and name."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dt.timezone):
        return a == b and a.tzname(None) == b.tzname(None)
    return a is None or (a == b and str(a) == str(b))


def _floats(a: float, b: float) -> bool:
    if math.isnan(a):
        return math.isnan(b)
    return a == b and math.copysign(1, a) == math.copysign(1, b)


def _moments(a: Any, b: Any) -> bool:
    plain = a.replace(tzinfo=None) == b.replace(tzinfo=None)
    units = getattr(a, "unit", None) == getattr(b, "unit", None)
    return bool(plain and units and a.fold == b.fold and same_zone(a.tzinfo, b.tzinfo))


def _lists(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


def _arrays(a: Any, b: Any) -> bool:
    if not (a.dtype == b.dtype and a.dtype.str == b.dtype.str and a.shape == b.shape):
        return False
    if not (a.dtype.fields == b.dtype.fields and a.dtype.type is b.dtype.type):
        return False
    orders = [(each.flags.c_contiguous, each.flags.f_contiguous) for each in (a, b)]
    # Only whole arrays have an order to keep.
    if all(map(any, orders)) and orders[0] != orders[1]:
        return False
    if a.dtype.names is not None or a.dtype.char in "gG":
        return same(a.tolist(), b.tolist()) if a.dtype.names else bool(np.array_equal(a, b, True))
    return a.tobytes() == b.tobytes()


def _scalars(a: Any, b: Any) -> bool:
    if a.dtype != b.dtype:
        return False
    if a.dtype.char in "gG" or a.dtype.names is not None:
        return bool(a == b) or (a != a and b != b)
    return bool(a.tobytes() == b.tobytes())


def _dtypes(a: Any, b: Any) -> bool:
    if a != b or type(a) is not type(b) or str(a) != str(b):
        return False
    if isinstance(a, pd.CategoricalDtype):
        return a.ordered == b.ordered and same(a.categories, b.categories)
    if isinstance(a, pd.DatetimeTZDtype):
        return same_zone(a.tz, b.tz)
    if isinstance(a, pd.ArrowDtype):
        return bool(a.pyarrow_dtype == b.pyarrow_dtype)
    if isinstance(a, pd.StringDtype):
        return a.storage == b.storage and same(a.na_value, b.na_value)
    return True


def _indexes(a: Any, b: Any) -> bool:
    if not same(list(a.names), list(b.names)) or len(a) != len(b):
        return False
    if isinstance(a, pd.MultiIndex):
        return _lists(a.levels, b.levels) and all(map(np.array_equal, a.codes, b.codes))
    if isinstance(a, pd.RangeIndex):
        return (a.start, a.stop, a.step) == (b.start, b.stop, b.step)
    freqs = getattr(a, "freq", None) == getattr(b, "freq", None)
    return freqs and _dtypes(a.dtype, b.dtype) and same(a.tolist(), b.tolist())


def _columns(a: Any, b: Any) -> bool:
    if not _dtypes(a.dtype, b.dtype):
        return False
    if isinstance(a.dtype, pd.ArrowDtype):
        return same(pa.array(a.array).to_pylist(), pa.array(b.array).to_pylist())
    return same(a.tolist(), b.tolist())


def _series(a: Any, b: Any) -> bool:
    beside = same(a.attrs, b.attrs) and a.flags == b.flags and same(a.name, b.name)
    return beside and same(a.index, b.index) and _columns(a, b)


def _frames(a: Any, b: Any) -> bool:
    beside = same(a.attrs, b.attrs) and a.flags == b.flags
    if not (beside and same(a.index, b.index) and same(a.columns, b.columns)):
        return False
    return all(_columns(a.iloc[:, at], b.iloc[:, at]) for at in range(a.shape[1]))


def _polars_series(a: Any, b: Any) -> bool:
    return a.name == b.name and a.dtype == b.dtype and same(a.to_list(), b.to_list())


def _polars_frames(a: Any, b: Any) -> bool:
    whole = a.shape == b.shape and list(a.schema.items()) == list(b.schema.items())
    return whole and all(map(_polars_series, a.get_columns(), b.get_columns()))


def _tables(a: Any, b: Any) -> bool:
    if not a.schema.equals(b.schema, check_metadata=True) or a.num_rows != b.num_rows:
        return False
    return all(
        same(x.to_pylist(), y.to_pylist()) for x, y in zip(a.columns, b.columns, strict=True)
    )


_BY_KIND: dict[Any, Callable[[Any, Any], bool]] = {
    pd.Timestamp: _moments,
    pd.Timedelta: lambda a, b: a == b and a.unit == b.unit,
    pd.Period: lambda a, b: a == b and a.freq == b.freq,
    pd.Interval: lambda a, b: same([a.left, a.right, a.closed], [b.left, b.right, b.closed]),
    np.generic: _scalars,
    (list, tuple): _lists,
    dict: lambda a, b: same(list(a.items()), list(b.items())),
    float: _floats,
    (dt.datetime, dt.time): _moments,
    decimal.Decimal: lambda a, b: a.as_tuple() == b.as_tuple(),
    np.ndarray: _arrays,
    pd.Index: _indexes,
    pd.Series: _series,
    pd.DataFrame: _frames,
    pl.Series: _polars_series,
    pl.DataFrame: _polars_frames,
    pa.Table: _tables,
}
