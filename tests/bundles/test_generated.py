"""Generated values: whatever nests and whatever frames are made of comes back equal."""

from __future__ import annotations

import datetime as dt
import decimal
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bundlerun.bundles.value import decode_value, encode_value
from tests.bundles.awkward import BERLIN, CET, ODD
from tests.bundles.memory import Memory
from tests.bundles.sameness import same

Back = Callable[[Any], Any]

_ZONES = st.sampled_from([None, dt.timezone.utc, BERLIN, CET, ODD])
_MOMENTS = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))

_keys = st.one_of(
    st.text(max_size=4), st.integers(), st.booleans(), st.none(), st.decimals(allow_nan=False)
)
_single = st.one_of(
    _keys,
    st.floats(),
    st.decimals(),
    st.binary(max_size=8),
    st.datetimes(timezones=_ZONES, allow_imaginary=True),
    st.timedeltas(),
    hnp.from_dtype(np.dtype("f4")),
    hnp.from_dtype(np.dtype("M8[s]")),
    st.floats(width=16).map(np.float16),
)
_zoned = st.builds(
    lambda moment, zone: pd.Timestamp(moment, tz="UTC").tz_convert(zone), _MOMENTS, _ZONES
)
_pandas_single = st.one_of(
    st.sampled_from([pd.NA, pd.NaT]),
    _zoned,
    st.builds(pd.Timestamp, _MOMENTS),
    st.timedeltas(dt.timedelta(-9_000), dt.timedelta(9_000)).map(pd.Timedelta),
    st.builds(
        pd.Period, st.dates(dt.date(1900, 1, 1)), freq=st.sampled_from(["D", "2M", "W-TUE", "s"])
    ),
    st.builds(
        lambda start, length, closed: pd.Interval(start, start + length, closed),
        st.integers(-9, 9),
        st.integers(0, 9),
        st.sampled_from(["left", "right", "both", "neither"]),
    ),
)


def _nested(leaves: Any) -> Any:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(_keys, inner, max_size=4),
            st.dictionaries(_keys, inner, max_size=4).map(Counter),
        ),
        max_leaves=12,
    )


@given(_nested(st.one_of(_single, hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_side=3)))))
def test_any_nesting_of_kept_kinds_comes_back(back: Back, value: Any) -> None:
    """Counters, decimals, scalars and arrays of numpy among lists, tuples and dicts."""
    assert same(back(value), value)


def _column(draw: Any, size: int) -> Any:
    """One column of a frame, with gaps where its kind has any."""

    def values(inner: Any) -> list[Any]:
        return draw(st.lists(inner, min_size=size, max_size=size))

    gaps = np.array(values(st.booleans()), dtype=bool)
    kind = draw(st.sampled_from(sorted(_KINDS)))
    return _KINDS[kind](values, gaps)


def _with_gaps(series: Any, gaps: Any) -> Any:
    return series.mask(pd.Series(gaps))


def _categories(values: Any, gaps: Any) -> Any:
    labels = sorted({*values(st.text(max_size=2)), "some"})
    codes = np.where(gaps, -1, 0)
    index = pd.Index(labels, name=values(_keys)[0] if len(gaps) else None)
    return pd.Series(pd.Categorical.from_codes(codes, index, ordered=len(labels) % 2 == 0))


_NUMBERS = st.integers(-(2**31), 2**31 - 1)
_KINDS: dict[str, Callable[..., Any]] = {
    "integers": lambda v, g: pd.Series(v(_NUMBERS), dtype="int64"),
    "nullable integers": lambda v, g: _with_gaps(pd.Series(v(_NUMBERS), dtype="Int64"), g),
    "floats": lambda v, g: pd.Series(v(st.floats()), dtype="float64"),
    "nullable floats": lambda v, g: pd.Series(
        pd.arrays.FloatingArray(np.array(v(st.floats()), dtype="float64"), g)
    ),
    "floats of Arrow": lambda v, g: pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array(v(st.floats() | st.none()), pa.float64()))
    ),
    "decimals of Arrow": lambda v, g: pd.Series(
        pd.arrays.ArrowExtensionArray(
            pa.array(v(st.decimals(-9, 9, places=2) | st.none()), pa.decimal128(9, 2))
        )
    ),
    "texts": lambda v, g: pd.Series(v(st.text(max_size=4) | st.none()), dtype="str"),
    "objects": lambda v, g: _objects(v(_nested(st.one_of(_single, _pandas_single)))),
    "moments": lambda v, g: pd.Series(pd.DatetimeIndex(v(_MOMENTS))).mask(pd.Series(g)),
    "named zone": lambda v, g: pd.Series(pd.DatetimeIndex(v(_MOMENTS), tz="UTC").tz_convert(CET)),
    "zone": lambda v, g: pd.Series(pd.DatetimeIndex(v(_MOMENTS), tz="UTC").tz_convert(BERLIN)),
    "periods": lambda v, g: pd.Series(
        pd.PeriodIndex.from_ordinals(np.where(g, -(2**63), v(_NUMBERS)).astype("i8"), freq="M")
    ),
    "intervals": lambda v, g: pd.Series(
        pd.arrays.IntervalArray.from_breaks(np.cumsum([0.0, *v(st.floats(0.5, 9))]))
    ),
    "categories": _categories,
}


