"""Sweep phase: unused bytes of a store are removed after a grace period.

Rows go before the files that they name, each batch durably: a crash leaves litter, which the next
sweep takes, and never a row without its bytes. While something is deleted nobody adds (see locks);
what uses what is found out before that, as far as it can be.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from bundlerun.bundles.digest import Digest
from bundlerun.errors import UsageError
from bundlerun.progress import SILENT, Progress
from bundlerun.settings import GRACE_S
from bundlerun.store.database import Database, batches, marks
from bundlerun.store.failures import translated
from bundlerun.store.gc.mark import Live
from bundlerun.store.reports import GcReport, MostlyDead, Reclaimed
from bundlerun.store.store import Store
from bundlerun.store.writer import file_of

STILL_S = 3600.0
"""The time for which a growing file is left alone after the last write to it.

It holds whatever the grace period.
"""

ABANDONED_S = 30 * 86400.0
"""The age at which what a pipe made inside is nobody's: no pipe runs for longer.

It still waits for the pipe's end then.
"""

FREE_SHARE = 0.25
"""With a larger share of free pages the store's file is rewritten without them."""

MOSTLY = 0.5
"""A local pack with a smaller live share than this is reported as mostly dead."""

_ROWS = 2_000

_Name = TypeVar("_Name", bytes, str)


class _Row(NamedTuple):
    row: int
    digest: bytes
    size: int
    pack: int | None
    is_file: int
    added_s: int


def sweep(
    store: Store,
    *,
    grace_s: float = GRACE_S,
    delete: bool = False,
    progress: Progress = SILENT,
) -> GcReport:
    """Delete what no bundle of any context uses and is older than ``grace_s``.

    Without ``delete`` only say what that is.

    Raises IntegrityError where it cannot be told what a bundle uses, StoreBusy, UsageError for a
    negative grace period, StoreReadOnly.
    """
    if not grace_s >= 0:
        raise UsageError(
            f"a grace period must be 0 s or longer, not {grace_s} s", hint="--grace 7d"
        )
    if delete:
        store.check_writable()
    database = Database(store.path)
    bar = progress.start("looking at the store", None, "bundles")
    try:
        live = Live(database, store.objects)
        live.look()
        if not delete:
            sweeping = _Sweeping(store, database, live, grace_s, delete=False)
            return sweeping.report()
        with store.objects.guard.alone():
            _drop_abandoned(database)
            # What was added since.
            live.look()
            sweeping = _Sweeping(store, database, live, grace_s, delete=True)
            return sweeping.report()
    finally:
        progress.finish(bar)
        database.close()


def _drop_abandoned(database: Database) -> None:
    """Drop what pipes made inside of an apply that was killed with all its processes."""
    with database.writing() as tx:
        tx.execute(
            "DELETE FROM bundles WHERE seq IN (SELECT bundle FROM inner_bundles WHERE added_s < ?)",
            (time.time() - ABANDONED_S,),
        )


