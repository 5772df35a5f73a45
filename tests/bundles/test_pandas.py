"""pandas' frames and series come back with index, labels, dtypes and gaps, or are refused."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.bundles.value import decode_value, encode_value, outline
from bundlerun.errors import BadValue
from tests.bundles.memory import Memory
from tests.bundles.sameness import same
from tests.sampled import sampled

Back = Callable[[Any], Any]


def _same(a: Any, b: Any) -> None:
    exact = {"check_exact": True, "check_freq": True, "check_flags": True}
    if isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_index_type=True, **exact)
        a, b = a.to_frame("values"), b.to_frame("values")
    else:
        pd.testing.assert_frame_equal(a, b, check_index_type=True, check_column_type=True, **exact)
        assert type(a.columns) is type(b.columns)
        assert a.columns.dtype == b.columns.dtype
    assert type(a.index) is type(b.index)
    assert same(a.attrs, b.attrs)
    for at in range(a.shape[1]):
        if a.dtypes.iloc[at].kind == "O":
            assert same(a.iloc[:, at].tolist(), b.iloc[:, at].tolist())


def _objects(*values: Any) -> pd.Series:
    found = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        found[at] = value
    return pd.Series(found, dtype=object)


_MOMENTS = ["2020-03-29 01:30", "2020-10-25 01:30", None]
COLUMNS: dict[str, Any] = {
    **{name: pd.Series([0, 1, 0], dtype=name) for name in ("bool", "int8", "uint64", "float32")},
    "float16": pd.Series([0.1, np.nan, -0.0], dtype="float16"),
    "float64": pd.Series([0.1, np.nan, -np.inf]),
    "int64 extremes": pd.Series([2**63 - 1, -(2**63), 0]),
    **{
        f"datetime64[{unit}]": pd.Series(_MOMENTS, dtype=f"datetime64[{unit}]")
        for unit in ("s", "ms", "us", "ns")
    },
    "timedelta": pd.Series([pd.Timedelta(1, "s"), pd.NaT, pd.Timedelta(-1, "D")]),
    "zone": pd.to_datetime(pd.Series(_MOMENTS))
    .dt.tz_localize("UTC")
    .dt.tz_convert("Europe/Berlin"),
    "utc": pd.to_datetime(pd.Series(_MOMENTS)).dt.tz_localize("UTC"),
    "offset": pd.to_datetime(pd.Series(_MOMENTS)).dt.tz_localize(
        dt.timezone(dt.timedelta(hours=-3, minutes=-30))
    ),
    "texts": pd.Series(["a", "", "é☃"]),
    "texts with gaps": pd.Series(["a", None, "b"]),
    "string": pd.Series(["a", None, "b"], dtype="string"),
    "string[python]": pd.Series(["a", None, "b"], dtype=pd.StringDtype("python")),
    "objects of text and None": _objects("a", None, "b"),
    "objects of text and nan": _objects("a", np.nan, "b"),
    "objects of text, None and nan": _objects("a", None, np.nan),
    "objects of many kinds": _objects(1, "1", 1.0, True, None, b"x", (1, [2]), {"a": None}),
    "objects of pandas' gaps": _objects(pd.NA, pd.NaT, None, np.nan, np.float32(1)),
    "objects of dates": _objects(dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), 2**80),
    "objects of lists": _objects([1, 2], [3, 4]),
    "objects with surrogates": _objects("\ud800", "a"),
    "category": pd.Series(pd.Categorical(["b", "a", None], categories=["c", "b", "a"])),
    "ordered": pd.Series(pd.Categorical([1, 3, 1], categories=[3, 2, 1], ordered=True)),
    "category of moments": pd.Series(pd.Categorical(pd.date_range("2020", periods=3, tz="UTC"))),
    "category of many kinds": pd.Series(pd.Categorical(_objects("a", 1, 2.5))),
    "empty category": pd.Series(pd.Categorical([None, None], categories=[])),
    **{
        name: pd.Series([1, None, 0], dtype=name)
        for name in ("Int8", "UInt64", "Float32", "Float64", "boolean")
    },
    "lists with gaps": pd.Series([[1, 2], None, []], dtype="object"),
}


NO_INDEX = ("float16", "lists with gaps", "objects of lists", "objects of many kinds")
"""pandas has no index of half floats, nor of what cannot be hashed."""


@pytest.mark.parametrize("name", sampled(COLUMNS, each=4))
def test_every_column_comes_back(name: str, back: Back) -> None:
    """As column, as series, as level of an index and without rows."""
    column = COLUMNS[name]
    for series in (column, column.iloc[:0], column.iloc[::-1], column.rename(("n", 1))):
        _same(back(series), series)
    frame = pd.DataFrame({"before": range(len(column)), "it": column, "after": "x"})
    _same(back(frame), frame)


@pytest.mark.parametrize("name", sampled((n for n in COLUMNS if n not in NO_INDEX), each=4))
def test_every_column_that_can_be_an_index_comes_back_as_one(name: str, back: Back) -> None:
    """Alone, and as a level of a MultiIndex."""
    column = COLUMNS[name]
    single = pd.DataFrame({"v": range(len(column))}, index=pd.Index(column, name="key"))
    _same(back(single), single)
    if column.dtype != object:
        double = single.set_index(pd.Index(range(len(column)), name=None), append=True)
        _same(back(double), double)


def test_arrow_backed_columns_come_back(back: Back) -> None:
    """Lists and structs of Arrow among them."""
    import pyarrow as pa

    for kind, values in (
        (pa.int64(), [1, None]),
        (pa.list_(pa.string()), [["a", None], None]),
        (pa.struct([("a", pa.int8())]), [{"a": 1}, None]),
    ):
        series = pd.Series(values, dtype=pd.ArrowDtype(kind))
        _same(back(series), series)


INDEXES: dict[str, Any] = {
    "range": pd.RangeIndex(5, 11, 2),
    "named range": pd.RangeIndex(0, -3, -1, name="r"),
    "integers": pd.Index([3, 1, 1], name=0),
    "texts": pd.Index(["a", "b", "a"], name=("t", 1)),
    "objects": pd.Index(["a", 1, None], dtype=object),
    "days": pd.date_range("2020-01-01", periods=3, name="day"),
    "business months": pd.date_range("2020-01-01", periods=3, freq="2BME"),
    "zoned hours": pd.date_range("2020-03-29", periods=3, freq="h", tz="Europe/Berlin"),
    "no frequency": pd.DatetimeIndex(["2020-01-03", "2020-01-01", None]),
    "steps": pd.timedelta_range("0s", periods=3, freq="5s"),
    "categories": pd.CategoricalIndex(["b", "a", "b"], name="c"),
    "two levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("a", 3)], names=["x", None]),
    "gaps in levels": pd.MultiIndex.from_arrays([["a", None, "b"], [1.5, np.nan, 2.5]]),
    "moments in levels": pd.MultiIndex.from_product(
        [pd.date_range("2020", periods=3, tz="UTC"), ["k"]], names=["when", "k"]
    ),
}


@pytest.mark.parametrize("name", INDEXES)
def test_every_index_comes_back_on_rows_and_on_columns(name: str, back: Back) -> None:
    """With its type, names, frequency and duplicates."""
    index = INDEXES[name]
    rows = pd.DataFrame({"v": [1, 2, 3]}, index=index)
    _same(back(rows), rows)
    wide = pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=index)
    _same(back(wide), wide)
    none = pd.DataFrame(index=index)
    _same(back(none), none)


def test_frames_without_rows_columns_or_both_come_back(back: Back) -> None:
    """Nothing has a shape too."""
    for frame in (
        pd.DataFrame(),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame({"a": [1]}).iloc[:0],
        pd.DataFrame(index=pd.RangeIndex(3)),
        pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
        pd.DataFrame({1: [1], "1": [2], None: [3], 1.5: [4], ("t", 1): [5]}),
    ):
        _same(back(frame), frame)


def test_attrs_and_flags_come_back(back: Back) -> None:
    """What pandas carries beside the data."""
    frame = pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
    frame.attrs = {"unit": "kg", "range": (1, 2.5), "nested": {"x": [None]}}
    _same(back(frame), frame)
    assert back(frame).attrs == frame.attrs


def test_what_comes_back_can_be_written_to(memory: Memory) -> None:
    """And neither the object nor the next reader sees it."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.5, 2.5]})
    root = encode_value(frame, memory)
    found: Any = decode_value(root, memory)
    found.iloc[0, 0] = 9
    found.loc[1, "b"] = "z"
    found["c"] += 1
    _same(decode_value(root, memory), frame)
    series_root = encode_value(frame["a"], memory)
    series: Any = decode_value(series_root, memory)
    series.iloc[0] = 9
    _same(decode_value(series_root, memory), frame["a"])


