"""Locks between processes, which the kernel releases when a process dies.

There are three: a file held by one process, a clean-up alone against all who add, one writer of a
partial object. The wait for one is told once.

flock(2) belongs to the open file, not to the process: each lock opens its own, so threads of one
process exclude each other as processes do.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bundlerun.errors import StoreBusy
from bundlerun.store.atomic import make_folder
from bundlerun.store.failures import translated


@contextlib.contextmanager
def held(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the lock ``path`` is this caller's alone while the block runs.

    With ``wait`` it is waited for, as long as it takes; without, the block runs with False where
    another one has it.

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
        # Its holder has removed the file: the lock is another file by now.
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


BUSY_S = 60.0
"""How long a process waits for another one's transaction."""

_POLL_S = 0.02


class Guard:
    """The lock between a sweep and those who add: ``sweep.lock`` and ``sweep.turn``.

    A sweep that waits for ``sweep.lock`` holds ``sweep.turn``, so that those who come later let it
    pass; flock(2) itself would let it wait for ever. One process shares once, however many of its
    threads do, so that sharing within sharing never waits for a sweep that waits for it. Safe to
    use from threads and after fork.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reset()

    @contextlib.contextmanager
    def sharing(self) -> Iterator[None]:
        """Hold off sweeps while the block runs.

        Raises StoreBusy when one goes on for longer than BUSY_S.
        """
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep all sharers out while the block runs.

        Raises StoreBusy when somebody does for longer than BUSY_S. Not to be asked for while
        sharing.
        """
        end_s = time.monotonic() + BUSY_S
        with (
            self._held("sweep.turn", fcntl.LOCK_EX, end_s),
            self._held("sweep.lock", fcntl.LOCK_EX, end_s),
        ):
            yield

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._count = 0
        self._stack = contextlib.ExitStack()

    def _enter(self) -> None:
        if self._pid != os.getpid():
            # What was held is the parent's: it lets go of it itself.
            self._reset()
        with self._lock:
            if self._count == 0:
                end_s = time.monotonic() + BUSY_S
                with self._held("sweep.turn", fcntl.LOCK_SH, end_s):
                    self._stack.enter_context(self._held("sweep.lock", fcntl.LOCK_SH, end_s))
            self._count += 1

    def _leave(self) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            self._count -= 1
            if self._count == 0:
                self._stack.close()

    @contextlib.contextmanager
    def _held(self, name: str, kind: int, end_s: float) -> Iterator[None]:
        pid = os.getpid()
        with translated(self._folder):
            path = self._folder / name
            handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        notice = Notice("cleans up the store or adds to it", at_most_s=BUSY_S)
        try:
            while True:
                try:
                    fcntl.flock(handle, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= end_s:
                        raise StoreBusy(
                            f"another process has cleaned up the store {self._folder}, "
                            f"or added to it, for more than {BUSY_S:.0f} s",
                            hint="the same command again",
                        ) from error
                notice.due()
                time.sleep(_POLL_S)
            yield
        finally:
            if pid == os.getpid():
                # A child that was forked meanwhile has the handle too: closing alone would keep
                # the lock. And the child itself must not undo it.
                fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


STILL_S = 120.0
"""The silence after which another process that writes to its file is given up."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """The file ``path``, unbuffered and this process's alone while the block runs.

    It is made where there is none. Raises StoreBusy when another process holds it and does not get
    on.
    """
    make_folder(path.parent)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _wait(handle, path)
            if _is_at(handle, path):
                with os.fdopen(handle, "r+b", buffering=0, closefd=False) as file:
                    yield file
                return
            # Its holder has made it an object, or given it up.
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


TOLD_AFTER_S = 2.0
"""A wait that is over sooner is nobody's concern."""

_logger = logging.getLogger("bundlerun.store")


class Notice:
    """A notice that a wait goes on, given once.

    Made when the wait begins; ``due`` is called as long as it lasts.
    """

    def __init__(self, what: str, *, at_most_s: float) -> None:
        self._text = f"waiting for another process that {what}, for {at_most_s:.0f} s at most ..."
        self._began_s = time.monotonic()
        self._told = False

    def due(self) -> None:
        """Give the notice if the wait has lasted for TOLD_AFTER_S."""
        if not self._told and time.monotonic() - self._began_s >= TOLD_AFTER_S:
            self._told = True
            _logger.warning("%s", self._text)
