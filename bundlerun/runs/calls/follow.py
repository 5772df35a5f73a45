"""Following a call: looks at its parts, and outcomes as they come.

Of what has no outcome it is told why, or it goes again with more memory.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from bundlerun.backends.job import Failure, JobHandle, JobState, JobStatus
from bundlerun.errors import (
    BundlerunError,
    Cancelled,
    CloudError,
    EngineError,
    InfraError,
    MissingOutput,
    OutOfMemory,
    Stuck,
    SubmitUnknown,
    UsageError,
)
from bundlerun.futures.codec import Codec
from bundlerun.futures.followed import Ended
from bundlerun.futures.outcome import Outcome, exception_of
from bundlerun.runs.calls.attach import gone_on, may_be_submitted
from bundlerun.runs.calls.call import Call
from bundlerun.runs.calls.cancel import end, end_item
from bundlerun.runs.calls.gather import Gathering
from bundlerun.runs.calls.parts import Part
from bundlerun.runs.calls.repeats import Repeats
from bundlerun.runs.calls.settle import settle
from bundlerun.runs.claim import claimant
from bundlerun.runs.keys import place_of
from bundlerun.runs.scope import holding, read_again

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.futures.followed import OpenItems

LAST_LINES = 20
"""Lines of the log that are told of a job without an outcome."""

_NEVER_BEGUN = "it was cancelled before it was submitted"

LOGS_AT_MOST = 20
"""The logs of so many such jobs of a part are asked for: they mostly say the same."""


class Following:
    """A call, as a poller follows it: ``futures.followed.Followed``.

    ``trust``: pickles are opened where no key proves them. ``decode`` False: the caller wants to
    know that items ended, and not in what. ``hand_out`` makes what the caller gets of the output's
    record.
    """

    def __init__(
        self,
        call: Call,
        *,
        trust: bool = False,
        decode: bool = True,
        hand_out: Callable[[BundleRecord], Any] = lambda bundle: bundle,
    ) -> None:
        self.call = call
        self._trusted = trust or call.seal is not None
        self._decodes = decode
        self._hand_out = hand_out
        # What is large in a result lies where its job wrote it, until that is published.
        binding = dataclasses.replace(call.scope.binding, remote=call.reads())
        self._codec = Codec.of(binding, call.scope.progress)
        self._gathering = Gathering(call.run_id, call.task.items, call.seal)
        self._tallies: dict[int, object] = {}
        self._lost: set[int] = set()
        self._over: set[int] = set()
        self._held: dict[int, Outcome] = {}
        self._repeats = Repeats()
        self._refusal: str | None = None
        self._has_looked = False
        self._is_others = False
        self._is_owed = True

    @property
    def backend(self) -> Backend:
        """See Followed."""
        return self.call.backend

    def handles(self) -> Sequence[JobHandle]:
        """See Followed: those of the open parts, and some until the run is settled."""
        if self.call.record.settled:
            return []
        if self._is_others:
            return []
        handles = [part.handle for part in self.call.parts if part.handle is not None]
        left = [h for h in handles if h.part not in self._over]
        return left or handles[:1]

    def seen(self, statuses: Mapping[str, JobStatus], open: OpenItems) -> Iterator[Ended]:
        """See Followed."""
        record = self.call.record
        if not self._has_looked and (record.judged or record.adopted):
            for outcome in self._gathering.gathered(self.call.remote):
                yield self._ended(outcome)
        # Owed until all of it was told: a look may break off, by a stumble or because the process
        # was forked in the middle of it, and a job's end is noted once.
        self._is_owed |= self._noted(statuses)
        if self._is_owed and len(open):
            chunk = max((part.chunk for part in self.call.parts), default=1)
            for outcome in self._gathering.new(self.call.reads(), open, chunk):
                if outcome.index in open and self._is_last(outcome):
                    yield self._ended(outcome)
        self._has_looked, self._is_owed = True, False
        for part in self.call.parts:
            if part.handle is not None and part.number in self._over:
                yield from self._left_out(part, statuses.get(part.handle.id), open)
        yield from self._never_begun(open)
        self._submit_rest()
        self._repeat()
        yield from self._refused_repeats(open)
        if self._is_over():
            self.call = settle(self.call, self._gathering, wait=True)
        elsewhere = [s for s in statuses.values() if s.state is JobState.ELSEWHERE]
        # All outcomes are here, and a client that can ask its machine settles the run.
        self._is_others = bool(elsewhere) and not len(open)

    def cancel(self, index: int | None) -> bool:
        """See Followed."""
        if index is None:
            self.call = end(self.call)
            return True
        return end_item(self.call, index)

    def output(self) -> Any:
        """See Followed."""
        from bundlerun.runs.settle import result_of

        record = read_again(self.call.record, self.call.scope)
        bundle = result_of(record, self.call.scope)
        return None if bundle is None else self._hand_out(bundle)

    def _noted(self, statuses: Mapping[str, JobStatus]) -> bool:
        """Whether there may be new outcomes.

        Raises Stuck where a job will never start.
        """
        is_news = False
        for part in self.call.parts:
            status = statuses.get(part.handle.id) if part.handle else None
            if status is None or part.number in self._over:
                continue
            if status.stuck:
                run = self.call.run_id[:13]
                raise Stuck(
                    f"run {run} cannot start: {status.reason}", hint=f"bundlerun cancel {run}"
                )
            tally = (status.state, status.tally)
            # A job with many items writes outcomes while it runs; of one on a machine that cannot
            # be asked from here nothing else tells that it goes on.
            several = part.chunk > 1 and status.state is JobState.RUNNING
            several |= status.state is JobState.ELSEWHERE
            is_news |= tally != self._tallies.get(part.number) or several
            self._tallies[part.number] = tally
            if self._has_ended(part, status):
                self._over.add(part.number)
                is_news = True
        return is_news

    def _has_ended(self, part: Part, status: JobStatus) -> bool:
        """Whether the backend has said its last word: of a loss, twice."""
        if status.state is not JobState.LOST:
            self._lost.discard(part.number)
            return status.state.final
        was_lost = part.number in self._lost
        self._lost.add(part.number)
        return was_lost

    def _is_last(self, outcome: Outcome) -> bool:
        """Whether nothing can still come of the item.

        What a retried job or another part does again is held until then.
        """
        index = outcome.index
        later = max((p.attempt for p in self.call.parts_of(index)), default=1)
        if outcome.failure == OutOfMemory.__name__ and self._repeats.takes(
            self.call, index, outcome.attempt
        ):
            return False
        if outcome.attempt < later:
            return False
        if not outcome.is_final and not self._over_for(index):
            self._held[index] = outcome
            return False
        return True

    def _over_for(self, index: int) -> bool:
        return all(part.number in self._over for part in self.call.parts_of(index))

    def _left_out(self, part: Part, status: JobStatus | None, open: OpenItems) -> Iterator[Ended]:
        """What became of the open items of a part that has ended."""
        last = [index for index in part.all_items if index in open]
        last = [i for i in last if self.call.parts_of(i)[-1].number == part.number]
        last = [i for i in last if i not in self._repeats]
        if not last or part.handle is None:
            return
        other = self._other_job(part, last[0])
        if other is not None:
            self.call = self.call.with_part(dataclasses.replace(part, handle=other))
            self._over.discard(part.number)
            self._tallies.pop(part.number, None)
            return
        reasons = self._reasons(part, status)
        told = 0
        for index in last:
            child = part.child_of(index)
            outcome = self._held.pop(index, None)
            if outcome is None:
                outcome = self._without(
                    index, part, reasons.get(child, status), told < LOGS_AT_MOST
                )
                told += 1
            if outcome.failure == OutOfMemory.__name__ and self._repeats.takes(
                self.call, index, outcome.attempt
            ):
                continue
            self._gathering.keep(outcome)
            damage = self._gathering.damaged.get(index)
            yield Ended(index, error=damage) if damage else self._ended(outcome)

    def _reasons(self, part: Part, status: JobStatus | None) -> Mapping[int, JobStatus]:
        """Why jobs of the part failed, as far as the backend still knows it."""
        if part.handle is None or (status and status.state is JobState.LOST):
            return {}
        try:
            return self.backend.failed(part.handle)
        except BundlerunError as error:
            self.call.scope.progress.line(f"(why jobs failed cannot be asked: {error})")
            return {}

    def _without(self, index: int, part: Part, status: JobStatus | None, with_log: bool) -> Outcome:
        """The outcome of an item of which its job wrote none."""
        status = status or JobStatus(JobState.LOST)
        asked = self.call.record.cancel_asked_s is not None
        if status.failure is Failure.CANCELLED or status.state is JobState.CANCELLED or asked:
            why = status.reason or "it was cancelled"
            return Outcome(index, part.attempt, failure="Cancelled", reason=why)
        if status.state is JobState.SUCCEEDED:
            kind, reason = MissingOutput.__name__, "its job ended well, and left no outcome of it"
        elif status.state is JobState.LOST:
            kind, reason = InfraError.__name__, status.reason or "its job is lost"
        else:
            failure = status.failure or Failure.INFRA_ERROR
            kind, reason = failure.error.__name__, status.reason or f"its job {status.state.value}"
        tail = self._last_lines(part, index) if with_log else ""
        return Outcome(
            index,
            part.attempt,
            failure=kind,
            reason=reason,
            stderr=tail,
            started_s=status.started_s or 0.0,
            finished_s=status.finished_s or time.time(),
        )

    def _last_lines(self, part: Part, index: int) -> str:
        if part.handle is None:
            return ""
        try:
            lines = self.backend.logs(part.handle, index=part.child_of(index))
            return "\n".join(deque(islice(lines, 10_000), maxlen=LAST_LINES))
        except BundlerunError as error:
            return f"(the log cannot be read: {error})"

    def _other_job(self, part: Part, index: int) -> JobHandle | None:
        """The job that works on the item, where it is not the one that is known.

        Of two that were submitted for a part, one does the work.
        """
        if part.handle is None:
            return None
        place = place_of(part.number, part.child_of(index))
        try:
            claiming = claimant(self.call.reads(), self.call.run_id, place)
        except BundlerunError:
            return None
        return None if claiming is None else self.backend.other_job(part.handle, claiming)

    def _never_begun(self, open: OpenItems) -> Iterator[Ended]:
        """The open items of parts that a cancel came before."""
        if self._is_all_submitted or not self._is_cancelled:
            return
        with holding(self.call.run_id, self.call.scope, wait=True):
            # Who submitted the call meanwhile has ended what it submitted.
            self.call = self.call.read_again()
        for part in [part for part in self.call.parts if part.handle is None]:
            self._over.add(part.number)
            for index in [index for index in part.all_items if index in open]:
                outcome = Outcome(index, part.attempt, failure="Cancelled", reason=_NEVER_BEGUN)
                self._gathering.keep(outcome)
                yield self._ended(outcome)

    @property
    def _is_cancelled(self) -> bool:
        """Whether what is not submitted by now never will be."""
        record = self.call.record
        return record.cancel_asked_s is not None and not may_be_submitted(record)

    @property
    def _is_all_submitted(self) -> bool:
        return all(p.handle is not None or p.number in self._over for p in self.call.parts)

    def _submit_rest(self) -> None:
        """Submit what a stumble kept from it: a repeat is noted before it has a job.

        Raises EngineError where it stumbles again. Of a repeat that is refused for good the reason
        is kept.
        """
        if self._is_all_submitted or self.call.record.cancel_asked_s is not None:
            return
        try:
            self.call = gone_on(self.call)
        except Cancelled:
            self.call, self._repeats = self.call.read_again(), Repeats()
        except SubmitUnknown as error:
            # The next look asks for the job by its name.
            raise EngineError(error.message, hint=error.hint) from error
        except (CloudError, UsageError) as error:
            self.call = self.call.read_again()
            if any(part.handle is None and part.items is None for part in self.call.parts):
                raise
            self._refusal = error.message

    def _refused_repeats(self, open: OpenItems) -> Iterator[Ended]:
        """The items that ran out of memory and whose repeat was refused."""
        without = [part for part in self.call.parts if part.handle is None]
        if without and self.call.record.judged:
            # Another follower was told so, and has put all outcomes together.
            for outcome in self._gathering.gathered(self.call.remote):
                if outcome.index in open:
                    yield self._ended(outcome)
        for part in without if self._refusal is not None else []:
            self._over.add(part.number)
            why = (
                "it ran out of memory, and could not be done again with"
                f" {part.memory_mib} MiB: {self._refusal}"
            )
            for index in [index for index in part.all_items if index in open]:
                outcome = Outcome(index, part.attempt - 1, failure=OutOfMemory.__name__, reason=why)
                self._gathering.keep(outcome)
                yield self._ended(outcome)

    def _repeat(self) -> None:
        """Submit once more, with more memory, what ran out of it.

        Where the jobs of a part all begin at once, no more than there is room for, and the rest of
        the items waits until those have ended.
        """
        for items, repeat, room in self._repeats.groups(self.call):
            if room is not None and any(p.number not in self._over for p in self.call.parts):
                return
            self.call = self._repeats.noted(self.call, items, repeat)
            self._submit_rest()

    def _ended(self, outcome: Outcome) -> Ended:
        """An outcome, decoded."""
        if not self._decodes:
            return Ended(outcome.index)
        value: Any = None
        error: BaseException | None = None
        cancelled = outcome.failure == "Cancelled"
        if outcome.value is not None:
            try:
                value = self._codec.decode(outcome.value, self._trusted)
            except BundlerunError as found:
                error = found
        elif not cancelled:
            error = exception_of(outcome, self.call.run_id, self._trusted)
        return Ended(
            outcome.index,
            value=value,
            error=error,
            cancelled=cancelled,
            stdout=outcome.stdout,
            stderr=outcome.stderr,
            attempts=outcome.attempt,
            peak_memory_mib=outcome.peak_memory_mib or None,
        )

    def _is_over(self) -> bool:
        return not self._repeats and all(part.number in self._over for part in self.call.parts)
