"""The cures of values that a bundle does not keep: what to return instead.

Rows go by the package and the name of a class, so that no library is imported to ask.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

FILE = "and bundlerun.File of that path"

_JOBLIB = f'joblib.dump(value, self.scratch / "value.joblib"), {FILE}'

_LIST, _DICT, _TEXT = "list(value)", "dict(value)", "str(value)"

_CURES = {
    # Python's own, subclasses of what is kept among them.
    "builtins.set": "a list: sorted(value)",
    "builtins.frozenset": "a list: sorted(value)",
    "builtins.bytearray": "bytes(value)",
    "builtins.memoryview": "bytes(value)",
    "builtins.complex": "[value.real, value.imag], or numpy.complex128(value)",
    **dict.fromkeys(
        (
            *("builtins.range", "builtins.generator", "builtins.map", "builtins.filter"),
            *("builtins.zip", "builtins.enumerate", "builtins.reversed", "builtins.dict_keys"),
            *("builtins.dict_values", "builtins.dict_items", "builtins.list", "collections.deque"),
            *("collections.UserList", "itertools.chain", "itertools.count", "itertools.islice"),
        ),
        _LIST,
    ),
    "builtins.tuple": "tuple(value)",
    "builtins.dict": _DICT,
    "builtins.mappingproxy": _DICT,
    "collections.OrderedDict": _DICT,
    "collections.defaultdict": _DICT,
    "collections.Counter": "collections.Counter(value)",
    "collections.ChainMap": _DICT,
    "collections.UserDict": _DICT,
    "collections.UserString": _TEXT,
    "builtins.str": _TEXT,
    "builtins.bytes": "bytes(value)",
    "builtins.int": "int(value)",
    "builtins.float": "float(value)",
    "builtins.function": "value.__qualname__, the name of the function",
    "builtins.builtin_function_or_method": "value.__qualname__, the name of the function",
    "builtins.method": "value.__qualname__, the name of the method",
    "builtins.module": "value.__name__",
    "builtins.type": "value.__qualname__, the name of the class",
    "builtins.BaseException": _TEXT,
    "builtins.ellipsis": "None",
    "array.array": "numpy.array(value)",
    "datetime.datetime": "datetime.datetime.fromisoformat(value.isoformat())",
    "datetime.date": "datetime.date(value.year, value.month, value.day)",
    "datetime.timedelta": "datetime.timedelta(seconds=value.total_seconds())",
    "datetime.timezone": _TEXT,
    "datetime.tzinfo": _TEXT,
    "zoneinfo.ZoneInfo": "value.key",
    "decimal.Decimal": "decimal.Decimal(value)",
    "fractions.Fraction": "[value.numerator, value.denominator]",
    "_io.StringIO": "value.getvalue()",
    "_io.BytesIO": "value.getvalue()",
    "_io._IOBase": "bundlerun.File(value.name)",
    "ipaddress._IPAddressBase": _TEXT,
    "pathlib.Path": "bundlerun.File(value) or bundlerun.Directory(value)",
    "pathlib.PurePath": _TEXT,
    "re.Pattern": "value.pattern",
    "re.Match": "value.group()",
    "types.SimpleNamespace": "vars(value)",
    "logging.Logger": "value.name",
    "_thread.lock": "the value without its lock",
    "_thread.RLock": "the value without its lock",
    "argparse.Namespace": "vars(value)",
    "uuid.UUID": _TEXT,
    # Libraries.
    "luigi.LocalTarget": "bundlerun.File(value.path)",
    "luigi.Target": "bundlerun.File of a local copy",
    "numpy.MaskedArray": "value.filled(), with numpy.ma.getmaskarray(value) as an entry of its own",
    "numpy.recarray": "numpy.array(value.tolist(), dtype=value.dtype.descr)",
    "numpy.record": "value.tolist()",
    "numpy.ndarray": "numpy.asarray(value)",
    "numpy.dtype": "value.str",
    "numpy.generic": "value.item()",
    "pandas.Timestamp": "value.to_pydatetime()",
    "pandas.Timedelta": "value.to_pytimedelta()",
    "pandas.Period": "[str(value), value.freqstr]",
    "pandas.Interval": "[value.left, value.right, value.closed]",
    "pandas.NAType": "None",
    "pandas.NaTType": "None",
    "pandas.Index": "value.to_frame(index=False)",
    "pandas.ExtensionArray": "pandas.Series(value)",
    "pandas.ExtensionDtype": _TEXT,
    "pandas.BaseOffset": "value.freqstr",
    "pandas.DataFrame": "pandas.DataFrame(value)",
    "pandas.Series": "pandas.Series(value)",
    "pandas.GroupBy": "an aggregation of it, such as value.sum()",
    "polars.LazyFrame": "value.collect()",
    "polars.DataFrame": "polars.DataFrame(value)",
    "polars.Series": "polars.Series(value)",
    "polars.DataType": _TEXT,
    "polars.DataTypeClass": _TEXT,
    "polars.Expr": "the frame that it is used on",
    "pyarrow.RecordBatch": "pyarrow.Table.from_batches([value])",
    "pyarrow.Array": 'pyarrow.table({"values": value})',
    "pyarrow.ChunkedArray": 'pyarrow.table({"values": value})',
    "pyarrow.Scalar": "value.as_py()",
    "pyarrow.Schema": _TEXT,
    "pyarrow.DataType": _TEXT,
    "pyarrow.Dataset": "value.to_table()",
    "pyarrow.RecordBatchReader": "value.read_all()",
    "scipy._spbase": f'scipy.sparse.save_npz(self.scratch / "value.npz", value), {FILE}',
    "scipy.spmatrix": f'scipy.sparse.save_npz(self.scratch / "value.npz", value), {FILE}',
    "torch.Tensor": "value.detach().cpu().numpy()",
    "torch.Module": f'torch.save(value.state_dict(), self.scratch / "value.pt"), {FILE}',
    "tensorflow.Tensor": "value.numpy()",
    "PIL.Image": f'value.save(self.scratch / "value.png"), {FILE}',
    "matplotlib.Figure": f'value.savefig(self.scratch / "value.png"), {FILE}',
    "xarray.Dataset": f'value.to_netcdf(self.scratch / "value.nc"), {FILE}',
    "xarray.DataArray": f'value.to_netcdf(self.scratch / "value.nc"), {FILE}',
}


def cure(value: Any) -> str:
    """The expression to return in the place of ``value``.

    For a fitted model or anything else that is not known here, it is a file that joblib writes.
    """
    kind = type(value)
    if isinstance(value, enum.Enum):
        return "value.value"
    if isinstance(value, type) and kind.__module__.partition(".")[0] != "polars":
        return _CURES["builtins.type"]
    if isinstance(value, tuple) and hasattr(kind, "_asdict"):
        return "value._asdict()"
    if dataclasses.is_dataclass(kind):
        return "dataclasses.asdict(value)"
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        found = _CURES.get(f"{package}.{base.__name__}")
        if found is not None:
            return found
    return _LIST if hasattr(kind, "__next__") else _JOBLIB


def key_cure(key: Any) -> str:
    """The cure of a dict that has ``key``, which is not a scalar."""
    if isinstance(key, enum.Enum):
        return "the key's .value"
    if type(key).__module__.partition(".")[0] == "numpy" and hasattr(key, "item"):
        return "the key's .item()"
    if isinstance(key, (tuple, frozenset)):
        return "a list of pairs: list(value.items())"
    return "str(key), or a list of pairs: list(value.items())"
