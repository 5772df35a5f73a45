"""Translation of the errors of SQLite and of the file system into bundlerun's."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bundlerun.errors import (
    BundlerunError,
    IntegrityError,
    SettingsError,
    StoreBusy,
    StoreReadOnly,
)
from bundlerun.store.spare import FULL, has_room

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Translate the errors of SQLite, and of a full or read-only file system.

    ``folder`` is the store that the message names. Other OSErrors pass: they are about a file of
    the caller's. Raises StoreBusy, IntegrityError or BundlerunError, and SettingsError where there
    cannot be such a folder.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, folder) from error
    except OSError as error:
        if error.errno in FULL:
            raise _full(folder) from error
        if error.errno in _DENIED:
            raise _denied(folder, error) from error
        if error.errno in (errno.ENOTDIR, errno.ENOENT) and not folder.is_dir():
            raise SettingsError(
                f"the store {folder} cannot be made: {error.strerror}",
                hint="export BUNDLERUN_STORE=FOLDER",
            ) from error
        raise


def _of_sqlite(error: sqlite3.Error, folder: Path) -> BundlerunError:
    text = str(error)
    if is_full(error, folder):
        return _full(folder)
    if "locked" in text or "locking protocol" in text:
        return StoreBusy(f"another process holds the store {folder}", hint="the same command again")
    if "readonly" in text or "unable to open" in text:
        return _denied(folder, error)
    if "malformed" in text or "not a database" in text or "no such table" in text:
        return IntegrityError(
            f"the store {folder} is damaged: {text}", hint="bundlerun fsck --repair"
        )
    return BundlerunError(f"the store {folder} fails: {text}", hint="bundlerun fsck")


def is_full(error: sqlite3.Error, folder: Path) -> bool:
    """Whether SQLite failed because the disk of ``folder`` has no room left."""
    text = str(error)
    # SQLite says one of the latter when it cannot make its log, or the index of it.
    vague = "disk I/O error" in text or "unable to open" in text
    return "is full" in text or (vague and not has_room(folder))


def read_only(folder: Path) -> StoreReadOnly:
    """The refusal to write a store that may only be read."""
    return StoreReadOnly(
        f"the store {folder} is read-only here; nothing was written",
        hint=f"cp -a {folder} DIR, and export BUNDLERUN_STORE=DIR",
    )


def _full(folder: Path) -> BundlerunError:
    return BundlerunError(
        f"no space left for the store {folder}; nothing was changed",
        hint=f"df -h {folder}; bundlerun gc --delete frees what no bundle uses",
    )


def _denied(folder: Path, error: Exception) -> BundlerunError:
    is_there = folder.exists()
    if is_there and (getattr(error, "errno", None) == errno.EROFS or "readonly" in str(error)):
        return read_only(folder)
    return BundlerunError(
        f"the store {folder} cannot be opened or written: {error}",
        hint=f"ls -ld {folder}, or another store: BUNDLERUN_STORE=DIR",
    )
