"""Awkward values of Python, numpy, pandas, polars and Arrow: a row each.

``EQUAL`` come back as they went in. ``REFUSED`` are refused at the place that the row names, with a
hint that has the words of the row.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import re
import threading
import types
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

BERLIN = ZoneInfo("Europe/Berlin")
CET = dt.timezone(dt.timedelta(hours=1), "CET")
ODD = dt.timezone(dt.timedelta(hours=-3, minutes=-30, seconds=-7))


def _objects(*values: Any) -> np.ndarray[Any, Any]:
    found = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        found[at] = value
    return found


def _cells(values: Any) -> Any:
    """A column of objects, whatever pandas would guess."""
    return pd.Series(values, dtype=object)


def _nested(depth: int, wrap: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    value: Any = "inside"
    for _ in range(depth):
        value = wrap(value)
    return value


def _with_attrs(frame: pd.DataFrame, attrs: Any) -> pd.DataFrame:
    frame.attrs = attrs
    return frame


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    YES = "yes"


class Pair(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Point:
    x: int


class Text(str):
    pass


class Model:
    """What a fitted model looks like from outside."""

    def fit(self, x: Any) -> Model:
        return self


class Frame(pd.DataFrame):
    pass


def _counter_with_attribute() -> collections.Counter[str]:
    found = collections.Counter("ab")
    found.total_of = 2  # type: ignore[attr-defined]
    return found


_PYTHON: dict[str, Any] = {
    "none": None,
    "true among ones": [True, 1, 1.0, False, 0, 0.0],
    "int of 64 bits": [2**63 - 1, -(2**63)],
    "int of 65 bits": [2**63, -(2**63) - 1],
    "int of 20,000 bits": 1 << 20_000,
    "minus zero": [-0.0, 0.0],
    "smallest float": 5e-324,
    "nan and infinities": [float("nan"), float("inf"), float("-inf")],
    "float of many digits": 0.1 + 0.2,
    "empty text": "",
    "nul in a text": "a\x00b",
    "lone surrogates": "\ud800 and \udfff",
    "surrogates in a key": {"\ud800": 1},
    "decomposed and composed": {"e\u0301": 1, "é": 2},
    "line separators": "\u2028\u2029\x85",
    "emoji of many parts": "👩‍👩‍👧‍👦",
    "text like a term": '{"node":["0",1]}',
    "text of 100,000 characters": "é" * 100_000,
    "long text as a key": {"k" * 10_000: 1},
    "long bytes as a key": {b"k" * 10_000: 1},
    "empty bytes": b"",
    "bytes like text": [b"text", "text"],
    "bytes of 100,000": bytes(100_000),
    "all bytes": bytes(range(256)),
    "empty containers": [[], (), {}, [[]], ((),)],
    "tuples in lists in tuples": ([(1,), [2]], (3, [4])),
    "list of 20,000": list(range(20_000)),
    "dict out of order": {"b": 1, "a": 2, "c": 3},
    "keys of many kinds": {1: "int", "1": "str", b"1": "bytes", None: "none", 1.5: "float"},
    "keys that are times": {dt.date(2020, 1, 1): 1, dt.timedelta(1): 2},
    "keys that are decimals": {Decimal("1.10"): 1, Decimal("NaN"): 2},
    "true as a key": {True: 1},
    "one list twice": (lambda inner: [inner, inner])([1]),
    "98 levels": _nested(98),
    "decimal": Decimal("1.10"),
    "decimal of many digits": Decimal("3." + "1" * 200),
    "decimal exponents": [Decimal("1E+999999"), Decimal("1E-999999"), Decimal("0E+5")],
    "decimal minus zero": [Decimal("-0"), Decimal("0.00")],
    "decimal infinities": [Decimal("Infinity"), Decimal("-Infinity")],
    "decimal not-a-numbers": [Decimal("NaN"), Decimal("-NaN123"), Decimal("sNaN5")],
    "counter": collections.Counter("abracadabra"),
    "counter out of order": collections.Counter({"b": 1, "a": 5}),
    "counter below zero": collections.Counter(a=-1, b=0),
    "counter of floats": collections.Counter({"a": 1.5, "b": None}),
    "empty counter": collections.Counter(),
    "counter of 1,000": collections.Counter(range(1_000)),
    "counters in a dict": {"a": collections.Counter("x"), "b": {"x": 1}},
    "fold": [dt.datetime(2020, 10, 25, 2, 30, fold=each, tzinfo=BERLIN) for each in (0, 1)],
    "naive fold": dt.datetime(2020, 10, 25, 2, 30, fold=1),
    "time with fold": dt.time(2, 30, fold=1),
    "zoneinfo and offset": [dt.datetime(2020, 1, 1, tzinfo=each) for each in (BERLIN, CET)],
    "utc three ways": [
        dt.datetime(2020, 1, 1, tzinfo=each)
        for each in (dt.timezone.utc, ZoneInfo("UTC"), dt.timezone(dt.timedelta(0), "UTC"))
    ],
    "offset with seconds": dt.datetime(2020, 1, 1, tzinfo=ODD),
    "offset below a second": dt.time(1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))),
    "named offset": dt.time(1, tzinfo=CET),
    "first and last moment": [dt.datetime.min, dt.datetime.max],
    "first and last day": [dt.date.min, dt.date.max],
    "longest spans": [dt.timedelta.min, dt.timedelta.max, dt.timedelta.resolution],
    "date is no moment": [dt.date(2020, 1, 1), dt.datetime(2020, 1, 1)],
    "midnight": dt.time(0),
}

_NUMPY_DTYPES = [
    *("?", "i1", "u8", ">i4", "f2", "f4", "f8", ">f8", "g", "F", "D", "G", "S3", "U3", ">U3"),
    *("V4", "M8", "M8[D]", "M8[ns]", "M8[7s]", ">M8[us]", "m8", "m8[h]", "m8[ns]"),
]

_NUMPY: dict[str, Any] = {
    **{f"array of {name}": np.zeros((2, 3), dtype=name) for name in _NUMPY_DTYPES},
    "array of nan, infinity and minus zero": np.array([np.nan, np.inf, -0.0, 5e-324]),
    "array of not-a-times": np.array(["NaT", "2020"], dtype="M8[s]"),
    "array without dimensions": np.array(5),
    "array without entries": np.zeros((0, 3)),
    "array of 32 dimensions": np.zeros((1,) * 32),
    "array in Fortran's order": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "array with steps": np.arange(20)[::3],
    "array backwards": np.arange(5)[::-1],
    "array broadcast": np.broadcast_to(np.arange(3), (2, 3)).copy(),
    "array of texts with nul": np.array(["a\x00b", "c"]),
    "array of wide texts": np.array(["é", "👩"]),
    "records": np.zeros(3, dtype=[("a", "i4"), ("b", "U3"), ("c", "f8", (2, 2))]),
    "aligned records": np.zeros(3, dtype=np.dtype([("a", "u1"), ("b", "f8")], align=True)),
    "records in records": np.zeros(2, dtype=[("in", [("x", "M8[ms]"), ("y", "?")])]),
    "records with names past ASCII": np.zeros(2, dtype=[("é☃", "u1")]),
    "array of titles": np.zeros(2, dtype=[(("title", "name"), "i4")]),
    **{
        f"scalar of {name}": np.dtype(name).type(value)
        for name, value in {
            "?": True, "i1": -128, "u8": 2**64 - 1, "f2": 0.1, "f4": np.nan, "f8": -0.0,
            "F": 1j, "D": complex(np.nan, -0.0), "S3": b"ab", "U3": "é",
        }.items()
    },
    "scalar of M8[D]": np.datetime64("2020-01-01"),
    "scalar of M8[ns]": np.datetime64("2020-01-01", "ns"),
    "scalar that is no time": np.datetime64("NaT"),
    "scalar of m8[h]": np.timedelta64(5, "h"),
    "scalar of long double": np.longdouble("0.1"),
    "scalars in a list": [np.float64(1), 1.0, np.int64(1), 1, np.bool_(True), True],
}  # fmt: skip

_MOMENTS = ["2020-03-29 01:30", "2020-10-25 01:30", None]
_UTC = pd.to_datetime(pd.Series(_MOMENTS)).dt.tz_localize("UTC")


def _masked(*values: float, gaps: list[bool]) -> Any:
    return pd.arrays.FloatingArray(np.array(values), np.array(gaps))


_COLUMNS: dict[str, Any] = {
    **{name: pd.Series([0, 1, 0], dtype=name) for name in ("bool", "int8", "uint64", "float32")},
    "float16": pd.Series([0.1, np.nan, -0.0], dtype="float16"),
    "int64 extremes": pd.Series([2**63 - 1, -(2**63), 0]),
    **{
        f"datetime64[{unit}]": pd.Series(_MOMENTS, dtype=f"datetime64[{unit}]")
        for unit in ("s", "ms", "us", "ns")
    },
    **{
        f"timedelta64[{unit}]": pd.Series([1, None, -1], dtype=f"timedelta64[{unit}]")
        for unit in ("s", "ns")
    },
    "moments of a zone": _UTC.dt.tz_convert("Europe/Berlin"),
    "moments of UTC": _UTC,
    "moments of an offset": _UTC.dt.tz_convert(dt.timezone(dt.timedelta(hours=5, minutes=45))),
    "moments of a named offset": _UTC.dt.tz_convert(CET),
    "moments of a zero offset with a name": _UTC.dt.tz_convert(dt.timezone(dt.timedelta(0), "GMT")),
    "moments of an odd offset": _UTC.dt.tz_convert(ODD),
    "texts with None": pd.Series(["a", None, ""]),
    "string": pd.Series(["a", None, "b"], dtype="string"),
    "string[python]": pd.Series(["a", None, "b"], dtype=pd.StringDtype("python")),
    "str of pandas 3": pd.Series(["a", np.nan, "b"], dtype="str"),
    "objects of text and None": _cells(_objects("a", None, "b")),
    "objects of text, None and nan": _cells(_objects("a", None, np.nan)),
    "objects of many kinds": _cells(_objects(1, "1", 1.0, True, None, b"x", (1, [2]))),
    "objects of every gap": _cells(_objects(pd.NA, pd.NaT, None, np.nan, np.float32("nan"))),
    "objects of decimals": _cells(_objects(Decimal("1.10"), Decimal("sNaN"), None)),
    "objects of counters": _cells(_objects(collections.Counter("aab"), {"a": 2}, {})),
    "objects of Timestamps": _cells(
        _objects(
            pd.Timestamp("2020", tz="Europe/Berlin"),
            pd.Timestamp("2020", tz=CET).as_unit("ns"),
            pd.Timestamp("2020"),
        )
    ),
    "objects of Timestamps with a fold": _cells(
        _objects(
            pd.Timestamp(dt.datetime(2020, 1, 1, fold=1)),
            pd.Timestamp(dt.datetime(2020, 1, 1, fold=1), tz=CET),
            *(
                pd.Timestamp(dt.datetime(2020, 10, 25, 2, 30, fold=each), tz=BERLIN)
                for each in (0, 1)
            ),
        )
    ),
    "objects of Timedeltas": _cells(_objects(pd.Timedelta(1, "s"), pd.Timedelta(5, "ns"))),
    "objects of Periods": _cells(_objects(pd.Period("2020", "M"), pd.Period("2020", "W-TUE"))),
    "objects of Intervals": _cells(
        _objects(pd.Interval(0, 1), pd.Interval(0.5, 1.5, "both"), None)
    ),
    "objects of intervals of moments": _cells(
        _objects(pd.Interval(pd.Timestamp("2020"), pd.Timestamp("2021"), "left"))
    ),
    "objects of numpy's scalars": _cells(_objects(np.int8(1), np.datetime64("2020"), 1)),
    "objects of lists and dicts": _cells(_objects([1, None], {"a": (1,)}, [])),
    "objects of dates": _cells(_objects(dt.date(2020, 1, 1), dt.time(1), 2**80)),
    "objects with surrogates": _cells(_objects("\ud800", "a")),
    "category": pd.Series(pd.Categorical(["b", "a", None], categories=["c", "b", "a"])),
    "ordered category": pd.Series(pd.Categorical([1, 3, 1], categories=[3, 2, 1], ordered=True)),
    "category with a name": pd.Series(
        pd.Categorical(["a"], categories=pd.Index(["a", "b"], name="letters"))
    ),
    "category with a name that is a tuple": pd.Series(
        pd.Categorical([1], categories=pd.Index([1, 2], name=("t", 1)))
    ),
    "category of a range": pd.Series(pd.Categorical([3], categories=pd.RangeIndex(1, 9, 2))),
    "category of a named range": pd.Series(
        pd.Categorical([0], categories=pd.RangeIndex(3, name="r"))
    ),
    "category of moments with a frequency": pd.Series(
        pd.Categorical(pd.date_range("2020", periods=3, tz="UTC"))
    ),
    "category of moments of a named offset": pd.Series(
        pd.Categorical(pd.DatetimeIndex(["2020"]).tz_localize(CET))
    ),
    "category of periods": pd.Series(pd.Categorical(pd.period_range("2020", periods=3, freq="Q"))),
    "category of intervals": pd.cut(pd.Series([1, 2, 5, None]), 3),
    "category of quantiles": pd.qcut(pd.Series([1.0, 2, 5, 9]), 2),
    "category of bins, closed left": pd.cut(pd.Series([1, 2, 5]), [0, 2, 9], right=False),
    "category of many kinds": pd.Series(pd.Categorical(_objects("a", 1, 2.5))),
    "category of decimals": pd.Series(pd.Categorical(_objects(Decimal("1.10"), Decimal(2)))),
    "category without categories": pd.Series(pd.Categorical([None], categories=[])),
    "300 categories": pd.Series(pd.Categorical([f"c{at}" for at in range(300)])),
    **{
        name: pd.Series([1, None, 0], dtype=name)
        for name in ("Int8", "UInt64", "Float32", "Float64", "boolean")
    },
    "Int64 extremes": pd.Series([2**63 - 1, None, -(2**63)], dtype="Int64"),
    "Float64 with NaN beside NA": pd.Series(_masked(1.5, np.nan, 0.0, gaps=[False, False, True])),
    "Float64 of NaN alone": pd.Series(_masked(np.nan, -0.0, gaps=[False, False])),
    "Float32 with NaN beside NA": pd.Series(
        pd.arrays.FloatingArray(
            np.array([1, np.nan, 3], dtype="float32"), np.array([False, False, True])
        )
    ),
    **{
        f"periods of {freq}": pd.Series(pd.period_range("2020-01-06", periods=2, freq=freq))
        for freq in ("D", "2M", "W-TUE", "Q-FEB", "Y-MAR", "h", "15min", "s", "ns")
    },
    "periods with gaps": pd.Series(pd.PeriodIndex(["2020-01", None, "2021-05"], freq="M")),
    "no periods": pd.Series(pd.PeriodIndex([], freq="D")),
    **{
        f"intervals closed {closed}": pd.Series(pd.interval_range(0, 3, closed=closed))
        for closed in ("left", "right", "both", "neither")
    },
    "intervals of floats with gaps": pd.Series(
        pd.arrays.IntervalArray.from_tuples([(0.5, 1.5), None, (2, 3)])
    ),
    "intervals of moments": pd.Series(pd.interval_range(pd.Timestamp("2020"), periods=2)),
    "intervals of zoned moments": pd.Series(
        pd.interval_range(pd.Timestamp("2020", tz="Europe/Berlin"), periods=2)
    ),
    "intervals of spans": pd.Series(pd.interval_range(pd.Timedelta(0), periods=2, freq="h")),
    "no intervals": pd.Series(pd.interval_range(0, 0)),
}

_ARROW_TYPES: dict[str, tuple[Any, list[Any]]] = {
    "null": (pa.null(), [None, None]),
    "bool": (pa.bool_(), [True, None]),
    "int8": (pa.int8(), [-128, None]),
    "uint64": (pa.uint64(), [2**64 - 1, None]),
    "float16": (pa.float16(), [np.float16(1.5), None]),
    "float with NaN": (pa.float32(), [float("nan"), None, -0.0]),
    "double with NaN": (pa.float64(), [float("nan"), None, -0.0]),
    "string": (pa.string(), ["a", None, ""]),
    "large_string": (pa.large_string(), ["a", None]),
    "string_view": (pa.string_view(), ["long enough to lie apart", None]),
    "binary": (pa.binary(), [b"\xff", None]),
    "binary of 3": (pa.binary(3), [b"abc", None]),
    "date32": (pa.date32(), [dt.date(1, 1, 1), None]),
    "date64": (pa.date64(), [dt.date(2020, 1, 1), None]),
    "time32": (pa.time32("ms"), [dt.time(23, 59, 59, 999000), None]),
    "time64": (pa.time64("us"), [dt.time(23, 59, 59, 999999), None]),
    "timestamp": (pa.timestamp("ns"), [0, None]),
    "timestamp of a zone": (pa.timestamp("us", "Europe/Berlin"), [0, None]),
    "timestamp of an offset": (pa.timestamp("s", "+05:45"), [0, None]),
    "duration": (pa.duration("ms"), [dt.timedelta(1), None]),
    "decimal128": (pa.decimal128(38, 10), [Decimal("1.25"), None]),
    "decimal256": (pa.decimal256(76, 0), [Decimal(10**70), None]),
    "decimal below one": (pa.decimal128(5, -2), [Decimal("1.23E+4"), None]),
    "list": (pa.list_(pa.int8()), [[1, None], None, []]),
    "list of NaN": (pa.list_(pa.float64()), [[float("nan"), None], None]),
    "list of 2": (pa.list_(pa.int8(), 2), [[1, 2], None]),
    "large_list": (pa.large_list(pa.string()), [["a"], None]),
    "list_view": (pa.list_view(pa.int8()), [[1], None, [2, 3]]),
    "struct": (pa.struct([("a", pa.int8()), ("b", pa.string())]), [{"a": 1, "b": None}, None]),
    "struct without fields": (pa.struct([]), [{}, None]),
    "map": (pa.map_(pa.string(), pa.int8()), [[("a", 1)], None, []]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", None, "b"]),
    "ordered dictionary": (pa.dictionary(pa.int32(), pa.string(), ordered=True), ["a", None]),
    "list of dictionaries": (pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a"], None]),
    "uuid": (pa.uuid(), [b"0" * 16, None]),
}


def _column(name: str) -> Any:
    kind, values = _ARROW_TYPES[name]
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if pa.types.is_nested(kind) and "dictionaries" in name:
        return pa.array(values, pa.list_(pa.string())).cast(kind)
    return pa.array(values, kind)


_NO_PANDAS = ("null", "struct without fields", "uuid", "list of dictionaries", "float16")
"""What pandas itself does not take as the dtype of a column."""

_INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(5, 11, 2),
    "named range": pd.RangeIndex(0, -3, -1, name="r"),
    "texts named by a tuple": pd.Index(["a", "b", "a"], name=("t", 1)),
    "objects": pd.Index(["a", 1, None], dtype=object),
    "names that are moments": pd.Index([1, 2, 3], name=pd.Timestamp("2020", tz="UTC")),
    "named nan": pd.Index([1, 2, 3], name=float("nan")),
    "business months": pd.date_range("2020-01-01", periods=3, freq="2BME"),
    "zoned hours": pd.date_range("2020-03-29", periods=3, freq="h", tz="Europe/Berlin"),
    "moments of a named offset": pd.date_range("2020", periods=3, tz=CET),
    "moments without frequency": pd.DatetimeIndex(["2020-01-03", "2020-01-01", None]),
    "spans": pd.timedelta_range("0s", periods=3, freq="5s"),
    "periods": pd.period_range("2020", periods=3, freq="Q-FEB", name="quarter"),
    "intervals": pd.interval_range(0, 3, closed="left", name="bin"),
    "categories": pd.CategoricalIndex(["b", "a", "b"], name="c"),
    "categories that are intervals": pd.CategoricalIndex(pd.cut([1, 2, 5], 2)),
    "Float64 with NaN": pd.Index(_masked(1.5, np.nan, 2.5, gaps=[False, False, True])),
    "two levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("a", 3)], names=["x", None]),
    "levels of periods and intervals": pd.MultiIndex.from_arrays(
        [pd.period_range("2020", periods=3, freq="D"), pd.interval_range(0, 3)], names=["p", "i"]
    ),
    "levels of a named offset": pd.MultiIndex.from_product(
        [pd.date_range("2020", periods=3, tz=CET), ["k"]]
    ),
    "levels that no row uses": pd.MultiIndex.from_product([["a", "b", "c"], [1]])[:2],
    "gaps in levels": pd.MultiIndex.from_arrays([["a", None, "b"], [1.5, np.nan, 2.5]]),
}

_FRAMES: dict[str, Any] = {
    "nothing": pd.DataFrame(),
    "columns without rows": pd.DataFrame(columns=["a", "b"]),
    "rows without columns": pd.DataFrame(index=pd.RangeIndex(3)),
    "two columns of one name": pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
    "labels of many kinds": pd.DataFrame([range(6)], columns=[1, "1", None, 1.5, ("t", 1), True]),
    "labels that are periods": pd.DataFrame(
        [[1, 2]], columns=pd.period_range("2020", periods=2, freq="M")
    ),
    "a crosstab of bins": pd.crosstab(pd.cut([1, 2, 5], 2), ["x", "y", "x"]),
    "attrs": _with_attrs(
        pd.DataFrame({"a": [1]}), {"unit": "kg", "n": {"x": (1, [None])}, "d": Decimal("1.0")}
    ),
    "attrs of pandas' values": _with_attrs(
        pd.DataFrame({"a": [1]}), {"made": pd.Timestamp("2020", tz="UTC"), "gap": pd.NA}
    ),
    "attrs nested 90 deep": _with_attrs(
        pd.DataFrame({"a": [1]}), _nested(90, lambda inner: {"k": inner})
    ),
    "a frame without duplicates": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
    "a series without a name": pd.Series([1.5]),
    "a series named by a moment": pd.Series([1], name=pd.Timestamp("2020")),
    "a result of describe": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}).describe(include="all"),
    "a result of groupby with bins": pd.DataFrame({"a": [1, 2, 5], "v": [1, 2, 3]})
    .groupby(pd.cut(pd.Series([1, 2, 5]), 2), observed=False)["v"]
    .agg(["sum", "mean"]),
}

_COLOURS = pl.Enum(["red", "green"])
_POLARS: dict[str, Any] = {
    **{
        f"{dtype}": pl.Series([1, None, 3], dtype=dtype)
        for dtype in (pl.Int8, pl.Int16, pl.Int64, pl.UInt8, pl.UInt64)
    },
    "floats": pl.Series([0.5, None, float("nan"), -0.0], dtype=pl.Float32),
    "booleans": pl.Series([True, None]),
    "texts": pl.Series(["a", None, "é☃", "long enough to lie apart"]),
    "bytes": pl.Series([b"\x00", None]),
    "days": pl.Series([dt.date(1, 1, 1), None]),
    "times": pl.Series([dt.time(1, 2, 3, 4), None]),
    **{
        f"spans in {unit}": pl.Series([dt.timedelta(1), None], dtype=pl.Duration(unit))
        for unit in ("ms", "us", "ns")
    },
    **{
        f"moments in {unit}": pl.Series([dt.datetime(2020, 1, 1), None], dtype=pl.Datetime(unit))
        for unit in ("ms", "us", "ns")
    },
    "zones": pl.Series([dt.datetime(2020, 10, 25, 1), None]).dt.replace_time_zone("Europe/Berlin"),
    "decimals": pl.Series([Decimal("1.25"), None], dtype=pl.Decimal(10, 2)),
    "categories": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
    "enum": pl.Series(["green", None, "red"], dtype=_COLOURS),
    "lists": pl.Series([[1, None], None, []], dtype=pl.List(pl.Int16)),
    "lists of NaN": pl.Series([[float("nan")], None]),
    "arrays": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
    "arrays of two dimensions": pl.Series([[[1, 2], [3, 4]]], dtype=pl.Array(pl.Int8, (2, 2))),
    "structs": pl.Series([{"a": 1, "b": ["x"]}, {"a": None, "b": None}]),
    "enums in structs in lists": pl.Series(
        [[{"c": "red"}], None], dtype=pl.List(pl.Struct({"c": _COLOURS}))
    ),
    "categories in lists": pl.Series([["x", "y"], None], dtype=pl.List(pl.Categorical)),
    "nulls": pl.Series([None, None], dtype=pl.Null),
    "a series without rows": pl.Series("n", [], dtype=pl.String),
    "a frame without columns": pl.DataFrame(),
    "a frame without rows": pl.DataFrame(schema={"a": pl.Int8, "": pl.String}),
    "a frame of chunks": pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})]),
    "a frame of odd names": pl.DataFrame({"": [1], " ": [2], "é☃": [3], "a" * 1000: [4]}),
}
# A type that the oldest polars of ours does not have yet.
if hasattr(pl, "Float16"):
    _POLARS["half floats"] = pl.Series([0.5, None], dtype=pl.Float16)

_TABLES: dict[str, Any] = {
    "without columns": pa.table({}),
    "without rows": pa.table({"a": pa.array([], pa.int8())}),
    "two columns of one name": pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
    "metadata": pa.table({"a": [1]}).replace_schema_metadata({"k": "v", b"\xff": b"\x00"}),
    "metadata of a field": pa.Table.from_arrays(
        [pa.array([1])], schema=pa.schema([pa.field("a", pa.int64(), metadata={"k": "v"})])
    ),
    "a field that has no gaps": pa.Table.from_arrays(
        [pa.array([1])], schema=pa.schema([pa.field("a", pa.int64(), nullable=False)])
    ),
    "a slice": pa.table({"a": range(10), "s": [str(at) for at in range(10)]}).slice(3, 4),
    "chunks of other dictionaries": pa.table(
        {"d": pa.chunked_array([pa.array([each]).dictionary_encode() for each in "ab"])}
    ),
    "runs": pa.table(
        {"r": pa.RunEndEncodedArray.from_arrays(pa.array([1, 3], pa.int32()), pa.array(["a", "b"]))}
    ),
    "a union": pa.table(
        {
            "u": pa.UnionArray.from_sparse(
                pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
            )
        }
    ),
    "a name past ASCII": pa.table({"é☃": [1], "": [2]}),
}  # fmt: skip

EQUAL: dict[str, Any] = {
    **{f"python: {name}": value for name, value in _PYTHON.items()},
    **{f"numpy: {name}": value for name, value in _NUMPY.items()},
    **{f"pandas column: {name}": value for name, value in _COLUMNS.items()},
    **{
        f"pandas column of Arrow's {name}": pd.Series(
            pd.arrays.ArrowExtensionArray(pa.chunked_array([_column(name)]))
        )
        for name in _ARROW_TYPES
        if name not in _NO_PANDAS
    },
    **{
        f"pandas index: {name}": pd.DataFrame({"v": range(len(index))}, index=index)
        for name, index in _INDEXES.items()
    },
    **{f"pandas frame: {name}": value for name, value in _FRAMES.items()},
    **{f"polars: {name}": value for name, value in _POLARS.items()},
    **{f"arrow {name}": pa.table({"it": _column(name)}) for name in _ARROW_TYPES},
    **{f"arrow table {name}": value for name, value in _TABLES.items()},
}
"""What comes back as it went in."""

_JOBLIB = "joblib.dump("


def _metadata(*fields: Any) -> Any:
    return np.dtype(*fields, metadata={"unit": "m"})


REFUSED: dict[str, tuple[Any, str, str]] = {
    "enum": (Colour.RED, "value: it is a", "value.value"),
    "enum of integers": (Level.LOW, "value: it is a", "value.value"),
    "enum of texts": (Word.YES, "value: it is a", "value.value"),
    "namedtuple": ({"p": [Pair(1, 2)]}, 'value["p"][0]: it is a', "value._asdict()"),
    "dataclass": (Point(1), "value: it is a", "dataclasses.asdict(value)"),
    "complex": (1j, "value: it is a builtins.complex", "value.real"),
    "range": (range(3), "value: it is a builtins.range", "list(value)"),
    "deque": (collections.deque([1]), "value: it is a collections.deque", "list(value)"),
    "uuid": (uuid.UUID(int=1), "value: it is a uuid.UUID", "str(value)"),
    "set": ((1, {2}), "value[1]: it is a builtins.set", "sorted(value)"),
    "frozenset": (frozenset(), "value: it is a builtins.frozenset", "sorted(value)"),
    "bytearray": (bytearray(b"x"), "value: it is a builtins.bytearray", "bytes(value)"),
    "memoryview": (memoryview(b"x"), "value: it is a builtins.memoryview", "bytes(value)"),
    "ordered dict": (collections.OrderedDict(), "value: it is a", "dict(value)"),
    "default dict": (collections.defaultdict(list), "value: it is a", "dict(value)"),
    "chain map": (collections.ChainMap({}), "value: it is a", "dict(value)"),
    "mapping proxy": (types.MappingProxyType({}), "value: it is a", "dict(value)"),
    "keys of a dict": ({}.keys(), "value: it is a", "list(value)"),
    "generator": ((each for each in ()), "value: it is a", "list(value)"),
    "iterator": (iter([1]), "value: it is a builtins.list_iterator", "list(value)"),
    "buffer of text": (io.StringIO("x"), "value: it is a _io.StringIO", "value.getvalue()"),
    "lock": (threading.Lock(), "value: it is a _thread.lock", "without its lock"),
    "subclass of str": (Text("x"), "value: it is a", "str(value)"),
    "counter with an attribute": (_counter_with_attribute(), "value: a Counter with", "Counter("),
    "fraction": (fractions.Fraction(1, 3), "value: it is a", "value.numerator"),
    "path": (Path("x"), "value: it is a pathlib", "bundlerun.File(value)"),
    "pattern": (re.compile("x"), "value: it is a re.Pattern", "value.pattern"),
    "namespace": (types.SimpleNamespace(a=1), "value: it is a", "vars(value)"),
    "array of Python's own": (array.array("i"), "value: it is a", "numpy.array(value)"),
    "function": (len, "value: it is a", "value.__qualname__"),
    "class": (int, "value: it is a", "value.__qualname__"),
    "partial": (functools.partial(len), "value: it is a functools.partial", _JOBLIB),
    "exception": (ValueError("x"), "value: it is a builtins.ValueError", "str(value)"),
    "zone": (BERLIN, "value: it is a zoneinfo.ZoneInfo", "value.key"),
    "fitted model": ({"model": Model()}, 'value["model"]: it is a', _JOBLIB),
    "any object": (object(), "value: it is a builtins.object", _JOBLIB),
    "101 levels": (_nested(101), "value[0]", "a flatter value"),
    "a key that is a tuple": ({"d": {(1, 2): 3}}, 'value["d"]: the key (1, 2)', "value.items()"),
    "a key that is an enum": ({Colour.RED: 3}, "value: the key <Colour.RED", ".value"),
    "a key of numpy": ({np.int64(1): 3}, "value: the key ", ".item()"),
    "masked array": (np.ma.masked_array([1]), "value: it is a numpy", "value.filled()"),
    "matrix": (np.zeros((1, 1)).view(np.matrix), "value: it is a numpy.matrix", "numpy.asarray("),
    "array of objects": (_objects(1, "a"), "value: an array of Python objects", "value.tolist()"),
    "array of dtype with metadata": (
        [np.zeros(2, _metadata("i4"))], "value[0]: an array whose dtype", "value.view("),
    "records of dtype with metadata": (
        np.zeros(2, [("a", _metadata("i4"))]), "value: an array whose dtype", "value.view("),
    "array of numpy.record": (
        np.zeros(2, dtype=(np.record, [("a", "i4")])),
        "value: an array of dtype", "value.astype(value.dtype.descr)"),
    "numpy.record": (
        np.zeros(2, dtype=(np.record, [("a", "i4")]))[0], "value: an array of dtype", "tolist()"),
    "column of the other byte order": (
        pd.DataFrame({"a": np.array([1], dtype=">i4")}), "column 'a': the dtype >i4",
        'astype("int32")'),
    "column of long doubles": (
        pd.DataFrame({"a": np.array([1], dtype="g")}), "column 'a': the dtype float",
        'astype("float64")'),
    "column of surrogates that is no object": (
        pd.DataFrame({"a": pd.Series(["\ud800"], dtype=pd.StringDtype("python"))}),
        "column 'a': Arrow cannot hold it", "astype(object)"),
    "zone of dateutil": (
        pd.Series(pd.date_range("2020", periods=2, tz="dateutil/Europe/Berlin"), name="t"),
        "column 't': a time zone of type dateutil", "tz_convert("),
    "frequency with holidays": (
        pd.DataFrame({"v": [1]}, index=pd.date_range(
            "2020", periods=1, freq=pd.offsets.CustomBusinessDay(holidays=["2020-01-02"]))),
        "the index: a DatetimeIndex with the frequency", "index.freq = None"),
    "polars integers of 128 bits": (
        pl.DataFrame({"a": pl.Series([1], dtype=pl.Int128)}),
        "column 'a': the dtype Int128", "polars.Decimal(38, 0)"),
    "dtype": (np.dtype("i4"), "value: it is a numpy", "value.str"),
    "Timestamp": (pd.Timestamp("2020"), "value: it is a pandas", "value.to_pydatetime()"),
    "Timedelta": (pd.Timedelta(1), "value: it is a pandas", "value.to_pytimedelta()"),
    "Period": (pd.Period("2020"), "value: it is a pandas", "str(value)"),
    "Interval": (pd.Interval(0, 1), "value: it is a pandas", "value.left"),
    "NA": (pd.NA, "value: it is a pandas", "None"),
    "NaT": (pd.NaT, "value: it is a pandas", "None"),
    "Index": (pd.Index([1]), "value: it is a pandas", "value.to_frame(index=False)"),
    "Categorical": (pd.Categorical(["a"]), "value: it is a pandas", "pandas.Series(value)"),
    "subclass of DataFrame": (Frame({"a": [1]}), "value: it is a", "pandas.DataFrame(value)"),
    "groups": (pd.DataFrame({"a": [1]}).groupby("a"), "value: it is a pandas", "an aggregation"),
    "column of complex": (
        pd.DataFrame({"a": [1j]}), "value: column 'a': the dtype complex128", "numpy.real"),
    "sparse column": (
        pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
        "value: column 'a': the dtype Sparse", "column.sparse.to_dense()"),
    "column of sets": (
        pd.DataFrame({"a": _objects({1})}), "value: column 'a': a builtins.set", "sorted(value)"),
    "column of paths": (
        pd.DataFrame({"a": _objects(Path("x"))}), "value: column 'a': a pathlib", "File(value)"),
    "index of sets": (
        pd.DataFrame({"v": [1]}, index=pd.Index(_objects(frozenset()))),
        "value: the index: a builtins.frozenset", "sorted(value)"),
    "labels that are enums": (
        pd.DataFrame([[1]], columns=pd.Index(_objects(Colour.RED))),
        "value: the column labels: a ", "value.value"),
    "name that is an object": (
        pd.Series([1], name=Path("x")), "value: the name: a pathlib", "File(value)"),
    "attrs of a model": (
        _with_attrs(pd.DataFrame({"a": [1]}), {"m": Model()}), "value: attrs: a ", _JOBLIB),
    "attrs nested 2,000 deep": (
        _with_attrs(pd.DataFrame({"a": [1]}), {"k": _nested(2_000)}),
        "value: attrs: it is nested", "a flatter value"),
    "Latin-1 in a text column": (
        pa.table({"n": pa.array([b"caf\xe9"]).view(pa.string())}),
        "value: column 'n', row 0: it is not valid string", 'decode("latin-1")'),
    "Latin-1 in the name of a column": (
        pa.Table.from_arrays([pa.array([1])], schema=pa.schema([pa.field(b"\xe9", pa.int64())])),
        "value: the name b'\\xe9' of a column is not", "table.rename_columns("),
    "Latin-1 in a column of pandas": (
        pd.DataFrame({"n": pd.arrays.ArrowExtensionArray(pa.array([b"\xe9"]).view(pa.string()))}),
        "value: column 'n', row 0: it is not valid string", 'decode("latin-1")'),
    "Arrow array": (pa.array([1]), "value: it is a pyarrow", "pyarrow.table("),
    "Arrow chunks": (pa.chunked_array([[1]]), "value: it is a pyarrow", "pyarrow.table("),
    "record batch": (pa.record_batch({"a": [1]}), "value: it is a pyarrow", "from_batches"),
    "Arrow scalar": (pa.scalar(1), "value: it is a pyarrow", "value.as_py()"),
    "Arrow schema": (pa.schema([]), "value: it is a pyarrow", "str(value)"),
    "lazy frame": (pl.DataFrame({"a": [1]}).lazy(), "value: it is a polars", "value.collect()"),
    "polars objects": (
        pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}),
        "value: column 'a': the dtype Object", "polars.String)"),
    "polars dtype": (pl.Int8, "value: it is a polars", "str(value)"),
    "polars expression": (pl.col("a"), "value: it is a polars", "frame"),
}  # fmt: skip
"""What is refused: the value, the place and reason that the message names, words of the hint."""

assert decimal.getcontext().prec < 200  # the table has decimals that no context would keep
