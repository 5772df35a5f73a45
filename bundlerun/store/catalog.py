"""The records of a context, their order and their tags: one transaction a change."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.record import BundleRecord, checked_tags
from bundlerun.errors import BadValue, BundleNotFound, Conflict, IntegrityError
from bundlerun.store.contexts import BOUND, Context, check_alive
from bundlerun.store.queries import Queries
from bundlerun.store.rows import (
    COLUMNS,
    Entry,
    entry_at,
    entry_of,
    insert,
    set_tags,
    write_record,
)
from bundlerun.store.schema import UNNUMBERED, UNPUSHED
from bundlerun.store.visibility import Visibility

__all__ = ["Catalog", "Entry"]


class Catalog(Queries):
    """The bundles of each context; its questions are in Queries.

    Every change raises ContextNotFound when somebody deleted the context meanwhile.
    """

    def add(self, context: Context, bundle: BundleRecord, *, committed: bool) -> Entry:
        """Add a new bundle of this machine.

        Raises Conflict when its id is there already, BadValue for params that are not valid
        Unicode.
        """
        try:
            bundle.to_bytes()
        except UnicodeEncodeError as error:
            raise BadValue(
                f"a parameter of {bundle.name!r} is not valid Unicode",
                hint="text.encode(errors='replace').decode()",
            ) from error
        with self._database.writing() as tx:
            check_alive(tx, context)
            if _find(tx, context, bundle.id) is not None:
                raise Conflict(
                    f"the context {context.name!r} has a bundle {bundle.id} already",
                    hint=f"bundlerun ls {bundle.name}",
                )
            rank = _next_rank(tx, context, bundle.name) if committed else None
            placed = {"committed": int(committed), "pushed": 0, "rank": rank}
            seq = insert(tx, context, bundle, placed)
            if self._visibility is not None:
                tx.execute(
                    "INSERT INTO inner_bundles (bundle, scope) VALUES (?, ?)",
                    (seq, self._visibility.path),
                )
        return Entry(bundle, context.name, seq, committed, None, False)

    def commit(self, context: Context, ids: Sequence[str]) -> list[Entry]:
        """Commit these bundles, in this order.

        A bundle that is committed already stays as it is. Raises BundleNotFound, and then none is
        committed.
        """
        with self._database.writing() as tx:
            entries = []
            for id in ids:
                entry = self._own(tx, context, id)
                if not entry.committed:
                    rank = _next_rank(tx, context, entry.bundle.name)
                    tx.execute(
                        "UPDATE bundles SET committed = 1, rank = ? WHERE seq = ?",
                        (rank, entry.seq),
                    )
                entries.append(replace(entry, committed=True))
        return entries

    def tag(self, context: Context, id: str, tags: Mapping[str, str]) -> Entry:
        """Add ``tags`` to those of the bundle; they are pending until they are sent.

        Raises BadName, BundleNotFound.
        """
        wanted = checked_tags(tags)
        with self._database.writing() as tx:
            entry = self._own(tx, context, id)
            changed = {k: v for k, v in wanted.items() if entry.bundle.tags.get(k) != v}
            bundle = replace(entry.bundle, tags={**entry.bundle.tags, **changed})
            write_record(tx, entry.seq, bundle)
            set_tags(tx, context, entry.seq, changed, sent=False)
        return replace(entry, bundle=bundle)

    def tags_sent(self, context: Context, id: str, tags: Mapping[str, str] | None = None) -> None:
        """Mark the pending tags as sent.

        Of ``tags``, those that are still as given there.
        """
        known = self.pending_tags(context, id) if tags is None else tags
        with self._database.writing() as tx:
            tx.executemany(
                "UPDATE tags SET sent = 1 WHERE key = ? AND value = ? AND bundle ="
                " (SELECT seq FROM bundles WHERE context = ? AND id = ?)",
                [(key, value, context.id, id) for key, value in known.items()],
            )

    def remove(self, context: Context, ids: Sequence[str]) -> list[Entry]:
        """Forget the bundles here, and give them back.

        Their objects stay until a sweep. Raises BundleNotFound, and then none is forgotten.
        """
        with self._database.writing() as tx:
            entries = [self._own(tx, context, id) for id in dict.fromkeys(ids)]
            tx.executemany("DELETE FROM bundles WHERE seq = ?", [(e.seq,) for e in entries])
        return entries

    def give_up(self, context: Context, ids: Sequence[str]) -> list[Entry]:
        """Remove bundles that the remote gave up too, in one transaction.

        A command that dies before its end leaves them as they were. Raises BundleNotFound, and then
        nothing is changed.
        """
        with self._database.writing():
            entries = self.remove(context, ids)
            for entry in entries:
                if entry.version is not None:
                    self.mark_removed(context, entry.bundle.name, entry.version)
        return entries

    def adopt(
        self,
        context: Context,
        bundle: BundleRecord,
        *,
        version: int | None,
        record: bytes | None = None,
    ) -> Entry:
        """The entry of a bundle of the remote, taken into the catalog.

        ``version`` is its number there, where it has one; ``record`` the bytes of its record there.
        Doing it again changes nothing. An own bundle of this id that was never pushed gives way to
        the remote's. Tags that were set here and not sent stay. Raises IntegrityError when the
        remote's record, or the bundle of that version, is another than it was before.
        """
        with self._database.writing() as tx:
            check_alive(tx, context)
            try:
                digest = None if record is None else digest_of(record)
                seq = self._met(tx, context, bundle, digest)
                if record is not None:
                    _keep_pushed(tx, seq, record)
            except UnicodeEncodeError as error:
                raise IntegrityError(f"the record of {bundle.id} is not valid Unicode") from error
            _place(tx, context, bundle, seq, version)
            return entry_at(tx, context, seq)

    def set_version(
        self,
        context: Context,
        id: str,
        version: int,
        *,
        tags: Mapping[str, str] | None = None,
        record: bytes | None = None,
    ) -> Entry:
        """Note the version number that the bundle has on the remote.

        ``tags``: those that its record there has, ``record`` its bytes. Raises BundleNotFound,
        IntegrityError for a number that was another's.
        """
        with self._database.writing() as tx:
            entry = _get(tx, context, id)
            _place(tx, context, entry.bundle, entry.seq, version)
            if record is not None:
                digest = _keep_pushed(tx, entry.seq, record)
                tx.execute(
                    "UPDATE bundles SET record_digest = ? WHERE seq = ?", (digest, entry.seq)
                )
            if tags is not None:
                self.tags_sent(context, id, tags)
            return entry_at(tx, context, entry.seq)

    def mark_removed(self, context: Context, name: str, version: int) -> None:
        """Mark version ``version`` of ``name`` as removed on the remote for good."""
        with self._database.writing() as tx:
            check_alive(tx, context)
            tx.execute(
                "INSERT OR IGNORE INTO given_up (context, remote, name, version)"
                f" VALUES (?, {BOUND}, ?, ?)",
                (context.id, context.id, name, version),
            )
            tx.execute(
                "UPDATE bundles SET hidden = 1, rank = NULL"
                " WHERE context = ? AND name = ? AND rank = ?",
                (context.id, name, version),
            )
            _see(tx, context, name, version)

    def inner(self, context: Context, visibility: Visibility) -> list[Entry]:
        """The bundles that the pipe with ``visibility`` made itself, in order of arrival."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM bundles b JOIN inner_bundles i ON i.bundle = b.seq"
                " WHERE b.context = ? AND i.scope = ? ORDER BY b.seq",
                (context.id, visibility.path),
            ).fetchall()
        return [entry_of(context, row) for row in rows]

    def keep_inner(self, context: Context, path: str, into: str, *, commit: bool) -> None:
        """Move the bundles made below the scope ``path`` to the scope ``into``.

        Where ``into`` is empty everybody sees them from then on. ``commit`` commits them.
        """
        with self._database.reading() as connection:
            if not _inner_ids(connection, context, path):
                return
        with self._database.writing() as tx:
            if commit:
                self.commit(context, _inner_ids(tx, context, path))
            change = "UPDATE inner_bundles SET scope = ?" if into else "DELETE FROM inner_bundles"
            values = [into] if into else []
            tx.execute(f"{change} WHERE scope >= ? AND scope < ?", [*values, *_span(path)])

    def drop_inner(self, context: Context, path: str) -> None:
        """Forget what was made below the scope ``path``.

        Nothing is written where that is nothing.
        """
        with self._database.reading() as connection:
            if not _inner_ids(connection, context, path):
                return
        with self._database.writing() as tx:
            tx.execute(
                "DELETE FROM bundles WHERE context = ? AND seq IN"
                " (SELECT bundle FROM inner_bundles WHERE scope >= ? AND scope < ?)",
                (context.id, *_span(path)),
            )

    def _own(self, tx: sqlite3.Connection, context: Context, id: str) -> Entry:
        """The bundle, which may be changed.

        Raises BundleNotFound; UsageError where a pipe at work would change what it did not make.
        """
        entry = _get(tx, context, id)
        if self._visibility is not None:
            row = tx.execute(
                "SELECT scope FROM inner_bundles WHERE bundle = ?", (entry.seq,)
            ).fetchone()
            if row is None or not row[0].startswith(self._visibility.path):
                raise self._visibility.not_its_own(entry.bundle.name)
        return entry

    def _met(
        self, tx: sqlite3.Connection, context: Context, bundle: BundleRecord, digest: Digest | None
    ) -> int:
        """The row of the remote's ``bundle``, made or brought up to date."""
        row = tx.execute(
            "SELECT seq, record, pushed, record_digest FROM bundles WHERE context = ? AND id = ?",
            (context.id, bundle.id),
        ).fetchone()
        if row is None:
            placed = {"committed": 1, "pushed": 1, "record_digest": digest}
            return insert(tx, context, bundle, placed)
        seq, record, pushed, known = int(row[0]), row[1], row[2], row[3]
        before = BundleRecord.from_bytes(record)
        same = (before.name, before.root) == (bundle.name, bundle.root)
        if (pushed and not same) or (known and digest and known != digest):
            raise IntegrityError(
                f"the remote's record of {bundle.name}@{bundle.id} is not the one that was "
                "there before",
                hint="bundlerun fsck --remote",
            )
        pending = self.pending_tags(context, bundle.id)
        tags = {**(before.tags if same else {}), **bundle.tags, **pending}
        write_record(tx, seq, replace(bundle, tags=tags))
        tx.execute(
            "UPDATE bundles SET name = ?, task = ?, request = ?,"
            " record_digest = coalesce(?, record_digest) WHERE seq = ?",
            (
                bundle.name,
                bundle.lineage.task and bundle.lineage.task.digest,
                bundle.lineage.request and bundle.lineage.request.digest,
                digest,
                seq,
            ),
        )
        tx.execute("DELETE FROM tags WHERE bundle = ? AND sent = 1", (seq,))
        sent = {key: value for key, value in tags.items() if key not in pending}
        set_tags(tx, context, seq, sent, sent=True)
        return seq


