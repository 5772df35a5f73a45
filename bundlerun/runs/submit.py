"""Carrying a plan out: send what is missing, submit, and write down what happens before it does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bundlerun.errors import BundlerunError, Cancelled, Conflict, SubmitUnknown
from bundlerun.jobs.state import JobState
from bundlerun.runs.index import Known, announce, record_of
from bundlerun.runs.job_spec import Surroundings, job_spec
from bundlerun.runs.scope import RunScope, change, holding, send
from bundlerun.runs.watch import found_again, look, tell

if TYPE_CHECKING:
    from bundlerun.jobs.backend import Backend
    from bundlerun.jobs.spec import JobSpec
    from bundlerun.runs.plan import RunPlan, RunRequest
    from bundlerun.runs.record import RunRecord


def start(plan: RunPlan, request: RunRequest, backend: Backend, world: RunScope) -> RunRecord:
    """Send the input and the plan, submit the job, and return its record.

    The journal has the run before the job exists: a client that dies between the two leaves a
    record without a handle, never a job that nobody knows. A cancel that comes meanwhile wins: the
    job that was just submitted is ended, and Cancelled raised. Raises SubmitUnknown, and leaves the
    run open, where it is not known whether there is a job.
    """
    _send_input(plan, request, world)
    remote = world.remote
    around = Surroundings(remote.url, world.staging(plan.run_id), world.settings, world.aws)
    spec = job_spec(plan, request, around)
    announce(remote, plan)
    record = record_of(Known(plan, None), remote.url, world.context.remote_uuid)
    record = record.changed(submitted_s=time.time(), reason="being submitted")
    # Whoever finds the record without a job and the lock held knows that one may still come.
    with holding(plan.run_id, world, wait=True):
        revision = world.store.journal.add(world.context, record.to_json())
        record = _submitted(record.changed(revision=revision), spec, backend, world)
    if record.cancel_asked_s is None:
        return record
    look(found_again(record, backend, world), backend, world)
    raise Cancelled(
        f"{record.label} was cancelled while it was being submitted",
        hint=f"bundlerun jobs {record.run_id[:13]}",
    )


def _submitted(record: RunRecord, spec: JobSpec, backend: Backend, world: RunScope) -> RunRecord:
    try:
        handle = backend.submit(spec)
    except SubmitUnknown as error:
        # The run stays open: its job may come to light, and is looked for by whoever waits.
        why, now_s = error.message, time.time()
        change(record, lambda r: r.changed(reason=why, orphaned_s=now_s), world)
        raise SubmitUnknown(
            f"run {record.run_id[:13]}: {why}", hint=f"bundlerun wait {record.run_id[:13]}"
        ) from error
    except BundlerunError as error:
        # Not mended here: written down, so that the journal does not show a job that never was.
        kind, why, now_s = type(error).__name__, str(error), time.time()
        change(
            record,
            lambda r: r.changed(
                state=JobState.FAILED if r.cancel_asked_s is None else JobState.CANCELLED,
                failure=kind if r.cancel_asked_s is None else Cancelled.__name__,
                reason=why,
                finished_s=now_s,
                judged=True,
                settled=True,
            ),
            world,
        )
        raise
    record = change(record, lambda r: r.changed(handle=handle, reason=""), world)
    tell(handle, world.remote_of(record), world)
    return record


def _send_input(plan: RunPlan, request: RunRequest, world: RunScope) -> None:
    if plan.input is None:
        return
    entry = world.store.catalog.by_id(world.context, plan.input.id)
    if entry is None:
        raise Conflict(
            f"{plan.input.name} was removed while the run was planned",
            hint=f"bundlerun ls {plan.input.name}",
        )
    if request.push_input:
        send(entry, world)
    elif not entry.pushed:
        raise Conflict(
            f"{plan.input.name} is not on {world.remote.url}, and --no-push-input was given",
            hint=f"bundlerun push {plan.input.name}",
        )
