"""numpy's arrays and scalars in the .npy format (NEP 1), never pickled."""

from __future__ import annotations

import ast
import base64
import io
import math
import sys
from pathlib import Path
from typing import Any, BinaryIO

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.link import Link
from bundlerun.bundles.value.kind import CannotKeep, Decoder, Encoder, Kind, malformed
from bundlerun.bundles.value.nodes import link_bytes, only
from bundlerun.bundles.value.scalars import base64_bytes
from bundlerun.errors import IntegrityError, SettingsError
from bundlerun.registry import needed

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 20
_SHOWN = 200
"""Characters shown of a scalar."""

_ANOTHER = "value.astype(value.dtype.descr), or value.tolist()"
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, SyntaxError, OverflowError)


def is_array(value: object) -> bool:
    """Whether ``value`` is exactly a numpy array: no matrix, masked or record array."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray


def is_scalar(value: object) -> bool:
    """Whether ``value`` is one of numpy's own scalars."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return False
    kind = type(value)
    return kind.__module__ == "numpy" and not issubclass(kind, numpy.object_)


def write(array: Any, file: BinaryIO) -> None:
    """Write the array as .npy.

    Raises CannotKeep for Python objects and dtypes without a name.
    """
    numpy = sys.modules["numpy"]
    check_dtype(array.dtype)
    about = numpy.lib.format.header_data_from_array_1_0(array)
    file.write(_header_bytes(repr(about)))
    if array.dtype.names is not None:
        array = _without_padding(numpy, array)
    flat = (array.T if about["fortran_order"] else array).reshape(-1)
    if flat.nbytes:
        raw = numpy.ascontiguousarray(flat).view("u1")
        file.write(_extended(numpy, raw).data if _is_extended(numpy, array.dtype) else raw.data)


def _is_extended(numpy: Any, dtype: Any) -> bool:
    """Whether numbers of ``dtype`` are x87's, 80 bits in 16 bytes.

    The last 6 bytes of each may be anything.
    """
    if dtype.char not in "gG":
        return False
    return bool(numpy.finfo(numpy.longdouble).nmant == 63 and dtype.itemsize % 16 == 0)


def _extended(numpy: Any, raw: Any) -> Any:
    """A copy of the bytes of x87 numbers with zeros for their padding."""
    copy = raw.copy()
    copy.reshape(-1, 16)[:, 10:] = 0
    return copy


