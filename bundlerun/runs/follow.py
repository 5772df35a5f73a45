"""From a submitted run to its end: watch the job, bring its result home, say why it failed."""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from bundlerun import errors, registry
from bundlerun.backends.polling import wait as wait_for_job
from bundlerun.errors import BundlerunError, RunFailed, Stuck
from bundlerun.jobs.spec import JobHandle
from bundlerun.jobs.state import Failure, JobState, JobStatus
from bundlerun.remotes.file import FileRemote
from bundlerun.remotes.publishing import publish
from bundlerun.runs.conduct import World, bring_output, save
from bundlerun.runs.envelope import Envelope, result_key
from bundlerun.runs.jobspec import job_base
from bundlerun.runs.record import RunRecord

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.bundles.bundle import Bundle
    from bundlerun.remotes.base import Remote

_DECIDED_BY_BACKEND = frozenset(
    {
        Failure.OUT_OF_MEMORY,
        Failure.TIMED_OUT,
        Failure.SPOT_RECLAIMED,
        Failure.IMAGE_PULL,
        Failure.CANCELLED,
    }
)
"""Where the job was killed from outside, an envelope of an earlier attempt does not explain it."""

KEPT_LINES = 200
"""Lines of a failed job's log that the journal keeps where the job left no envelope."""

SUBMIT_WITHIN_S = 120.0
"""A run that has no job so long after it was noted has none to come."""

LOG_GRACE_S = 5.0
"""How long the last log lines may arrive after the job's end."""


def follow(record: RunRecord, world: World) -> tuple[RunRecord, Bundle]:
    """Wait for the run's end, its log lines going to ``world.progress``; the settled record and
    the output, pulled.

    Raises a RunFailed when it failed, Stuck when the queue says that it will never start.
    """
    if record.settled:
        return record, _settled_output(record, world)
    backend = backend_of(record, world)
    record = found_again(record, backend, world)
    if record.settled:
        return record, _settled_output(record, world)
    handle = _handle(record)
    lines = threading.Thread(target=_print_lines, args=(backend, record, world), daemon=True)

    def on_status(status: JobStatus) -> None:
        # After the first look, which serves the log as well.
        if lines.ident is None:
            lines.start()
        if status.reason.startswith("MISCONFIGURATION"):
            raise Stuck(
                f"run {record.run_id} cannot start: {status.reason}",
                hint=f"bundlerun cancel {record.run_id}",
            )
        # How it ended is told in full by whatever is raised then.
        if status.reason and not status.state.final:
            world.progress.line(f"{status.state.value}: {status.reason}")

    status = wait_for_job(backend, handle, on_status=on_status)
    if lines.ident is not None:
        lines.join(timeout=LOG_GRACE_S)
    return settle(record, status, backend, world)


def settle(
    record: RunRecord, status: JobStatus, backend: Backend, world: World
) -> tuple[RunRecord, Bundle]:
    """What is done once at a run's end: publish what a local container staged, read the envelope,
    pull the promised output, write the journal, and let the backend forget the job.

    Safe to repeat, from several processes at once. Raises a RunFailed when the run failed.
    """
    _publish_staged(record, world)
    envelope = newest_envelope(world.remote, record.run_id)
    failure = _failure(record, status, envelope)
    output: Bundle | None = None
    if failure is None:
        try:
            output = bring_output(record, world).bundle
        except errors.MissingOutput as error:
            failure = error
    if failure is not None and not failure.evidence:
        failure.evidence = _last_lines(backend, record)
    record = _ended(record, status, envelope, failure)
    save(record, world)
    backend.release(_handle(record))
    shutil.rmtree(world.staging(record.run_id), ignore_errors=True)
    if failure is not None or output is None:
        raise failure or RunFailed(record.reason)
    return record, output


def refresh(records: list[RunRecord], world: World) -> list[RunRecord]:
    """``records`` with today's states: one poll a backend; those that ended are settled.

    A backend that does not answer leaves its records as they were, with the reason.
    """
    fresh: dict[str, RunRecord] = {}
    for name in {r.backend for r in records if not r.settled}:
        open_runs = [r for r in records if r.backend == name and not r.settled]
        try:
            backend = backend_of(open_runs[0], world)
            looked = [found_again(r, backend, world) for r in open_runs]
            fresh |= {r.run_id: r for r in looked}
            open_runs = [r for r in looked if r.handle]
            states = backend.poll([_handle(r) for r in open_runs])
        except BundlerunError as error:
            fresh |= {r.run_id: r.changed(reason=str(error)) for r in open_runs}
            continue
        for run in open_runs:
            fresh[run.run_id] = _refreshed(run, states[_handle(run).id], backend, world)
    return [fresh.get(record.run_id, record) for record in records]


