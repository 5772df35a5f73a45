"""From a part of a call to the job, or array of jobs, that carries it out."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobSpec
from bundlerun.errors import UsageError
from bundlerun.futures.sealing import KEY_VARIABLE, Seal
from bundlerun.runs.job_spec import WORKER, access_of, check_given, job_base, told
from bundlerun.runs.limits import limit_of

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.calls.options import CallRequest
    from bundlerun.runs.calls.parts import Part
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.scope import RunScope
    from bundlerun.runs.task import CallTask


def part_spec(
    plan: RunPlan, task: CallTask, part: Part, seal: Seal, backend: Backend, scope: RunScope
) -> JobSpec:
    """The job, or array, of a part.

    Makes the staging folder where the remote is a folder. Raises UsageError for a variable that a
    job gets from us.
    """
    access = access_of(plan.run_id, backend.traits, scope)
    check_given(access.variables, {*task.env})
    worker = WORKER if plan.image else (sys.executable, *WORKER[1:])
    return JobSpec(
        run_id=plan.run_id,
        name=job_base(task.func),
        image=plan.image or "",
        command=(
            *worker,
            plan.run_id,
            "--part",
            str(part.number),
            *told(backend.traits.tells, part.children),
        ),
        access=access,
        env={**task.env, KEY_VARIABLE: seal.hex()},
        secret=frozenset({KEY_VARIABLE}),
        resources=replace(task.resources, memory_mib=part.memory_mib),
        timeout_s=limit_of(task.timeout_s, part.chunk),
        array=part.children,
        retries=task.retries if backend.traits.most_retries else 0,
        part=part.number,
    )


def check_call(request: CallRequest, backend: Backend) -> None:
    """Refuse whatever ``request`` asks that ``backend`` cannot do.

    Nothing is asked of anybody. Raises UsageError.
    """
    retries = 0 if request.memory_factor > 1 and not backend.traits.most_retries else None
    backend.check_limits(
        retries=request.retries if retries is None else retries,
        timeout_s=limit_of(request.timeout_s, request.chunksize or 1),
    )
    backend.check_resources(request.resources, request.asked)
    backend.check_env(request.env)


def check_reach(remote: Remote, request: CallRequest, backend: Backend) -> None:
    """Refuse a remote that jobs of ``request`` cannot reach.

    Raises UsageError.
    """
    if remote.folder is not None and not backend.traits.sees_folders:
        raise UsageError(
            f"a job on {request.backend} cannot reach {remote.url}, a folder of this machine",
            hint="bundlerun context NAME; bundlerun remote NAME s3://bucket/prefix",
        )
