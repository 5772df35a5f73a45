"""The end of a run, judged and settled here alone.

``judge`` is pure. It is given what is known (looks at the backend, the result envelope, whether the
promised output is on the remote) and says either what became of the run or what must be asked next.
``settle`` asks until it says so, and writes it down; waiting, listing, pulling and cancelling all
come through it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeGuard

from bundlerun import errors
from bundlerun.backends.job import Failure, JobState, JobStatus
from bundlerun.errors import BundleNotFound, BundlerunError, IntegrityError, RunFailed, UsageError
from bundlerun.runs.claim import claimant
from bundlerun.runs.envelope import TAIL_BYTES, Envelope, Missing, Unreadable, newest_envelope
from bundlerun.runs.keys import result_key
from bundlerun.runs.scope import RunScope, change, holding, read_again
from bundlerun.runs.staging import publish_staged, remove_staging, staging_of
from bundlerun.runs.transfer import bring_output

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.backends.job import JobHandle
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.record import RunRecord

KEPT_LINES = 200
"""The lines of a failed job's log kept in the journal without an envelope."""

_KILLED_FROM_OUTSIDE = frozenset(
    {
        Failure.OUT_OF_MEMORY,
        Failure.TIMED_OUT,
        Failure.SPOT_RECLAIMED,
        Failure.IMAGE_PULL,
        Failure.CANCELLED,
    }
)
"""The failures that the backend itself explains.

What the job wrote of its failure is a consequence at most.
"""


class Output(Enum):
    """Whether the promised bundle is on the run's remote."""

    UNKNOWN = "nobody has looked for it yet"
    PRESENT = "present"
    ABSENT = "absent"
    DAMAGED = "damaged"