def found_again(record: RunRecord, backend: Backend, world: World) -> RunRecord:
    """``record`` with its job's handle: a client that died right after it submitted could not note
    it. Where there is no such job after a while, the run never began, and is settled as that."""
    if record.handle is not None:
        return record
    handle = backend.find(record.run_id, job_base(record.pipe))
    if handle is not None:
        record = record.changed(handle=handle, reason="")
    elif time.time() - (record.submitted_s or 0.0) > SUBMIT_WITHIN_S:
        record = record.changed(
            state=JobState.FAILED,
            settled=True,
            failure=errors.InfraError.__name__,
            reason="never submitted: its client died before",
            finished_s=time.time(),
        )
    else:
        return record
    save(record, world)
    return record


def backend_of(record: RunRecord, world: World) -> Backend:
    """The backend that has the run's job."""
    made: Backend = registry.load(registry.BACKENDS, record.backend, what="backend")(world.settings)
    return made


def newest_envelope(remote: Remote, run_id: str) -> Envelope | None:
    """What the last attempt of a run left, or None when none could."""
    prefix = result_key(run_id, 0).partition(".0.json")[0] + "."
    attempts = [entry.key[len(prefix) :].split(".")[0] for entry in remote.list(prefix)]
    numbers = sorted(int(attempt) for attempt in attempts if attempt.isdecimal())
    data = remote.get(result_key(run_id, numbers[-1])) if numbers else None
    return None if data is None else Envelope.from_bytes(data)


def _refreshed(run: RunRecord, status: JobStatus, backend: Backend, world: World) -> RunRecord:
    if not status.state.final:
        return run.changed(state=status.state, reason=status.reason, started_s=status.started_s)
    try:
        return settle(run, status, backend, world)[0]
    except RunFailed:
        found = world.store.journal.get(world.context, run.run_id)
        return RunRecord.from_json(found)


def _publish_staged(record: RunRecord, world: World) -> None:
    """Bring what a local container staged to the remote: bundles, and the envelopes."""
    staging = world.staging(record.run_id)
    if not staging.is_dir():
        return
    upper = FileRemote(staging.absolute().as_uri())
    publish(world.remote, upper)
    for entry in upper.list(f"runs/{record.run_id}/result."):
        data = upper.get(entry.key)
        if data is not None and Envelope.from_bytes(data).run_id == record.run_id:
            world.remote.put_new(entry.key, data)


def _failure(record: RunRecord, status: JobStatus, envelope: Envelope | None) -> RunFailed | None:
    name = f"run {record.run_id[:13]} of {record.pipe}"
    hint = f"bundlerun logs {record.run_id[:13]}"
    if envelope is not None and envelope.succeeded:
        return None
    if envelope is not None and status.failure not in _DECIDED_BY_BACKEND:
        kind = getattr(errors, envelope.error or "", RunFailed)
        kind = kind if issubclass(kind, RunFailed) else errors.InfraError
        evidence = envelope.traceback or envelope.tail
        return kind(f"{name} failed: {envelope.message}", hint=hint, evidence=evidence)
    if status.state is JobState.SUCCEEDED:
        return errors.MissingOutput(f"{name} ended well, but left no result", hint=hint)
    failure = status.failure or Failure.INFRA_ERROR
    why = status.reason or f"the job is {status.state.value}"
    return failure.error(f"{name} failed: {failure.value}: {why}", hint=hint)


def _ended(
    record: RunRecord,
    status: JobStatus,
    envelope: Envelope | None,
    failure: RunFailed | None,
) -> RunRecord:
    state = JobState.SUCCEEDED
    if failure is not None:
        cancelled = isinstance(failure, errors.Cancelled)
        state = JobState.CANCELLED if cancelled else JobState.FAILED
        if status.state is JobState.LOST:
            state = JobState.LOST
    return dataclasses.replace(
        record,
        state=state,
        settled=True,
        failure=None if failure is None else type(failure).__name__,
        reason=failure.message if failure else "",
        evidence=failure.evidence if failure else "",
        started_s=status.started_s or (envelope.started_s if envelope else None),
        finished_s=status.finished_s or (envelope.finished_s if envelope else None) or time.time(),
    )


def _settled_output(record: RunRecord, world: World) -> Bundle:
    if record.failure is not None:
        kind = getattr(errors, record.failure, RunFailed)
        kind = kind if issubclass(kind, RunFailed) else RunFailed
        raise kind(record.reason, evidence=record.evidence)
    return bring_output(record, world).bundle


def _handle(record: RunRecord) -> JobHandle:
    if record.handle is None:
        raise errors.InfraError(
            f"run {record.run_id} has no job: it is being submitted, or its client died before",
            hint=f"bundlerun jobs {record.run_id}",
        )
    return record.handle


def _last_lines(backend: Backend, record: RunRecord) -> str:
    """The end of the job's log, for the journal: a local container's goes with it."""
    try:
        return "\n".join(deque(backend.logs(_handle(record)), maxlen=KEPT_LINES))
    except BundlerunError as error:
        return f"(the log cannot be read: {error})"


def _print_lines(backend: Backend, record: RunRecord, world: World) -> None:
    try:
        for line in backend.logs(_handle(record), follow=True):
            world.progress.line(line)
    except BundlerunError as error:
        world.progress.line(f"(the log cannot be followed: {error})")
