"""Capturing what a job writes: whole lines, in order, passed on and kept in part."""

from __future__ import annotations

import fcntl
import io
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from bundlerun.runs.masking import hidden_pieces, mask_pieces

STALE_S = 1.0
"""Text without its newline is passed on after so long."""

LONGEST = 64 * 1024
"""Bytes of a line that are held back for its newline."""

DRAIN_S = 1.0
"""How long a write to one stream waits for the other's bytes to be taken."""


class Capture:
    """While entered, file descriptors 1 and 2 lead here, and from here to where 1 led.

    Lines arrive whole, and in order within a stream. What Python writes through ``sys.stdout`` and
    ``sys.stderr`` is in order between the two as well; both go on through one descriptor because
    whatever reads a job's output (an engine's log driver) reads two without an order. Text that
    lacks its newline follows after ``STALE_S`` seconds or ``LONGEST`` bytes. ``text`` is the last
    ``limit`` bytes. The texts ``hidden`` are masked (``masking``). Meant for the main program of
    a job: descriptors belong to the whole process.
    """

    def __init__(self, limit: int, hidden: Sequence[str] = ()) -> None:
        self._limit = limit
        self._hidden = hidden_pieces(hidden)
        self._kept = bytearray()
        self._saved: list[int] = []
        self._streams = (sys.stdout, sys.stderr)
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._reading: list[int] = []

    def __enter__(self) -> Capture:
        sys.stdout.flush()
        sys.stderr.flush()
        self._streams = (sys.stdout, sys.stderr)
        for descriptor in (1, 2):
            self._saved.append(os.dup(descriptor))
            reading, writing = os.pipe()
            os.dup2(writing, descriptor)
            os.close(writing)
            self._reading.append(reading)
        sys.stdout, sys.stderr = _text(1, other=2), _text(2, other=1)
        self._joined = Joined(self._saved[0])
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = self._streams
        # The last writing ends of the pipes here, so that the thread sees their end.
        os.dup2(self._saved[0], 1)
        os.dup2(self._saved[1], 2)
        # A child that outlives the job may hold a writing end: never wait for it for ever.
        self._thread.join(timeout=2.0)
        if not self._thread.is_alive():
            for descriptor in self._saved:
                os.close(descriptor)

    @property
    def text(self) -> str:
        """The kept text, undecodable bytes replaced."""
        return bytes(self._kept).decode("utf-8", errors="replace")

    def _pass_on(self) -> None:
        held = {descriptor: WholeLines(self._hidden) for descriptor in self._reading}
        poll = select.poll()
        for descriptor in self._reading:
            poll.register(descriptor, select.POLLIN)
        while held:
            waits_ms = STALE_S * 1000 / 4 if any(lines.held for lines in held.values()) else None
            for descriptor, _ in poll.poll(waits_ms):
                data = os.read(descriptor, 65536)
                if not data:
                    poll.unregister(descriptor)
                    self._emit(descriptor, held.pop(descriptor).rest())
                    os.close(descriptor)
                    continue
                self._emit(descriptor, held[descriptor].of(data))
            for descriptor, lines in held.items():
                self._emit(descriptor, lines.stale())

    def _emit(self, stream: int, data: bytes) -> None:
        if data:
            self._kept += self._joined.write(stream, data)
            del self._kept[: -self._limit]


class WholeLines:
    """The whole lines of one stream that comes in pieces.

    They are without the texts ``hidden`` (``masking.hidden_pieces``). Text that lacks its newline
    is held back for ``STALE_S`` seconds or ``LONGEST`` bytes.
    """

    def __init__(self, hidden: Sequence[bytes]) -> None:
        self._hidden = hidden
        self._rest = bytearray()
        self._since_s = 0.0

    @property
    def held(self) -> bool:
        """Whether text is held back."""
        return bool(self._rest)

    def of(self, data: bytes) -> bytes:
        """The lines that ``data`` makes whole."""
        if not self._rest:
            self._since_s = time.monotonic()
        self._rest += data
        end = self._rest.rfind(b"\n") + 1
        if end:
            self._since_s = time.monotonic()
        return self._taken(end)

    def stale(self) -> bytes:
        """What was held back long enough."""
        late = time.monotonic() - self._since_s >= STALE_S
        if not late and len(self._rest) < LONGEST:
            return b""
        # What may be the beginning of a hidden text waits for what follows it.
        return self._taken(len(self._rest) - _begun(self._rest, self._hidden))

    def rest(self) -> bytes:
        """All that was held back: nothing follows."""
        return self._taken(len(self._rest))

    def _taken(self, end: int) -> bytes:
        taken = mask_pieces(self._rest[:end], self._hidden)
        del self._rest[:end]
        return taken