class Ask(Enum):
    """The question to be answered before the run can be judged."""

    NOTHING = "nothing: it is judged"
    JOB = "the backend, once more and later"
    ENVELOPE = "the envelope"
    OUTPUT = "the output"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run, or what must be asked first.

    ``state`` and, where it failed, the error's class, why, and the evidence.
    """

    ask: Ask
    state: JobState
    failure: type[RunFailed] | None = None
    reason: str = ""
    evidence: str = ""


def judge(
    statuses: Sequence[JobStatus],
    envelope: Envelope | Unreadable | Missing = Missing.UNREAD,
    output: Output = Output.UNKNOWN,
) -> Outcome:
    """The outcome of a run, by the looks at its job, its last envelope, its output.

    The looks come oldest first, and the last two count. For a run of many jobs it is the outcome of
    the one at an index, by the looks at that one and its envelope.

    A run has succeeded when its output is on the remote and no envelope of its last attempt says
    otherwise; whatever the backend says of a job that succeeds and leaves no output, it failed. A
    job is lost when two looks in a row say so, since a service may know a new job a moment late;
    after one, only an envelope that tells of success is enough. Of a job that is elsewhere, an
    envelope tells all that can be told: its engine starts a job once.
    """
    if not statuses:
        return Outcome(Ask.JOB, JobState.QUEUED)
    job = statuses[-1]
    if not is_over(statuses):
        return _while_it_runs(statuses, envelope, output)
    if envelope is Missing.UNREAD:
        return Outcome(Ask.ENVELOPE, job.state)
    left = _of_last_attempt(envelope, job)
    if _tells_of_failure(left):
        return _failed(job, left)
    if output is Output.UNKNOWN:
        return Outcome(Ask.OUTPUT, job.state)
    if output is Output.PRESENT:
        return Outcome(Ask.NOTHING, JobState.SUCCEEDED)
    return _without_output(job, left, output)


def is_over(statuses: Sequence[JobStatus]) -> bool:
    """Whether the backend has said its last word on the job: an end, or a loss twice."""
    if not statuses or not statuses[-1].state.final:
        return False
    return statuses[-1].state is not JobState.LOST or (
        len(statuses) > 1 and statuses[-2].state is JobState.LOST
    )


def settle(
    record: RunRecord, status: JobStatus, backend: Backend, scope: RunScope, *, wait: bool
) -> RunRecord:
    """``record`` after one more look at its job, which says ``status``.

    Where that shows the end: publish what a local container staged, bring the promised output to
    this store, write down what became of the run, and let the backend forget the job. One process
    of a store does so at a time; ``wait`` for another one that does, else leave it to that one.
    Safe to repeat after it broke off anywhere.

    A run that failed is not raised: see ``result_of``. Raises what the remote or the store raises;
    the run stays open then.
    """
    # The look before this one: what another process sees meanwhile is not a look of its own.
    before = [] if record.lost_s is None else [JobStatus(JobState.LOST)]
    statuses = [*before, status]
    if not record.judged and judge(statuses).ask is Ask.JOB:
        return _noted(record, status, scope)
    with holding(record.run_id, scope, wait=wait) as mine:
        if not mine:
            return record
        return ended(read_again(record, scope), statuses, backend, scope)


def ended(
    record: RunRecord, statuses: Sequence[JobStatus], backend: Backend, scope: RunScope
) -> RunRecord:
    """``record`` with the run's outcome, and the job released, as far as can be yet.

    The caller holds the run's lock. Raises as ``settle``.
    """
    if not record.judged:
        record = _judged(record, statuses, backend, scope)
    if record.judged and not record.settled:
        record = released(record, backend, scope)
    return record


def tell_of_no_job(record: RunRecord, failure: str, why: str, scope: RunScope) -> None:
    """Leave an envelope on the run's remote that tells that the run never had a job.

    It is for other stores; a job that comes all the same writes its own over it. Raises what the
    remote raises.
    """
    error = errors.named(failure, errors.InfraError, RunFailed).__name__
    envelope = Envelope(run_id=record.run_id, attempt=1, state="failed", error=error, message=why)
    scope.remote_of(record).put_new(result_key(record.run_id, 0, 1), envelope.to_bytes())


def result_of(record: RunRecord, scope: RunScope) -> BundleRecord | None:
    """The output of a run that is judged, None where it was to make none.

    Raises the RunFailed that it ended with, MissingOutput where the output was removed meanwhile.
    """
    if record.failure is not None:
        kind = errors.named(record.failure, RunFailed, RunFailed)
        raise kind(record.reason, hint=_cure(kind, record), evidence=record.evidence)
    if not record.output:
        return None
    here = scope.store.catalog.by_id(scope.context, record.output_id)
    return bring_output(record, scope) if here is None else here.bundle


_CURES: Mapping[type[RunFailed], str] = {
    errors.OutOfMemory: "the same run with a larger --memory-mib",
    errors.TimedOut: "the same run with a larger --timeout-s",
    errors.SpotReclaimed: "the same run with --retries 3",
    errors.Cancelled: "the same run again",
}
"""The cures of runs that ended so; for all others the log tells."""


def _cure(kind: type[RunFailed], record: RunRecord) -> str:
    """The next command after a failed run."""
    look = "logs" if record.handles else "jobs"
    return _CURES.get(kind, f"bundlerun {look} {record.run_id[:13]}")


def _while_it_runs(
    statuses: Sequence[JobStatus], envelope: Envelope | Unreadable | Missing, output: Output
) -> Outcome:
    job = statuses[-1]
    if job.state in (JobState.LOST, JobState.ELSEWHERE):
        if envelope is Missing.UNREAD:
            return Outcome(Ask.ENVELOPE, job.state)
        if job.state is JobState.ELSEWHERE and _tells_of_failure(envelope):
            return _failed(job, envelope)
        if isinstance(envelope, Envelope) and envelope.succeeded:
            if output is Output.UNKNOWN:
                return Outcome(Ask.OUTPUT, job.state)
            if output is Output.PRESENT:
                return Outcome(Ask.NOTHING, JobState.SUCCEEDED)
    return Outcome(Ask.JOB, job.state, reason=job.reason)


def _tells_of_failure(
    left: Envelope | Unreadable | Missing,
) -> TypeGuard[Envelope | Unreadable]:
    return isinstance(left, Unreadable) or (isinstance(left, Envelope) and not left.succeeded)


def _of_last_attempt(
    envelope: Envelope | Unreadable | Missing, job: JobStatus
) -> Envelope | Unreadable | Missing:
    """The envelope, or ABSENT where an attempt before the last one left it.

    It does not tell what became of the last.
    """
    if not isinstance(envelope, Missing) and envelope.attempt < (job.attempt or 0):
        return Missing.ABSENT
    return envelope


def _failed(job: JobStatus, left: Envelope | Unreadable) -> Outcome:
    """The failure of a job that says so itself, or whose word cannot be read."""
    if job.failure in _KILLED_FROM_OUTSIDE:
        outcome = _by_backend(job)
        evidence = left.tail if isinstance(left, Envelope) else ""
        return Outcome(Ask.NOTHING, outcome.state, outcome.failure, outcome.reason, evidence)
    if isinstance(left, Unreadable):
        return Outcome(
            Ask.NOTHING,
            JobState.FAILED,
            errors.InfraError,
            f"failed: its result envelope (attempt {left.attempt}) cannot be read: {left.found}",
        )
    failure = errors.named(left.error, errors.InfraError, RunFailed)
    state = JobState.CANCELLED if failure is errors.Cancelled else JobState.FAILED
    evidence = left.traceback or left.tail
    return Outcome(Ask.NOTHING, state, failure, f"failed: {left.message}", evidence)


def _without_output(
    job: JobStatus, left: Envelope | Unreadable | Missing, output: Output
) -> Outcome:
    """The failure of a job that left no sound output, and no word of a failure."""
    if output is Output.DAMAGED:
        reason = "failed: its output is damaged on its remote"
        return Outcome(Ask.NOTHING, JobState.FAILED, errors.InfraError, reason)
    if isinstance(left, Envelope):
        reason = "ended well, but its output is not on its remote"
        return Outcome(Ask.NOTHING, JobState.FAILED, errors.MissingOutput, reason, left.tail)
    if job.state is JobState.SUCCEEDED:
        reason = "ended well, but left no result"
        return Outcome(Ask.NOTHING, JobState.FAILED, errors.MissingOutput, reason)
    return _by_backend(job)


def _by_backend(job: JobStatus) -> Outcome:
    failure = job.failure or Failure.INFRA_ERROR
    state = job.state
    if failure is Failure.CANCELLED:
        state = JobState.CANCELLED
    elif state is not JobState.LOST:
        state = JobState.FAILED
    why = job.reason or f"the job is {job.state.value}"
    if state is JobState.CANCELLED:
        by = "" if (job.reason or "cancelled").startswith("cancelled") else f": {job.reason}"
        return Outcome(Ask.NOTHING, state, failure.error, f"was cancelled{by}")
    return Outcome(Ask.NOTHING, state, failure.error, f"failed: {failure.value}: {why}")


def _noted(record: RunRecord, status: JobStatus, scope: RunScope) -> RunRecord:
    """``record`` with what the backend says of a job that has not ended."""
    if status.state is JobState.LOST:
        lost = {
            "lost_s": record.lost_s or time.time(),
            "reason": f"{status.reason}; a second look decides",
        }
        return change(record, lambda r: r if r.judged else r.changed(**lost), scope)
    if record.lost_s is not None or record.state is not status.state:
        record = change(
            record,
            lambda r: (
                r
                if r.judged
                else r.changed(
                    state=status.state, reason="", lost_s=None, started_s=status.started_s
                )
            ),
            scope,
        )
    # Why a job waits is shown, and asked for again next time: it is not worth a write.
    return record if record.judged else record.changed(reason=status.reason)


def _judged(
    record: RunRecord, statuses: Sequence[JobStatus], backend: Backend, scope: RunScope
) -> RunRecord:
    """``record`` with the run's outcome, or as it is while that cannot be told yet."""
    status = statuses[-1]
    remote = scope.remote_of(record)
    envelope: Envelope | Unreadable | Missing = Missing.UNREAD
    output, damage = Output.UNKNOWN, ""
    while (outcome := judge(statuses, envelope, output)).ask is not Ask.NOTHING:
        if outcome.ask is Ask.JOB:
            return _noted(record, status, scope)
        if outcome.ask is Ask.ENVELOPE:
            envelope = _published(record, backend, scope)
        else:
            output, damage = _brought(record, scope)
    failed = outcome.failure is not None
    silent = failed and _of_last_attempt(envelope, status) is Missing.ABSENT
    other = _worker_of(record, backend, remote) if silent else None
    if other is not None:
        reason = "another job of the run does its work"
        fields = {"handle": other, "reason": reason, "lost_s": None, "cancel_sent": False}
        return change(record, lambda r: r.changed(**fields), scope)
    evidence = outcome.evidence or damage or (_last_lines(record, backend) if failed else "")
    left = envelope if isinstance(envelope, Envelope) else None
    if silent and status.state is not JobState.LOST:
        _tell_the_end(record, status, outcome, evidence, remote)
    fields = {
        "state": outcome.state,
        "judged": True,
        "failure": outcome.failure.__name__ if outcome.failure else None,
        "reason": _told(record, outcome),
        "evidence": evidence if failed else "",
        "started_s": status.started_s or (left.started_s if left else None),
        "finished_s": status.finished_s or (left.finished_s if left else None) or time.time(),
        "lost_s": None,
    }
    return change(record, lambda r: r if r.judged else r.changed(**fields), scope)


