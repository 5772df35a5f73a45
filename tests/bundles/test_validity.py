"""A table that could never be read again is refused before anything is kept, by column."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from bundlerun.bundles.value import decode_value, encode_value
from bundlerun.errors import BadValue
from tests.bundles.memory import Memory

_TEXT = pa.array([b"sound", None, b"caf\xe9"])
_NESTED = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array(["a"]).dictionary_encode())

INVALID: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "latin-1 text": (
        _TEXT.view(pa.string()),
        "row 2: it is not valid string",
        lambda column: pa.array(
            [v and v.decode("latin-1") for v in column.cast("binary").to_pylist()]
        ),
    ),
    "latin-1 large text": (
        _TEXT.cast(pa.large_binary()).view(pa.large_string()),
        "row 2: it is not valid large_string",
        lambda column: pa.array(
            [v and v.decode("latin-1") for v in column.cast("binary").to_pylist()]
        ),
    ),
    "a time of day in a date64": (
        pa.array([0, 1577872800000]).view(pa.date64()),
        "row 1: it is not valid date64[ms]",
        lambda column: column.cast("timestamp[ms]"),
    ),
    "a time32 over a day": (
        pa.array([1, 2, 90_000], pa.int32()).view(pa.time32("s")),
        "row 2: it is not valid time32[s]",
        lambda column: column.cast("int32").cast("int64").cast("duration[s]"),
    ),
    "a time64 over a day": (
        pa.array([86_400_000_001_000]).view(pa.time64("ns")),
        "row 0: it is not valid time64[ns]",
        lambda column: column.cast("int64").cast("duration[ns]"),
    ),
    "a decimal over its precision": (
        pa.array([decimal.Decimal("1.25"), decimal.Decimal("123456.78")]).cast(
            pa.decimal128(4, 2), safe=False
        ),
        "row 1: it is not valid decimal128(4, 2)",
        lambda column: column.cast(pa.decimal128(38, 2)),
    ),
    "a dictionary of a dictionary": (
        _NESTED,
        "it is not valid dictionary<",
        lambda column: column.dictionary_decode(),
    ),
    "an index past its dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0, 5]), pa.array(["a"]), safe=False),
        "row 1: it is not valid dictionary<",
        lambda column: pa.array(["a", None]),
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_table_is_refused_by_column_and_row_and_its_cure_is_kept(
    name: str, memory: Memory
) -> None:
    """Nothing of it is put, and what the hint names can be kept."""
    column, told, cure = INVALID[name]
    table = pa.table({"sound": pa.nulls(len(column)), "it is": column})
    with pytest.raises(BadValue) as error:
        encode_value({"t": [table]}, memory)
    place = "column 'it is'" + ("," if "row" in told else ":")
    assert f'a bundle cannot keep value["t"][0]: {place} {told}' in error.value.message
    assert error.value.hint
    assert memory.objects == {}
    cured = pa.table({"it is": cure(column)})
    found: Any = decode_value(encode_value(cured, memory), memory)
    assert found.equals(cured)


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_column_of_pandas_is_refused_wherever_it_stands(
    name: str, memory: Memory
) -> None:
    """As a column, as the index, and among the labels."""
    series = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([INVALID[name][0]])))
    values = range(len(series))
    with pytest.raises(BadValue, match=r"value: column 'it'"):
        encode_value(pd.DataFrame({"sound": values, "it": series}), memory)
    with pytest.raises(BadValue, match=r"value: the index"):
        encode_value(pd.DataFrame({"sound": values}, index=pd.Index(series)), memory)
    with pytest.raises(BadValue, match=r"value: the column labels: level 0"):
        encode_value(pd.DataFrame([list(values)], columns=pd.Index(series)), memory)
    assert memory.objects == {}


@pytest.mark.heavy
def test_a_large_invalid_table_is_refused_too(memory: Memory) -> None:
    """What goes through a file on its way is looked at there."""
    long = pa.array([b"x" * (11 << 20)] * len(_TEXT))
    with pytest.raises(BadValue, match="column 'n', row 2: it is not valid string"):
        encode_value(pa.table({"long": long, "n": _TEXT.view(pa.string())}), memory)
    assert memory.objects == {}


def test_the_other_bad_columns_are_named_as_well(memory: Memory) -> None:
    """So that they are mended in one go."""
    text = _TEXT.view(pa.string())
    with pytest.raises(BadValue, match="2 more columns are like this: column 'b', column 'd'"):
        encode_value(pa.table({"a": text, "b": text, "c": ["", "", ""], "d": text}), memory)


def test_dictionaries_of_chunks_that_do_not_fit_one_are_refused(memory: Memory) -> None:
    """Two chunks of 100 texts each, numbered by int8; the cure is kept."""
    kind = pa.dictionary("int8", "string")
    chunks = [
        pa.array([str(n) for n in range(start, start + 100)]).dictionary_encode().cast(kind)
        for start in (0, 100)
    ]
    column = pa.chunked_array(chunks)
    with pytest.raises(BadValue, match=r"value\[0\]: column 'd': its chunks do not fit") as error:
        encode_value([pa.table({"d": column})], memory)
    assert error.value.hint == "column.cast(column.type.value_type).dictionary_encode()"
    cured = pa.table({"d": column.cast(column.type.value_type).dictionary_encode()})
    found: Any = decode_value(encode_value(cured, memory), memory)
    assert found.to_pydict() == {"d": column.to_pylist()}
