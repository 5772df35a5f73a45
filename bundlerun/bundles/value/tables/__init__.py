"""Tables as uncompressed Arrow IPC files, mapped and not read on the way out.

pandas' and polars' frames become Arrow columns in ``pandas`` and ``polars``; what Arrow does not
know of them (index, labels, dtypes) is JSON in the schema's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.link import Link
from bundlerun.bundles.value.kind import CannotKeep, Decoder, Encoder, Kind, malformed
from bundlerun.bundles.value.nodes import link_bytes, only
from bundlerun.bundles.value.tables import arrow, pandas, polars, validity
from bundlerun.bundles.value.tables.texts import Wanted, of_table
from bundlerun.errors import BadPath, BadValue, IntegrityError
from bundlerun.registry import needed

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
"""The errors of reading a foreign description, besides IntegrityError."""

META = b"bundlerun"
"""The key of the schema's metadata under which a frame's own description stands."""

TABLE_KINDS = ("pandas", "polars", "arrow")

TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".json", ".jsonl")


def table_kind(value: object) -> str | None:
    """The library of a table: "pandas", "polars" or "arrow"; None for another value."""
    package = type(value).__module__.partition(".")[0]
    if package == "pandas" and pandas.is_frame(value):
        return "pandas"
    if package == "polars" and polars.is_frame(value):
        return "polars"
    if package == "pyarrow":
        import pyarrow as pa

        return "arrow" if type(value) is pa.Table else None
    return None


def pack(value: Any, kind: str) -> Any:
    """The Arrow table that holds a table of that kind.

    Raises CannotKeep.
    """
    import pyarrow as pa

    if kind == "arrow":
        return _whole(pa, value)
    refusals = _refusals(pa, kind, UnicodeEncodeError)
    try:
        if kind == "pandas":
            table, meta = pandas.pack(pa, value)
        else:
            table, meta = polars.pack(value)
            table = table.combine_chunks()
    except refusals as error:
        raise CannotKeep(
            f"a table that Arrow cannot hold ({error!s:.200})", hint="columns of another dtype"
        ) from error
    return table.replace_schema_metadata({META: json.dumps(meta, separators=(",", ":"))})


def _whole(pa: Any, table: Any) -> Any:
    """The table in one chunk a column, so that equal tables are equal bytes."""
    try:
        names = table.column_names
    except UnicodeDecodeError as error:
        raise CannotKeep(
            f"the name {error.object!r:.80} of a column is not UTF-8",
            hint="table.rename_columns([...])",
        ) from error
    for name, column in zip(names, table.columns, strict=True):
        try:
            column.unify_dictionaries()
        except pa.ArrowException as error:
            raise CannotKeep(
                f"column {name!r:.80}: its chunks do not fit one {column.type} ({error!s:.100})",
                hint="column.cast(column.type.value_type).dictionary_encode()",
            ) from error
    return table.unify_dictionaries().combine_chunks()


def unpack(table: Any, kind: str) -> Any:
    """The inverse of ``pack``.

    Raises IntegrityError, SettingsError when the library is missing.
    """
    if kind == "arrow":
        return table
    import pyarrow as pa

    library = needed(kind)
    refusals = _refusals(pa, kind, *MALFORMED)
    try:
        meta = json.loads((table.schema.metadata or {})[META])
        if kind == "pandas":
            return pandas.unpack(pa, library, table, meta)
        return polars.unpack(library, table, meta)
    except refusals as error:
        raise IntegrityError(f"a {kind} table is malformed: {error!r:.200}") from error


def _refusals(pa: Any, kind: str, *more: type[BaseException]) -> tuple[type[BaseException], ...]:
    """The exceptions of the libraries for what they cannot do.

    polars' panics are not Exceptions.
    """
    if kind != "polars":
        return (pa.ArrowException, *more)
    polars = needed("polars").exceptions
    return (pa.ArrowException, polars.PolarsError, polars.PanicException, *more)


def write(table: Any, file: BinaryIO) -> None:
    """Write an Arrow table as an IPC file.

    Raises CannotKeep.
    """
    import pyarrow as pa

    arrow.write(pa, table, file)


def read(data: Any) -> Any:
    """The Arrow table of an IPC file: a path (then it is mapped) or a buffer.

    Raises IntegrityError for anything that ``write`` does not write.
    """
    import pyarrow as pa

    return arrow.read(pa, arrow.buffer_of(pa, data))


def check_written(table: Any, kind: str, data: Any) -> None:
    """Read back what ``write`` wrote of ``table``, before anybody keeps it.

    ``data`` is a path or a buffer. Raises CannotKeep for a table that could never be read, naming
    the column, the row and what mends it: Arrow writes columns that it calls invalid.
    """
    import pyarrow as pa

    names = [f"column {name!r:.80}" for name in table.column_names]
    if kind == "pandas":
        names = [pandas.place_of(name) for name in table.column_names]
    validity.check_written(pa, table, names, arrow.buffer_of(pa, data))


def may_be_table(data: bytes | memoryview) -> bool:
    """Whether bytes begin as those of a table do; a File may hold such ones too."""
    return bytes(data[: len(arrow.MAGIC)]) == arrow.MAGIC


def unreadable(data: Any) -> str | None:
    """The reason why the table in an IPC file cannot be read; None where it can.

    ``data`` is a path or a buffer.
    """
    try:
        read(data)
    except IntegrityError as error:
        return error.message
    return None


def columns(data: Any) -> list[tuple[str, str]]:
    """The names and types of the columns of an IPC file; no column is read.

    ``data`` is a path or a buffer. Raises IntegrityError.
    """
    import pyarrow as pa

    return arrow.columns(pa, arrow.buffer_of(pa, data))


def texts(table: Any, wanted: Wanted) -> Iterator[tuple[str, str]]:
    """The place of each of the wanted texts of a packed table, and the text."""
    import pyarrow as pa
    import pyarrow.compute

    return of_table(pa, table, wanted)


def _encode(value: Any, encoder: Encoder) -> bytes:
    kind = table_kind(value)
    assert kind is not None
    packed = pack(value, kind)

    def check(data: Any) -> None:
        check_written(packed, kind, data)
        encoder.check_table(packed)

    # Not nbytes: an older pyarrow raises for columns of views.
    size = packed.get_total_buffer_size()
    link = encoder.written(lambda file: write(packed, file), size, check)
    shape = [*value.shape, 1][:2]
    about = canonical_json(shape)
    return b'{"table":%s,"as":"%s","about":%s}' % (link_bytes(link), kind.encode(), about)


def _decode(term: dict[str, Any], decoder: Decoder) -> Any:
    kind = only(term, "table", "as", "about")["as"]
    if kind not in TABLE_KINDS:
        raise IntegrityError(f"a table of the unknown kind {kind!r:.80}")
    return unpack(read(decoder.held(Link.from_json(term["table"]))), kind)


def _outline(term: dict[str, Any]) -> dict[str, Any]:
    about = only(term, "table", "as", "about")["about"]
    if type(about) is not list or [type(each) for each in about] != [int, int]:
        raise malformed(about)
    rows, columns = about
    size = Link.from_json(term["table"]).size
    return {"type": "table", "as": term["as"], "rows": rows, "columns": columns, "size": size}


TABLE = Kind(
    tags=("table",),
    is_of=lambda value: table_kind(value) is not None,
    encode=_encode,
    decode=_decode,
    links=lambda term: (Link.from_json(term["table"]),),
    outline=_outline,
    is_table=True,
)


def read_table(path: Path) -> Any:
    """The Arrow table in a CSV, TSV (also ``.gz``), Parquet, JSON or JSON-lines file.

    ``.json`` is a list of objects or JSON lines. Raises BadPath when the file is not there or of
    another suffix, BadValue when it does not parse.
    """
    import pyarrow as pa

    name = path.name.lower()
    if not name.endswith(TABLE_SUFFIXES):
        raise BadPath(
            f"{str(path)!r} does not have the suffix of a table; there are: "
            f"{', '.join(TABLE_SUFFIXES)}",
            hint="without --as table, to add it as a file",
        )
    if not path.is_file():
        raise BadPath(f"there is no file {str(path)!r}", hint=f"ls {str(path.parent)!r}")
    try:
        return _parsed(path, name)
    except (pa.ArrowException, ValueError, EOFError) as error:
        raise BadValue(
            f"{str(path)!r} cannot be read as a table: {error!s:.300}",
            hint="without --as table, to add it as a file",
        ) from error
    except OSError as error:
        if error.errno is None:
            # Arrow's own: the file can be read, but not unpacked.
            raise BadValue(
                f"{str(path)!r} cannot be read as a table: {error!s:.300}",
                hint="without --as table, to add it as a file",
            ) from error
        raise BadPath(
            f"{str(path)!r} cannot be read: {error.strerror or error!s:.300}",
            hint=f"ls -l {str(path)!r}",
        ) from error


def _parsed(path: Path, name: str) -> Any:
    if name.endswith(".parquet"):
        from pyarrow import parquet

        return parquet.ParquetFile(path).read()
    if name.endswith((".json", ".jsonl")):
        return _json_table(path)
    from pyarrow import csv

    delimiter = "\t" if ".tsv" in name[-7:] else ","
    # Arrow unpacks by the suffix ".gz", in lower case.
    with path.open("rb") as file:
        import pyarrow as pa

        stream = pa.CompressedInputStream(file, "gzip") if name.endswith(".gz") else file
        return csv.read_csv(stream, parse_options=csv.ParseOptions(delimiter=delimiter))


def _json_table(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import json as arrow_json

    with path.open("rb") as file:
        listed = file.read(4096).lstrip()[:1] == b"["
    if not listed:
        return arrow_json.read_json(str(path))
    rows = json.loads(path.read_bytes())
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a JSON table is a list of objects")
    return pa.Table.from_pylist(rows)
