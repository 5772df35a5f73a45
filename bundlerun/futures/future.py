"""The results of a run of many items, as futures of the standard library."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, NoReturn, TypeVar, overload

from bundlerun import html
from bundlerun.backends.job import JobState, JobStatus
from bundlerun.errors import Conflict, MissingOutput, UsageError
from bundlerun.formatting import RUN_SHOWN, counted
from bundlerun.futures.followed import Ended, Followed, OpenItems
from bundlerun.futures.interrupts import told_at_interrupt
from bundlerun.futures.poller import POLLER
from bundlerun.futures.tally import open_tally

T = TypeVar("T")

_OPEN, _SUCCEEDED, _FAILED, _CANCELLED, _LOST = range(5)
_WORDS = {
    _SUCCEEDED: JobState.SUCCEEDED,
    _FAILED: JobState.FAILED,
    _CANCELLED: JobState.CANCELLED,
    _LOST: JobState.LOST,
}
"""Where an item stands that is not open; lost: who followed the run gave up."""


class Future(concurrent.futures.Future[T]):
    """The result of one item of a run, which is on its way.

    ``wait`` and ``as_completed`` of concurrent.futures take it, ``asyncio.wrap_future`` too. A
    callback is called in the thread that looks at all runs of the process, which cannot wait in it
    for another item.
    """

    index: int
    """The item's place among the inputs, from 0."""

    stdout: str = ""
    """The last part of what the item wrote; "" until it has ended."""

    stderr: str = ""
    """The last part of what the item wrote there; "" until it has ended."""

    attempts: int | None = None
    """How often the item was begun, None until it has ended."""

    peak_memory_mib: float | None = None
    """The most memory of the item in MiB; None until it has ended, or if unknown."""

    def __init__(self, index: int, items: _Items[T]) -> None:
        super().__init__()
        self.index = index
        self._items = items

    def __repr__(self) -> str:
        return f"<Future {self._items.run_id[:RUN_SHOWN]}:{self.index}, {self._items.word(self)}>"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable(self._items.run_id, f"[{self.index}]")

    def cancel(self) -> bool:
        """End the item; whether it is cancelled.

        One that runs is ended too; a job that others share hears of it within some 5 s, in which
        the item may still run, and goes on with them. Asks the backend or the remote, and waits for
        its answer. Raises what ``MapRun.cancel`` raises.
        """
        return self._items.cancel(self)

    def result(self, timeout: float | None = None) -> T:
        """The value that the function returned, once it is there.

        ``timeout`` is how many seconds to wait for it (None: as long as it takes). Raises what the
        function raised, ItemFailed where that is not available as it was; a RunFailed
        where the item ended in another way; CancelledError; TimeoutError of concurrent.futures
        while it goes on.
        """
        try:
            self._ready(timeout)
            value = super().result(0)
            # The standard library raises what is true alone: not an exception of length 0.
            if value is None and self._exception is not None:
                raise self._exception
            return value
        finally:
            # The traceback of what is raised holds this frame: no circle with its exception.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What ``result`` would raise, or None.

        Raises CancelledError, and TimeoutError of concurrent.futures while the item goes on.
        """
        self._ready(timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call ``fn`` with this future when the item has ended.

        At once, and in this thread, where it has ended. What it raises is logged by
        concurrent.futures, and is in nobody's way.
        """

        def guarded(done: concurrent.futures.Future[T]) -> None:
            try:
                fn(done)
            except Exception:
                raise
            except BaseException as error:
                # sys.exit() in a callback ends no thread but the caller's own.
                if not POLLER.is_here:
                    raise
                raise RuntimeError(f"a callback raised {error!r}") from error

        super().add_done_callback(guarded)

    def _ready(self, timeout: float | None) -> None:
        """Return when the item has ended, or raise TimeoutError."""
        if self.done():
            return
        run_id = self._items.run_id
        self._items.may_wait(f"item {self.index}")
        going_on = (
            f"run {run_id} goes on: br.attach({run_id!r}) follows it,"
            f" bundlerun cancel {run_id[:RUN_SHOWN]} ends it"
        )
        try:
            with told_at_interrupt(going_on):
                # It returns what ``result`` raises, so that a TimeoutError here is not an item's.
                super().exception(timeout)
        except concurrent.futures.CancelledError:
            return
        except concurrent.futures.TimeoutError:
            raise concurrent.futures.TimeoutError(
                f"item {self.index} of run {run_id} has not ended within {timeout:g} s; it goes on"
            ) from None

    def _end(self, ended: Ended) -> None:
        """Called once."""
        if ended.stdout:
            self.stdout = ended.stdout
        if ended.stderr:
            self.stderr = ended.stderr
        self.attempts, self.peak_memory_mib = ended.attempts, ended.peak_memory_mib
        # Where the caller has set a result it holds, and is in nobody's way.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if ended.cancelled:
                if super().cancel():
                    self._tell_waiters()
            elif ended.error is not None:
                self.set_exception(ended.error)
            else:
                self.set_result(ended.value)

    def _tell_waiters(self) -> None:
        """``wait`` and ``as_completed`` learn of a cancel by this alone."""
        self.set_running_or_notify_cancel()

    def _forked(self) -> None:
        """Be usable in a forked process, whatever a thread of the first one did."""
        if self._condition.acquire(blocking=False):
            self._condition.release()
        else:
            self._condition = threading.Condition()
        if self._state == "CANCELLED":
            self._tell_waiters()


