"""Contexts: the workspaces of a store, and the remote that each is bound to."""

from __future__ import annotations

import builtins
import sqlite3
from dataclasses import dataclass

from bundlerun.bundles.record import checked_name
from bundlerun.errors import Conflict, ContextNotFound
from bundlerun.store.database import Database
from bundlerun.store.other_remotes import put_aside, take_up
from bundlerun.store.remote_cache import remote_row

BOUND = "(SELECT coalesce(uuid, '') FROM contexts WHERE id = ?)"
"""SQL: the uuid of the remote to which a context, by its id, is or was last bound."""


@dataclass(frozen=True)
class Context:
    """A workspace.

    ``remote_uuid`` is of the last remote it was bound to, also once unbound: the version numbers
    of its bundles are that remote's.
    """

    id: int
    name: str
    remote_url: str | None
    remote_uuid: str | None


class Contexts:
    """The contexts of one store.

    Each call is one transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str) -> Context:
        """A new context.

        Raises BadName, or Conflict when there is one of this name.
        """
        checked_name(name)
        with self._database.writing() as tx:
            if _find(tx, name) is not None:
                raise Conflict(
                    f"there is a context {name!r} already", hint=f"bundlerun switch {name}"
                )
            tx.execute("INSERT INTO contexts (name) VALUES (?)", (name,))
            return _get(tx, name)

    def get(self, name: str) -> Context:
        """The context of exactly this name.

        Raises ContextNotFound.
        """
        with self._database.reading() as connection:
            return _get(connection, name)

    def list(self) -> builtins.list[Context]:
        """All contexts, by name."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, name, url, uuid FROM contexts ORDER BY name")
            return [Context(*row) for row in rows.fetchall()]

    def delete(self, name: str) -> None:
        """Forget the context and its bundles and runs.

        Nothing on a remote changes. Raises ContextNotFound.
        """
        with self._database.writing() as tx:
            context = _get(tx, name)
            tx.execute("DELETE FROM contexts WHERE id = ?", (context.id,))
            tx.execute("DELETE FROM meta WHERE key = 'current' AND value = ?", (name,))

    def bind(self, context: Context, url: str | None, uuid: str | None) -> Context:
        """Bind the context to the remote ``uuid`` at ``url``; None for ``url`` unbinds it.

        What is known of a remote is kept by its uuid. With another one than before, bundles stand
        as they were known to stand there when the context was last bound to it, and what was not
        there is unpushed, in its order. Raises ContextNotFound.
        """
        with self._database.writing() as tx:
            before = _get(tx, context.name)
            if url is None:
                uuid = before.remote_uuid
            elif uuid is not None:
                _move(tx, before, uuid)
                tx.execute("UPDATE remotes SET url = ? WHERE id = ?", (url, remote_row(tx, uuid)))
            tx.execute("UPDATE contexts SET url = ?, uuid = ? WHERE id = ?", (url, uuid, before.id))
            return _get(tx, context.name)

    def current(self) -> str | None:
        """The name of the chosen context, None when none was chosen."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'current'").fetchone()
        return None if row is None else str(row[0])

    def chosen(self, unless_set: str) -> Context | None:
        """The chosen context, or the one called ``unless_set`` when none was chosen.

        None when there is no such context.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT id, name, url, uuid FROM contexts"
                " WHERE name = coalesce((SELECT value FROM meta WHERE key = 'current'), ?)",
                (unless_set,),
            ).fetchone()
        return None if row is None else Context(*row)

    def switch(self, name: str) -> None:
        """Choose the context.

        Raises ContextNotFound.
        """
        with self._database.writing() as tx:
            _get(tx, name)
            tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('current', ?)", (name,))


def check_alive(tx: sqlite3.Connection, context: Context) -> None:
    """Raise ContextNotFound when somebody deleted ``context`` meanwhile."""
    if tx.execute("SELECT 1 FROM contexts WHERE id = ?", (context.id,)).fetchone() is None:
        raise _missing(context.name)


def _find(connection: sqlite3.Connection, name: str) -> Context | None:
    row = connection.execute(
        "SELECT id, name, url, uuid FROM contexts WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else Context(*row)


def _get(connection: sqlite3.Connection, name: str) -> Context:
    found = _find(connection, name)
    if found is None:
        raise _missing(name)
    return found


def _missing(name: str) -> ContextNotFound:
    return ContextNotFound(
        f"there is no context {name!r}",
        hint=f"bundlerun context lists them; bundlerun context {name} makes it",
    )


def _move(tx: sqlite3.Connection, context: Context, uuid: str) -> None:
    if context.remote_uuid == uuid:
        return
    if context.remote_uuid is not None:
        put_aside(tx, context.id, context.remote_uuid)
        take_up(tx, context.id, uuid)
        return
    for table in ("heads", "given_up"):
        tx.execute(
            f"UPDATE {table} SET remote = ? WHERE context = ? AND remote = ''", (uuid, context.id)
        )