def _header_bytes(text: str) -> bytes:
    """The .npy header: magic, version, length and ``text``, padded to 64 bytes.

    Version 1.0 where Latin-1 and 16 bits of length are enough, else 3.0.
    """
    try:
        data, version, width = text.encode("latin-1"), b"\x01\x00", 2
    except UnicodeEncodeError:
        data, version, width = text.encode(), b"\x03\x00", 4
    if len(data) > 60_000:
        data, version, width = text.encode(), b"\x03\x00", 4
    length = -(-(8 + width + len(data) + 1) // 64) * 64 - 8 - width
    return _MAGIC + version + length.to_bytes(width, "little") + data.ljust(length - 1) + b"\n"


def _without_padding(numpy: Any, array: Any) -> Any:
    """A copy of records with zeros between their fields, where memory had anything."""
    raw = numpy.zeros(array.size * array.dtype.itemsize, "u1")
    if not raw.size:
        return array
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    copy = numpy.ndarray(array.shape, array.dtype, raw, order=order)
    _fill(copy, array)
    return copy


def _fill(target: Any, given: Any) -> None:
    if given.dtype.names is None:
        target[...] = given
        return
    for name in given.dtype.names:
        _fill(target[name], given[name])


def check_dtype(dtype: Any) -> None:
    """Refuse a dtype that .npy does not bring back as it was.

    Raises CannotKeep.
    """
    layout = sys.modules["numpy"].lib.format
    if dtype.hasobject:
        raise CannotKeep(
            f"an array of Python objects (dtype {dtype})",
            hint="value.tolist(), or value.astype(str)",
        )
    if _has_metadata(dtype):
        raise CannotKeep(
            f"an array whose dtype {dtype!s:.80} has metadata",
            hint="value.view(value.dtype.str), and the metadata as an entry of its own",
        )
    try:
        back = layout.descr_to_dtype(layout.dtype_to_descr(dtype))
    except _MALFORMED as error:
        raise CannotKeep(f"an array of dtype {dtype!r:.80}", hint=_ANOTHER) from error
    if back != dtype or back.fields != dtype.fields or back.type is not dtype.type:
        # numpy.record is a type of its own; to numpy the dtypes are equal.
        raise CannotKeep(f"an array of dtype {dtype!r:.80}", hint=_ANOTHER)


def _has_metadata(dtype: Any) -> bool:
    if dtype.subdtype is not None:
        return bool(dtype.metadata) or _has_metadata(dtype.subdtype[0])
    fields = dtype.fields or {}
    return bool(dtype.metadata) or any(_has_metadata(inner) for inner, *_ in fields.values())


def read(data: bytes | memoryview | Path) -> Any:
    """The array in ``data``, writable.

    That of a file is mapped, and writing to it leaves the file alone. Raises IntegrityError, before
    anything of the said size is made.
    """
    numpy = needed("numpy")
    if isinstance(data, Path):
        with open(data, "rb") as file:
            head = file.read(_MAX_HEADER)
        size = data.stat().st_size
    else:
        head, size = bytes(data[:_MAX_HEADER]), len(data)
    start, dtype, shape, order = _header(numpy, head)
    if start + math.prod(shape) * dtype.itemsize != size:
        raise IntegrityError(f"an array does not have the bytes of its shape {shape!r:.80}")
    try:
        if isinstance(data, Path) and size > start:
            mapped = numpy.memmap(data, dtype, "c", start, shape, order)
            return mapped.view(numpy.ndarray)
        buffer = bytearray(b"" if isinstance(data, Path) else data[start:])
        return numpy.ndarray(shape, dtype, buffer if buffer else None, order=order)
    except _MALFORMED as error:
        raise IntegrityError(f"an array is malformed: {error!s:.120}") from error


def _header(numpy: Any, head: bytes) -> tuple[int, Any, tuple[int, ...], str]:
    """The start of the data, dtype, shape and order, by NEP 1 and its version 3.0."""
    width = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(head[6:8])
    if head[:6] != _MAGIC or width is None:
        raise IntegrityError("an array is not a .npy file")
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if start > len(head):
        raise IntegrityError("an array's header is cut off or too long")
    coding = "utf-8" if head[6] == 3 else "latin-1"
    try:
        found = ast.literal_eval(head[8 + width : start].decode(coding).strip())
        descr, fortran, shape = found["descr"], found["fortran_order"], found["shape"]
        dtype = numpy.lib.format.descr_to_dtype(descr)
    except (*_MALFORMED, RecursionError, MemoryError) as error:
        raise IntegrityError(f"an array's header is malformed: {error!s:.120}") from error
    whole = type(shape) is tuple and all(type(each) is int and each >= 0 for each in shape)
    if not whole or type(fortran) is not bool or dtype.hasobject:
        raise IntegrityError("an array's header is malformed")
    return start, dtype, shape, "F" if fortran else "C"


def scalar_base64(value: Any) -> bytes:
    """A numpy scalar as base64 of .npy without dimensions.

    Raises CannotKeep.
    """
    array = sys.modules["numpy"].asarray(value)
    file = io.BytesIO()
    write(array, file)
    back = array[()]
    # numpy drops NULs at the end of texts.
    if type(back) is not type(value) or (array.dtype.kind in "US" and back != value):
        raise CannotKeep(f"the numpy scalar {value!r:.80}", hint="value.item()")
    return base64.b64encode(file.getvalue())


def scalar_of(found: Any) -> Any:
    """The inverse of ``scalar_base64``.

    Raises IntegrityError.
    """
    array = read(base64_bytes(found))
    if array.shape != ():
        raise IntegrityError("a numpy scalar has dimensions")
    return array[()]


def _write_scalar(value: Any) -> bytes:
    return b'{"scalar":"%s"}' % scalar_base64(value)


def _encode_scalar(value: Any, encoder: Encoder) -> bytes:
    if isinstance(value, str):
        encoder.check_text(str(value))
    return _write_scalar(value)


def _read_scalar(term: dict[str, Any]) -> Any:
    return scalar_of(only(term, "scalar")["scalar"])


def _outline_scalar(term: dict[str, Any]) -> dict[str, Any]:
    try:
        value = _read_scalar(term)
    except SettingsError:
        return {"type": "numpy scalar", "value": "(numpy is not installed)"}
    return {"type": f"numpy.{type(value).__name__}", "value": str(value)[:_SHOWN]}


SCALAR = Kind(
    tags=("scalar",),
    is_of=is_scalar,
    write=_write_scalar,
    encode=_encode_scalar,
    read=_read_scalar,
    outline=_outline_scalar,
)


def _encode(value: Any, encoder: Encoder) -> bytes:
    encoder.check_array(value)
    link = encoder.written(lambda file: write(value, file), value.nbytes)
    about = canonical_json([value.dtype.str, list(value.shape)])
    return b'{"array":%s,"about":%s}' % (link_bytes(link), about)


def _decode(term: dict[str, Any], decoder: Decoder) -> Any:
    return read(decoder.held(Link.from_json(only(term, "array", "about")["array"])))


def _outline(term: dict[str, Any]) -> dict[str, Any]:
    about = only(term, "array", "about")["about"]
    if type(about) is not list or [type(each) for each in about] != [str, list]:
        raise malformed(about)
    dtype, shape = about
    size = Link.from_json(term["array"]).size
    return {"type": "array", "dtype": dtype, "shape": shape, "size": size}


ARRAY = Kind(
    tags=("array",),
    is_of=is_array,
    encode=_encode,
    decode=_decode,
    links=lambda term: (Link.from_json(term["array"]),),
    outline=_outline,
)
