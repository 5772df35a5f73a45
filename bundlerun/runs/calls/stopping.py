"""A job that is asked to end.

Services do so by SIGTERM, when a job is cancelled or its machine is taken away.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether the job is ``asked`` to end; ``descriptor`` can be read from then on."""

    descriptor: int
    asked: bool = False


@contextmanager
def stopping() -> Iterator[Stop]:
    """SIGTERM ends nothing by itself meanwhile: it is told.

    For the main thread of a job.
    """
    reading, writing = os.pipe()
    stop = Stop(reading)

    def ask(number: int, frame: FrameType | None) -> None:
        if not stop.asked:
            stop.asked = True
            os.write(writing, b"!")

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(reading)
        os.close(writing)