class Joined:
    """Several streams through one ``descriptor``, line by line.

    Each line that begins has ``label`` in front.
    """

    def __init__(self, descriptor: int) -> None:
        self.label = b""
        self._descriptor = descriptor
        self._unfinished: int | None = None
        """The stream whose text was passed on last without a newline."""

    def write(self, stream: int, data: bytes) -> bytes:
        """Pass ``data`` of ``stream`` on, which is not empty; what was written."""
        # The other stream's unfinished line ends here, so that this one is whole.
        torn = self._unfinished not in (None, stream)
        begins = torn or self._unfinished is None
        self._unfinished = None if data.endswith(b"\n") else stream
        # A newline at the very end begins no line yet.
        lines = data[:-1].replace(b"\n", b"\n" + self.label) + data[-1:]
        whole = b"\n" * torn + self.label * begins + lines
        self._put(whole)
        return whole

    def end_line(self) -> None:
        """What follows begins a line."""
        if self._unfinished is not None:
            self._unfinished = None
            self._put(b"\n")

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]


def _begun(data: bytes | bytearray, pieces: Sequence[bytes]) -> int:
    """The length of the longest beginning of one of ``pieces`` at the end of ``data``."""
    longest = max((len(piece) for piece in pieces), default=0)
    return next(
        (
            size
            for size in range(min(longest - 1, len(data)), 0, -1)
            if any(piece.startswith(data[-size:]) for piece in pieces)
        ),
        0,
    )


@dataclass
class _Held:
    """The text of one thread that lacks its newline.

    ``since_s`` is when it began to be held (``time.monotonic()``).
    """

    data: bytes = b""
    since_s: float = field(default_factory=time.monotonic)


class _Stream(io.RawIOBase):
    """A captured descriptor as Python's own writes see it.

    The pieces that print() writes become whole lines, a thread's own each, and a line is written
    only after what went to the ``other`` stream before has been taken.
    """

    def __init__(self, descriptor: int, other: int) -> None:
        self._descriptor = descriptor
        self._other = other
        self._held: dict[int, _Held] = {}
        self._lock = threading.RLock()
        self._flusher: tuple[int, threading.Thread] | None = None
        # A lock that another thread holds at a fork is never released in the child.
        os.register_at_fork(after_in_child=self._after_fork)

    def fileno(self) -> int:
        """The captured descriptor."""
        return self._descriptor

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: object) -> int:
        """Take ``data``, a buffer of bytes; its length.

        Text without a newline is held a while.
        """
        taken = bytes(data)  # type: ignore[call-overload]
        with self._lock:
            held = self._held.setdefault(threading.get_ident(), _Held())
            held.data += taken
            size = len(held.data)
            end = size if size >= LONGEST else held.data.rfind(b"\n") + 1
            if end:
                self._put(held.data[:end])
                held.data = held.data[end:]
                held.since_s = time.monotonic()
            if held.data:
                self._flush_later()
            else:
                del self._held[threading.get_ident()]
        return len(taken)

    def flush(self) -> None:
        """Write what is held of unfinished lines."""
        super().flush()
        self._flush_older(0.0)

    def _flush_older(self, age_s: float) -> None:
        with self._lock:
            for thread, held in list(self._held.items()):
                if time.monotonic() - held.since_s >= age_s:
                    self._put(held.data)
                    del self._held[thread]

    def _put(self, data: bytes) -> None:
        until = time.monotonic() + DRAIN_S
        while _waiting(self._other) and time.monotonic() < until:
            time.sleep(0.0001)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _flush_later(self) -> None:
        pid, thread = self._flusher or (0, None)
        if pid == os.getpid() and thread is not None and thread.is_alive():
            return
        thread = threading.Thread(target=self._keep_flushing, daemon=True)
        self._flusher = (os.getpid(), thread)
        thread.start()

    def _keep_flushing(self) -> None:
        while True:
            time.sleep(STALE_S / 2)
            with self._lock:
                self._flush_older(STALE_S / 2)
                if not self._held:
                    self._flusher = None
                    return

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._held.clear()  # the parent writes it


def _text(descriptor: int, *, other: int) -> io.TextIOWrapper:
    raw = _Stream(descriptor, other)
    return io.TextIOWrapper(
        raw,  # type: ignore[arg-type]
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )


def _waiting(descriptor: int) -> int:
    """The number of bytes in the pipe that nobody has read.

    FIONREAD answers at either end (pipe(7)).
    """
    try:
        answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    except OSError:  # the job closed or replaced the descriptor
        return 0
    return int.from_bytes(answer, sys.byteorder)
