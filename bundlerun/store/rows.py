"""A bundle as the catalog has it: its record, and its place among the versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.record import BundleRecord
from bundlerun.store.contexts import Context

COLUMNS = "b.seq, b.record, b.committed, b.pushed, b.version"


@dataclass(frozen=True)
class Entry:
    """A bundle in a context.

    ``bundle`` has the tags of now. ``seq`` is the order of arrival in this store; ``version`` the
    number on the context's remote, None where it has none; ``pushed`` whether the remote holds the
    record.
    """

    bundle: BundleRecord
    context: str
    seq: int
    committed: bool
    version: int | None
    pushed: bool


def entry_of(context: Context, row: tuple[Any, ...]) -> Entry:
    """The entry of a row of COLUMNS."""
    seq, record, committed, pushed, version = row
    bundle = BundleRecord.from_bytes(record)
    return Entry(bundle, context.name, seq, bool(committed), version, bool(pushed))


def entry_at(connection: sqlite3.Connection, context: Context, seq: int) -> Entry:
    """The entry that arrived as ``seq``."""
    row = connection.execute(f"SELECT {COLUMNS} FROM bundles b WHERE b.seq = ?", (seq,)).fetchone()
    return entry_of(context, row)


def insert(
    tx: sqlite3.Connection, context: Context, bundle: BundleRecord, placed: Mapping[str, object]
) -> int:
    """A new row for ``bundle`` and its tags.

    ``placed`` has the columns that the record does not say. Its order of arrival.
    """
    task, request = bundle.lineage.task, bundle.lineage.request
    record = bundle.to_bytes()
    row = {
        "context": context.id,
        "id": bundle.id,
        "name": bundle.name,
        "record": record,
        "record_sha": record_sha(record),
        "task": task and task.digest,
        "request": request and request.digest,
        **placed,
    }
    cursor = tx.execute(
        f"INSERT INTO bundles ({', '.join(row)}) VALUES ({','.join('?' * len(row))})",
        list(row.values()),
    )
    seq = int(cursor.lastrowid or 0)
    # What the record says from the start needs no change of its own on the remote.
    set_tags(tx, context, seq, bundle.tags, sent=True)
    return seq


def write_record(tx: sqlite3.Connection, seq: int, bundle: BundleRecord) -> None:
    """Make ``bundle`` the record of the row ``seq``."""
    record = bundle.to_bytes()
    tx.execute(
        "UPDATE bundles SET record = ?, record_sha = ? WHERE seq = ?",
        (record, record_sha(record), seq),
    )


def record_sha(record: bytes) -> bytes:
    """The digest that proves a record whole."""
    return bytes.fromhex(digest_of(record))


def set_tags(
    tx: sqlite3.Connection, context: Context, seq: int, tags: Mapping[str, str], *, sent: bool
) -> None:
    """Add ``tags`` to the index."""
    tx.executemany(
        "INSERT OR REPLACE INTO tags (bundle, context, key, value, sent) VALUES (?, ?, ?, ?, ?)",
        [(seq, context.id, key, value, sent) for key, value in tags.items()],
    )
