"""The watch over runs: one to its end, all open ones once; and cancelling."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from bundlerun import errors, registry
from bundlerun.backends.job import JobHandle, JobState, JobStatus
from bundlerun.backends.open import open_backend
from bundlerun.backends.poll import looks
from bundlerun.errors import BundlerunError, Conflict, EngineError, Stuck
from bundlerun.runs.envelope import Missing, newest_envelope
from bundlerun.runs.index import note_handle
from bundlerun.runs.job_spec import job_base
from bundlerun.runs.record import RunRecord
from bundlerun.runs.scope import RunScope, change, holding, read_again
from bundlerun.runs.settle import ended, result_of, settle, tell_of_no_job
from bundlerun.runs.task import TASKS

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.remotes.base import Remote


class Verbs(Protocol):
    """What is done with runs of a kind that are carried out in parts."""

    @staticmethod
    def follow(record: RunRecord, scope: RunScope) -> tuple[RunRecord, BundleRecord | None]:
        """See ``follow``."""

    @staticmethod
    def refreshed(
        record: RunRecord, statuses: Mapping[str, JobStatus], scope: RunScope
    ) -> RunRecord:
        """``record`` after looks at its jobs, settled where all of them have ended."""

    @staticmethod
    def cancel(record: RunRecord, scope: RunScope) -> RunRecord:
        """See ``cancel``."""

    @staticmethod
    def log_lines(
        record: RunRecord, index: int | None, scope: RunScope, *, follow: bool
    ) -> Iterator[str]:
        """The lines that the item at ``index`` wrote, None: all of them."""


def verbs_of(record: RunRecord) -> Verbs | None:
    """What is done with runs of this kind in place of what is done here."""
    kind = TASKS.get(record.kind)
    if kind is None or kind.verbs is None:
        return None
    found: Verbs = registry.load({record.kind: kind.verbs}, record.kind, what="task")
    return found


LISTED_WITHIN_S = 120.0
"""The time within which a service lists a job that it has.

A run whose submitter has ended, and of which no job is found for so long, has none to come.
"""

LOG_GRACE_S = 5.0
"""How long the last log lines may arrive after the job's end."""

_ORPHAN_POLL_S = 2.0


def follow(record: RunRecord, scope: RunScope) -> tuple[RunRecord, BundleRecord | None]:
    """Wait for the run's end; the settled record and the output, pulled.

    The run's log lines go to ``scope.progress``. Raises a RunFailed when it failed, Stuck when the
    queue says that it will never start.
    """
    verbs = verbs_of(record)
    if verbs is not None:
        return verbs.follow(record, scope)
    if not record.judged:
        backend = backend_of(record, scope)
        record = _with_job(record, backend, scope)
        if record.handle is not None and not record.judged:
            record = _watched(record, record.handle, backend, scope)
    output = result_of(record, scope)
    if record.followed and output is not None and output.lineage.request is None:
        # A request does not tell which bundles a pipeline looks up by name.
        names = [p.name for p in output.lineage.parents if p.role.startswith("external:")]
        looked_up = ", ".join(sorted(set(names))) or "bundles by name"
        scope.progress.line(
            f"{record.label} had begun before you asked, and looked up {looked_up} then: --force"
            " does the work on what is the latest now"
        )
    return record, output


def refresh(records: Sequence[RunRecord], scope: RunScope) -> list[RunRecord]:
    """``records`` with today's states, by one poll a backend, the ended ones settled.

    What does not answer, or is wrong with one run, leaves that one as it was, with the reason, and
    is in nobody else's way.
    """
    fresh: dict[str, RunRecord] = {}
    for name in dict.fromkeys(record.backend for record in records if not record.settled):
        mine = [r for r in records if r.backend == name and not r.settled]
        try:
            backend = backend_of(mine[0], scope)
        except BundlerunError as error:
            fresh |= {r.run_id: r.changed(reason=str(error)) for r in mine}
            continue
        for record in _refreshed(mine, backend, scope):
            fresh[record.run_id] = record
    return [fresh.get(record.run_id, record) for record in records]