def _told(record: RunRecord, outcome: Outcome) -> str:
    if outcome.failure is None:
        return ""
    where = ""
    if outcome.failure is errors.MissingOutput:
        where = f" ({record.output}@{record.output_id[:13]}, {record.remote_url})"
    return f"{record.label} {outcome.reason}{where}"


def _published(
    record: RunRecord, backend: Backend, scope: RunScope
) -> Envelope | Unreadable | Missing:
    """The newest envelope, once what a local container staged is on the remote."""
    try:
        publish_staged(record, backend, scope)
    except (IntegrityError, UsageError) as error:
        # What it staged may be anything: this run alone ends of it.
        return Unreadable(1, f"what the job staged cannot be published: {error.message}")
    return newest_envelope(scope.remote_of(record), record.run_id)


def _worker_of(record: RunRecord, backend: Backend, remote: Remote) -> JobHandle | None:
    """The handle of the job that claimed the run, where it is not the noted one."""
    if record.handle is None:
        return None
    try:
        claiming = claimant(remote, record.run_id)
    except IntegrityError:
        return None
    return None if claiming is None else backend.other_job(record.handle, claiming)


def _tell_the_end(
    record: RunRecord, status: JobStatus, outcome: Outcome, evidence: str, remote: Remote
) -> None:
    """Leave an envelope in place of the job's, which left none.

    Other stores shall know what became of the run when the backend has forgotten it.
    """
    attempt = status.attempt or 1
    failure = (outcome.failure or errors.InfraError).__name__
    envelope = Envelope(
        run_id=record.run_id,
        attempt=attempt,
        state="failed",
        error=failure,
        message=outcome.reason.removeprefix("failed: "),
        tail=evidence[-TAIL_BYTES:],
        started_s=status.started_s or 0.0,
        finished_s=status.finished_s or 0.0,
    )
    remote.put_new(result_key(record.run_id, 0, attempt), envelope.to_bytes())


def _brought(record: RunRecord, scope: RunScope) -> tuple[Output, str]:
    try:
        bring_output(record, scope)
    except BundleNotFound:
        return Output.ABSENT, ""
    except IntegrityError as error:
        return Output.DAMAGED, str(error)
    return Output.PRESENT, ""


def released(record: RunRecord, backend: Backend, scope: RunScope) -> RunRecord:
    """Let go of what the run kept on the backend and here.

    Whatever does not answer is asked again the next time somebody looks at the runs.
    """
    try:
        staging = staging_of(record, backend, scope)
        for handle in record.handles:
            backend.release(handle)
    except BundlerunError as error:
        scope.progress.line(f"(the job of {record.label} could not be released: {error})")
        return record
    if staging is not None:
        remove_staging(staging)
    return change(record, lambda r: r.changed(settled=True), scope)


def _last_lines(record: RunRecord, backend: Backend) -> str:
    """The end of the job's log, for the journal: a local container's goes with it."""
    if record.handle is None:
        return ""
    try:
        return "\n".join(deque(backend.logs(record.handle), maxlen=KEPT_LINES))
    except BundlerunError as error:
        return f"(the log cannot be read: {error})"
