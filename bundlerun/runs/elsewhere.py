"""Runs found on the remote, of another store or of a journal that was lost.

Nothing that a remote says of a run is believed further than its plan goes: what became of it is
judged as for any other run, and a job is ended only where its own record names the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobState, JobStatus
from bundlerun.backends.open import open_backend
from bundlerun.errors import BundlerunError, Conflict, IntegrityError, RunNotFound
from bundlerun.remotes.gc.mark import in_parallel
from bundlerun.runs import index
from bundlerun.runs.envelope import Envelope, Missing, Unreadable, newest_envelope
from bundlerun.runs.job_spec import job_base
from bundlerun.runs.record import RunRecord
from bundlerun.runs.scope import change
from bundlerun.runs.settle import Output, judge

if TYPE_CHECKING:
    from bundlerun.backends.job import JobHandle
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.scope import RunScope

READ_AT_MOST = 5
"""Of the runs that were to make an output so many are looked at, the newest."""


def adopt(prefix: str, scope: RunScope) -> RunRecord:
    """The run on the context's remote whose id starts with ``prefix``, now kept here.

    It is in the journal from now on. Raises RunNotFound, UsageError when several start so,
    NoRemote, IntegrityError.
    """
    remote = scope.remote
    run_id = index.whole_id(remote, prefix)
    known = index.read(remote, run_id)
    if known is None:
        raise RunNotFound(
            f"the run {run_id} on {remote.url} has no plan", hint="bundlerun jobs --remote"
        )
    return _adopted(known, scope)


def listed(scope: RunScope, *, limit: int | None, before: str | None) -> list[RunRecord]:
    """The newest runs of the context's remote, with their present states.

    They are of all submitters, ``limit`` at most and older than the run ``before``; nothing is
    written. What cannot be read is named by ``scope.progress``. One listing, and for each run that
    this store has not settled two to four requests; a poll a backend.
    """
    remote = scope.remote
    ids = index.newest(remote, limit=limit, before=before)
    own = {run_id: kept for run_id in ids if (kept := _in_journal(run_id, scope)) is not None}
    asked = [run_id for run_id in ids if run_id not in own or not own[run_id].judged]
    read: dict[str, RunRecord] = {}
    for found in index.read_all(remote, asked):
        if isinstance(found, IntegrityError):
            scope.progress.line(f"(a run is left out: {found.message})")
        else:
            record = index.record_of(found, remote.url, scope.context.remote_uuid)
            read[record.run_id] = record
    seen = {record.run_id: record for record in _seen(list(read.values()), scope)}
    return [seen.get(run_id) or own[run_id] for run_id in ids if run_id in seen or run_id in own]


def doing(plan: RunPlan, scope: RunScope) -> tuple[RunPlan, RunRecord] | None:
    """A run under way that does what ``plan`` asks: its plan and its record, or None.

    It has the same output and the same tags, its backend says that it is alive, and it is in the
    journal from now on. One request, and a few for each such run.
    """
    remote = scope.remote
    ids = index.making(remote, *plan.task.marks)[:READ_AT_MOST]
    for known in index.read_all(remote, ids):
        if isinstance(known, IntegrityError) or not known.plan.task.does_the_work_of(plan.task):
            continue
        own = _in_journal(known.plan.run_id, scope)
        if own is not None and (own.judged or own.cancel_asked_s is not None):
            continue
        record = index.record_of(known, remote.url, scope.context.remote_uuid)
        if _is_alive(record, scope):
            followed = change(_adopted(known, scope), lambda r: r.changed(followed=True), scope)
            return known.plan, followed
    return None


def maker_of(output: str, scope: RunScope) -> str | None:
    """The id of the newest run that is about to make ``output``; None without one.

    It is on the context's remote, and has left no result yet. One request, and two for each such
    run.
    """
    remote = scope.remote
    for known in index.read_all(remote, index.making(remote, output)[:READ_AT_MOST]):
        if isinstance(known, IntegrityError) or known.plan.task.output != output:
            continue
        if newest_envelope(remote, known.plan.run_id) is Missing.ABSENT:
            return known.plan.run_id
    return None


def _adopted(known: index.Known, scope: RunScope) -> RunRecord:
    found = _in_journal(known.plan.run_id, scope)
    if found is not None:
        return found
    record = index.record_of(known, scope.remote.url, scope.context.remote_uuid)
    record = record.changed(adopted=True)
    try:
        revision = scope.store.journal.add(scope.context, record.to_row())
    except Conflict:  # Another process was first.
        row = scope.store.journal.get(scope.context, record.run_id)
        return RunRecord.from_json(row.run, row.revision)
    return record.changed(revision=revision)


def _in_journal(run_id: str, scope: RunScope) -> RunRecord | None:
    try:
        row = scope.store.journal.get(scope.context, run_id)
        return RunRecord.from_json(row.run, row.revision)
    except (RunNotFound, IntegrityError):
        return None


def _is_alive(record: RunRecord, scope: RunScope) -> bool:
    """Whether the run's backend confirms that its job goes on.

    One that cannot be asked does not confirm it.
    """
    try:
        backend = open_backend(record.backend, scope.connections)
        handle = record.handle or backend.find(record.run_id, job_base(record.pipe))
        if handle is None:
            return False
        state = backend.poll([handle])[handle.id].state
    except BundlerunError:
        return False
    return not state.final and state is not JobState.ELSEWHERE


def _seen(records: Sequence[RunRecord], scope: RunScope) -> list[RunRecord]:
    """``records`` with what can be told of them now, and nothing written."""
    found = in_parallel(lambda record: newest_envelope(scope.remote, record.run_id), records)
    left = {record.run_id: each for record, each in zip(records, found, strict=True)}
    statuses: dict[str, JobStatus] = {}
    for name in {record.backend for record in records}:
        asked = [
            record.handle
            for record in records
            if record.backend == name and record.handle and left[record.run_id] is Missing.ABSENT
        ]
        statuses |= _polled(name, asked, scope)
    return [_shown(record, statuses.get(record.run_id), left[record.run_id]) for record in records]


def _polled(name: str, handles: Sequence[JobHandle], scope: RunScope) -> Mapping[str, JobStatus]:
    """By run; a backend that does not answer says nothing of its runs but why."""
    if not handles:
        return {}
    try:
        found = open_backend(name, scope.connections).poll(handles)
    except BundlerunError as error:
        unknown = JobStatus(JobState.ELSEWHERE, reason=error.message)
        return {handle.run_id: unknown for handle in handles}
    return {handle.run_id: found[handle.id] for handle in handles}


def _shown(
    record: RunRecord, status: JobStatus | None, left: Envelope | Unreadable | Missing
) -> RunRecord:
    if status is None and left is Missing.ABSENT:
        if record.items is not None:
            return record.changed(reason=f"bundlerun jobs {record.run_id[:13]} tells of its items")
        return record.changed(reason="no job of it is noted yet")
    # What left a result has ended, and no backend is asked about it.
    status = status or JobStatus(JobState.LOST)
    looks = [status, status] if left is not Missing.ABSENT else [status]
    outcome = judge(looks, left, Output.PRESENT)
    times = {"started_s": status.started_s, "finished_s": status.finished_s}
    if isinstance(left, Envelope):
        times = {"started_s": left.started_s, "finished_s": left.finished_s}
    return record.changed(
        state=outcome.state,
        failure=outcome.failure.__name__ if outcome.failure else None,
        reason=outcome.reason,
        **times,
    )
