"""The lock between a sweep and whoever brings objects: many share it, a sweep has it alone.

Without it an object could go between the moment it is found here and the record that uses it, or a
file between its being found and the row that names it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bundlerun.errors import StoreBusy
from bundlerun.store.database import BUSY_S
from bundlerun.store.refusals import translated
from bundlerun.store.waiting import Notice

_POLL_S = 0.02


class Guard:
    """The locks ``sweep.lock`` and, before it, ``sweep.turn``: a sweep that waits holds the turn,
    so that those who come later let it pass; flock(2) itself would let it wait for ever.

    One process shares once, however many of its threads do, so that sharing within sharing never
    waits for a sweep that waits for it. Safe to use from threads and after fork.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reset()

    @contextlib.contextmanager
    def sharing(self) -> Iterator[None]:
        """Hold off sweeps. Raises StoreBusy when one goes on for longer than BUSY_S."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody shares while the block runs. Raises StoreBusy when somebody does for longer than
        BUSY_S. Not to be asked for while sharing."""
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
                            f"the store {self._folder} is being cleaned up or added to for more"
                            f" than {BUSY_S:.0f} s",
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
