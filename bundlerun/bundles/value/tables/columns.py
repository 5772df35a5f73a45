"""A pandas column, or level of an index, as an Arrow array and a spec, and back."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.bundles.value.tables import arrow
from bundlerun.bundles.value.tables.cells import cell_bytes, cell_value, term_value
from bundlerun.bundles.value.tables.pandas_scalars import period_freq, same_zone, zone_of, zone_spec
from bundlerun.errors import SettingsError
from bundlerun.registry import needed

_FLOATS = ("Float32", "Float64")

_NULLABLE = (
    *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "boolean"),
    *_FLOATS,
)

_NOT_A_TIME = -(2**63)
"""pandas' NaT among ordinals."""


@contextmanager
def told(pa: Any, where: str) -> Iterator[None]:
    """Says where in a table something cannot be kept."""
    try:
        yield
    except CannotKeep as error:
        raise CannotKeep(f"{where}: {error.reason}", hint=error.hint) from error
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise CannotKeep(
            f"{where}: Arrow cannot hold it ({error!s:.200})", hint="astype(object)"
        ) from error


def pack(pa: Any, values: Any) -> tuple[Any, Any]:
    """The Arrow array and the spec of a Series or an Index of one level.

    Raises CannotKeep, ArrowException.
    """
    pandas = sys.modules["pandas"]
    dtype = values.dtype
    if isinstance(dtype, sys.modules["numpy"].dtype):
        return _pack_numpy(pa, values.to_numpy())
    array, spec = _pack_extension(pa, pandas, values.array)
    array = one(pa, array)
    if not _same(pa, pandas, unpack(pandas, array, spec), values.array):
        raise CannotKeep(f"the dtype {dtype}: it does not come back equal", hint="astype(object)")
    return array, spec


def _same(pa: Any, pandas: Any, back: Any, values: Any) -> bool:
    """Whether an extension array came back: dtype, gaps, and NaN next to NA included."""
    if back.dtype != values.dtype:
        return False
    if isinstance(values.dtype, pandas.DatetimeTZDtype) and not same_zone(
        back.dtype.tz, values.dtype.tz
    ):
        return False
    if isinstance(values.dtype, pandas.ArrowDtype):
        mine, yours = one(pa, pa.array(back)), one(pa, pa.array(values))
        # To Arrow a NaN is equal to nothing; written it is.
        return bool(mine.equals(yours)) or _written(pa, mine) == _written(pa, yours)
    if values.dtype.name in _FLOATS:
        (mine, gaps), (yours, more) = _floats(back), _floats(values)
        same: Any = sys.modules["numpy"].array_equal
        return bool(same(gaps, more) and same(mine, yours, equal_nan=True))
    return bool(pandas.Series(back, copy=False).equals(pandas.Series(values, copy=False)))


def _written(pa: Any, array: Any) -> bytes:
    return arrow.to_bytes(pa, pa.Table.from_arrays([array], names=["column"]))


def _floats(values: Any) -> tuple[Any, Any]:
    """The numbers of a nullable column of floats, 0 in its gaps, and the mask of gaps."""
    gaps = sys.modules["numpy"].asarray(values.isna())
    return values.to_numpy(dtype=values.dtype.numpy_dtype, na_value=0), gaps


def _pack_numpy(pa: Any, values: Any) -> tuple[Any, Any]:
    dtype = values.dtype
    if dtype.kind == "O":
        return _pack_objects(pa, values)
    if dtype.kind not in "biufmM" or not dtype.isnative or dtype.itemsize > 8:
        raise CannotKeep(f"the dtype {dtype}", hint=_dtype_cure(dtype))
    if dtype.metadata:
        raise CannotKeep(
            f"the dtype {dtype} with metadata", hint="column.to_numpy().view(column.dtype.str)"
        )
    # Without from_pandas a NaN stays a NaN, and the buffer is taken as it is.
    return pa.array(sys.modules["numpy"].ascontiguousarray(values)), {"numpy": dtype.str}


