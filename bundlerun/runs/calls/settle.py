"""The end of a call: put together, told to others, and written down once."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bundlerun import errors
from bundlerun.backends.job import JobState
from bundlerun.errors import (
    BadPath,
    BadValue,
    BundleNotFound,
    BundlerunError,
    InfraError,
    IntegrityError,
    RunFailed,
)
from bundlerun.futures.codec import Codec
from bundlerun.futures.item_packs import Packer
from bundlerun.futures.outcome import Outcome
from bundlerun.runs.calls.call import Call
from bundlerun.runs.calls.gather import All, Gathering
from bundlerun.runs.envelope import TAIL_BYTES, Envelope
from bundlerun.runs.keys import gathered_key, result_key
from bundlerun.runs.scope import change, holding
from bundlerun.runs.settle import released, tell_of_no_job
from bundlerun.runs.staging import publish_staged
from bundlerun.runs.transfer import bring_output, send


@dataclass(frozen=True)
class Verdict:
    """What became of a call: the items by their ends, and the first that failed."""

    state: JobState
    tally: dict[str, int]
    failure: type[RunFailed] | None = None
    reason: str = ""
    evidence: str = ""


def judge(outcomes: Iterator[Outcome], cancelled: bool) -> Verdict:
    """The verdict on a call, by the outcome of each item.

    ``cancelled``: somebody asked for its end. It has succeeded where each item has.
    """
    counts: Counter[str] = Counter()
    first: Outcome | None = None
    for outcome in outcomes:
        end = JobState.SUCCEEDED if outcome.ok else JobState.FAILED
        end = JobState.CANCELLED if outcome.failure == errors.Cancelled.__name__ else end
        counts[end.value] += 1
        if end is JobState.FAILED and first is None:
            first = outcome
    tally = {state.value: counts[state.value] for state in _ENDS if counts[state.value]}
    if counts.keys() <= {JobState.SUCCEEDED.value}:
        return Verdict(JobState.SUCCEEDED, tally)
    total = counts.total()
    if cancelled or first is None:
        ended = counts[JobState.CANCELLED.value]
        reason = f"was cancelled: {ended} of {total} items had not ended"
        return Verdict(JobState.CANCELLED, tally, errors.Cancelled, reason)
    raised = first.raised
    why = f"{raised.class_name}: {raised.text}" if raised else f"{first.failure}: {first.reason}"
    kind = errors.UserError if raised else errors.named(first.failure, InfraError, RunFailed)
    failed = counts[JobState.FAILED.value]
    reason = f"failed: {failed} of {total} items failed, first item {first.index}: {why:.500}"
    return Verdict(
        JobState.FAILED, tally, kind, reason, raised.traceback if raised else first.stderr
    )


_ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def settle(call: Call, gathering: Gathering, *, wait: bool) -> Call:
    """The call, every job of which has ended, with what became of it.

    What containers staged is published, the outcomes are put together on the remote, where all
    items succeeded their results become the output, the journal and an envelope tell the end, and
    the backend forgets the jobs. One process of a store does so at a time; ``wait`` for another one
    that does, else leave it to that one. Safe to repeat after it broke off anywhere. Raises what
    the remote and the store raise; the run stays open then.
    """
    with holding(call.run_id, call.scope, wait=wait) as mine:
        if not mine:
            return call
        call = call.read_again()
        if not call.record.judged:
            call = _judged(call, gathering)
        if not call.record.settled:
            record = released(call.record, call.backend, call.scope)
            call = dataclasses.replace(call, record=record)
    return call


def never_began(call: Call, error: BundlerunError) -> None:
    """Write down, here and for others, that no job of the call could be submitted."""
    cancelled = call.record.cancel_asked_s is not None
    kind = errors.Cancelled.__name__ if cancelled else type(error).__name__
    fields = {
        "state": JobState.CANCELLED if cancelled else JobState.FAILED,
        "failure": kind,
        "reason": str(error),
        "finished_s": time.time(),
        "judged": True,
        "settled": True,
        "unsent": None,
    }
    record = change(call.record, lambda r: r.changed(**fields), call.scope)
    why = f"cannot be submitted: {error}"
    try:
        tell_of_no_job(record, kind, why, call.scope)
    except BundlerunError as untold:
        line = f"({record.label} {why}; that is noted here alone: {untold})"
        call.scope.progress.line(line)


def _judged(call: Call, gathering: Gathering) -> Call:
    gathering = _completed(call, gathering)
    is_mine = call.seal is not None and not gathering.is_whole
    if is_mine:
        _publish(call)
        _put_together(call, gathering)
    asked = call.record.cancel_asked_s is not None
    verdict = judge(_outcomes(call, gathering), asked)
    if verdict.state is JobState.SUCCEEDED and call.task.output and call.seal is not None:
        verdict = _with_output(call, gathering, verdict)
    if is_mine:
        # Last: it tells others that all else is there.
        _tell(call, verdict)
    started_s, finished_s = _times(_outcomes(call, gathering))
    fields = {
        "state": verdict.state,
        "judged": True,
        "failure": verdict.failure.__name__ if verdict.failure else None,
        "reason": f"{call.record.label} {verdict.reason}" if verdict.failure else "",
        "evidence": verdict.evidence[-TAIL_BYTES:],
        "tally": verdict.tally,
        "started_s": started_s,
        "finished_s": finished_s or time.time(),
    }
    return call.changed(**fields)


def _times(outcomes: Iterator[Outcome]) -> tuple[float | None, float | None]:
    """When the first item began and the last one ended; None: none began, none ended."""
    started_s: float | None = None
    finished_s: float | None = None
    for outcome in outcomes:
        if outcome.started_s:
            started_s = min(started_s or outcome.started_s, outcome.started_s)
        if outcome.finished_s:
            finished_s = max(finished_s or outcome.finished_s, outcome.finished_s)
    return started_s, finished_s


def _outcomes(call: Call, gathering: Gathering) -> Iterator[Outcome]:
    for index in range(call.task.items):
        sealed = gathering.kept.get(index)
        if sealed is not None:
            yield gathering.opened(index, sealed)


def _completed(call: Call, gathering: Gathering) -> Gathering:
    """A gathering that has an outcome of each item.

    What jobs wrote and was not asked for is read; of what none wrote, it says why not.
    """
    missing = gathering.kept.missing()
    if not missing:
        return gathering
    whole = Gathering(call.run_id, call.task.items, call.seal)
    for _ in whole.new(call.reads(), All()):
        pass
    for index in whole.kept.missing():
        sealed = gathering.kept.get(index)
        if sealed is not None:
            whole.kept.put(index, 0, sealed)
    cancelled = call.record.cancel_asked_s is not None
    kind = errors.Cancelled if cancelled else errors.MissingOutput
    reason = "it was cancelled" if cancelled else "its job left no outcome of it"
    for index in whole.kept.missing():
        whole.keep(Outcome(index, failure=kind.__name__, reason=reason, finished_s=time.time()))
    return whole


def _publish(call: Call) -> None:
    """Bring what containers staged to the remote, as far as it is what the run wrote."""
    try:
        publish_staged(call.record, call.backend, call.scope)
    except IntegrityError as error:
        call.scope.progress.line(f"(what was staged cannot all be published: {error})")


def _put_together(call: Call, gathering: Gathering) -> None:
    """All outcomes in the order of the items, as few objects."""
    packer, number = Packer(), 0
    for index in range(call.task.items):
        full = packer.add(gathering.kept.get(index) or b"")
        if full is not None:
            call.remote.put(gathered_key(call.run_id, number), full)
            number += 1
    rest = packer.rest()
    if rest is not None:
        call.remote.put(gathered_key(call.run_id, number), rest)


def _with_output(call: Call, gathering: Gathering, verdict: Verdict) -> Verdict:
    """The verdict once the results are a bundle, on the remote too."""
    scope, task, plan = call.scope, call.task, call.plan
    if gathering.is_whole:
        with suppress(BundleNotFound):
            bring_output(call.record, scope)
            return verdict
    entry = scope.store.catalog.by_id(scope.context, task.output_id)
    if entry is None:
        codec = Codec.of(scope.binding, scope.progress)
        outcomes = list(_outcomes(call, gathering))
        promised = task.promised()
        lineage = dataclasses.replace(
            promised.lineage,
            image=plan.image,
            run=plan.run_id,
            started_s=min(outcome.started_s for outcome in outcomes) if outcomes else None,
            finished_s=max(outcome.finished_s for outcome in outcomes) if outcomes else None,
        )
        try:
            values = [codec.decode(outcome.value or b"", trusted=True) for outcome in outcomes]
            entry = scope.store.add(
                scope.context,
                promised.name,
                values,
                id=promised.id,
                tags=promised.tags,
                lineage=lineage,
                commit=True,
                progress=scope.progress,
            )
        except (BadValue, BadPath, RunFailed) as error:
            reason = f"succeeded, and its results cannot become the bundle {task.output}: {error}"
            return dataclasses.replace(
                verdict, state=JobState.FAILED, failure=errors.MissingOutput, reason=reason
            )
    send(entry, scope)
    return verdict


def _tell(call: Call, verdict: Verdict) -> None:
    envelope = Envelope(
        run_id=call.run_id,
        attempt=1,
        state="failed" if verdict.failure else "succeeded",
        output=call.task.output_id or None,
        error=verdict.failure.__name__ if verdict.failure else None,
        message=verdict.reason.removeprefix("failed: "),
        traceback=verdict.evidence[-TAIL_BYTES:],
        finished_s=time.time(),
    )
    call.remote.put(result_key(call.run_id, 0, 1), envelope.to_bytes())
