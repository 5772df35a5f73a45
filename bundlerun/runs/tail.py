"""The last of what a process writes, kept while it passes through."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType


class Tail:
    """While entered, file descriptors 1 and 2 also feed a buffer of their last ``limit`` bytes.

    Everything still reaches where it went before, in order. Meant for the main program of a job:
    descriptors belong to the whole process.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._saved: list[tuple[int, int]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Tail:
        for descriptor in (1, 2):
            onward = os.dup(descriptor)
            reading, writing = os.pipe()
            os.dup2(writing, descriptor)
            os.close(writing)
            thread = threading.Thread(target=self._copy, args=(reading, onward), daemon=True)
            thread.start()
            self._saved.append((descriptor, onward))
            self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, onward in self._saved:
            os.dup2(onward, descriptor)
        # A child that outlives the pipe may hold the descriptor open: never wait for ever.
        for thread, (_, onward) in zip(self._threads, self._saved, strict=True):
            thread.join(timeout=2.0)
            if not thread.is_alive():
                os.close(onward)

    @property
    def text(self) -> str:
        """What was kept, undecodable bytes replaced."""
        return bytes(self._kept).decode("utf-8", errors="replace")

    def _copy(self, reading: int, onward: int) -> None:
        while data := os.read(reading, 65536):
            view = memoryview(data)
            while view:
                view = view[os.write(onward, view) :]
            self._kept += data
            del self._kept[: -self._limit]
        os.close(reading)
