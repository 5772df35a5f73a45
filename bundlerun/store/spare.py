"""A spare file of a few megabytes, so that removing can begin on a full disk.

SQLite needs room for its log before it can delete anything. The spare file is given up for that
time, and taken again of what was freed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from bundlerun.store.atomic import make_folder

FILE = "spare"
SPARE_BYTES = 4 << 20

ROOMY_BYTES = 64 << 20
"""The free bytes above which a spare file is made.

It must not itself be what fills a disk.
"""

NEEDED_BYTES = 256 << 10
"""With less room than this nothing can be removed: the log and its shared memory."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk, or of a user's share of it, without room (errno(3))."""


def keep_spare(folder: Path) -> None:
    """Make the spare file of the store ``folder`` where the disk has room for it."""
    if not (folder / FILE).exists() and free_bytes(folder) > ROOMY_BYTES:
        _take(folder)


@contextlib.contextmanager
def lent_spare(folder: Path) -> Iterator[None]:
    """On a disk with no room left, the spare file's room while the block runs."""
    path = folder / FILE
    lent = path.exists() and not has_room(folder)
    if lent:
        path.unlink(missing_ok=True)
    try:
        yield
    finally:
        if lent:
            _take(folder)


def has_room(folder: Path) -> bool:
    """Whether NEEDED_BYTES can be written in ``folder``, by trying.

    No other answer has a user's quota, and the blocks kept for root, in it. True where nothing can
    be written at all.
    """
    path = folder / f"room.{secrets.token_hex(8)}"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return error.errno not in FULL
    try:
        path.unlink()  # first: who dies here leaves nothing
        os.posix_fallocate(handle, 0, NEEDED_BYTES)
    except OSError as error:
        return error.errno not in FULL
    finally:
        os.close(handle)
    return True


def free_bytes(folder: Path) -> int:
    """The free bytes of the disk; 0 where it does not say."""
    with contextlib.suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize
    return 0


def _take(folder: Path) -> None:
    """Make the file, or as much of it as there is room for."""
    make_folder(folder)
    with contextlib.suppress(OSError):
        handle = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, SPARE_BYTES)
        finally:
            os.close(handle)