def _pack_objects(pa: Any, values: Any) -> tuple[Any, Any]:
    """An object column as Arrow texts, or with a cell of JSON for each value.

    Texts it must be, with one sort of gap (None or NaN), to be Arrow texts.
    """
    kinds = set(map(type, values))
    text = pa.large_string()
    try:
        if kinds <= {str, type(None)}:
            return pa.array(values, type=text), {"objects": "text"}
        if kinds == {str, float} and all(
            math.isnan(each) for each in values if type(each) is float
        ):
            return pa.array(values, type=text, from_pandas=True), {"objects": "text or nan"}
    except UnicodeEncodeError:
        # Lone surrogates are not Arrow text.
        pass
    cells = [cell_bytes(each) for each in values]
    return pa.array(cells, type=pa.large_binary()), {"objects": "cells"}


def _pack_extension(pa: Any, pandas: Any, values: Any) -> tuple[Any, Any]:
    dtype = values.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        labels, spec = pack(pa, dtype.categories)
        codes = values.codes
        array = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), labels)
        spec = {"categories": spec, "ordered": bool(dtype.ordered)}
        if dtype.categories.name is not None:
            spec["name"] = json.loads(cell_bytes(dtype.categories.name))
        if freq_of(pandas, dtype.categories) is not None:
            spec["freq"] = dtype.categories.freqstr
        if type(dtype.categories) is pandas.RangeIndex:
            spec["range"] = True
        return array, spec
    if isinstance(dtype, pandas.DatetimeTZDtype):
        array = pa.array(sys.modules["numpy"].asarray(values.tz_convert(None)))
        spec = {"unit": dtype.unit, "zone": zone_spec(dtype.tz)}
        return array.cast(pa.timestamp(dtype.unit, "UTC")), spec
    if isinstance(dtype, pandas.StringDtype):
        missing = "nan" if dtype.na_value is not pandas.NA else "NA"
        array = pa.array(values, from_pandas=True)
        return one(pa, array).cast(pa.large_string()), {"storage": dtype.storage, "na": missing}
    if isinstance(dtype, pandas.ArrowDtype):
        return pa.array(values), {"arrow": True}
    if type(dtype).__module__.partition(".")[0] != "pandas":
        raise CannotKeep(f"the dtype {dtype}", hint="astype(str)")
    if dtype.name in _FLOATS:
        # Not by pandas, for which a NaN next to NA may be one more NA.
        numbers, gaps = _floats(values)
        return pa.array(numbers, mask=gaps), {"nullable": dtype.name}
    if dtype.name in _NULLABLE:
        return pa.array(values), {"nullable": dtype.name}
    if isinstance(dtype, pandas.PeriodDtype):
        return pa.array(values.asi8, mask=values.isna()), {"period": period_freq(dtype)}
    if isinstance(dtype, pandas.IntervalDtype):
        (left, first), (right, last) = pack(pa, values.left), pack(pa, values.right)
        array = pa.StructArray.from_arrays([left, right], names=["left", "right"])
        return array, {"interval": [first, last], "closed": dtype.closed}
    raise CannotKeep(f"the dtype {dtype}", hint=_dtype_cure(dtype))


def _dtype_cure(dtype: Any) -> str:
    """The cure of a column of a dtype that is not kept."""
    if getattr(dtype, "kind", "") == "c":
        return "two columns: numpy.real(column) and numpy.imag(column)"
    if "Sparse" in type(dtype).__name__:
        return "column.sparse.to_dense()"
    if getattr(dtype, "kind", "") == "f" and dtype.isnative:
        return 'astype("float64")'
    if not getattr(dtype, "isnative", True):
        return f'astype("{dtype.newbyteorder("=")}")'
    return "astype(str)"


def freq_of(pandas: Any, axis: Any) -> Any:
    """The frequency of an index that need not have one, None for all others."""
    if isinstance(axis, (pandas.DatetimeIndex, pandas.TimedeltaIndex)):
        return axis.freq
    return None


