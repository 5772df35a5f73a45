"""Carrying a plan out: send what is missing, submit, and write down what happens before it does."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.bundles.bundle import Bundle, new_id
from bundlerun.errors import BundleNotFound, BundlerunError, Conflict, MissingOutput, SubmitUnknown
from bundlerun.jobs.state import JobState
from bundlerun.progress import Progress
from bundlerun.remotes.pull import pull_id
from bundlerun.remotes.push import push
from bundlerun.runs.envelope import plan_key
from bundlerun.runs.jobspec import Surroundings, job_spec
from bundlerun.runs.record import RunRecord

if TYPE_CHECKING:
    from bundlerun.aws.session import Aws
    from bundlerun.backends.base import Backend
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.request import RunRequest
    from bundlerun.settings import Settings
    from bundlerun.store.catalog import Entry
    from bundlerun.store.contexts import Context
    from bundlerun.store.store import Store


@dataclass(frozen=True)
class World:
    """What a run acts on: one context of one store, its remote, and the settings."""

    store: Store
    context: Context
    remote: Remote
    settings: Settings
    aws: Aws
    progress: Progress

    def staging(self, run_id: str) -> Path:
        """Where the container of a ``file://`` remote's run writes."""
        return self.store.path / "staging" / run_id


def adopt_equal_work(plan: RunPlan, world: World) -> Bundle:
    """The output of ``plan`` from the equal work that it found: a new version of the output's
    name over the same value, pushed, unless that is the latest already."""
    if plan.found is None:
        raise Conflict(f"no equal work was found for {plan.pipe}")
    store, context = world.store, world.context
    found = store.catalog.by_id(context, plan.found)
    if found is None:
        found = pull_id(store, context, world.remote, plan.found)
    latest = store.catalog.find(context, plan.output, committed_only=True)
    if latest is not None and _is_the_same(latest.bundle, found.bundle, plan):
        entry = latest
    else:
        entry = store.add_root(
            context,
            dataclasses.replace(
                found.bundle,
                id=new_id(),
                name=plan.output,
                tags=plan.output_tags,
                params=dict(plan.params),
            ),
            commit=True,
        )
    push(store, context, world.remote, [entry], progress=world.progress)
    return entry.bundle


def start(plan: RunPlan, request: RunRequest, backend: Backend, world: World) -> RunRecord:
    """Send the input and the plan, submit the job, and return its record.

    The journal has the run before the job exists: a client that dies between the two leaves a
    record without a handle, never a job that nobody knows. Raises SubmitUnknown, and leaves the
    run open, where it is not known whether there is a job.
    """
    _send_input(plan, request, world)
    around = Surroundings(world.remote.url, world.staging(plan.run_id), world.settings, world.aws)
    spec = job_spec(plan, request, around)
    if not world.remote.put_new(plan_key(plan.run_id), plan.to_bytes()):
        raise Conflict(f"the run {plan.run_id} is on {world.remote.url} already")
    record = RunRecord(
        run_id=plan.run_id,
        backend=plan.backend,
        pipe=plan.pipe,
        input=None if plan.input is None else f"{plan.input.name}@{plan.input.id}",
        output=plan.output,
        output_id=plan.output_id,
        image=plan.image,
        remote_url=world.remote.url,
        submitted_s=time.time(),
        reason="being submitted",
    )
    save(record, world)
    try:
        handle = backend.submit(spec)
    except SubmitUnknown as error:
        # The run stays open: its job may come to light, and is looked for by whoever waits.
        save(record.changed(reason=error.message), world)
        raise SubmitUnknown(
            f"run {plan.run_id[:13]}: {error.message}", hint=f"bundlerun wait {plan.run_id[:13]}"
        ) from error
    except BundlerunError as error:
        # Not mended here: written down, so that the journal does not show a job that never was.
        save(
            record.changed(
                state=JobState.FAILED,
                settled=True,
                failure=type(error).__name__,
                reason=str(error),
                finished_s=time.time(),
            ),
            world,
        )
        raise
    record = record.changed(handle=handle, reason="")
    save(record, world)
    return record


def save(record: RunRecord, world: World) -> None:
    """Write ``record`` to the journal."""
    world.store.journal.save(world.context, record.to_json())


def bring_output(record: RunRecord, world: World) -> Entry:
    """The promised output, pulled. Raises MissingOutput when the remote has no such bundle."""
    try:
        return pull_id(world.store, world.context, world.remote, record.output_id)
    except BundleNotFound as error:
        raise MissingOutput(
            f"the job of run {record.run_id[:13]} ended well, but {record.output} is not on"
            f" {record.remote_url}",
            hint=f"bundlerun logs {record.run_id}",
        ) from error


def _is_the_same(latest: Bundle, found: Bundle, plan: RunPlan) -> bool:
    tagged = plan.output_tags.items() <= latest.tags.items()
    same_work = latest.lineage.request == found.lineage.request
    return latest.root == found.root and same_work and tagged


def _send_input(plan: RunPlan, request: RunRequest, world: World) -> None:
    if plan.input is None:
        return
    entry = world.store.catalog.by_id(world.context, plan.input.id)
    if entry is None:
        raise Conflict(
            f"{plan.input.name} was removed while the run was planned",
            hint=f"bundlerun ls {plan.input.name}",
        )
    if request.push_input:
        push(world.store, world.context, world.remote, [entry], progress=world.progress)
    elif not entry.pushed:
        raise Conflict(
            f"{plan.input.name} is not on {world.remote.url}, and --no-push-input was given",
            hint=f"bundlerun push {plan.input.name}",
        )