def cancel(record: RunRecord, scope: RunScope) -> RunRecord:
    """Ask for the run's end, and look at it once; the record as it is then.

    Where its job is being submitted at this moment the wish is written down, and the submitter
    sees it. Raises what the backend raises; the wish stays.
    """

    def asked(newest: RunRecord) -> RunRecord:
        if newest.judged:
            return newest
        asked_s = newest.cancel_asked_s or time.time()
        newest = newest.changed(cancel_asked_s=asked_s, cancel_sent=False)
        if newest.handle is not None:
            return newest
        reason = "cancelled while it was being submitted"
        return newest.changed(state=JobState.CANCELLED, reason=reason)

    verbs = verbs_of(record)
    if verbs is not None:
        return verbs.cancel(record, scope)
    record = change(record, asked, scope)
    if record.settled:
        return record
    backend = backend_of(record, scope)
    record = look(found_again(record, backend, scope), backend, scope)
    if record.handle is not None and not record.settled and not record.cancel_sent:
        # Another job has the run than the one that was ended.
        record = look(found_again(record, backend, scope), backend, scope)
    return record


def look(record: RunRecord, backend: Backend, scope: RunScope) -> RunRecord:
    """``record`` after one look at its job, where it has one."""
    if record.handle is None or record.settled:
        return record
    status = backend.poll([record.handle])[record.handle.id]
    return settle(record, status, backend, scope, wait=True)


def found_again(record: RunRecord, backend: Backend, scope: RunScope) -> RunRecord:
    """``record`` with its job's handle, also where its client could not note it.

    Such a client died right after it submitted. A cancel that somebody asked for meanwhile is sent.
    While its submitter still works, the run is left alone, however long that takes. Where that one
    has ended, and no job comes to be listed, the run never began, and is settled as that.
    """
    if record.handle is None and not record.settled:
        with holding(record.run_id, scope, wait=False) as mine:
            record = read_again(record, scope)
            if mine and record.handle is None and not record.settled:
                record = _looked_for(record, backend, scope)
    if record.handle is None or record.judged:
        return record
    if record.cancel_asked_s is not None and not record.cancel_sent:
        backend.cancel(record.handle, "cancelled with bundlerun cancel")
        record = change(record, lambda r: r.changed(cancel_sent=True), scope)
    return record


def backend_of(record: RunRecord, scope: RunScope) -> Backend:
    """The backend that has the run's job."""
    return open_backend(record.backend, scope.connections)


def tell(handle: JobHandle, remote: Remote, scope: RunScope) -> None:
    """Write down on the remote, for other stores, which job has the run.

    Where that fails they look for the job by its name: that is not a failure of the run.
    """
    try:
        note_handle(remote, handle)
    except BundlerunError as error:
        scope.progress.line(f"(the job of run {handle.run_id[:13]} is noted here alone: {error})")


def _with_job(record: RunRecord, backend: Backend, scope: RunScope) -> RunRecord:
    """``record`` once it has a job, or will never have one."""
    told = ""
    while True:
        record = found_again(record, backend, scope)
        if record.handle is not None or record.settled:
            return record
        if record.reason != told:
            told = record.reason
            scope.progress.line(f"{record.label}: {told}")
        if record.orphaned_s is None:
            # It is being submitted: by whom, the lock tells.
            with holding(record.run_id, scope, wait=True):
                pass
        else:
            time.sleep(_ORPHAN_POLL_S)


def _looked_for(record: RunRecord, backend: Backend, scope: RunScope) -> RunRecord:
    """``record``, which nobody submits any more, with the job that it has after all."""
    remote = scope.remote_of(record)
    handle = backend.find(record.run_id, job_base(record.pipe))
    if handle is not None:
        tell(handle, remote, scope)
        return change(record, lambda r: r.changed(handle=handle, reason="", orphaned_s=None), scope)
    if record.adopted and newest_envelope(remote, record.run_id) is not Missing.ABSENT:
        # It has ended, and nobody knows its job any more.
        return ended(record, [JobStatus(JobState.LOST)] * 2, backend, scope)
    now_s = time.time()
    if record.orphaned_s is None:
        reason = "its client ended before it noted a job; one may still show itself"
        return change(record, lambda r: r.changed(orphaned_s=now_s, reason=reason), scope)
    if now_s - record.orphaned_s <= LISTED_WITHIN_S:
        return record
    if record.adopted and record.cancel_asked_s is None:
        raise Conflict(
            f"there is no job of {record.label} yet: its client is still submitting it, "
            "or ended before it did",
            hint=f"bundlerun cancel {record.run_id[:13]} gives it up",
        )
    return _given_up(record, scope)


