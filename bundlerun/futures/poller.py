"""One daemon thread a process, which looks at the jobs of all followed runs."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bundlerun.backends.base import Backend
from bundlerun.backends.job import JobHandle, JobStatus
from bundlerun.backends.poll import TRANSIENT
from bundlerun.errors import BundlerunError, RemoteGone
from bundlerun.futures.followed import Followed, Listener

PATIENCE_S = 900.0
"""The time over which a backend or remote may stumble at each look at a run."""

WIND_UP_S = 5.0
"""The longest wait of a program's end for runs of which all items have ended."""

_logger = logging.getLogger("bundlerun.futures")


@dataclass(frozen=True)
class Clock:
    """Time, as a poller knows it; a test gives its own.

    ``wait`` ends early when its event is set.
    """

    now: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], object] = threading.Event.wait


@dataclass(eq=False)
class _Run:
    """A followed run.

    ``stumbled_s``: since when nothing but stumbles came of it.
    """

    followed: Followed
    listener: Listener
    before: Mapping[str, JobStatus] | None = None
    stumbled_s: float | None = None


@dataclass(eq=False)
class _Group:
    """The runs of one backend, which are looked at together."""

    backend: Backend
    pause_s: float
    due_s: float
    runs: list[_Run] = field(default_factory=list)

    def is_ending(self) -> bool:
        """Whether a run is over but for what its jobs leave on this machine."""
        is_here = self.backend.traits.sees_folders
        return is_here and any(not len(run.listener.open) for run in self.runs)


class Poller:
    """Looks at runs, in a thread that begins with the first and ends with the last.

    A backend is polled once for all of its runs, at the pace of its traits: quickly at first and
    after news, then ever more rarely. Listeners are told outside of any lock. Threads may share it,
    and a process that is forked looks at what it is asked about, by a thread of its own.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._left = threading.Event()
        self._groups: dict[int, _Group] = {}
        self._thread: threading.Thread | None = None
        self._is_forked = False
        self._is_registered = False

    def follow(self, followed: Followed, listener: Listener) -> None:
        """Tell ``listener`` what becomes of ``followed``, to its end."""
        backend = followed.backend
        pace, now_s = backend.pace, self._clock.now()
        self.revive()
        with self._lock:
            group = self._groups.get(id(backend))
            if group is None:
                group = self._groups[id(backend)] = _Group(backend, pace.first_s, now_s)
            # Many runs that begin one after the other do not cost a look each.
            group.due_s = min(group.due_s, now_s + pace.first_s)
            group.pause_s = pace.first_s
            group.runs.append(_Run(followed, listener))
            self._begin()
            self._wake.set()

    def revive(self) -> None:
        """In a forked process, go on with what its parent followed."""
        if self._is_forked:
            self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            if not self._is_forked:
                return
            runs = [run for group in self._groups.values() for run in group.runs]
            for run in runs:
                run.listener.forked()
            self._is_forked = False
            if runs:
                self._begin()

    @property
    def is_here(self) -> bool:
        """Whether it is the poller's own thread that asks: it cannot wait for itself."""
        return threading.current_thread() is self._thread

    def wind_up(self, most_s: float = WIND_UP_S) -> None:
        """Wait for the end of runs whose items have all ended, at most ``most_s`` seconds.

        Those alone of which something would stay on this machine, such as containers. Called where
        a program ends.
        """
        until_s = time.monotonic() + most_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._left.clear()
            if not self._hurry():
                return
            self._left.wait(left_s)

    def _hurry(self) -> bool:
        """Whether there are such runs, which are looked at soon."""
        if self._is_forked or self._thread is None:
            return False
        with self._lock:
            found = [group for group in self._groups.values() if group.is_ending()]
            for group in found:
                group.pause_s = group.backend.pace.first_s
                group.due_s = self._clock.now()
            self._wake.set()
        return bool(found)

    def survive_forks(self) -> None:
        """Be usable in processes that are forked from this one; called once."""
        os.register_at_fork(
            before=self._lock_before_fork,
            after_in_parent=self._unlock_after_fork,
            after_in_child=self._forked,
        )

    def _lock_before_fork(self) -> None:
        # Held over memory alone, and never while others are told or asked: it comes at once.
        self._lock.acquire()

    def _unlock_after_fork(self) -> None:
        self._lock.release()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._left = threading.Event()
        self._thread = None
        self._is_forked = True
        for group in self._groups.values():
            # The parent may have been in the middle of a look.
            group.due_s = 0.0

    def _begin(self) -> None:
        """Called with the lock held."""
        if not self._is_registered:
            self._is_registered = True
            _at_shutdown(self.wind_up)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="bundlerun", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._wake.clear()
                self._groups = {key: group for key, group in self._groups.items() if group.runs}
                if not self._groups:
                    self._thread = None
                    return
                now_s = self._clock.now()
                due = [group for group in self._groups.values() if group.due_s <= now_s]
                wait_s = min(group.due_s for group in self._groups.values()) - now_s
            if not due:
                self._clock.wait(self._wake, wait_s)
            for group in due:
                self._look(group)

    def _look(self, group: _Group) -> None:
        """One look at all runs of a backend."""
        with self._lock:
            runs = list(group.runs)
        is_news = False
        for run, found in _polled(group.backend, runs):
            is_news |= self._told(group, run, found)
        pace = group.backend.pace
        with self._lock:
            is_news |= any(run not in runs for run in group.runs)
            group.pause_s = pace.first_s if is_news else pace.after(group.pause_s)
            group.due_s = self._clock.now() + group.pause_s

    def _told(self, group: _Group, run: _Run, found: _Found) -> bool:
        """Tell the run's listener what was found; whether any of it is new."""
        is_news = False
        try:
            if isinstance(found, BaseException):
                raise found
            is_news = found != run.before
            run.before = found
            run.listener.looked(found)
            for ended in run.followed.seen(found, run.listener.open):
                is_news = True
                run.listener.ended(ended)
            run.stumbled_s = None
            if not run.followed.handles():
                self._leave(group, run, None)
        except RemoteGone as error:
            self._leave(group, run, error)
        except TRANSIENT as error:
            self._stumbled(group, run, error)
        except BaseException as error:
            # Also what nobody should raise in a thread: without an answer its futures would wait
            # for ever.
            self._leave(group, run, error)
        return is_news

    def _stumbled(self, group: _Group, run: _Run, error: BundlerunError) -> None:
        now_s = self._clock.now()
        if run.stumbled_s is None:
            run.stumbled_s = now_s
            _logger.warning("run %s: %s; asked again", run.listener.run_id, error.message)
        elif now_s - run.stumbled_s > PATIENCE_S:
            self._leave(group, run, error)

    def _leave(self, group: _Group, run: _Run, error: BaseException | None) -> None:
        with self._lock:
            group.runs.remove(run)
        if error is None:
            run.listener.over(None)
        elif not _is_exit(error):
            run.listener.over(_with_cure(error, run.listener.run_id))
        self._left.set()


