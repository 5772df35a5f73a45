"""Locks that are files: one process holds one, and the kernel lets go of it when that one dies.

flock(2) belongs to the open file, not to the process: each ``held`` opens its own, so threads of
one process exclude each other as processes do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bundlerun.store.durable import make_folder
from bundlerun.store.refusals import translated

_POLL_S = 0.05


@contextlib.contextmanager
def held(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the lock ``path`` is this caller's alone while the block runs. With ``wait`` it is
    waited for, as long as it takes; without, the block runs with False where another one has it.

    The file is gone once nobody holds it.
    """
    pid = os.getpid()
    with translated(path.parent):
        handle = _acquired(path, wait=wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            if pid == os.getpid():
                # A child that was forked meanwhile has the handle too: closing alone would keep
                # the lock. And the child itself must not undo it.
                path.unlink(missing_ok=True)
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


def _acquired(path: Path, *, wait: bool) -> int | None:
    make_folder(path.parent)
    while True:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            if not wait:
                return None
            time.sleep(_POLL_S)
            continue
        except BaseException:
            os.close(handle)
            raise
        if _is_at(handle, path):
            return handle
        # Whoever held it has removed the file: the lock is another file by now.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
