"""Forked children that carry out one piece of work each and tell their parent.

Forked, for children share the store and the loaded code: other ways of starting would pickle them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import luigi.worker

from bundlerun.errors import UsageError
from bundlerun.pipelines import failures, inner, untracked

Tell = Callable[[tuple[Any, ...]], None]
"""The function that takes a message, a tuple with its kind in front."""

Body = Callable[[Tell], tuple[Any, ...]]
"""The body of a child, which returns the child's last message."""

FAILED, DIED, LATE = "failed", "died", "late"
"""Last messages of a child that are not a body's.

(FAILED, what failures.to_json gives), (DIED, exit code) and (LATE,) from a child that ran longer
than it may, and was ended.
"""

# How often children are looked at that may have died, and how long one may take to end when told.
_LOOK_S = 0.2
_END_S = 5.0


class _ToldToEnd(KeyboardInterrupt):
    """SIGTERM in a child: what it has begun is undone on the way out."""


@dataclass(eq=False)
class Child:
    """A child at work; ``late_s`` is the monotonic time at which it is ended, if any."""

    process: ForkProcess
    connection: Connection
    late_s: float | None


class Children:
    """The children of one caller.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self.at_work: list[Child] = []
        self._leaving: list[Child] = []

    def start(self, body: Body, timeout_s: float | None = None) -> Child:
        """A new child that does ``body``."""
        receiving, sending = multiprocessing.Pipe(duplex=False)
        theirs = [receiving, *(child.connection for child in self.at_work)]
        process = multiprocessing.get_context("fork").Process(
            target=_main, args=(body, sending, theirs)
        )
        process.start()
        sending.close()
        late_s = None if timeout_s is None else time.monotonic() + timeout_s
        child = Child(process, receiving, late_s)
        self.at_work.append(child)
        return child

    def hear(self) -> Iterator[tuple[Child, tuple[Any, ...], bool]]:
        """Wait a moment for messages: sender, message, and whether it was the last."""
        late = [child.late_s for child in self.at_work if child.late_s is not None]
        left_s = min(late, default=float("inf")) - time.monotonic()
        ready = wait([c.connection for c in self.at_work], min(_LOOK_S, max(left_s, 0)))
        for child in list(self.at_work):
            if child.connection in ready:
                yield from self._received(child)
            elif child.process.exitcode is not None and not child.connection.poll():
                # A child of its own, that is still there, holds the other end of the connection.
                yield self._last(child, (DIED, child.process.exitcode))
            elif child.late_s is not None and child.late_s <= time.monotonic():
                self._end([child])
                yield self._last(child, (LATE,))

    def end(self, *, at_once: bool) -> None:
        """Wait until no child is left.

        ``at_once`` stops what still runs, for when the caller stops waiting; else those that have
        said their word get a moment to leave.
        """
        if at_once:
            self._end(self.at_work)
        _joined(self.at_work + self._leaving)
        for child in self.at_work:
            child.connection.close()
        self.at_work, self._leaving = [], []

    def _received(self, child: Child) -> Iterator[tuple[Child, tuple[Any, ...], bool]]:
        try:
            message = child.connection.recv()
        except (EOFError, ConnectionError):
            _joined([child])
            yield self._last(child, (DIED, child.process.exitcode))
            return
        is_last, told = message
        yield self._last(child, told) if is_last else (child, told, False)

    def _last(self, child: Child, message: tuple[Any, ...]) -> tuple[Child, tuple[Any, ...], bool]:
        self.at_work.remove(child)
        child.connection.close()
        self._leaving = [each for each in self._leaving if each.process.exitcode is None]
        self._leaving.append(child)
        return child, message, True

    def _end(self, children: list[Child]) -> None:
        """End these children, and the processes that they started."""
        below = {
            pid: at for child in children for pid, at in _below(child.process.pid or 0).items()
        }
        for child in children:
            child.process.terminate()
        _joined(children)
        deadline_s = time.monotonic() + _END_S
        while left := _left(below):
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.01)


def _joined(children: list[Child]) -> None:
    deadline_s = time.monotonic() + _END_S
    for child in children:
        child.process.join(max(deadline_s - time.monotonic(), 0))
        if child.process.exitcode is None:
            child.process.kill()
            child.process.join()


def _main(body: Body, sending: Connection, theirs: list[Connection]) -> None:
    """The main function of a child."""
    try:
        _end_when_told()
        # Some thread of the parent may have held these at the fork: nobody would release them.
        luigi.worker.fork_lock = threading.Lock()
        untracked.in_child()
        inner.alone()
        for each in theirs:
            each.close()
        try:
            last = body(lambda message: sending.send((False, tuple(map(_portable, message)))))
        except BaseException as error:  # whatever it was, the parent says it
            last = FAILED, failures.to_json(error)
        sending.send((True, last))
    except KeyboardInterrupt:
        # Told to end once more: nobody waits for the last message.
        pass
    except ConnectionError:
        # The parent is gone.
        pass


def _portable(part: object) -> object:
    """``part`` of a message, or for an error that cannot be sent, one with its text.

    Raises UsageError for another object that cannot be sent.
    """
    try:
        pickle.loads(pickle.dumps(part))
    except Exception as error:  # classes are the user's: pickling them may raise anything
        if isinstance(part, BaseException):
            return RuntimeError(failures.said_by(part))
        raise UsageError(
            f"{part!r:.80} cannot be sent to the process that called apply ({error!s:.120})",
            hint="apply --workers 1, or an event with texts and numbers alone",
        ) from error
    return part


def _end_when_told() -> None:
    """Let SIGTERM raise _ToldToEnd in this process.

    In those that a pipe forks of it, as the workers of a multiprocessing.Pool, it has its usual
    effect, from their first moment on: Python forgets a signal that arrives before the new process
    is ready, so it is held back meanwhile.
    """
    masks = threading.local()

    def hold() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def in_new_process() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        release()

    signal.signal(signal.SIGTERM, _told_to_end)
    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=in_new_process)


def _told_to_end(*_: object) -> None:
    raise _ToldToEnd


def _below(pid: int) -> dict[int, str]:
    """All descendants of the process ``pid``, by when they began."""
    parents = _ancestry()
    found: dict[int, str] = {}
    wanted = {pid}
    while wanted:
        some = {each for each, (parent, _) in parents.items() if parent in wanted}
        wanted = some - found.keys()
        found.update({each: parents[each][1] for each in wanted})
    return found


def _left(known: dict[int, str]) -> list[int]:
    """The processes of ``known`` that still run."""
    there = _ancestry() if known else {}
    return [pid for pid, started in known.items() if there.get(pid, (0, ""))[1] == started]


def _ancestry() -> dict[int, tuple[int, str]]:
    """The parent and the start time of each process that has not ended, by proc(5).

    Empty where there is no /proc.
    """
    found: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in brackets, may have spaces and brackets in it.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found[int(path.parent.name)] = int(fields[1]), fields[19]
    return found