def unpack(pandas: Any, array: Any, spec: Any) -> Any:
    """The numpy or pandas array of an Arrow array.

    Raises KeyError, TypeError, ValueError or ArrowException for a spec that does not fit it.
    """
    if "numpy" in spec:
        found = array.to_numpy(zero_copy_only=False)
        if found.dtype.str != spec["numpy"]:
            raise ValueError(f"a column is {found.dtype}, not {spec['numpy']!r:.80}")
        return found
    if "objects" in spec:
        return _unpack_objects(array, spec["objects"])
    if "categories" in spec:
        labels = index(pandas, unpack(pandas, array.dictionary, spec["categories"]))
        if "freq" in spec:
            labels.freq = spec["freq"]
        if "range" in spec:
            labels = _as_range(pandas, labels)
        if "name" in spec:
            labels = labels.rename(term_value(spec["name"]))
        codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return pandas.Categorical.from_codes(codes, labels, ordered=spec["ordered"])
    if "unit" in spec:
        dtype = pandas.DatetimeTZDtype(spec["unit"], zone_of(spec["zone"]))
        naive = array.to_numpy(zero_copy_only=False)
        return pandas.DatetimeIndex(naive).tz_localize("UTC").tz_convert(dtype.tz).array
    if "period" in spec:
        found = array.fill_null(_NOT_A_TIME).to_numpy(zero_copy_only=False)
        return pandas.arrays.PeriodArray(found, dtype=pandas.PeriodDtype(spec["period"]))
    if "interval" in spec:
        ends = [
            index(pandas, unpack(pandas, array.field(at), spec["interval"][at])) for at in (0, 1)
        ]
        return pandas.arrays.IntervalArray.from_arrays(*ends, closed=spec["closed"])
    if spec.get("nullable") in _FLOATS:
        gaps = array.is_null().to_numpy(zero_copy_only=False)
        numbers = array.fill_null(0).to_numpy(zero_copy_only=False)
        return pandas.arrays.FloatingArray(numbers, gaps)
    if "storage" in spec:
        dtype = _string_dtype(pandas, spec)
    elif "nullable" in spec and spec["nullable"] in _NULLABLE:
        dtype = pandas.api.types.pandas_dtype(spec["nullable"])
    elif "arrow" in spec:
        dtype = pandas.ArrowDtype(array.type)
    else:
        raise ValueError(f"no dtype: {spec!r:.80}")
    return dtype.__from_arrow__(array)


def _unpack_objects(array: Any, how: Any) -> Any:
    numpy = needed("numpy")
    if how == "cells":
        found = numpy.empty(len(array), dtype=object)
        # One by one: numpy would make dimensions of a list of lists.
        for at, cell in enumerate(array.to_pylist()):
            found[at] = cell_value(cell)
        return found
    if how not in ("text", "text or nan"):
        raise ValueError(f"no sort of objects: {how!r:.80}")
    found = array.to_numpy(zero_copy_only=False).astype(object)
    if how == "text or nan":
        found[array.is_null().to_numpy(zero_copy_only=False)] = math.nan
    return found


def _as_range(pandas: Any, labels: Any) -> Any:
    first, step = (labels[0], labels[1] - labels[0]) if len(labels) > 1 else (sum(labels), 1)
    found = pandas.RangeIndex(first, first + step * len(labels), step)
    if not found.equals(labels):
        raise ValueError("no range")
    return found


def _string_dtype(pandas: Any, spec: Any) -> Any:
    missing = {"nan": math.nan, "NA": pandas.NA}[spec["na"]]
    if spec["storage"] not in ("python", "pyarrow"):
        raise ValueError(f"no storage of texts: {spec['storage']!r:.80}")
    if missing is pandas.NA:
        return pandas.StringDtype(spec["storage"])
    try:
        return pandas.StringDtype(spec["storage"], na_value=missing)
    except TypeError as error:
        raise SettingsError(
            "the value holds texts of pandas 3, which this pandas does not know",
            hint="pip install --upgrade pandas",
        ) from error


def series(pandas: Any, values: Any, labels: Any) -> Any:
    """A Series of exactly this dtype: pandas 3 would guess texts in objects."""
    return pandas.Series(values, index=labels, dtype=values.dtype, copy=False)


def index(pandas: Any, values: Any) -> Any:
    """An Index of exactly this dtype."""
    return pandas.Index(values, dtype=values.dtype, copy=True)


def one(pa: Any, array: Any) -> Any:
    """An Arrow column as a single array."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    whole = array.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        raise CannotKeep(
            "one column has more than Arrow keeps in a single array",
            hint="a table of each half of the rows",
        )
    return whole