def test_equal_frames_have_equal_roots(memory: Memory) -> None:
    """However they came to be."""
    a = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    b = pd.concat([a.iloc[:1], a.iloc[1:]])
    b.index = pd.RangeIndex(2)
    assert (
        encode_value(a, memory)
        == encode_value(b, memory)
        == encode_value(decode_value(encode_value(a, memory), memory), memory)
    )
    assert encode_value(a, memory) != encode_value(a["a"].to_frame(), memory)


class _Frame(pd.DataFrame):
    pass


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (pd.DataFrame({"a": [1j]}), "column 'a': the dtype complex128"),
        (pd.DataFrame({"a": _objects(object())}), "column 'a': a builtins.object"),
        (pd.DataFrame({"a": _objects({1})}), "column 'a': a builtins.set"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "column 'a': the dtype"),
        (_Frame({"a": [1]}), "_Frame"),
        (pd.Timestamp("2020"), "Timestamp"),
        (pd.Index([1]), "Index"),
        (pd.NA, "NAType"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_what_would_not_come_back_is_refused(bad: Any, told: str, memory: Memory) -> None:
    """By the path in the tree, and the column."""
    with pytest.raises(BadValue) as error:
        encode_value({"t": [bad]}, memory)
    assert 'value["t"][0]' in str(error.value)
    assert told in str(error.value)


def test_the_outline_tells_the_shape(memory: Memory) -> None:
    """Without reading the table."""
    found = outline(encode_value(pd.DataFrame({"a": [1, 2, 3]}), memory), memory.read)
    assert (found["as"], found["rows"], found["columns"]) == ("pandas", 3, 1)


cells = st.one_of(
    st.none(), st.text(max_size=5), st.floats(), st.integers(), st.booleans(), st.binary(max_size=4)
)


@given(st.lists(st.tuples(cells, cells, st.text(max_size=3)), min_size=1, max_size=8))
def test_any_mix_of_objects_comes_back(back: Back, rows: list[tuple[Any, ...]]) -> None:
    """What pandas infers, and what it is kept from inferring."""
    for frame in (pd.DataFrame(rows), pd.DataFrame(rows, dtype=object)):
        _same(back(frame), frame)


def test_without_pandas_the_error_says_what_to_install(memory: Memory, tmp_path: Path) -> None:
    """A machine that only moves bundles about needs no pandas; one that opens a frame does."""
    root = encode_value(pd.DataFrame({"a": [1]}), memory)
    for digest, data in memory.objects.items():
        (tmp_path / digest).write_bytes(data)
    script = (
        "import sys; sys.modules['pandas'] = None\n"
        "from pathlib import Path\n"
        "from bundlerun.bundles.link import Link\n"
        "from bundlerun.bundles.value import decode_value\n"
        "from bundlerun.errors import SettingsError\n"
        "from tests.bundles.memory import Memory\n"
        f"memory = Memory(Path({str(tmp_path / 'm')!r}))\n"
        f"for path in Path({str(tmp_path)!r}).iterdir():\n"
        "    path.is_file() and memory.put_file(path)\n"
        "try:\n"
        f"    decode_value(Link({root.digest!r}, {root.size}), memory)\n"
        "except SettingsError as error:\n"
        "    assert 'pip install pandas' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('no error')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_nan_stays_a_nan_and_a_none_a_none(back: Back) -> None:
    """In one column of objects."""
    found = back(pd.DataFrame({"a": _objects("x", None, math.nan)}))["a"].tolist()
    assert found[1] is None
    assert math.isnan(found[2])