class _Items(Generic[T]):
    """The futures of a run and where each stands; who follows the run tells it here."""

    def __init__(self, run_id: str, count: int, followed: Followed) -> None:
        self.run_id = run_id
        self.followed = followed
        self.futures: list[Future[T]] = [Future(index, self) for index in range(count)]
        self.statuses: Mapping[str, JobStatus] = {}
        self.error: BaseException | None = None
        self.is_known = True
        self.settled = threading.Event()
        self._stands = bytearray(count)
        self._from = 0
        # A collection of garbage may end an iterator, and with it a run, wherever this is held.
        self._lock = threading.RLock()

    @property
    def open(self) -> OpenItems:
        """Itself: the items that have not ended."""
        return self

    def __contains__(self, index: object) -> bool:
        return (
            isinstance(index, int)
            and 0 <= index < len(self._stands)
            and self._stands[index] == _OPEN
        )

    def __len__(self) -> int:
        return self._stands.count(_OPEN)

    def first(self) -> int | None:
        """The lowest item that has not ended."""
        found = self._stands.find(_OPEN, self._from)
        self._from = len(self._stands) if found < 0 else found
        return None if found < 0 else found

    def tally(self) -> dict[JobState, int]:
        """How many items are in which state."""
        ended = {state: self._stands.count(stand) for stand, state in _WORDS.items()}
        return {**open_tally(len(self), len(self.futures), self.statuses.values()), **ended}

    def word(self, future: Future[T]) -> str:
        """How a person reads where an item stands."""
        stand = self._stands[future.index]
        return "open" if stand == _OPEN else _WORDS[stand].value

    def may_wait(self, what: str) -> None:
        """Raises UsageError where the caller would wait for itself."""
        POLLER.revive()
        if POLLER.is_here:
            raise UsageError(
                f"a callback cannot wait for {what} of run {self.run_id}: it is called by the"
                " thread that looks at all runs",
                hint="threading.Thread(target=...).start() in the callback",
            )

    def cancel(self, future: Future[T]) -> bool:
        """``Future.cancel``."""
        POLLER.revive()
        index = future.index
        if index in self and self.followed.cancel(index):
            self.ended(Ended(index, cancelled=True))
        return self._stands[index] == _CANCELLED

    def cancel_all(self) -> bool:
        """``MapRun.cancel``."""
        POLLER.revive()
        # What could not be followed any more may well go on.
        may_go_on = len(self) > 0 or self.error is not None
        done = may_go_on and self.followed.cancel(None)
        if done:
            self._end_rest(_CANCELLED, lambda index: Ended(index, cancelled=True))
        return done

    def looked(self, statuses: Mapping[str, JobStatus]) -> None:
        """What the backend says now."""
        self.statuses = statuses
        self.is_known |= bool(statuses)

    def ended(self, ended: Ended) -> None:
        """An item has ended, unless that is known."""
        self.is_known = True
        stand = _CANCELLED if ended.cancelled else _SUCCEEDED if ended.error is None else _FAILED
        self._end(ended, stand)

    def over(self, error: BaseException | None) -> None:
        """Nothing more will come."""
        self.error, self.is_known = error, True
        if error is None:
            self._end_rest(_FAILED, lambda index: Ended(index, error=self._missing(index)))
        else:
            self._end_rest(_LOST, lambda index: Ended(index, error=error))
        self.settled.set()

    def _end(self, ended: Ended, stand: int) -> None:
        with self._lock:
            if ended.index not in self:
                return
            self._stands[ended.index] = stand
        # Outside of the lock: callbacks may ask for anything.
        self.futures[ended.index]._end(ended)

    def forked(self) -> None:
        """Usable in a forked process."""
        self._lock = threading.RLock()
        is_settled = self.settled.is_set()
        self.settled = threading.Event()
        if is_settled:
            self.settled.set()
        for future in self.futures:
            future._forked()
            if not future.done():
                # Its end was about to be told, to the other process.
                self._stands[future.index] = _OPEN
        self._from = 0

    def _end_rest(self, stand: int, ended: Callable[[int], Ended]) -> None:
        for index in range(self.first() or 0, len(self.futures)):
            if index in self:
                self._end(ended(index), stand)

    def _missing(self, index: int) -> MissingOutput:
        return MissingOutput(
            f"run {self.run_id} has ended, and item {index} left no result",
            hint=f"bundlerun logs {self.run_id}:{index}",
        )


