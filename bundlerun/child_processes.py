"""Starting a process whose starter may be interrupted at any moment."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Let Ctrl-C, a kill and a closed terminal take effect at the end of the block.

    One that came within ``Popen`` would leave a process that nobody has.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python's handlers run in the main thread alone.
        yield
        return
    came: list[int] = []
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(sign, lambda number, _: came.append(number)) for sign in signs]
    try:
        yield
    finally:
        for sign, handler in zip(signs, before, strict=True):
            signal.signal(sign, handler)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def client_process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that works for the block, which waits for its end.

    ``options`` are those of ``subprocess.Popen``. Where the block raises, Ctrl-C included, it is
    told to end by SIGTERM.
    """
    process: subprocess.Popen[str] | None = None
    try:
        with signals_held_back():
            process = subprocess.Popen(command, text=True, **options)
        yield process
    except BaseException:
        if process is not None:
            process.terminate()
        raise
    finally:
        if process is not None:
            with process:
                pass
