"""The one SQLite connection of a store: made whole, locked, reopened after a fork.

Sources of the rules: sqlite.org/wal.html (network file systems, busy), sqlite.org/howtocorrupt.html
section 2.6 (connections and fork).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bundlerun.errors import IntegrityError, StoreBusy
from bundlerun.store.atomic import make_folder, sync_folder
from bundlerun.store.failures import is_full, read_only, translated
from bundlerun.store.locks import BUSY_S, Notice
from bundlerun.store.mounts import file_system, is_shared
from bundlerun.store.read_only import Stamps, connect_read_only, is_writable, stamps_of
from bundlerun.store.schema import FORMAT, NEEDS, TABLES
from bundlerun.store.spare import ROOMY_BYTES, free_bytes, keep_spare

FILE = "store.sqlite"

LOCKS = ("sweep.lock", "sweep.turn")
"""Made with the store: who may only read it takes part in them too."""

_SPARING_PAGES = 64
"""The length of the log, in pages of 4 KiB, where the disk is nearly full."""

_SLICE_S = 1.0
"""The seconds that SQLite waits within one call.

Ctrl-C is heard in between, and the wait is told of.
"""

T = TypeVar("T")


class Database:
    """One SQLite connection, safe to use from threads and after a fork.

    One thread at a time uses it. A store that may not be written can be read. On a full disk, where
    the log's shared memory cannot be made, it is read alone: each block opens the file and lets go
    of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._depth = 0
        self._readers = 0
        self._alone = False
        self._read_only = False
        self._seen: Stamps | None = None
        self._lock = threading.RLock()
        _watch(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for single SELECTs.

        Raises StoreBusy after BUSY_S.
        """
        with translated(self.folder), self._lock:
            connection = self._connected()
            self._readers += 1
            try:
                yield connection
            finally:
                self._readers = max(0, self._readers - 1)
                self._rest()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is durable when the block ends, and undone when it raises.

        A block inside another one of the same thread joins it. Raises StoreBusy after BUSY_S,
        StoreReadOnly.
        """
        with translated(self.folder), self._lock:
            connection = self._connected()
            if self._read_only:
                raise read_only(self.folder)
            if self._depth == 0:
                # IMMEDIATE: a reader that turns writer later could not wait, only fail.
                connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield connection
                if connection is not self._connection:
                    raise StoreBusy(
                        "this process was forked inside of a transaction of its parent",
                        hint="multiprocessing.get_context('spawn')",
                    )
                if self._depth == 1:
                    connection.execute("COMMIT")
            except BaseException:
                ours = connection is self._connection
                if ours and self._depth == 1 and connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = max(0, self._depth - 1)
                self._rest()

    @property
    def read_only(self) -> bool:
        """Whether the store may not be written.

        Raises as ``reading``.
        """
        with self.reading():
            return self._read_only

    def close(self) -> None:
        """Close the file.

        The next use opens it again.
        """
        with translated(self.folder), self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                self._drop(connection)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid() and not self._is_old():
            return self._connection
        if self._connection is not None:
            self._drop(self._connection)
            self._connection = None
        self._connection = patiently(self._opened)
        self._pid = os.getpid()
        return self._connection

    def _is_old(self) -> bool:
        """Whether a store that is read as it once was has changed."""
        is_idle = self._readers == 0 and self._depth == 0
        return is_idle and self._seen is not None and stamps_of(self.path) != self._seen

    def _opened(self) -> sqlite3.Connection:
        self._alone, self._seen = False, None
        self._read_only = self.path.exists() and not is_writable(self.path)
        if self._read_only:
            connection, self._seen = connect_read_only(self.path, _connect)
            return connection
        try:
            return _connect(self.path, "mode=rw")
        except sqlite3.OperationalError as error:
            if not is_full(error, self.folder):
                raise
        connection = _connect(self.path, "mode=rw", alone=True)
        self._alone = True
        return connection

    def _rest(self) -> None:
        """Nobody else gets at a file that is used alone."""
        idle = self._readers == 0 and self._depth == 0
        if self._alone and idle and self._connection is not None:
            connection, self._connection = self._connection, None
            self._drop(connection)

    def _drop(self, connection: sqlite3.Connection) -> None:
        if self._pid == os.getpid():
            connection.close()
        else:
            # Closing would undo the parent's locks and log under its feet, and so would the
            # destructor: the reference is given away for good.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def _before_fork(self) -> None:
        # A connection opened next to an inherited one shares its lock counts and takes no lock of
        # its own (seen in /proc/locks): the child must find SQLite with nothing open.
        if self._lock.acquire(timeout=BUSY_S) and self._depth == 0:
            connection, self._connection = self._connection, None
            if connection is not None:
                self._drop(connection)

    def _after_fork_in_parent(self) -> None:
        with contextlib.suppress(RuntimeError):  # the lock was not had in time
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._depth = self._readers = 0
        connection, self._connection = self._connection, None
        if connection is not None:
            self._drop(connection)


def open_database(folder: Path) -> Database:
    """The database of the store ``folder``, made when there is none.

    Raises IntegrityError for an unknown format, StoreBusy, and BundlerunError where the folder
    cannot be written.
    """
    with translated(folder):
        if not (folder / FILE).exists():
            _create(folder)
    database = Database(folder)
    with database.reading() as connection:
        rows = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    if rows.get("format") != FORMAT:
        database.close()
        raise _unknown_format(folder, str(rows.get("format")), str(rows.get("needs", "")))
    return database


def _unknown_format(folder: Path, found: str, needs: str) -> IntegrityError:
    if found.isdecimal() and int(found) < int(FORMAT):
        return IntegrityError(
            f"the store {folder} was made by an older bundlerun (format {found:.20}, this one"
            f" reads {FORMAT}); what was pushed can be pulled into a new store, the rest must"
            " be pushed by the bundlerun that made it",
            hint=f"mv {folder} {folder}.old; bundlerun context NAME; "
            "bundlerun remote NAME URL; bundlerun pull",
        )
    return IntegrityError(
        f"the store {folder} has format {found!r:.20}, which needs bundlerun {needs:.20} or later;"
        f" this one reads format {FORMAT!r}",
        hint="pip install --upgrade bundlerun",
    )


def patiently(call: Callable[[], T]) -> T:
    """The result of ``call``, repeated while another process is in the way.

    Raises StoreBusy after BUSY_S.
    """
    end_s = time.monotonic() + BUSY_S
    notice = Notice("holds the store", at_most_s=BUSY_S)
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            # SQLite's own wait leaves out the moments in which a log is recovered or removed.
            if not _is_busy(error):
                raise
            if time.monotonic() >= end_s:
                raise StoreBusy(
                    f"another process has held the store for {BUSY_S:.0f} s",
                    hint="the same command again, once the other one is done",
                ) from error
        notice.due()
        time.sleep(0.005)


class _Patient(sqlite3.Connection):
    """A connection whose single statements wait for other processes.

    Reading ones too: a log that is recovered, or a rollback journal, is in the way of readers for a
    moment.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """sqlite3's own, ``patiently``."""
        try:
            return super().execute(sql, parameters)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        return patiently(lambda: super(_Patient, self).execute(sql, parameters))


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return any(word in str(error) for word in ("locked", "locking protocol", "busy"))


def _create(folder: Path) -> None:
    """Make the database file under a lock, aside and whole.

    So a file that exists is complete.
    """
    make_folder(folder)
    handle = os.open(folder / "create.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if (folder / FILE).exists():
            return
        for name in ("objects", "objects/tmp", "files"):
            make_folder(folder / name)
        partial = folder / f"{FILE}.new"
        for litter in (partial, Path(f"{partial}-wal"), Path(f"{partial}-shm")):
            litter.unlink(missing_ok=True)
        for name in LOCKS:
            (folder / name).touch(0o644)
        _fill(partial)
        os.replace(partial, folder / FILE)
        sync_folder(folder)
        keep_spare(folder)
    finally:
        os.close(handle)


def _fill(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # A write-ahead log lives in memory that the processes share: no use across machines.
        mode = "DELETE" if is_shared(file_system(path.parent)) else "WAL"
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.executescript(f"BEGIN IMMEDIATE;{TABLES}COMMIT;")
        rows = [("format", FORMAT), ("needs", NEEDS)]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    finally:
        connection.close()


def _connect(path: Path, how: str, *, alone: bool = False) -> sqlite3.Connection:
    # mode=rw: a store that was deleted under a running process is an error, not an empty file.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}",
        uri=True,
        timeout=_SLICE_S,
        isolation_level=None,
        check_same_thread=False,
        factory=_Patient,
    )
    try:
        if alone:
            # Before the first look: the index of the log is in this process's memory then.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        # EXTRA is FULL plus a sync of the folder once the rollback journal is gone.
        connection.execute(f"PRAGMA synchronous = {'FULL' if mode == 'wal' else 'EXTRA'}")
        connection.execute("PRAGMA foreign_keys = ON")
        # To overwrite what is deleted takes as much log as it frees.
        connection.execute("PRAGMA secure_delete = OFF")
        if free_bytes(path.parent) < ROOMY_BYTES:
            connection.execute(f"PRAGMA wal_autocheckpoint = {_SPARING_PAGES}")
        connection.execute("SELECT key FROM meta LIMIT 1").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_watching = False


def _watch(database: Database) -> None:
    global _watching
    _databases.add(database)
    if not _watching:
        _watching = True
        os.register_at_fork(
            before=lambda: _each(Database._before_fork),
            after_in_parent=lambda: _each(Database._after_fork_in_parent),
            after_in_child=lambda: _each(Database._after_fork_in_child),
        )


def _each(call: Callable[[Database], None]) -> None:
    for database in list(_databases):
        call(database)


_BATCH = 500
"""Values a query: SQLite builds of old take 999 parameters."""


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """``items`` in lists short enough for one query."""
    rest = iter(items)
    while some := list(itertools.islice(rest, _BATCH)):
        yield some


def marks(values: Sequence[object]) -> str:
    """A question mark a value, for ``IN (...)``."""
    return ",".join("?" * len(values))