class MapRun(Sequence[Future[T]]):
    """A run of a function over inputs: its futures, in the order of the inputs.

    The run goes on without this process; ``br.attach(run_id)`` follows it from another one.
    """

    def __init__(self, run_id: str, count: int, followed: Followed, *, is_new: bool = True) -> None:
        """A run of ``count`` items.

        Where one that is not new stands is not known before the first look.
        """
        self.run_id = run_id
        self._items: _Items[T] = _Items(run_id, count, followed)
        self._items.is_known = is_new
        self._is_followed = False

    def follow(self) -> MapRun[T]:
        """Begin to look at the run, so that its futures end; this run.

        A second call does nothing more.
        """
        if not self._is_followed:
            self._is_followed = True
            POLLER.follow(self._items.followed, self._items)
        return self

    def __len__(self) -> int:
        return len(self._items.futures)

    @overload
    def __getitem__(self, at: int) -> Future[T]: ...

    @overload
    def __getitem__(self, at: slice) -> list[Future[T]]: ...

    def __getitem__(self, at: int | slice) -> Future[T] | list[Future[T]]:
        POLLER.revive()
        return self._items.futures[at]

    def __iter__(self) -> Iterator[Future[T]]:
        POLLER.revive()
        return iter(self._items.futures)

    def __repr__(self) -> str:
        return f"<MapRun {self.run_id}, {counted(len(self), 'item')}: {self._said()}>"

    def __reduce__(self) -> NoReturn:
        raise _unpicklable(self.run_id)

    def _repr_html_(self) -> str:
        """For notebooks: how many items are in which state."""
        rows = [("run", self.run_id), ("items", str(len(self)))]
        tally = self.tally() if self._items.is_known else {}
        rows += [(state, str(number)) for state, number in tally.items() if number]
        return str(html.facts(rows))

    @overload
    def results(
        self, timeout: float | None = None, return_exceptions: Literal[False] = False
    ) -> Iterator[T]: ...

    @overload
    def results(
        self, timeout: float | None = None, *, return_exceptions: bool
    ) -> Iterator[T | BaseException]: ...

    def results(
        self, timeout: float | None = None, return_exceptions: bool = False
    ) -> Iterator[T | BaseException]:
        """The results, in the order of the inputs.

        Each comes as soon as it and those before it are there.
        ``timeout`` counts seconds from this call, None: as long as it takes. What an item raised is
        raised in its place, or given there with ``return_exceptions``; the run goes on either way.
        Raises TimeoutError of concurrent.futures while it does.
        """
        until_s = None if timeout is None else time.monotonic() + timeout
        return self._results(until_s, return_exceptions)

    def _results(
        self, until_s: float | None, return_exceptions: bool
    ) -> Iterator[T | BaseException]:
        for future in self:
            left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
            if not return_exceptions:
                yield future.result(left_s)
                continue
            try:
                error = future.exception(left_s)
            except concurrent.futures.CancelledError as cancelled:
                error = cancelled
            yield future.result() if error is None else error

    def tally(self) -> dict[str, int]:
        """How many items are in which state, as of the last look; nobody is asked.

        Before the first look all are queued. The states are ``queued``, ``starting``, ``running``,
        ``succeeded``, ``failed``, ``cancelled``, and ``lost``: the run could not be followed any
        more. Where items share a job, those under way are reckoned by what their jobs do.
        """
        return {state.value: number for state, number in self._items.tally().items()}

    def cancel(self) -> bool:
        """End the run; whether it went on, so that its open items get CancelledError.

        Raises EngineError, RemoteErrors or CloudError when the backend does not answer.
        """
        return self._items.cancel_all()

    @property
    def output(self) -> Any:
        """The bundle of all results, where ``output`` was asked for, else None.

        Waits for it to be made once all items have succeeded. Raises Conflict while items are open,
        and where some failed.
        """
        items = self._items
        if len(items):
            raise Conflict(
                f"run {self.run_id} goes on ({self._said()}), and has no output yet",
                hint=f"bundlerun wait {self.run_id}",
            )
        if items.error is None and self.tally()["succeeded"] < len(self):
            raise Conflict(
                f"run {self.run_id} has no output: {self._said()}",
                hint=f"bundlerun jobs {self.run_id}",
            )
        if not items.settled.is_set():
            items.may_wait("the output")
            items.settled.wait()
        if items.error is not None:
            raise items.error
        return items.followed.output()

    def _said(self) -> str:
        if not self._items.is_known:
            return "not looked at yet"
        return ", ".join(f"{n} {state}" for state, n in self.tally().items() if n) or "no items"


def _unpicklable(run_id: str, part: str = "") -> UsageError:
    return UsageError(
        f"a future of run {run_id} belongs to its process, and cannot be pickled",
        hint=f"br.attach({run_id!r}){part} in the other one",
    )