def _given_up(record: RunRecord, scope: RunScope) -> RunRecord:
    """``record`` of a run that never began, settled as that.

    Every store is told first: it would be open there.
    """
    why = "never submitted: no job of this run came to be listed"

    def never(newest: RunRecord) -> RunRecord:
        cancelled = newest.cancel_asked_s is not None
        kind = errors.Cancelled if cancelled else errors.InfraError
        return newest.changed(
            state=JobState.CANCELLED if cancelled else JobState.FAILED,
            judged=True,
            settled=True,
            failure=kind.__name__,
            reason=why,
            finished_s=time.time(),
        )

    tell_of_no_job(record, str(never(record).failure), why, scope)
    return change(record, never, scope)


def _watched(record: RunRecord, handle: JobHandle, backend: Backend, scope: RunScope) -> RunRecord:
    lines = threading.Thread(target=_print_lines, args=(backend, handle, scope), daemon=True)
    told: JobStatus | None = None
    for status in looks(backend, handle):
        # After the first look, which serves the log as well.
        if lines.ident is None:
            lines.start()
        if status.stuck:
            raise Stuck(
                f"run {record.run_id} cannot start: {status.reason}",
                hint=f"bundlerun cancel {record.run_id}",
            )
        # How it ended is told in full by whatever is raised then.
        if status != told and status.reason and not status.state.final:
            scope.progress.line(f"{status.state.value}: {status.reason}")
        told = status
        if status.state.final:
            # Settling lets the backend forget the job, and its log.
            lines.join(timeout=LOG_GRACE_S)
        record = settle(record, status, backend, scope, wait=True)
        if record.judged:
            break
        if status.state is JobState.ELSEWHERE:
            raise EngineError(
                f"{record.label} is {status.reason}, which cannot be asked from here",
                hint=f"there: bundlerun wait {record.run_id[:13]}",
            )
        if record.handle is not None and record.handle != handle:
            return _watched(record, record.handle, backend, scope)
    return record


def _refreshed(records: list[RunRecord], backend: Backend, scope: RunScope) -> list[RunRecord]:
    """Runs of one backend, looked at once."""
    looked: list[RunRecord] = []
    for record in records:
        if verbs_of(record) is not None:
            looked.append(record)
            continue
        try:
            looked.append(found_again(record, backend, scope))
        except (BundlerunError, OSError) as error:
            looked.append(record.changed(reason=str(error)))
    asked = [handle for record in looked if not record.settled for handle in record.handles]
    try:
        states = backend.poll(asked) if asked else {}
    except BundlerunError as error:
        return [r if r.settled else r.changed(reason=str(error)) for r in looked]
    return [r if r.settled else _settled(r, states, backend, scope) for r in looked]


def _settled(
    record: RunRecord, states: Mapping[str, JobStatus], backend: Backend, scope: RunScope
) -> RunRecord:
    verbs = verbs_of(record)
    try:
        if verbs is not None:
            return verbs.refreshed(record, states, scope)
        if record.handle is None:
            return record
        return settle(record, states[record.handle.id], backend, scope, wait=False)
    except (BundlerunError, OSError) as error:
        return record.changed(reason=str(error))


def _print_lines(backend: Backend, handle: JobHandle, scope: RunScope) -> None:
    try:
        for line in backend.logs(handle, follow=True):
            scope.progress.line(line)
    except BundlerunError as error:
        scope.progress.line(f"(the log cannot be followed: {error})")
