"""Crash-safe writes: a file is written aside, synced, then renamed.

The modes of files and folders do not depend on the umask.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

FOLDER_MODE = 0o755
"""Of every folder of a store: a container's user reads it, only the owner writes."""

FILE_MODE = 0o444
EXECUTABLE_MODE = 0o555


_settled: set[tuple[Path, int, int]] = set()
"""Folders whose names this process has seen synced: path, device and inode."""


def make_folder(path: Path) -> None:
    """``path`` and its parents, those made here with FOLDER_MODE.

    The name of ``path`` survives a power loss then, also where another process made it and died
    before it synced.
    """
    if not path.is_dir():
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            path.chmod(FOLDER_MODE)
    found = path.stat()
    mark = (path, found.st_dev, found.st_ino)
    if mark not in _settled:
        # Who may not read the folder above has made nothing in it.
        with contextlib.suppress(PermissionError):
            sync_folder(path.parent)
        _settled.add(mark)


def sync_folder(path: Path) -> None:
    """Make the names in ``path`` survive a power loss."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


UNFINISHED = re.compile(r"\.[0-9a-f]{24}")
"""The names of files that are not whole yet, or never will be.

They lie among files of other names.
"""


def unfinished(folder: Path) -> Path:
    """A new path in ``folder``, of the form UNFINISHED."""
    return folder / f".{secrets.token_hex(12)}"


@contextlib.contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new path in ``folder``, removed at the end if it is still there."""
    partial = folder / secrets.token_hex(12)
    try:
        yield partial
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def settle(partial: Path, final: Path, mode: int) -> None:
    """Sync the file ``partial``, give it ``mode``, and make it ``final``, durably."""
    partial.chmod(mode)
    handle = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    make_folder(final.parent)
    os.replace(partial, final)
    sync_folder(final.parent)
