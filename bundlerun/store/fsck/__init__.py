"""fsck of a store: objects hashed, records parsed, values walked, tables read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord
from bundlerun.errors import IntegrityError
from bundlerun.progress import SILENT, Progress
from bundlerun.store.contexts import Context
from bundlerun.store.database import FILE, Database
from bundlerun.store.fsck.bundles import RecordsProof, User
from bundlerun.store.fsck.checkouts import FilesProof
from bundlerun.store.fsck.objects import Copy, ObjectsProof
from bundlerun.store.fsck.quarantine import Quarantine
from bundlerun.store.fsck.repair import Mending
from bundlerun.store.fsck.tables import TablesProof
from bundlerun.store.reports import Fault, Finding, Kind, Proof, until_mended
from bundlerun.store.store import Store

_INDEX_WORDS = ("missing from index", "wrong # of entries in index", "non-unique entry in index")


class Remotes(Protocol):
    """The remotes of a store's contexts, for mending what is here."""

    def record(self, context: Context, id: str) -> BundleRecord | None:
        """The record of a bundle there.

        Raises BundlerunError.
        """

    def bring(self, user: User, link: Link) -> bytes | Path:
        """The bytes of ``link``, verified by their digest.

        Raises BundlerunError where they are not available.
        """


def fsck(
    store: Store,
    *,
    repair: bool = False,
    remotes: Remotes | None = None,
    progress: Progress = SILENT,
) -> Proof:
    """Check everything in ``store``, and with ``repair`` mend what can be mended.

    Good bytes come from other copies on this disk and from ``remotes``. What is damaged goes to
    ``quarantine/`` and is never deleted. Memory is bounded by the number of nodes, at about 100
    bytes each. Raises StoreBusy, and with ``repair`` StoreReadOnly.
    """
    if repair:
        store.check_writable()
    database = Database(store.path)
    try:
        with store.objects.guard.sharing():
            looked_at: Counter[str] = Counter()

            def look() -> list[Fault]:
                looked_at.clear()
                return _Proving(store, database, remotes, looked_at, progress).faults()

            return Proof(until_mended(look, repair=repair), dict(looked_at))
    finally:
        database.close()


class _Proving:
    def __init__(
        self,
        store: Store,
        database: Database,
        remotes: Remotes | None,
        looked_at: Counter[str],
        progress: Progress,
    ) -> None:
        self._store = store
        self._database = database
        self._remotes = remotes
        self._looked_at = looked_at
        self._progress = progress
        self._found: list[Fault] = []

    def faults(self) -> list[Fault]:
        """Every fault, those of the catalog first."""
        store, database, looked_at = self._store, self._database, self._looked_at
        fetch = None if self._remotes is None else self._remotes.record
        bring = None if self._remotes is None else self._remotes.bring
        self._step("the catalog", lambda: self._found.extend(_catalog(database)))
        objects = ObjectsProof(store, database, looked_at)
        self._step("objects", objects.scan)
        records = RecordsProof(store, database, frozenset(objects.bad), fetch, looked_at)
        self._step("bundles", records.walk)
        tables = TablesProof(store, records.tables)
        self._step("tables", tables.scan)
        wanted: frozenset[Digest] = frozenset({*objects.bad, *records.missing})
        files = FilesProof(store, wanted, looked_at)
        self._step("localised files", files.scan)
        self._step("runs", lambda: self._found.extend(_journals(store, database, looked_at)))
        copies: dict[Digest, Copy] = {**files.copies, **objects.copies}
        mending = Mending(store, database, copies, bring)
        self._found += [*mending.faults(objects, records), *objects.faults, *records.faults]
        self._found += [*files.faults, *tables.faults()]
        for (context, url), counts in records.elsewhere.items():
            self._found.append(Fault(_elsewhere(context, url, counts)))
        return self._found

    def _step(self, what: str, act: Callable[[], None]) -> None:
        """One part of the proof; a file of SQLite's that is torn ends this part alone."""
        bar = self._progress.start(f"proving {what}", None, "steps")
        try:
            act()
        except IntegrityError as error:
            finding = Finding(Kind.DAMAGED, what, FILE, error.message)
            self._found.append(Fault(finding))
        finally:
            self._progress.finish(bar)


