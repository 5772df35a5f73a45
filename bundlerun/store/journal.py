"""The runs that this store's contexts started: kept, so that a run outlives its client."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from typing import Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import RunNotFound, UsageError
from bundlerun.store.contexts import Context, check_alive
from bundlerun.store.database import Database


class Journal:
    """Runs by context and id. What a run holds, beside its ``"id"``, is the writer's to say."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, context: Context, run: Mapping[str, Any]) -> None:
        """Keep ``run``, JSON with its id under ``"id"``, over what was kept of it.

        It keeps its place in the order. Raises ContextNotFound.
        """
        text = canonical_json(dict(run)).decode()
        with self._database.writing() as tx:
            check_alive(tx, context)
            tx.execute(
                "INSERT INTO runs (context, id, json) VALUES (?, ?, ?)"
                " ON CONFLICT (context, id) DO UPDATE SET json = excluded.json",
                (context.id, str(run["id"]), text),
            )

    def get(self, context: Context, prefix: str) -> dict[str, Any]:
        """The run whose id starts with ``prefix``.

        Raises RunNotFound, or UsageError when several do.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, json FROM runs WHERE context = ? AND id >= ? AND substr(id, 1, ?) = ?"
                " ORDER BY id LIMIT 3",
                (context.id, prefix, len(prefix), prefix),
            ).fetchall()
        exact = [row for row in rows if row[0] == prefix]
        if not rows or not prefix:
            raise RunNotFound(
                f"the context {context.name!r} has no run {prefix!r}", hint="bundlerun jobs"
            )
        if len(rows) > 1 and not exact:
            names = ", ".join(row[0] for row in rows)
            raise UsageError(f"several runs start with {prefix!r}: {names}", hint="more digits")
        found: dict[str, Any] = json.loads((exact or rows)[0][1])
        return found

    def list(self, context: Context, limit: int | None = None) -> builtins.list[dict[str, Any]]:
        """The runs of the context, newest first, at most ``limit``."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT json FROM runs WHERE context = ? ORDER BY seq DESC LIMIT ?",
                (context.id, -1 if limit is None else limit),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]
