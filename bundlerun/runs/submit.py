"""The submission of a plan: send what is missing, note each step, then submit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobState
from bundlerun.backends.open import open_backend
from bundlerun.errors import BundlerunError, Cancelled, Conflict, SubmitUnknown
from bundlerun.runs.environments import place_of
from bundlerun.runs.index import Known, announce, record_of
from bundlerun.runs.job_spec import check_job, job_spec
from bundlerun.runs.plan import plan_run
from bundlerun.runs.scope import RunScope, change, holding
from bundlerun.runs.transfer import adopt_equal_work, send

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.backends.job import JobSpec
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.request import RunRequest


@dataclass(frozen=True)
class Begun:
    """A run that was submitted, or what was found in its place.

    That is an equal run that is under way (``followed``); or without a ``record`` the ``output`` of
    equal work.
    """

    plan: RunPlan
    record: RunRecord | None = None
    output: BundleRecord | None = None
    followed: bool = False


def plan_request(
    request: RunRequest, scope: RunScope, *, build: bool, tell: Callable[[RunPlan], None]
) -> RunPlan:
    """The plan of ``request``; nothing is submitted.

    With ``build`` its image is rebuilt first. ``tell`` gets a plan that found no equal work. Raises
    as ``plan_run``, and before that what the request asks of a backend that cannot do it.
    """
    check_job(request, open_backend(request.backend, scope.connections), scope)
    plan = plan_run(request, scope.binding, place_of(request, scope, build=build))
    if plan.found is None:
        tell(plan)
    return plan


def submit(plan: RunPlan, request: RunRequest, scope: RunScope) -> Begun:
    """Take equal work, follow an equal run that is under way, or submit a job.

    The equal work is what ``plan`` found. Nothing is waited for. Raises as ``start``.
    """
    if plan.found is not None:
        return Begun(plan, output=adopt_equal_work(plan, scope))
    # Imported here: where equal work was found, no run is followed, judged or settled.
    from bundlerun.runs.elsewhere import doing

    forced = request.force or request.force_all
    equal = None if forced else doing(plan, scope)
    if equal is not None:
        plan, record = equal
        scope.progress.line(f"run {record.run_id[:13]} does this already: it is followed")
    else:
        record = start(plan, request, open_backend(request.backend, scope.connections), scope)
    return Begun(plan, record, followed=equal is not None)


def start(plan: RunPlan, request: RunRequest, backend: Backend, scope: RunScope) -> RunRecord:
    """Send the input and the plan, submit the job, and return its record.

    The journal has the run before the job exists: a client that dies between the two leaves a
    record without a handle, never a job that nobody knows. A cancel that comes meanwhile wins: the
    job that was just submitted is ended, and Cancelled raised. Raises SubmitUnknown, and leaves the
    run open, where it is not known whether there is a job.
    """
    _send_inputs(plan, request, scope)
    remote = scope.remote
    spec = job_spec(plan, request, backend.traits, scope)
    announce(remote, plan)
    record = record_of(Known(plan, None), remote.url, scope.context.remote_uuid)
    record = record.changed(submitted_s=time.time(), reason="being submitted")
    # A process that finds the record without a job and the lock held knows that one may still come.
    with holding(plan.run_id, scope, wait=True):
        revision = scope.store.journal.add(scope.context, record.to_row())
        record = _submitted(record.changed(revision=revision), spec, backend, scope)
    if record.cancel_asked_s is None:
        return record
    from bundlerun.runs.watch import found_again, look

    look(found_again(record, backend, scope), backend, scope)
    raise Cancelled(
        f"{record.label} was cancelled while it was being submitted",
        hint=f"bundlerun jobs {record.run_id[:13]}",
    )


def _submitted(record: RunRecord, spec: JobSpec, backend: Backend, scope: RunScope) -> RunRecord:
    try:
        handle = backend.submit(spec)
    except SubmitUnknown as error:
        # The run stays open: its job may come to light, and each wait looks for it.
        why, now_s = error.message, time.time()
        change(record, lambda r: r.changed(reason=why, orphaned_s=now_s), scope)
        raise SubmitUnknown(
            f"run {record.run_id[:13]}: {why}", hint=f"bundlerun wait {record.run_id[:13]}"
        ) from error
    except BundlerunError as error:
        # Not mended here: written down, so that the journal does not show a job that never was.
        kind, why, now_s = type(error).__name__, str(error), time.time()
        failed = change(
            record,
            lambda r: r.changed(
                state=JobState.FAILED if r.cancel_asked_s is None else JobState.CANCELLED,
                failure=kind if r.cancel_asked_s is None else Cancelled.__name__,
                reason=why,
                finished_s=now_s,
                judged=True,
                settled=True,
            ),
            scope,
        )
        _tell_others(failed, scope)
        raise
    record = change(record, lambda r: r.changed(handle=handle, reason=""), scope)
    from bundlerun.runs.watch import tell

    tell(handle, scope.remote_of(record), scope)
    return record


def _tell_others(record: RunRecord, scope: RunScope) -> None:
    """Other stores shall not wait for a job that could not be submitted."""
    from bundlerun.runs.settle import tell_of_no_job

    why = f"cannot be submitted: {record.reason}"
    try:
        tell_of_no_job(record, str(record.failure), why, scope)
    except BundlerunError as error:
        scope.progress.line(f"({record.label} {why}; that is noted here alone: {error})")


def _send_inputs(plan: RunPlan, request: RunRequest, scope: RunScope) -> None:
    for given in plan.task.inputs:
        entry = scope.store.catalog.by_id(scope.context, given.id)
        if entry is None:
            raise Conflict(
                f"{given.name} was removed while the run was planned",
                hint=f"bundlerun ls {given.name}",
            )
        if request.push_input:
            send(entry, scope)
        elif not entry.pushed:
            raise Conflict(
                f"{given.name} is not on {scope.remote.url}, and --no-push-input was given",
                hint=f"bundlerun push {given.name}",
            )
