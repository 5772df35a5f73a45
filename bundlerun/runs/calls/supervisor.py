"""The supervisor of a job's items: whatever they do, each gets an outcome."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from bundlerun.errors import Cancelled, InfraError, IntegrityError, OutOfMemory, TimedOut, UserError
from bundlerun.futures.outcome import Outcome, Raised
from bundlerun.runs.calls.cancels import Cancels
from bundlerun.runs.calls.cgroup import oom_kills
from bundlerun.runs.calls.frames import request
from bundlerun.runs.calls.item_log import ItemLog
from bundlerun.runs.calls.stopping import Stop
from bundlerun.runs.calls.supervised import End, ItemProcess, Setting
from bundlerun.runs.masking import hidden_pieces, masked

_NOT_BEGUN = "it was cancelled before it began"
_UNDER_WAY = "it was cancelled while it was under way"


class Supervisor:
    """Asks a process for one item after the other, and replaces one that ended.

    ``limit_s`` is the limit of an item (None: none), ``memory_mib`` the memory of the job, in MiB,
    ``attempt`` which attempt of its items this is; ``meanwhile`` is called now and then.
    """

    def __init__(
        self,
        setting: Setting,
        function: bytes,
        log: ItemLog,
        *,
        limit_s: float | None,
        memory_mib: int,
        attempt: int,
        stop: Stop,
        cancels: Cancels,
        meanwhile: Callable[[], None],
    ) -> None:
        self._setting, self._function, self._log = setting, function, log
        self._limit_s, self._memory_mib, self._attempt = limit_s, memory_mib, attempt
        self._stop, self._cancels, self._meanwhile = stop, cancels, meanwhile
        self._process: ItemProcess | None = None
        self._folder = setting.folder
        self._broken: Outcome | None = None
        """What became of loading the function, where that failed: no item can be done."""

    def outcome_of(self, index: int, item: bytes) -> Outcome | None:
        """What became of the item ``index``; None where the job ends before it is done.

        ``item`` is what the codec wrote.
        """
        begun = Outcome(index, self._attempt, started_s=time.time(), machine=socket.gethostname())
        self._meanwhile()
        process = self._ready(begun)
        if self._stop.asked:
            return None
        if index in self._cancels:
            return replace(begun, failure=Cancelled.__name__, reason=_NOT_BEGUN)
        if process is None:
            return self._not_loaded(index)
        kills = oom_kills()
        self._log.begin(index)
        found = process.ask(
            request(index, self._attempt, item), self._limit_s, lambda: index in self._cancels
        )
        stdout, stderr = self._log.taken()
        if isinstance(found, End):
            self.close()
            if found.stopped:
                return None
            outcome = self._ended(found, kills, begun)
        else:
            outcome = _answered(found, begun)
        return replace(outcome, stdout=stdout, stderr=stderr)

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None
            rmtree(self._folder, ignore_errors=True)

    def _ready(self, begun: Outcome) -> ItemProcess | None:
        """A process that has the function; None where none can, or the job is to end."""
        if self._process is not None and not self._process.alive:
            self.close()
        if self._process is not None or self._broken is not None or self._stop.asked:
            return self._process
        kills = oom_kills()
        # A folder of its own, which goes with it: many items may each end one.
        self._folder = Path(mkdtemp(dir=self._setting.folder))
        setting = replace(self._setting, folder=self._folder)
        self._process = ItemProcess(setting, self._log, self._stop.descriptor, self._meanwhile)
        found = self._process.load(self._function)
        # What modules write when they are imported is not an item's.
        stdout, stderr = self._log.taken()
        if found == b"":
            return self._process
        if isinstance(found, End):
            broken = self._ended(found, kills, begun)
            broken = replace(broken, reason=f"while the function was loaded: {broken.reason}")
        else:
            broken = _answered(found, begun)
        self._broken = replace(broken, stdout=stdout, stderr=stderr)
        self.close()
        return None

    def _not_loaded(self, index: int) -> Outcome | None:
        """The outcome of an item for which there is no function.

        The first has what was written.
        """
        broken = self._broken
        if broken is None:
            return None
        self._broken = replace(broken, stdout="", stderr="")
        return replace(broken, index=index)

    def _ended(self, end: End, kills: int, begun: Outcome) -> Outcome:
        """The outcome of an item that ended its process, or did not end in time."""
        outcome = replace(begun, finished_s=time.time(), peak_memory_mib=end.peak_memory_mib)
        if end.unwanted:
            return replace(outcome, failure=Cancelled.__name__, reason=_UNDER_WAY)
        if end.late:
            reason = f"it ran longer than its limit of {self._limit_s:g} s"
            return replace(outcome, failure=TimedOut.__name__, reason=reason)
        if end.code == -signal.SIGKILL and oom_kills() > kills:
            reason = f"it was killed for its memory: its job has {self._memory_mib} MiB"
            return replace(outcome, failure=OutOfMemory.__name__, reason=reason)
        return replace(outcome, failure=UserError.__name__, reason=_why(end.code))


def masked_outcome(outcome: Outcome, hidden: Sequence[str]) -> Outcome:
    """``outcome`` without the texts ``hidden`` in what it says of a failure.

    An exception that has one of them comes as its text. A value is the user's own.
    """
    if not hidden or outcome.ok:
        return outcome
    raised = outcome.raised
    if raised is not None:
        text, trace = masked(raised.text, hidden), masked(raised.traceback, hidden)
        pieces = hidden_pieces(hidden)
        if (text, trace) != (raised.text, raised.traceback) or any(
            piece in raised.data for piece in pieces
        ):
            raised = Raised(raised.class_name, text, trace)
    return replace(outcome, raised=raised, reason=masked(outcome.reason, hidden))


def _answered(data: bytes, begun: Outcome) -> Outcome:
    """The outcome that the process told, which may tell anything."""
    try:
        outcome = Outcome.from_bytes(data)
    except IntegrityError as error:
        reason = f"its process answered with something else: {error.message}"
        return replace(begun, failure=InfraError.__name__, reason=reason)
    return replace(outcome, index=begun.index, attempt=begun.attempt)


def _why(code: int) -> str:
    if code >= 0:
        return f"it ended its process, with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "no known one"
    return f"its process was killed by signal {-code} ({name})"
