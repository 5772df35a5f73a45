"""polars' frames and Arrow's tables come back equal."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from bundlerun.bundles.value import decode_value, encode_value, outline
from bundlerun.errors import BadValue
from tests.bundles.memory import Memory
from tests.sampled import sampled

Back = Callable[[Any], Any]

_COLOURS = pl.Enum(["red", "green"])
SERIES: dict[str, pl.Series] = {
    "integers": pl.Series([1, None, -3], dtype=pl.Int8),
    "large": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
    "floats": pl.Series([0.5, None, float("nan"), -0.0], dtype=pl.Float32),
    "booleans": pl.Series([True, None]),
    "texts": pl.Series(["a", None, "é☃", "long enough to lie apart"]),
    "bytes": pl.Series([b"\x00", None]),
    "days": pl.Series([dt.date(2020, 1, 1), None]),
    "times": pl.Series([dt.time(1, 2, 3, 4), None]),
    "spans": pl.Series([dt.timedelta(1), None], dtype=pl.Duration("ms")),
    "moments": pl.Series([dt.datetime(2020, 1, 1), None], dtype=pl.Datetime("ns")),
    "zones": pl.Series([dt.datetime(2020, 1, 1), None]).dt.replace_time_zone("Europe/Berlin"),
    "decimals": pl.Series([decimal.Decimal("1.25"), None], dtype=pl.Decimal(10, 2)),
    "categories": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical),
    "enum": pl.Series(["green", None, "red"], dtype=_COLOURS),
    "lists": pl.Series([[1, None], None, []], dtype=pl.List(pl.Int16)),
    "arrays": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
    "structs": pl.Series([{"a": 1, "b": ["x"]}, {"a": None, "b": None}]),
    "nested": pl.Series([[{"c": "red"}], None], dtype=pl.List(pl.Struct({"c": _COLOURS}))),
    "categories in lists": pl.Series([["x", "y"], None], dtype=pl.List(pl.Categorical)),
    "nothing": pl.Series([None, None], dtype=pl.Null),
}


def _same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, pl.DataFrame):
        pl.testing.assert_frame_equal(a, b, check_exact=True)
        assert a.schema == b.schema
    else:
        pl.testing.assert_series_equal(a, b, check_exact=True)


@pytest.mark.parametrize("mapping", ["file", "buffer", "none"])
@pytest.mark.parametrize("name", sampled(SERIES, each=3))
def test_every_polars_dtype_comes_back(name: str, mapping: str, tmp_path: Path) -> None:
    """As series, as column, without rows, however the leaf is read."""
    memory = Memory(tmp_path, mapping)
    series = SERIES[name].alias("it is")
    for value in (series, series.clear(), series.reverse(), series.to_frame()):
        _same(decode_value(encode_value(value, memory), memory), value)


@pytest.mark.heavy
def test_polars_frames_of_any_shape_come_back(back: Back) -> None:
    """Without columns, without rows, of many chunks."""
    chunked = pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False)
    for frame in (pl.DataFrame(), pl.DataFrame(schema={"a": pl.Int8, "": pl.String}), chunked):
        _same(back(frame), frame)


def test_categories_do_not_depend_on_what_was_before(memory: Memory) -> None:
    """polars numbers them as they come; the root does not show it."""
    a = encode_value(pl.Series(["u1", "u2"], dtype=pl.Categorical), memory)
    pl.Series(["v2", "v1"], dtype=pl.Categorical)
    b = encode_value(pl.Series(["v2", "u2"], dtype=pl.Categorical), memory)
    again = encode_value(pl.Series(["u2", "u1"], dtype=pl.Categorical).reverse(), memory)
    assert a == again != b


@pytest.mark.parametrize(
    "bad",
    [
        pl.DataFrame({"a": [1]}).lazy(),
        pl.Series("a", [object()], dtype=pl.Object),
        pa.array([1]),
        pa.RecordBatch.from_pydict({"a": [1]}),
        pl.Int8,
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_what_is_no_table_or_holds_objects_is_refused(bad: Any, memory: Memory) -> None:
    """By its path."""
    with pytest.raises(BadValue, match=r"value\[0\]"):
        encode_value([bad], memory)


def test_arrow_tables_come_back(back: Back) -> None:
    """Types, metadata and gaps; dictionaries that differ by chunk become one."""
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"]).dictionary_encode()]
    fields = [
        pa.field("d", chunks[0].type, metadata={"k": "v"}),
        pa.field("m", pa.map_("i4", "u1")),
    ]
    maps = pa.chunked_array([[[(1, 2)], None, []]], type=fields[1].type)
    schema = pa.schema(fields, metadata={"unit": "kg"})
    table = pa.Table.from_arrays([pa.chunked_array(chunks), maps], schema=schema)
    found = back(table)
    assert type(found) is pa.Table
    assert found.equals(table.unify_dictionaries(), check_metadata=True)
    assert found.to_pydict() == table.to_pydict()
    for other in (table.slice(1, 1), table.slice(0, 0), pa.table({}), table.select([])):
        assert back(other).equals(other, check_metadata=True)


def test_chunks_do_not_show_in_the_root(memory: Memory) -> None:
    """Equal tables have equal roots."""
    whole = pa.table({"a": [1, 2, 3], "s": ["x", None, "z"]})
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    assert encode_value(whole, memory) == encode_value(parts, memory)


def test_a_table_is_mapped_and_not_read(memory: Memory) -> None:
    """What comes back uses next to no memory of Arrow's own."""
    root = encode_value(pa.table({"a": range(1_000_000)}), memory)
    before = pa.total_allocated_bytes()
    found: Any = decode_value(root, memory)
    assert found.num_rows == 1_000_000
    assert pa.total_allocated_bytes() - before < 100_000


def test_the_outline_tells_what_made_it(memory: Memory) -> None:
    """And the shape."""
    for value, kind in (
        (pl.DataFrame({"a": [1, 2]}), "polars"),
        (pa.table({"a": [1, 2]}), "arrow"),
    ):
        found = outline(encode_value(value, memory), memory.read)
        assert (found["as"], found["rows"], found["columns"]) == (kind, 2, 1)
