"""Arrow IPC files, written without compression and read with distrust.

A compressed buffer says itself how large it unfolds, so a small hostile file could fill the
memory. Arrow's own reader does not tell beforehand; the flatbuffer of the message does
(Arrow columnar format, "Encapsulated message format"; schema in Message.fbs).
``pa`` is the module pyarrow, which ``tables`` alone imports.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.errors import IntegrityError

MAGIC = b"ARROW1\x00\x00"
_RECORD_BATCH = 3
_DICTIONARY_BATCH = 2
_HEADER_TYPE_SLOT, _HEADER_SLOT = 1, 2
_DICTIONARY_DATA_SLOT = 1
_COMPRESSION_SLOT = 3


def write(pa: Any, table: Any, file: BinaryIO) -> None:
    """Write an Arrow table as an IPC file.

    Raises CannotKeep.
    """
    try:
        options = pa.ipc.IpcWriteOptions(compression=None, unify_dictionaries=True)
        with pa.ipc.new_file(file, table.schema, options=options) as writer:
            if table.num_rows:
                writer.write_table(table)
            else:
                writer.write_batch(_empty_batch(pa, table))
    except pa.ArrowException as error:
        raise CannotKeep(
            f"a table that Arrow cannot write ({error!s:.200})", hint="columns of another type"
        ) from error


def _empty_batch(pa: Any, table: Any) -> Any:
    """A table without rows as a batch: it keeps the dictionaries, which have entries."""
    arrays = [
        column.chunk(0) if column.num_chunks else pa.array([], type=column.type)
        for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def to_bytes(pa: Any, table: Any) -> bytes:
    """An Arrow table as an IPC file in memory.

    Raises CannotKeep.
    """
    file = io.BytesIO()
    write(pa, table, file)
    return file.getvalue()


def buffer_of(pa: Any, data: Any) -> Any:
    """An Arrow buffer of bytes, or of a mapped file by its path, without a copy.

    Raises IntegrityError for an empty file.
    """
    if not isinstance(data, Path):
        return pa.py_buffer(data)
    if data.stat().st_size == 0:
        raise IntegrityError("a table is not an Arrow IPC file")
    return pa.memory_map(str(data)).read_buffer()


def read(pa: Any, buffer: Any) -> Any:
    """The Arrow table in a buffer of an IPC file.

    The footer is not believed: the messages are read in their order, each looked at for
    compression, and all columns are validated. Raises IntegrityError.
    """
    if buffer.size < len(MAGIC) or buffer.slice(0, len(MAGIC)).to_pybytes() != MAGIC:
        raise IntegrityError("a table is not an Arrow IPC file")
    stream = buffer.slice(len(MAGIC))
    try:
        for message in pa.ipc.MessageReader.open_stream(stream):
            if is_compressed(message.metadata.to_pybytes()):
                raise IntegrityError("a table has compressed columns, which bundlerun never writes")
        table = pa.ipc.open_stream(stream).read_all()
        names = table.column_names
    except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise IntegrityError(f"a table is malformed: {error!s:.200}") from error
    for name, column in zip(names, table.columns, strict=True):
        _check(pa, name, column)
    return table


def _check(pa: Any, name: str, column: Any) -> None:
    try:
        column.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        raise IntegrityError(
            f"a table cannot be read, its column {name!r:.80} is not valid {column.type}:"
            f" {error!s:.200}",
            hint="bundlerun fsck",
        ) from error


def columns(pa: Any, buffer: Any) -> list[tuple[str, str]]:
    """The names and types of the columns of an IPC file.

    Raises IntegrityError.
    """
    if buffer.size < len(MAGIC) or buffer.slice(0, len(MAGIC)).to_pybytes() != MAGIC:
        raise IntegrityError("a table is not an Arrow IPC file")
    try:
        schema = pa.ipc.open_stream(buffer.slice(len(MAGIC))).schema
        return [(field.name, str(field.type)) for field in schema]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IntegrityError(f"a table is malformed: {error!s:.200}") from error


def is_compressed(metadata: bytes) -> bool:
    """Whether a message's metadata announce compressed buffers.

    Raises struct.error or IndexError when they are not the flatbuffer of a message.
    """
    (message,) = struct.unpack_from("<I", metadata, 0)
    at = _field(metadata, message, _HEADER_TYPE_SLOT)
    kind = metadata[at] if at is not None else 0
    if kind not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return False
    batch = _table(metadata, message, _HEADER_SLOT)
    if batch is not None and kind == _DICTIONARY_BATCH:
        batch = _table(metadata, batch, _DICTIONARY_DATA_SLOT)
    return batch is not None and _field(metadata, batch, _COMPRESSION_SLOT) is not None


def _field(data: bytes, table: int, slot: int) -> int | None:
    """The place of a table's field, None when it is left out."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    if vtable < 0:
        raise IndexError("a flatbuffer points outside itself")
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * slot + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * slot)
    return table + offset if offset else None


def _table(data: bytes, table: int, slot: int) -> int | None:
    at = _field(data, table, slot)
    return None if at is None else at + int(struct.unpack_from("<I", data, at)[0])
