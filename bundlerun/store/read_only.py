"""A store's database for reading only: an archive, a snapshot, another user's.

How SQLite reads a database with a write-ahead log that it may not write: sqlite.org/wal.html,
"Read-Only Databases". What no process can change is opened as ``immutable``, which takes no locks;
what others may write as ``mode=ro``, which needs the log's files to be there; anything else is
copied first, with its log, to a private folder.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from bundlerun.errors import BundlerunError, StoreBusy

_LOGS = ("-wal", "-journal")
_TRIES = 5

Connect = Callable[[Path, str], sqlite3.Connection]
"""Opens the database at a path with the parameters of an SQLite URI."""

Stamps = tuple[tuple[int, int, int] | None, ...]
"""Size in bytes, time of change in ns and inode of the database and its logs.

None: not there, or empty.
"""


def is_writable(path: Path) -> bool:
    """Whether this user may write the database and make files next to it."""
    return all(os.access(each, os.W_OK) for each in (path, path.parent))


def is_read_only_mount(folder: Path) -> bool:
    """Whether the file system of ``folder`` is mounted read-only, for all users here."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def connect_read_only(path: Path, connect: Connect) -> tuple[sqlite3.Connection, Stamps | None]:
    """A connection that reads the database, and the stamps of its files or None.

    Stamps come with a connection that sees the files as they were then: with other ``stamps_of``,
    ask again. Raises sqlite3.Error, OSError; StoreBusy where the database changes all the time.
    """
    if is_read_only_mount(path.parent):
        stamps = stamps_of(path)
        if not any(stamps[1:]):
            return connect(path, "mode=ro&immutable=1"), stamps
    else:
        try:
            return connect(path, "mode=ro"), None
        except sqlite3.OperationalError as error:
            # The log's files are not there, and cannot be made.
            if "unable to open" not in str(error) and "readonly" not in str(error):
                raise
    return _copied(path, connect)


def stamps_of(path: Path) -> Stamps:
    """The stamps of the database's files now."""
    return tuple(_stamp(_beside(path, suffix)) for suffix in ("", *_LOGS))


def private_folder() -> Path:
    """A folder for what a read-only store cannot take, gone when this process ends."""
    if _private.pid != os.getpid() or _private.path is None:
        _private.pid, _private.path = os.getpid(), Path(tempfile.mkdtemp(prefix="bundlerun-"))
        atexit.register(_remove, _private.pid, _private.path)
    return _private.path


class _Private:
    """The process's own folder: a forked child makes one of its own."""

    pid = 0
    path: Path | None = None


_private = _Private()


def _remove(pid: int, path: Path) -> None:
    if pid == os.getpid():
        shutil.rmtree(path, ignore_errors=True)


def _copied(path: Path, connect: Connect) -> tuple[sqlite3.Connection, Stamps]:
    """A connection to a private copy, which is gone when it is closed."""
    for _ in range(_TRIES):
        stamps = stamps_of(path)
        with tempfile.TemporaryDirectory(prefix="bundlerun-") as folder:
            copy = Path(folder) / path.name
            try:
                for suffix, stamp in zip(("", *_LOGS), stamps, strict=True):
                    if stamp is not None:
                        shutil.copyfile(_beside(path, suffix), _beside(copy, suffix))
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise BundlerunError(
                    f"there is no space in {tempfile.gettempdir()} for a copy of {path}, without"
                    " which its log cannot be read",
                    hint="export TMPDIR=DIR",
                ) from error
            if stamps_of(path) == stamps:
                _fold(copy)
                # Once it is open it needs no name.
                return connect(copy, "mode=ro&immutable=1"), stamps
    raise StoreBusy(
        f"the store {path.parent} changes faster than it can be copied",
        hint="the same command again",
    )


def _fold(path: Path) -> None:
    """Take the log into the database itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    finally:
        connection.close()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino) if found.st_size else None
