"""What SQLite and the file system refuse, in bundlerun's words: the one door of the store."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bundlerun.errors import BundlerunError, IntegrityError, StoreBusy

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEAST_BYTES = 64 << 10
"""With less no SQLite file can be opened for writing."""

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turn the errors of SQLite, and those of a file system that is full or read-only, into ours.

    ``folder`` is the store that the message names. Other OSErrors pass: they are about a file of
    the caller's. Raises StoreBusy, IntegrityError or BundlerunError.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, folder) from error
    except OSError as error:
        if error.errno in _FULL:
            raise _full(folder) from error
        if error.errno in _DENIED:
            raise _denied(folder, error) from error
        raise


def _of_sqlite(error: sqlite3.Error, folder: Path) -> BundlerunError:
    text = str(error)
    # SQLite says the latter when it cannot make room for the index of its log.
    if "is full" in text or ("disk I/O error" in text and _is_full(folder)):
        return _full(folder)
    if "locked" in text or "locking protocol" in text:
        return StoreBusy(f"another process holds the store {folder}", hint="the same once more")
    if "readonly" in text or "unable to open" in text:
        return _denied(folder, error)
    if "malformed" in text or "not a database" in text or "no such table" in text:
        return IntegrityError(f"{folder} is no whole store: {text}")
    return BundlerunError(f"the store {folder} fails: {text}")


def _is_full(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        left = os.statvfs(folder)
        return left.f_bavail * left.f_frsize < _LEAST_BYTES
    return False


def _full(folder: Path) -> BundlerunError:
    return BundlerunError(
        f"no space left for the store {folder}; nothing was added", hint=f"df -h {folder}"
    )


def _denied(folder: Path, error: Exception) -> BundlerunError:
    return BundlerunError(
        f"the store {folder} cannot be opened or written: {error}",
        hint=f"ls -ld {folder}, or another store: BUNDLERUN_STORE=DIR",
    )