def _objects(values: list[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        found[at] = value
    return pd.Series(found, dtype=object)


@st.composite
def frames(draw: Any) -> Any:
    """A frame of pandas with any of the columns, one of them perhaps its index."""
    size = draw(st.integers(0, 5))
    columns = [_column(draw, size) for _ in range(draw(st.integers(1, 4)))]
    frame = pd.concat(columns, axis=1)
    frame.columns = pd.Index(draw(st.lists(_keys, min_size=len(columns), max_size=len(columns))))
    if draw(st.booleans()):
        kinds = [kind for kind in _KINDS if kind != "objects"]
        kind = draw(st.sampled_from(kinds))

        def values(inner: Any) -> list[Any]:
            return draw(st.lists(inner, min_size=size, max_size=size))

        gaps = np.array(values(st.booleans()), dtype=bool)
        frame.index = pd.Index(_KINDS[kind](values, gaps), name=draw(_keys))
    frame.attrs = draw(st.dictionaries(st.text(max_size=2), _nested(_single), max_size=2))
    return frame


@given(frames())
@pytest.mark.heavy
def test_any_frame_of_pandas_comes_back(memory: Memory, frame: Any) -> None:
    """Columns, index, labels and attrs of any kept kind, with gaps; twice over, to one root."""
    root = encode_value(frame, memory)
    found = decode_value(root, memory)
    assert same(found, frame)
    assert encode_value(found, memory) == root


_POLARS = {
    pl.Int64: _NUMBERS,
    pl.Float64: st.floats(),
    pl.String: st.text(max_size=4),
    pl.Binary: st.binary(max_size=4),
    pl.Datetime("us", "Europe/Berlin"): _MOMENTS,
    pl.Decimal(9, 2): st.decimals(-9, 9, places=2),
    pl.Categorical: st.sampled_from(["a", "b"]),
    pl.List(pl.Float32): st.lists(st.floats(width=32) | st.none(), max_size=3),
    pl.Struct({"a": pl.Int8, "b": pl.List(pl.String)}): st.fixed_dictionaries(
        {"a": st.integers(-9, 9) | st.none(), "b": st.lists(st.text(max_size=2), max_size=2)}
    ),
}


@given(st.data())
def test_any_frame_of_polars_and_its_arrow_table_come_back(memory: Memory, data: Any) -> None:
    """Columns of any kind with gaps; the same as an Arrow table."""
    size = data.draw(st.integers(0, 5))
    kinds = data.draw(st.lists(st.sampled_from(list(_POLARS)), max_size=4))
    columns = [
        pl.Series(
            f"c{at}",
            data.draw(st.lists(_POLARS[kind] | st.none(), min_size=size, max_size=size)),
            dtype=pl.Datetime("us") if isinstance(kind, pl.Datetime) else kind,
        ).cast(kind)
        for at, kind in enumerate(kinds)
    ]
    frame = pl.DataFrame(columns)
    assert same(decode_value(encode_value(frame, memory), memory), frame)
    table = frame.to_arrow()
    assert same(decode_value(encode_value(table, memory), memory), table)


@given(st.decimals(), st.integers(1, 28))
def test_a_decimal_does_not_depend_on_the_context(memory: Memory, value: Any, digits: int) -> None:
    """What was kept at one precision comes back whole at another."""
    root = encode_value([value], memory)
    with decimal.localcontext(decimal.Context(prec=digits)):
        (found,) = decode_value(root, memory)  # type: ignore[misc]
    assert same(found, value)
