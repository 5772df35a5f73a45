"""Questions to the catalog: the bundle that is meant, the latest, all that fit.

Latest: the highest version number that the remote did not give up, before it this machine's own
unpushed committed versions in commit order, and before those an uncommitted bundle that arrived
here after the committed one. Never a wall clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.errors import BundleNotFound, UsageError
from bundlerun.store.contexts import BOUND, Context
from bundlerun.store.database import Database
from bundlerun.store.objects import batches
from bundlerun.store.rows import COLUMNS, Entry, entry_of
from bundlerun.store.visibility import Visibility, condition, equal_work


class Queries:
    """The reading half of the catalog.

    Names, tags and ids are exact: no wildcard, no case folding. Versions that the remote gave up
    are found by their full id only. Names are those that are seen from ``visibility`` (None: from
    outside of any pipe).
    """

    def __init__(self, database: Database, visibility: Visibility | None = None) -> None:
        self._database = database
        self._visibility = visibility

    def find(
        self,
        context: Context,
        name: str,
        *,
        id_prefix: str | None = None,
        tags: Mapping[str, str] | None = None,
        committed_only: bool = False,
    ) -> Entry | None:
        """The latest bundle called ``name`` with all of ``tags``, or None.

        With ``id_prefix``: the one whose id starts so. Raises UsageError when several ids start so.
        """
        query = _Query(context, tags, self._visibility).also("b.name = ?", name)
        with self._database.reading() as connection:
            if id_prefix is not None:
                row = _by_prefix(connection, query, name, id_prefix, committed_only)
            else:
                row = _latest(connection, query, committed_only)
        return None if row is None else entry_of(context, row)

    def get(
        self,
        context: Context,
        name: str,
        *,
        id_prefix: str | None = None,
        tags: Mapping[str, str] | None = None,
        committed_only: bool = False,
    ) -> Entry:
        """``find``; raises BundleNotFound when there is none."""
        found = self.find(
            context, name, id_prefix=id_prefix, tags=tags, committed_only=committed_only
        )
        if found is not None:
            return found
        what = "committed bundle" if committed_only else "bundle"
        which = name if id_prefix is None else f"{name}@{id_prefix}"
        if self._visibility is not None:
            raise self._visibility.not_found(which)
        near = self._near(context, name)
        tagged = "".join(f" {key}:{value}" for key, value in (tags or {}).items())
        raise BundleNotFound(
            f"the context {context.name!r} has no {what} {which!r}"
            + (f" with the tags{tagged}" if tagged else "")
            + (f"; did you mean {near!r}?" if near not in (None, name) else ""),
            hint=_where_to_look(context, name, near),
        )

    def _near(self, context: Context, name: str) -> str | None:
        """The name in this context equal or nearest to ``name``; None where none is near."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT name FROM bundles WHERE context = ? AND substr(name, 1, 1) = ?"
                " LIMIT 10000",
                (context.id, name[:1]),
            ).fetchall()
        import difflib

        near = difflib.get_close_matches(name, [found for (found,) in rows], n=1, cutoff=0.75)
        return near[0] if near else None

    def named(self, context: Context, text: str, *, tags: Mapping[str, str] | None = None) -> Entry:
        """The bundle meant by ``text``, ``name`` or ``name@id-prefix``.

        It has all of ``tags``. Raises BundleNotFound, and UsageError when several ids start so.
        """
        name, _, prefix = text.partition("@")
        return self.get(context, name, id_prefix=prefix or None, tags=tags)

    def by_id(self, context: Context, id: str) -> Entry | None:
        """The bundle of exactly this id, given up or not."""
        return self._one(context, "b.id = ?", [id])

    def by_task(
        self, context: Context, digest: Digest, *, committed_only: bool = False
    ) -> Entry | None:
        """The bundle of this task key that arrived here last."""
        return self._by_key(context, "task", digest, committed_only)

    def by_request(
        self, context: Context, digest: Digest, *, committed_only: bool = False
    ) -> Entry | None:
        """The bundle of this request key that arrived here last."""
        return self._by_key(context, "request", digest, committed_only)

    def search(
        self,
        context: Context,
        *,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        committed: bool | None = None,
        limit: int | None = None,
    ) -> list[Entry]:
        """All bundles that fit, newest first.

        Newest is by arrival here, and within a name by version.
        """
        query = _Query(context, tags, self._visibility)
        if name is not None:
            query.also("b.name = ?", name)
        if committed is not None:
            query.also("b.committed = ?", int(committed))
        with self._database.reading() as connection:
            light = connection.execute(
                query.sql("b.seq, b.name, b.rank, b.committed"), query.values
            ).fetchall()
            order = _newest_first(light)[:limit]
            rows: dict[int, tuple[Any, ...]] = {}
            for some in batches(order):
                marks = ",".join("?" * len(some))
                found = connection.execute(
                    f"SELECT {COLUMNS} FROM bundles b WHERE b.seq IN ({marks})", some
                )
                rows.update((row[0], row) for row in found.fetchall())
        # Between the two queries another process may have removed one.
        return [entry_of(context, rows[seq]) for seq in order if seq in rows]

    def latest(self, context: Context) -> list[Entry]:
        """The latest bundle of each name, by name."""
        entries: list[Entry] = []
        name: str | None = ""
        while name is not None:
            with self._database.reading() as connection:
                # One step a name, however many versions it has.
                (name,) = connection.execute(
                    "SELECT min(name) FROM bundles WHERE context = ? AND name > ?",
                    (context.id, name),
                ).fetchone()
            found = None if name is None else self.find(context, name)
            if found is not None:
                entries.append(found)
        return entries

    def unpushed(self, context: Context, name: str | None = None) -> list[Entry]:
        """The committed bundles that the remote lacks, in commit order.

        Without a ``name`` those of all names, by name.
        """
        named = "" if name is None else " AND b.name = ?"
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM bundles b WHERE b.context = ? AND b.committed = 1"
                f" AND b.pushed = 0{named} AND {condition(None)[0]} ORDER BY b.name, b.rank",
                (context.id,) if name is None else (context.id, name),
            ).fetchall()
        return [entry_of(context, row) for row in rows]

    def retagged(self, context: Context) -> list[Entry]:
        """The versions on the remote that have tags here which it does not know."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM bundles b WHERE b.version IS NOT NULL AND b.hidden = 0"
                " AND b.seq IN (SELECT bundle FROM tags WHERE context = ? AND sent = 0)"
                " ORDER BY b.seq",
                (context.id,),
            ).fetchall()
        return [entry_of(context, row) for row in rows]

    def newest_version(self, context: Context, name: str) -> int:
        """The highest version of ``name`` seen on the remote, or 0.

        Versions that were given up count.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT newest FROM heads WHERE context = ? AND remote = {BOUND} AND name = ?",
                (context.id, context.id, name),
            ).fetchone()
        return 0 if row is None else int(row[0])

    def pending_tags(self, context: Context, id: str) -> dict[str, str]:
        """The tags of a bundle that were set later and not yet sent to the remote."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT t.key, t.value FROM bundles b JOIN tags t ON t.bundle = b.seq"
                " WHERE b.context = ? AND b.id = ? AND t.sent = 0",
                (context.id, id),
            ).fetchall()
        return dict(rows)

    def record_digest(self, context: Context, id: str) -> Digest | None:
        """The digest of the bundle's record on the remote, as far as known here."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT record_digest FROM bundles WHERE context = ? AND id = ?", (context.id, id)
            ).fetchone()
        return None if row is None or row[0] is None else Digest(row[0])

    def pushed_record(self, context: Context, id: str, digest: Digest) -> bytes | None:
        """The bytes of the bundle's record with that digest as it stands on a remote.

        None where they were not seen here, or are not whole.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT p.record FROM bundles b JOIN pushed_records p ON p.bundle = b.seq"
                " WHERE b.context = ? AND b.id = ? AND p.digest = ?",
                (context.id, id, digest),
            ).fetchone()
        return None if row is None or digest_of(row[0]) != digest else bytes(row[0])

    def _by_key(
        self, context: Context, column: str, digest: Digest, committed_only: bool
    ) -> Entry | None:
        extra = " AND b.committed = 1" if committed_only else ""
        seen, values = equal_work(self._visibility)
        condition = f"b.hidden = 0{extra} AND b.{column} = ? AND {seen}"
        return self._one(context, condition, [digest, *values])

    def _one(self, context: Context, condition: str, values: Sequence[object]) -> Entry | None:
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT {COLUMNS} FROM bundles b WHERE b.context = ? AND {condition}"
                " ORDER BY b.seq DESC LIMIT 1",
                (context.id, *values),
            ).fetchone()
        return None if row is None else entry_of(context, row)


class _Query:
    """A SELECT over the bundles of a context that have all of ``tags``."""

    def __init__(
        self, context: Context, tags: Mapping[str, str] | None, visibility: Visibility | None
    ) -> None:
        self._from = "bundles b"
        self._conditions = ["b.context = ? AND b.hidden = 0"]
        self.values: list[object] = [context.id]
        seen, values = condition(visibility)
        self.also(seen, *values)
        for place, (key, value) in enumerate((tags or {}).items()):
            wanted = "t.context = ? AND t.key = ? AND t.value = ? AND t.bundle = b.seq"
            if place == 0:
                # CROSS JOIN: the planner starts with the bundles that have the tag.
                self._from = "tags t CROSS JOIN bundles b"
                self.also(wanted, context.id, key, value)
            else:
                self.also(f"EXISTS (SELECT 1 FROM tags t WHERE {wanted})", context.id, key, value)

    def also(self, condition: str, *values: object) -> _Query:
        """Ask for ``condition`` too."""
        self._conditions.append(condition)
        self.values.extend(values)
        return self

    def sql(self, columns: str, more: str = "") -> str:
        """The statement."""
        return f"SELECT {columns} FROM {self._from} WHERE {' AND '.join(self._conditions)} {more}"


def _latest(
    connection: sqlite3.Connection, query: _Query, committed_only: bool
) -> tuple[Any, ...] | None:
    best: tuple[Any, ...] | None = connection.execute(
        query.sql(COLUMNS, "AND b.rank IS NOT NULL ORDER BY b.rank DESC LIMIT 1"), query.values
    ).fetchone()
    if committed_only:
        return best
    scratch: tuple[Any, ...] | None = connection.execute(
        query.sql(COLUMNS, "AND b.committed = 0 AND b.seq > ? ORDER BY b.seq DESC LIMIT 1"),
        [*query.values, best[0] if best else 0],
    ).fetchone()
    return scratch or best


def _by_prefix(
    connection: sqlite3.Connection, query: _Query, name: str, prefix: str, committed_only: bool
) -> tuple[Any, ...] | None:
    if not prefix or prefix.strip("0123456789abcdef-"):
        return None
    # "g" is the character after the last that an id has.
    query.also("b.id >= ? AND b.id < ?", prefix, f"{prefix}g")
    if committed_only:
        query.also("b.committed = 1")
    rows = connection.execute(
        query.sql(f"{COLUMNS}, b.id", "ORDER BY b.id LIMIT 4"), query.values
    ).fetchall()
    if len(rows) > 1:
        names = ", ".join(f"{name}@{row[-1]}" for row in rows[:3])
        more = " and more" if len(rows) > 3 else ""
        raise UsageError(f"{name}@{prefix} matches {names}{more}", hint="more digits of the id")
    return rows[0][:-1] if rows else None


def _newest_first(light: list[tuple[int, str, int | None, int]]) -> list[int]:
    """The seq of each row (seq, name, rank, committed), in the order of ``find``.

    An older version that was pulled later still stands behind the newer one.
    """
    by_rank = sorted(
        (row for row in light if row[2] is not None), key=lambda row: row[2] or 0, reverse=True
    )
    arrived: dict[str, int] = {}
    keys: list[tuple[int, int, int]] = []
    for seq, name, rank, _ in by_rank:
        arrived[name] = min(arrived.get(name, seq), seq)
        keys.append((arrived[name], rank or 0, seq))
    keys += [(seq, 0, seq) for seq, _, rank, _ in light if rank is None]
    return [seq for _, _, seq in sorted(keys, reverse=True)]


def _where_to_look(context: Context, name: str, near: str | None) -> str:
    """The next command, where the asked version of ``name`` is not here."""
    if near == name:
        return f"bundlerun ls {name}"
    if near is None and context.remote_url is not None:
        return f"bundlerun pull {name}"
    return "bundlerun ls"