_Found = Mapping[str, JobStatus] | BaseException


def _polled(backend: Backend, runs: Sequence[_Run]) -> list[tuple[_Run, _Found]]:
    """The statuses of each run's jobs, or an error.

    It is one poll, unless that fails for what may be one run's alone.
    """
    found: dict[_Run, _Found] = {}
    asked: dict[_Run, Sequence[JobHandle]] = {}
    for run in runs:
        try:
            asked[run] = run.followed.handles()
        except BaseException as error:
            found[run] = error
    try:
        handles = [handle for each in asked.values() for handle in each]
        statuses = backend.poll(handles) if handles else {}
        found |= {run: {h.id: statuses[h.id] for h in each} for run, each in asked.items()}
    except TRANSIENT as error:
        found |= dict.fromkeys(asked, error)
    except BaseException as error:
        if len(asked) == 1:
            found |= dict.fromkeys(asked, error)
        else:
            found |= {run: each for run in asked for _, each in _polled(backend, [run])}
    return [(run, found[run]) for run in runs]


def _with_cure(error: BaseException, run_id: str) -> BaseException:
    """``error`` as the futures of a run raise it.

    The run itself may go on without its follower.
    """
    hint = f"br.attach({run_id!r})"
    if isinstance(error, BundlerunError):
        told = copy.copy(error)
        told.hint = f"{error.hint}; then {hint}" if error.hint else hint
    else:
        told = BundlerunError(f"run {run_id} cannot be followed any more: {error!r}", hint=hint)
    told.__cause__ = error
    return told


def _at_shutdown(act: Callable[[], None]) -> None:
    """Call ``act`` when the interpreter ends, while pools of threads still take work."""
    # What is registered last is called first, and concurrent.futures.thread closes its pools so.
    import concurrent.futures.thread  # noqa: F401

    # ``atexit`` comes too late for that. Without this function of CPython nobody waits.
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        with contextlib.suppress(RuntimeError):  # it ends at this moment
            register(act)


def _is_exit(error: BaseException) -> bool:
    """Whether it says that the program ends.

    No thread that fetches is started any more then; the run goes on, and nobody is left to be told.
    """
    return isinstance(error, RuntimeError) and "shutdown" in str(error)


POLLER = Poller()
"""The poller of this process."""

POLLER.survive_forks()
