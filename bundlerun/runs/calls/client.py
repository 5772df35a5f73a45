"""The verbs on runs for calls: wait, look, cancel, logs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobState, JobStatus
from bundlerun.backends.poll import TRANSIENT
from bundlerun.errors import Cancelled, EngineError, UsageError
from bundlerun.runs.calls.attach import may_be_submitted, opened, resumed
from bundlerun.runs.calls.cancel import end
from bundlerun.runs.calls.follow import Following
from bundlerun.runs.calls.gather import All, Gathering, fetched
from bundlerun.runs.calls.item_log import label
from bundlerun.runs.calls.settle import never_began
from bundlerun.runs.keys import Written, outcomes_prefix
from bundlerun.runs.scope import change, holding, read_again
from bundlerun.runs.settle import result_of

if TYPE_CHECKING:
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.futures.outcome import Outcome
    from bundlerun.runs.calls.call import Call
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope

_WORDS = {
    JobState.SUCCEEDED: "ended",
    JobState.FAILED: "ended",
    JobState.CANCELLED: "ended",
    JobState.LOST: "ended",
}
"""Of a job that has ended, before the outcomes of its items were read."""


class Rest:
    """The items that have not ended, for who keeps no futures of them."""

    def __init__(self, items: int) -> None:
        self._open = bytearray(b"\1") * items
        self._left = items
        self._from = 0

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and 0 <= index < len(self._open) and bool(self._open[index])

    def __len__(self) -> int:
        return self._left

    def first(self) -> int | None:
        """The lowest of them; None: there are none."""
        found = self._open.find(1, self._from)
        self._from = len(self._open) if found < 0 else found
        return None if found < 0 else found

    def take(self, index: int) -> None:
        """The item has ended."""
        if index in self:
            self._open[index] = 0
            self._left -= 1


class CallVerbs:
    """``runs.watch.Verbs`` of calls."""

    @staticmethod
    def follow(record: RunRecord, scope: RunScope) -> tuple[RunRecord, BundleRecord | None]:
        """Wait for the call's end; the settled record, and the output where it makes one.

        Raises the RunFailed that it ended with, Stuck when the queue says that it never starts.
        """
        if not record.settled:
            record = _watched(resumed(opened(record, scope)))
            if not record.judged:
                raise EngineError(
                    f"{record.label} is on the engine of another machine, which cannot be asked"
                    " from here",
                    hint=f"there: bundlerun wait {record.run_id[:13]}",
                )
        return record, result_of(record, scope)

    @staticmethod
    def refreshed(
        record: RunRecord, statuses: Mapping[str, JobStatus], scope: RunScope
    ) -> RunRecord:
        """``record`` after looks at its jobs, settled where all of them have ended.

        Raises what the remote raises.
        """
        return _seen(record, statuses, scope, wait=False)

    @staticmethod
    def cancel(record: RunRecord, scope: RunScope) -> RunRecord:
        """Tell all jobs of the call to end; the record after one look at them."""
        call = end(opened(record, scope))
        if call.record.settled:
            return call.record
        if not call.record.handles:
            with holding(record.run_id, scope, wait=False) as mine:
                if mine and not read_again(record, scope).handles:
                    never_began(
                        call.read_again(),
                        Cancelled("cancelled before it was submitted", hint="the map again"),
                    )
            return read_again(record, scope)
        statuses = call.backend.poll(call.record.handles)
        return _seen(call.record, statuses, scope, wait=True)

    @staticmethod
    def log_lines(
        record: RunRecord, index: int | None, scope: RunScope, *, follow: bool
    ) -> Iterator[str]:
        """The lines that the item at ``index`` wrote, None: those of all items.

        What the outcomes kept of them, where they have ended, and why an item failed. Raises
        UsageError for an item that the call does not have.
        """
        if index is not None and not 0 <= index < (record.items or 0):
            raise UsageError(
                f"{record.label} has {record.items} items, from 0, and no item {index}",
                hint=f"bundlerun jobs {record.run_id[:13]}",
            )
        call = opened(record, scope)
        kept = False
        for outcome in _outcomes(call, index):
            kept = True
            before = "" if index is not None else label(outcome.index)
            for text in (outcome.stdout, outcome.stderr, _why(outcome)):
                yield from (f"{before}{line}" for line in text.splitlines())
        if kept and (index is not None or record.judged):
            return
        for part in call.parts:
            if part.handle is None or (index is not None and not part.has(index)):
                continue
            child = None if index is None else part.child_of(index)
            lines = call.backend.logs(part.handle, index=child, follow=follow)
            if index is None or part.chunk == 1:
                yield from lines
                continue
            # The job's other items write there too.
            mine = label(index)
            yield from (line.removeprefix(mine) for line in lines if line.startswith(mine))


def _seen(
    record: RunRecord, statuses: Mapping[str, JobStatus], scope: RunScope, *, wait: bool
) -> RunRecord:
    """``record`` after looks at its jobs, as ``CallVerbs.refreshed``.

    ``wait`` for another process or thread that settles the call at this moment.
    """
    handles = record.handles
    seen = [statuses[handle.id] for handle in handles if handle.id in statuses]
    begun = len(handles) == len(record.parts) and record.unsent is None
    ends = record.cancel_asked_s is not None and not may_be_submitted(record)
    if not begun and not record.judged and not ends:
        return _unsubmitted(record, scope)
    if not all(status.state.final for status in seen):
        return _noted(record, seen, scope)
    with holding(record.run_id, scope, wait=wait) as mine:
        if not mine:
            # Somebody settles it at this moment.
            return _noted(record, seen, scope)
    call = opened(read_again(record, scope), scope)
    following, rest = Following(call, decode=False), Rest(call.task.items)
    # A second look says the same of what has ended, and tells of a loss that it is one.
    for _ in range(2):
        for ended in following.seen(statuses, rest):
            rest.take(ended.index)
    return following.call.record


def _outcomes(call: Call, index: int | None) -> Iterator[Outcome]:
    """The newest outcome of the item, or of each, as far as there are any."""
    gathering = Gathering(call.run_id, call.task.items, call.seal)
    if index is None:
        found = {o.index: o for o in gathering.new(call.reads(), All())}
        found = found or {o.index: o for o in gathering.gathered(call.remote)}
        yield from (found[at] for at in sorted(found))
        return
    remote, newest = call.reads(), None
    for entry in remote.list(outcomes_prefix(call.run_id)):
        written = Written.of(entry.key)
        if written is None or written.first > index:
            continue
        if index < written.first + written.items and (
            newest is None or written.attempt >= newest[1].attempt
        ):
            newest = (entry.key, written)
    if newest is None:
        # What no job wrote is told by who settled the run.
        yield from (o for o in gathering.gathered(call.remote) if o.index == index)
    for _, data in fetched(remote, [newest[0]] if newest else []):
        for outcome in gathering.opened_all(data or b"", newest[1].first if newest else 0):
            if outcome.index == index:
                yield outcome


def _why(outcome: Outcome) -> str:
    """The traceback of an item that raised, the reason of one that failed otherwise."""
    if outcome.raised is not None:
        return outcome.raised.traceback
    return f"{outcome.failure}: {outcome.reason}" if outcome.failure else ""


def _watched(call: Call) -> RunRecord:
    """The call's record once it has ended."""
    following, rest = Following(call, decode=False), Rest(call.task.items)
    pace, progress = call.backend.pace, call.scope.progress
    bar = progress.start(f"items of {call.record.label}", call.task.items, "items")
    pause_s, stumbles, before = pace.first_s, 0, None
    try:
        while True:
            try:
                handles = following.handles()
                statuses = call.backend.poll(handles) if handles else {}
                for ended in following.seen(statuses, rest):
                    rest.take(ended.index)
                    progress.advance(bar, 1)
                stumbles = 0
            except TRANSIENT:
                stumbles += 1
                if stumbles > pace.stumbles:
                    raise
            else:
                if not following.handles():
                    return following.call.record
                pause_s = pace.after(pause_s) if (statuses, len(rest)) == before else pace.first_s
                before = (statuses, len(rest))
            time.sleep(pause_s)
    finally:
        progress.finish(bar)


