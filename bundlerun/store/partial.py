"""Large objects that are on their way: a file that outlives a broken transfer, for one at a time.

``objects/partial/<digest>`` holds parts at their places. What is in it counts once it was hashed;
whoever holds the lock of the file writes it, and a sweep leaves it alone while it is young or
locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bundlerun.errors import StoreBusy
from bundlerun.store.durable import make_folder

STILL_S = 120.0
"""Another process that holds a file and writes nothing to it for so long is given up."""

_POLL_S = 0.05


@contextlib.contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """The file ``path``, made where there is none, unbuffered and this process's alone while the
    block runs. Raises StoreBusy when another one holds it and does not get on."""
    make_folder(path.parent)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _wait(handle, path)
            if _is_at(handle, path):
                with os.fdopen(handle, "r+b", buffering=0, closefd=False) as file:
                    yield file
                return
            # Whoever held it has made it an object, or given it up.
        finally:
            os.close(handle)


def _wait(handle: int, path: Path) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.time() - os.fstat(handle).st_mtime > STILL_S:
                raise StoreBusy(
                    f"another process holds {path} and has not written to it for {STILL_S:.0f} s",
                    hint="the same command again, once the other one is done",
                ) from error
        time.sleep(_POLL_S)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