def _catalog(database: Database) -> Iterator[Fault]:
    with database.reading() as connection:
        problems = [
            row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"
        ]
        dangling = connection.execute("PRAGMA foreign_key_check").fetchall()
        lost = connection.execute(
            "SELECT count(*) FROM members m LEFT JOIN packs p"
            " ON p.id = m.pack AND p.remote = m.remote WHERE p.id IS NULL"
        ).fetchone()[0]
    for problem in problems:
        by_index = any(words in problem for words in _INDEX_WORDS)
        how = "REINDEX" if by_index else None
        finding = Finding(Kind.DAMAGED, "the catalog", FILE, problem, how)
        yield Fault(finding, (lambda: _execute(database, "REINDEX")) if by_index else None)
    for table, rowid, parent, _ in dangling:
        detail = f"row {rowid} of {table} belongs to a row of {parent} that is not there"
        yield Fault(Finding(Kind.DAMAGED, "the catalog", FILE, detail))
    if lost:
        detail = f"{lost} members of packs that are not known"
        finding = Finding(Kind.DAMAGED, "what is known of remotes", FILE, detail, "forgotten")
        forget = (
            "DELETE FROM members WHERE NOT EXISTS"
            " (SELECT 1 FROM packs p WHERE p.id = members.pack AND p.remote = members.remote)"
        )
        yield Fault(finding, lambda: _execute(database, forget))


def _execute(database: Database, statement: str) -> None:
    with database.writing() as tx:
        tx.execute(statement)


def _journals(store: Store, database: Database, looked_at: Counter[str]) -> Iterator[Fault]:
    """Rows of JSON: runs, images, and the packs of values on remotes."""
    with database.reading() as connection:
        runs = connection.execute("SELECT seq, id, json FROM runs").fetchall()
        images = connection.execute("SELECT name, json FROM images").fetchall()
        roots = connection.execute("SELECT remote, digest, packs FROM roots").fetchall()
    looked_at["runs"] += len(runs)
    for seq, id, text in runs:
        found = _parsed(text)
        if not isinstance(found, dict) or found.get("id") != id:
            yield _journal_fault(
                store, database, f"run {id}", text, ("DELETE FROM runs WHERE seq = ?", (seq,))
            )
    for name, text in images:
        if not isinstance(_parsed(text), dict):
            delete = ("DELETE FROM images WHERE name = ?", (name,))
            yield _journal_fault(store, database, f"image {name}", text, delete)
    for remote, digest, text in roots:
        rows = _parsed(text)
        if not isinstance(rows, list) or any(not isinstance(r, list) or len(r) != 4 for r in rows):
            what = f"where value {bytes(digest).hex()} lies"
            gone = ("DELETE FROM roots WHERE remote = ? AND digest = ?", (remote, digest))
            yield _journal_fault(store, database, what, text, gone)


def _journal_fault(
    store: Store,
    database: Database,
    what: str,
    text: object,
    delete: tuple[str, tuple[object, ...]],
) -> Fault:
    def mend() -> None:
        data = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
        Quarantine(store.path).keep(what.replace("/", "_").replace(" ", "-")[:100], data)
        with database.writing() as tx:
            tx.execute(*delete)

    finding = Finding(
        Kind.DAMAGED, what, FILE, "it is not what was written", "moved to quarantine/"
    )
    return Fault(finding, mend)


def _parsed(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str | bytes) else None
    except (ValueError, RecursionError):
        return None


def _elsewhere(context: Context, url: str, counts: Counter[str]) -> Finding:
    what = f"{counts['objects']} objects of {counts['bundles']} bundles"
    detail, cure = f"{what} are on its remote alone", "pull --localize"
    if not url:
        detail, cure = f"{what} that were removed for everybody are not here", "rm NAME@ID"
    elif url != context.remote_url:
        detail = f"{what} are at {url} alone, to which it is not bound"
        cure = f"remote {context.name} {url} --rebind; bundlerun pull --localize"
    return Finding(Kind.ELSEWHERE, f"context {context.name}", "objects", detail, cure)