def _span(path: str) -> tuple[str, str]:
    # "0" is the character after the slash that a path ends with.
    return path, f"{path[:-1]}0"


def _inner_ids(connection: sqlite3.Connection, context: Context, path: str) -> list[str]:
    rows = connection.execute(
        "SELECT b.id FROM inner_bundles i JOIN bundles b ON b.seq = i.bundle"
        " WHERE b.context = ? AND i.scope >= ? AND i.scope < ? ORDER BY b.seq",
        (context.id, *_span(path)),
    )
    return [id for (id,) in rows.fetchall()]


def _find(tx: sqlite3.Connection, context: Context, id: str) -> Entry | None:
    row = tx.execute(
        f"SELECT {COLUMNS} FROM bundles b WHERE b.context = ? AND b.id = ?", (context.id, id)
    ).fetchone()
    return None if row is None else entry_of(context, row)


def _get(tx: sqlite3.Connection, context: Context, id: str) -> Entry:
    found = _find(tx, context, id)
    if found is None:
        check_alive(tx, context)
        raise BundleNotFound(
            f"the context {context.name!r} has no bundle {id}", hint="bundlerun ls"
        )
    return found


def _keep_pushed(tx: sqlite3.Connection, seq: int, record: bytes) -> Digest:
    """Keep a remote's record, from which a damaged one there is repaired; its digest."""
    digest = digest_of(record)
    tx.execute(
        "INSERT OR REPLACE INTO pushed_records (bundle, digest, record) VALUES (?, ?, ?)",
        (seq, digest, record),
    )
    return digest