def _unsubmitted(record: RunRecord, scope: RunScope) -> RunRecord:
    """``record`` of a call that is being submitted, or whose submit broke off."""
    if record.adopted:
        return record.changed(reason="not all of its parts are noted yet")
    with holding(record.run_id, scope, wait=False) as mine:
        if not mine:
            return record
    why = f"its submit broke off; bundlerun wait {record.run_id[:13]} goes on"
    return record if record.judged else record.changed(reason=why)


def _noted(record: RunRecord, seen: list[JobStatus], scope: RunScope) -> RunRecord:
    """``record`` with what its jobs do, as far as that tells of its items."""
    jobs: Counter[str] = Counter()
    for status in seen:
        for state, number in (status.tally or {status.state: 1}).items():
            jobs[_WORDS.get(state, state.value)] += number
    items, total = record.items or 0, jobs.total() or 1
    tally = {state: round(items * number / total) for state, number in sorted(jobs.items())}
    running = any(status.state is JobState.RUNNING for status in seen)
    started = running or any(status.state.final for status in seen)
    state = JobState.RUNNING if started else seen[0].state if seen else record.state
    started_s = min(filter(None, (status.started_s for status in seen)), default=None)
    reason = next((status.reason for status in seen if status.reason), "")
    if record.state is not state or dict(record.tally) != tally:
        fields = {"state": state, "tally": tally, "started_s": started_s, "reason": ""}
        record = change(record, lambda r: r if r.judged else r.changed(**fields), scope)
    return record if record.judged else record.changed(reason=reason)
