"""The journal of runs started by this store's contexts; a run outlives its client.

A row is changed by compare-and-set: every change raises its revision, and a change that was made of
an older revision is refused, so that nobody overwrites what another process wrote meanwhile. What
is asked of many runs at once stands in columns; the run itself is JSON.
"""

from __future__ import annotations

import builtins
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import Conflict, RunNotFound, UsageError
from bundlerun.store.contexts import Context, check_alive
from bundlerun.store.database import Database

_COLUMNS = "revision, json"


@dataclass(frozen=True)
class Row:
    """A run as it is kept: its JSON, and how many times it was written."""

    revision: int
    run: Mapping[str, Any]


class Journal:
    """Runs by context and id.

    What a run holds is up to the writer, besides ``"id"`` and, where they are given, ``"settled"``
    (nothing is left to be done for it), ``"state"``, ``"kind"`` and ``"submitted_s"`` (Unix
    seconds), which are columns too.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, context: Context, run: Mapping[str, Any]) -> int:
        """Keep a new run; its revision.

        Raises Conflict when its id is known, ContextNotFound.
        """
        with self._database.writing() as tx:
            check_alive(tx, context)
            try:
                tx.execute(
                    "INSERT INTO runs (settled, state, kind, submitted_s, json, revision, context,"
                    " id) VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
                    (*_columns(run), context.id, str(run["id"])),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(
                    f"the run {run['id']} is in the journal already",
                    hint=f"bundlerun jobs {str(run['id'])[:13]}",
                ) from error
        return 1

    def replace(self, context: Context, run: Mapping[str, Any], revision: int) -> int | None:
        """Keep ``run`` over its row of this ``revision``.

        The new revision, or None, with nothing changed, when the row has another one or is gone.
        It keeps its place in the order.
        """
        with self._database.writing() as tx:
            changed = tx.execute(
                "UPDATE runs SET settled = ?, state = ?, kind = ?, submitted_s = ?, json = ?,"
                " revision = revision + 1 WHERE context = ? AND id = ? AND revision = ?",
                (*_columns(run), context.id, str(run["id"]), revision),
            )
            return revision + 1 if changed.rowcount else None

    def get(self, context: Context, prefix: str) -> Row:
        """The run whose id starts with ``prefix``.

        Raises RunNotFound, or UsageError when several do.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS}, id FROM runs WHERE context = ? AND id >= ?"
                " AND substr(id, 1, ?) = ? ORDER BY id LIMIT 3",
                (context.id, prefix, len(prefix), prefix),
            ).fetchall()
        exact = [row for row in rows if row[2] == prefix]
        if not rows or not prefix:
            raise RunNotFound(
                f"the context {context.name!r} has no run {prefix!r}", hint="bundlerun jobs"
            )
        if len(rows) > 1 and not exact:
            names = ", ".join(row[2] for row in rows)
            raise UsageError(f"several runs start with {prefix!r}: {names}", hint="more digits")
        return _row(*(exact or rows)[0][:2])

    def list(
        self, context: Context, *, limit: int | None = None, before: str | None = None
    ) -> builtins.list[Row]:
        """The runs of the context, newest first, at most ``limit``.

        ``before`` (a run's whole id): only those older than that one, which is how to turn the
        page.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE context = ? AND seq < coalesce((SELECT seq"
                " FROM runs WHERE context = ? AND id = ?), 9223372036854775807)"
                " ORDER BY seq DESC LIMIT ?",
                (context.id, context.id, before, -1 if limit is None else limit),
            ).fetchall()
        return [_row(*row) for row in rows]

    def unsettled(self, context: Context) -> builtins.list[Row]:
        """The runs for which something is left to be done, newest first.

        One look at an index, however many runs are settled.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE context = ? AND settled = 0 ORDER BY seq DESC",
                (context.id,),
            ).fetchall()
        return [_row(*row) for row in rows]


def _columns(run: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        bool(run.get("settled")),
        str(run.get("state", "")),
        str(run.get("kind", "")),
        run.get("submitted_s"),
        canonical_json(dict(run)).decode(),
    )


def _row(revision: int, text: str) -> Row:
    return Row(revision, json.loads(text))