def _next_rank(tx: sqlite3.Connection, context: Context, name: str) -> int:
    (highest,) = tx.execute(
        "SELECT max(rank) FROM bundles WHERE context = ? AND name = ?", (context.id, name)
    ).fetchone()
    return max(highest or 0, UNPUSHED) + 1


def _place(
    tx: sqlite3.Connection, context: Context, bundle: BundleRecord, seq: int, version: int | None
) -> None:
    """Give the row of a bundle that the remote holds its place among the versions."""
    if version is None:
        tx.execute(
            "UPDATE bundles SET committed = 1, pushed = 1, rank = ?"
            " WHERE seq = ? AND version IS NULL AND hidden = 0",
            (UNNUMBERED + seq, seq),
        )
        return
    other = tx.execute(
        "SELECT id FROM bundles WHERE context = ? AND name = ? AND rank = ? AND seq != ?",
        (context.id, bundle.name, version, seq),
    ).fetchone()
    if other is not None:
        raise IntegrityError(
            f"version {version} of {bundle.name!r} was {other[0]} and is {bundle.id} "
            "now: the remote was rolled back or rewritten",
            hint="bundlerun fsck --remote",
        )
    given_up = tx.execute(
        f"SELECT 1 FROM given_up WHERE context = ? AND remote = {BOUND} AND name = ?"
        " AND version = ?",
        (context.id, context.id, bundle.name, version),
    ).fetchone()
    hidden, rank = (1, None) if given_up else (0, version)
    tx.execute(
        "UPDATE bundles SET committed = 1, pushed = 1, version = ?, hidden = ?, rank = ?"
        " WHERE seq = ?",
        (version, hidden, rank, seq),
    )
    _see(tx, context, bundle.name, version)


def _see(tx: sqlite3.Connection, context: Context, name: str, version: int) -> None:
    tx.execute(
        f"INSERT INTO heads (context, remote, name, newest) VALUES (?, {BOUND}, ?, ?)"
        " ON CONFLICT (context, remote, name) DO UPDATE SET newest = max(newest, excluded.newest)",
        (context.id, context.id, name, version),
    )
