"""Tables that Arrow itself calls invalid: the column, the row, and the cure.

Arrow builds and writes such columns without a word (Latin-1 in a text column of an old Parquet
file, a date64 with a time of day), and refuses to read them. ``pa`` is the module pyarrow, which
``tables`` alone imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.bundles.value.tables import arrow
from bundlerun.errors import IntegrityError

_TOLD = 8
"""Columns that a refusal names."""

_LATIN_1 = '[v and v.decode("latin-1") for v in column.cast("binary").to_pylist()]'

_ANEW = "read the table again from its source"


def check_written(pa: Any, table: Any, names: Sequence[str], buffer: Any) -> None:
    """Read back the IPC file in ``buffer``, without a copy, as later readers will.

    ``names`` are how the columns of ``table`` are called in messages. Raises CannotKeep for a table
    that cannot be read back.
    """
    try:
        back = arrow.read(pa, buffer)
    except IntegrityError as error:
        raise refusal(pa, table, names, error.message) from error
    if not back.schema.equals(table.schema, check_metadata=True) or (
        back.num_rows != table.num_rows
    ):
        raise CannotKeep("a table that Arrow does not read back as it was written", hint=_ANEW)


def refusal(pa: Any, table: Any, names: Sequence[str], reason: str) -> CannotKeep:
    """The refusal of a ``table`` that cannot be read back: bad column, row, cure."""
    bad = [at for at, column in enumerate(table.columns) if _fault(pa, column) is not None]
    if not bad:
        return CannotKeep(f"a table that Arrow cannot read back ({reason})", hint=_ANEW)
    first = bad[0]
    column = table.column(first)
    row = _row(column)
    place = names[first] if row is None else f"{names[first]}, row {row}"
    others = ", ".join(names[at] for at in bad[1:_TOLD])
    more = f"; {len(bad) - 1} more columns are like this: {others}" if bad[1:] else ""
    fault = _fault(pa, column) or reason
    told = f"{place}: it is not valid {column.type} ({fault:.160}){more}"
    return CannotKeep(told, hint=cure(pa, column.type, fault))


def _fault(pa: Any, column: Any) -> str | None:
    """The reason why a column cannot be kept, None where it can."""
    try:
        column.validate(full=True)
        arrow.read(pa, pa.py_buffer(arrow.to_bytes(pa, pa.table({"column": column}))))
    except (pa.ArrowException, CannotKeep, IntegrityError) as error:
        return str(error).rpartition("Invalid: ")[2]
    return None


def _is_valid(some: Any) -> bool:
    try:
        some.validate(full=True)
    except ValueError:  # ArrowInvalid
        return False
    return True


def _row(column: Any) -> int | None:
    """The first invalid row; None where Arrow finds fault with the column as a whole."""
    if _is_valid(column) or not _is_valid(column.slice(0, 0)):
        return None
    start, count = 0, len(column)
    while count > 1:
        half = count // 2
        if _is_valid(column.slice(start, half)):
            start, count = start + half, count - half
        else:
            count = half
    return start


def cure(pa: Any, kind: Any, fault: str) -> str:
    """The cure of a column of the type ``kind`` in which Arrow finds ``fault``."""
    types = pa.types
    if "UTF8" in fault:
        return f"{_LATIN_1}, where it is latin-1"
    if types.is_dictionary(kind):
        return "column.dictionary_decode()"
    if types.is_date64(kind):
        return 'column.cast("timestamp[ms]")'
    if types.is_time32(kind) or types.is_time64(kind):
        number = "int32" if types.is_time32(kind) else "int64"
        return f'column.cast("{number}").cast("int64").cast("duration[{kind.unit}]")'
    if types.is_decimal(kind):
        return f"column.cast(pa.decimal128(38, {kind.scale}))"
    return _ANEW
