"""A process of items as its supervisor has it: started, asked, watched, ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bundlerun.runs.calls.frames import WHERE, framed, unframed
from bundlerun.runs.calls.item_log import STDERR, STDOUT, ItemLog

_TICK_S = 0.25
"""How often what is not an answer is looked after while an item works."""

_PATIENCE_S = 2.0
_LAST_WORDS_S = 0.5

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class End:
    """The end of a process that gave no answer.

    ``code`` is its exit code, of a signal the negative number; ``late``: it was ended at its time
    limit; ``stopped``: because the job is; ``unwanted``: because its item was cancelled.
    """

    code: int
    peak_memory_mib: float = 0.0
    late: bool = False
    stopped: bool = False
    unwanted: bool = False


@dataclass(frozen=True)
class Setting:
    """Where a process of items works.

    ``staging`` is written instead of ``remote`` where there is such a folder; ``folder`` is the
    process's own.
    """

    remote: str
    staging: Path | None
    folder: Path
    run_id: str

    def to_bytes(self) -> bytes:
        """What the process is told first."""
        staging = None if self.staging is None else str(self.staging)
        told = {"remote": self.remote, "staging": staging, "folder": str(self.folder)}
        return json.dumps({**told, "run_id": self.run_id, "parent": os.getpid()}).encode()


class ItemProcess:
    """One process, and the pipes to it.

    What it writes goes to ``log``; ``stop`` is a descriptor that can be read once the job is to
    end; ``meanwhile`` is called now and then while an answer is waited for. It is started anew, not
    forked: the supervisor has threads by then. It leads a process group, so that what an item
    started ends with it.
    """

    def __init__(
        self, setting: Setting, log: ItemLog, stop: int, meanwhile: Callable[[], None]
    ) -> None:
        self._log, self._stop, self._meanwhile = log, stop, meanwhile
        theirs_in, self._requests = os.pipe()
        self._replies, theirs_out = os.pipe()
        stdout, their_stdout = os.pipe()
        stderr, their_stderr = os.pipe()
        self._dead, ended = os.pipe()
        self._output = {stdout: STDOUT, stderr: STDERR}
        self._closed: set[int] = set()
        theirs = (theirs_in, theirs_out, their_stdout, their_stderr)
        for descriptor in (self._requests, self._replies, *self._output):
            os.set_blocking(descriptor, False)
        try:
            self._process = subprocess.Popen(
                # Unbuffered: what an item wrote before it killed the process is there.
                [sys.executable, "-u", "-m", _MODULE, str(theirs_in), str(theirs_out)],
                stdin=subprocess.DEVNULL,
                stdout=their_stdout,
                stderr=their_stderr,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,
            )
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._end: End | None = None
        self._waiter = threading.Thread(target=self._wait, args=(ended,), daemon=True)
        self._waiter.start()
        self._unsent = framed(setting.to_bytes())

    def load(self, function: bytes) -> bytes | End:
        """Give it the function; empty when it is loaded, else the outcome of that."""
        return self._answer(framed(function), None)

    def ask(
        self, request: bytes, limit_s: float | None, unwanted: Callable[[], bool]
    ) -> bytes | End:
        """Its answer to ``request``, or the end that it came to instead.

        ``limit_s`` is how many seconds it has, None: no limit; ``unwanted`` is asked now and then
        whether it was cancelled.
        """
        return self._answer(framed(request), limit_s, unwanted)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._end is None

    def close(self) -> None:
        """Let it end as Python ends, and soon end it and all of its group."""
        os.close(self._requests)
        self._waiter.join(_PATIENCE_S)
        self._kill()
        self._waiter.join()
        self._drained()
        for descriptor in (self._replies, self._dead, *self._output):
            os.close(descriptor)

    def _answer(
        self, frame: bytes, limit_s: float | None, unwanted: Callable[[], bool] = lambda: False
    ) -> bytes | End:
        until_s = None if limit_s is None else time.monotonic() + limit_s
        sending, reply = memoryview(self._unsent + frame), bytearray()
        self._unsent = b""
        while True:
            late = until_s is not None and time.monotonic() >= until_s
            ready = self._ready(0.0 if late else _left(until_s), sending=bool(sending))
            if self._requests in ready:
                sending = self._sent(sending)
            for descriptor in self._output.keys() & ready:
                self._pass_on(descriptor)
            silent = False
            if self._replies in ready or self._dead in ready:
                data = _available(self._replies)
                silent = data is None
                reply += data or b""
                whole = unframed(reply)
                if whole is not None:
                    self._drained()
                    return whole
            if silent or self._dead in ready or late or self._stop in ready:
                return self._given_up(late=late, stopped=self._stop in ready)
            self._log.pass_on()
            self._meanwhile()
            if unwanted():
                return replace(self._given_up(late=False, stopped=False), unwanted=True)

    def _ready(self, wait_s: float, *, sending: bool) -> set[int]:
        poll = select.poll()
        output = self._output.keys() - self._closed
        for descriptor in (self._replies, self._dead, self._stop, *output):
            poll.register(descriptor, select.POLLIN)
        if sending:
            poll.register(self._requests, select.POLLOUT)
        return {descriptor for descriptor, _ in poll.poll(wait_s * 1000)}

    def _sent(self, data: memoryview) -> memoryview:
        """What is left of ``data`` to be sent; nothing once nobody reads it.

        How the process ended is seen then.
        """
        try:
            return data[os.write(self._requests, data) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            return data[len(data) :]

    def _given_up(self, *, late: bool, stopped: bool) -> End:
        dead = self._end is not None
        if late and not stopped and not dead:
            self._last_words()
        self._kill()
        self._waiter.join()
        self._drained()
        end = self._end or End(-signal.SIGKILL)
        if dead:
            return end
        return End(end.code, end.peak_memory_mib, late=late and not stopped, stopped=stopped)

    def _last_words(self) -> None:
        """Have it write where its threads stand."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, WHERE)
        until_s = time.monotonic() + _LAST_WORDS_S
        while (left_s := until_s - time.monotonic()) > 0:
            ready = self._ready(left_s, sending=False)
            for descriptor in self._output.keys() & ready:
                self._pass_on(descriptor)
            if not ready <= self._output.keys():
                return

    def _pass_on(self, descriptor: int) -> None:
        data = _available(descriptor)
        if data is None:
            self._closed.add(descriptor)
        elif data:
            self._log.write(self._output[descriptor], data)

    def _drained(self) -> None:
        """Take all that was written until now: it is of this item."""
        for descriptor in self._output:
            self._pass_on(descriptor)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _wait(self, ended: int) -> None:
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        # In KiB on Linux (getrusage(2)).
        self._end = End(self._process.returncode, usage.ru_maxrss / 1024)
        os.close(ended)


_MODULE = "bundlerun.runs.calls.item_process"


def _left(until_s: float | None) -> float:
    """Seconds to the next look."""
    return _TICK_S if until_s is None else max(min(_TICK_S, until_s - time.monotonic()), 0.0)


def _available(descriptor: int) -> bytes | None:
    """What can be read now; None where nothing can be, ever again."""
    found = bytearray()
    while True:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return bytes(found)
        if not data:
            return bytes(found) or None
        found += data
