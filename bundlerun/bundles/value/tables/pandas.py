"""pandas' frames and series as Arrow columns with index and labels, and back.

The Arrow table has the columns in their order, then the levels of the index. The labels of the
columns are an axis like the index, kept as a small Arrow file inside the description.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.bundles.value.scalars import base64_bytes
from bundlerun.bundles.value.tables import arrow, columns, validity
from bundlerun.bundles.value.tables.cells import cell_bytes, term_value
from bundlerun.errors import IntegrityError

_INDEX = "__index_"


def is_frame(value: object) -> bool:
    """Whether ``value`` is exactly a pandas DataFrame or Series."""
    pandas = sys.modules["pandas"]
    return type(value) in (pandas.DataFrame, pandas.Series)


def pack(pa: Any, value: Any) -> tuple[Any, dict[str, Any]]:
    """The Arrow table and the JSON description of a frame or series.

    Raises CannotKeep naming the column or axis, ArrowException for what Arrow cannot hold.
    """
    pandas = sys.modules["pandas"]
    series = type(value) is pandas.Series
    meta: dict[str, Any] = {"unique": not value.flags.allows_duplicate_labels}
    # What stands next to the columns first: pandas copies attrs, and needs labels, for each column.
    with columns.told(pa, "attrs"):
        meta["attrs"] = json.loads(cell_bytes(value.attrs))
    if series:
        with columns.told(pa, "the name"):
            meta["series"] = [json.loads(cell_bytes(value.name))]
    else:
        with columns.told(pa, "the column labels"):
            meta["labels"] = _pack_labels(pa, value.columns)
    arrays, meta["columns"] = [], []
    for at in range(1 if series else value.shape[1]):
        column = value if series else value.iloc[:, at]
        label = value.name if series else value.columns[at]
        with columns.told(pa, f"column {label!r:.80}"):
            array, spec = columns.pack(pa, column)
        arrays.append(array)
        meta["columns"].append(spec)
    names = ["values"] if series else [_text(each, at) for at, each in enumerate(value.columns)]
    with columns.told(pa, "the index"):
        levels, meta["index"] = _pack_axis(pa, value.index)
    arrays += levels
    names += [f"{_INDEX}{at}__" for at in range(len(levels))]
    return pa.Table.from_arrays(arrays, names=names), meta


def _text(label: Any, at: int) -> str:
    """The name of a column in the Arrow file, for other readers.

    This one goes by position.
    """
    if type(label) is str and label.isprintable():
        return label
    return str(label) if type(label) is int else f"column_{at}"


def place_of(name: str) -> str:
    """The place in the frame of a column of the Arrow table, for messages."""
    return "the index" if name.startswith(_INDEX) else f"column {name!r:.80}"


def unpack(pa: Any, pandas: Any, table: Any, meta: Any) -> Any:
    """The frame or series of a table and its description ``meta``.

    Raises IntegrityError, or KeyError, TypeError, ValueError, IndexError, AttributeError for a
    description that nobody wrote here.
    """
    specs = meta["columns"]
    levels = [columns.one(pa, each) for each in table.columns[len(specs) :]]
    index = _unpack_axis(pa, pandas, levels, meta["index"])
    if table.num_columns and len(index) != table.num_rows:
        raise IntegrityError("the rows of a pandas table are not those of its index")
    found = [
        columns.series(pandas, columns.unpack(pandas, columns.one(pa, array), spec), index)
        for array, spec in zip(table.columns[: len(specs)], specs, strict=True)
    ]
    if "series" in meta:
        (value,) = found
        value = value.copy()
        value.name = term_value(meta["series"][0])
    else:
        value = pandas.DataFrame(dict(enumerate(found)), index=index, copy=True)
        labels = _unpack_labels(pa, pandas, meta["labels"])
        if len(labels) != len(found):
            raise IntegrityError("the columns of a pandas table are not those that were written")
        value.columns = labels
    value.attrs = term_value(meta["attrs"])
    return value.set_flags(allows_duplicate_labels=False) if meta["unique"] else value


def _pack_axis(pa: Any, axis: Any) -> tuple[list[Any], dict[str, Any]]:
    """An index as Arrow columns, one a level, and its description.

    Raises CannotKeep.
    """
    pandas = sys.modules["pandas"]
    meta: dict[str, Any] = {"names": [json.loads(cell_bytes(name)) for name in axis.names]}
    if type(axis) is pandas.RangeIndex:
        return [], {"range": [axis.start, axis.stop, axis.step], **meta}
    if type(axis) is pandas.MultiIndex:
        # Levels by themselves: they may be ranges, have a frequency, or labels that no row uses.
        meta["levels"] = [_pack_labels(pa, level) for level in axis.levels]
        arrays = [pa.array(codes) for codes in axis.codes]
    else:
        array, meta["spec"] = columns.pack(pa, axis)
        arrays = [array]
        if columns.freq_of(pandas, axis) is not None:
            meta["freq"] = axis.freqstr
    try:
        back = _unpack_axis(pa, pandas, arrays, meta)
    except (TypeError, ValueError, AttributeError) as error:
        raise CannotKeep(_lost(axis, "does not come back"), hint=_axis_cure(axis)) from error
    if not _same_axis(back, axis):
        raise CannotKeep(_lost(axis, "does not come back equal"), hint=_axis_cure(axis))
    return arrays, meta


def _lost(axis: Any, how: str) -> str:
    freq = getattr(axis, "freq", None)
    return f"a {type(axis).__name__}{f' with the frequency {freq}' if freq else ''} that {how}"


def _axis_cure(axis: Any) -> str:
    return "index.freq = None" if getattr(axis, "freq", None) else "reset_index()"


def _same_axis(a: Any, b: Any) -> bool:
    if type(a) is not type(b) or not a.equals(b):
        return False
    if a.nlevels > 1:
        return all(map(_same_axis, a.levels, b.levels))
    return bool(a.dtype == b.dtype and getattr(a, "freq", None) == getattr(b, "freq", None))


def _unpack_axis(pa: Any, pandas: Any, arrays: list[Any], meta: Any) -> Any:
    names = [term_value(name) for name in meta["names"]]
    if "range" in meta:
        start, stop, step = meta["range"]
        if arrays or any(type(each) is not int for each in (start, stop, step)):
            raise ValueError("no range")
        return pandas.RangeIndex(start, stop, step, name=names[0])
    if "levels" in meta:
        levels = [_unpack_labels(pa, pandas, level) for level in meta["levels"]]
        codes = [array.to_numpy(zero_copy_only=False) for array in arrays]
        # pandas looks whether every code has its label.
        return pandas.MultiIndex(levels=levels, codes=codes, names=names)
    (array,) = arrays
    axis = columns.index(pandas, columns.unpack(pandas, array, meta["spec"]))
    if "freq" in meta:
        axis.freq = meta["freq"]
    return axis.rename(names[0])


def _pack_labels(pa: Any, axis: Any) -> dict[str, Any]:
    arrays, meta = _pack_axis(pa, axis)
    if arrays:
        table = pa.Table.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])
        data = arrow.to_bytes(pa, table)
        names = [f"level {name}" for name in table.column_names]
        validity.check_written(pa, table, names, pa.py_buffer(data))
        meta["arrow"] = base64.b64encode(data).decode()
    return meta


def _unpack_labels(pa: Any, pandas: Any, meta: Any) -> Any:
    arrays: list[Any] = []
    if "arrow" in meta:
        table = arrow.read(pa, pa.py_buffer(base64_bytes(meta["arrow"])))
        arrays = [columns.one(pa, each) for each in table.columns]
    return _unpack_axis(pa, pandas, arrays, meta)