class _Sweeping:
    """One sweep, kind by kind."""

    def __init__(
        self, store: Store, database: Database, live: Live, grace_s: float, *, delete: bool
    ) -> None:
        self._store = store
        self._database = database
        self._live = live
        self._grace_s = grace_s
        self._delete = delete
        # The clock of the file system and SQLite's are this machine's own.
        self._now_s = time.time()
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._pack_live: Counter[int] = Counter()

    def report(self) -> GcReport:
        """Sweep kind by kind; return what was found, and done."""
        with translated(self._store.path):
            self._localised()
            self._objects()
            mostly_dead = self._packs()
            self._stray_files()
            self._partial()
            self._staging()
        returned = _given_back(self._database) if self._delete else 0
        swept = tuple(
            Reclaimed(kind, count, self._bytes[kind]) for kind, count in self._counts.items()
        )
        return GcReport(swept, self._delete, mostly_dead=mostly_dead, returned=returned)

    def _objects(self) -> None:
        for rows in self._rows():
            dead: list[_Row] = []
            for row in rows:
                if row.digest in self._live or self._is_young(row.added_s):
                    if row.pack is not None:
                        self._pack_live[row.pack] += row.size
                else:
                    dead.append(row)
            for row in dead:
                kind = "packed objects" if row.pack else "large objects" if row.is_file else ""
                self._count(kind or "small objects", 0 if row.pack else row.size)
            if self._delete:
                self._delete_rows(dead)

    def _rows(self) -> Iterator[list[_Row]]:
        last = 0
        while True:
            with self._database.reading() as connection:
                found = connection.execute(
                    "SELECT rowid, digest, size, pack, data IS NULL AND pack IS NULL, added_s"
                    " FROM objects WHERE rowid > ? ORDER BY rowid LIMIT ?",
                    (last, _ROWS),
                ).fetchall()
            if not found:
                return
            last = found[-1][0]
            yield [_Row(*row) for row in found]

    def _delete_rows(self, dead: list[_Row]) -> None:
        for some in batches(dead):
            with self._database.writing() as tx:
                numbers = [row.row for row in some]
                tx.execute(f"DELETE FROM objects WHERE rowid IN ({marks(numbers)})", numbers)
            for row in some:
                if row.is_file:
                    digest = Digest(row.digest.hex())
                    file_of(self._store.path / "objects", digest).unlink(missing_ok=True)

    def _packs(self) -> tuple[MostlyDead, ...]:
        """Packs of which no member is left; those that stay for little."""
        with self._database.reading() as connection:
            packs = connection.execute(
                "SELECT id, uuid, size, index_length FROM local_packs"
            ).fetchall()
        mostly_dead = []
        for number, uuid, size, index in packs:
            if self._pack_live[number]:
                live = self._pack_live[number] + index
                if live < MOSTLY * size:
                    mostly_dead.append(MostlyDead(uuid, size, live))
                continue
            self._count("packs", size)
            if self._delete:
                with self._database.writing() as tx:
                    tx.execute("DELETE FROM local_packs WHERE id = ?", (number,))
                self._store.objects.packs.path(uuid).unlink(missing_ok=True)
        return tuple(mostly_dead)

    def _stray_files(self) -> None:
        """Files that no row names: of a crash between the two."""
        objects = self._store.path / "objects"
        for folder in _entries(objects):
            if len(folder.name) == 2 and folder.is_dir():
                files = {bytes.fromhex(folder.name + f.name): f for f in _entries(folder)}
                query = "SELECT digest FROM objects WHERE data IS NULL AND pack IS NULL AND digest"
                self._strays(files, query)
        packs = {path.name: path for path in _entries(self._store.objects.packs.folder)}
        self._strays(packs, "SELECT uuid FROM local_packs WHERE uuid")

    def _strays(self, files: dict[_Name, Path], query: str) -> None:
        strays = dict(files)
        for some in batches(files):
            with self._database.reading() as connection:
                rows = connection.execute(f"{query} IN ({marks(some)})", some).fetchall()
            for (name,) in rows:
                strays.pop(name, None)
        for path in strays.values():
            self._litter(path, self._grace_s)

    def _localised(self) -> None:
        """Take checked-out files and folders that can be made again.

        Those are copies of large objects that were not asked for lately, and all whose bytes
        nothing uses. This comes first: what comes later may need room.
        """
        localised = self._store.objects.localised
        copied = localised.copied()
        for folder in _entries(self._store.path / "files"):
            digest = folder.name.partition("+")[0]
            is_needed = self._live.names(digest) and (
                folder.name not in copied
                # Somebody wrote to the object: a repair may want the copy's bytes.
                or self._store.objects.is_suspect(Digest(digest))
            )
            if not is_needed and not self._is_young(_touched_s(folder)):
                self._take("localised files", folder)
                if self._delete:
                    localised.forget(folder.name)

    def _partial(self) -> None:
        """Take what a process that died was writing, or bringing in parts."""
        keep_s = max(self._grace_s, STILL_S)
        for path in _entries(self._store.path / "objects" / "tmp"):
            self._litter(path, keep_s)
        for path in _entries(self._store.path / "objects" / "partial"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                self._litter(path, keep_s)

    def _staging(self) -> None:
        """Take the folders of settled runs, and old ones of runs unknown here."""
        keep_s = max(self._grace_s, STILL_S)
        for folder in _entries(self._store.path / "staging"):
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT settled FROM runs WHERE id = ?", (folder.name,)
                ).fetchall()
            settled = [bool(row[0]) for row in rows]
            if all(settled) and (settled or self._now_s - _touched_s(folder) > keep_s):
                self._take("staging folders", folder)

    def _litter(self, path: Path, keep_s: float) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._now_s - path.stat().st_mtime > keep_s:
                self._take("litter", path)

    def _take(self, kind: str, path: Path) -> None:
        self._count(kind, _size(path))
        if self._delete and path.is_dir():
            shutil.rmtree(path)
        elif self._delete:
            path.unlink(missing_ok=True)

    def _is_young(self, since_s: float) -> bool:
        return self._now_s - since_s < self._grace_s

    def _count(self, kind: str, size: int) -> None:
        self._counts[kind] += 1
        self._bytes[kind] += size


def _entries(folder: Path) -> list[Path]:
    """The contents of a folder; nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _touched_s(folder: Path) -> float:
    """The time when something was last made in a folder, or in one right below it."""
    below = [path for path in _entries(folder) if path.is_dir()] if folder.is_dir() else []
    return max(path.stat().st_mtime for path in (folder, *below))


def _size(path: Path) -> int:
    """Bytes that go with a file or folder; a file that has another name too stays."""
    files = [path]
    if path.is_dir():
        files = [Path(above, name) for above, _, names in os.walk(path) for name in names]
    stats = [file.lstat() for file in files]
    return sum(found.st_size for found in stats if found.st_nlink == 1)


def _given_back(database: Database) -> int:
    """Make the store's file smaller where much of it is free; by how many bytes."""
    with database.reading() as connection:
        pages, free = (
            connection.execute(f"PRAGMA {what}").fetchone()[0]
            for what in ("page_count", "freelist_count")
        )
        if free <= FREE_SHARE * pages:
            return 0
        before = database.path.stat().st_size
        try:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            # The disk has no room for the new file next to the old one: that one serves on.
            if "full" not in str(error):
                raise
        return max(0, before - database.path.stat().st_size)
