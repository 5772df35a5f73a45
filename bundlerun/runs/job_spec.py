"""From a plan to the job of it: command, variables, access to the remote."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobSpec, RemoteAccess
from bundlerun.errors import UsageError
from bundlerun.pipelines.overrides import check_apart, check_secrets
from bundlerun.runs.masking import HIDDEN

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend, Tells, Traits
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.request import RunRequest
    from bundlerun.runs.scope import RunScope

WORKER = ("python", "-m", "bundlerun", "worker")
"""The command of every job, in an image or not.

It needs an interpreter that has bundlerun.
"""


def job_spec(plan: RunPlan, request: RunRequest, traits: Traits, scope: RunScope) -> JobSpec:
    """The job of ``plan``, for a backend of these ``traits``.

    Makes the staging folder where the remote is a folder. Raises UsageError as ``check_reach``, and
    for a variable that a job gets from us.
    """
    check_reach(scope.remote, request, traits)
    access = access_of(plan.run_id, traits, scope, seconds=request.session_seconds)
    values = {name: os.environ[name] for name, ref in request.secrets.items() if ref is None}
    check_given(access.variables, {*plan.task.env, *request.secrets})
    hidden = {HIDDEN: ",".join(request.secrets)} if request.secrets else {}
    return JobSpec(
        run_id=plan.run_id,
        name=job_base(plan.task.subject),
        image=plan.image or "",
        command=(*worker_of(plan), plan.run_id, *told(traits.tells, plan.array)),
        access=access,
        env={**plan.task.env, **values, **hidden},
        secret=frozenset(values),
        resources=request.resources,
        timeout_s=request.timeout_s,
        array=plan.array,
        retries=request.retries,
        secrets={name: ref for name, ref in request.secrets.items() if ref is not None},
        options=request.options,
    )


def check_job(request: RunRequest, backend: Backend, scope: RunScope) -> None:
    """Refuse what ``request`` asks of a job that ``backend`` cannot do.

    Raises UsageError, and SettingsError where something must be configured first.
    """
    backend.check_limits(retries=request.retries, timeout_s=request.timeout_s)
    backend.check_options(request.options)
    backend.check_resources(request.resources, request.asked)
    backend.check_env({*request.given.env, *request.secrets})
    if backend.traits.private_variables:
        check_secrets(request.secrets, request.given)
    else:
        check_apart(request.secrets, request.given)
        backend.check_secrets(request.secrets, request.options)
    check_reach(scope.remote, request, backend.traits)


def check_reach(remote: Remote, request: RunRequest, traits: Traits) -> None:
    """Refuse a job that cannot reach the remote.

    Raises UsageError when it cannot see the remote, or asks for credentials where there are none.
    """
    if remote.folder is None:
        return
    if not traits.sees_folders:
        raise UsageError(
            f"a job on {request.backend} cannot reach {remote.url}, a folder of this machine",
            hint="bundlerun context NAME; bundlerun remote NAME s3://bucket/prefix",
        )
    if request.session_seconds is not None:
        raise UsageError(
            f"{remote.url} is a folder: its jobs have no credentials that could be narrowed",
            hint="leave out --use-aws-session-token",
        )


def job_base(subject: str) -> str:
    """``bundlerun-pkg-module``: the name of jobs of a pipe's or a function's module."""
    return "bundlerun-" + (subject.rpartition(".")[0] or subject).replace(".", "-")


def access_of(
    run_id: str, traits: Traits, scope: RunScope, *, seconds: int | None = None
) -> RemoteAccess:
    """What the jobs of a run need to act on its remote.

    ``seconds`` is as ``Remote.credentials`` has it. Makes the staging folder where the remote is a
    folder.
    """
    remote = scope.remote
    if remote.folder is not None:
        staging = scope.staging(run_id)
        staging.mkdir(parents=True, exist_ok=True)
        return RemoteAccess(remote.url, remote.folder, staging)
    given = remote.credentials(private=traits.private_variables, seconds=seconds)
    return RemoteAccess(remote.url, variables=given.variables, secret=given.secret)


def worker_of(plan: RunPlan) -> tuple[str, ...]:
    """The worker's command without its arguments.

    With the folder of the pipe's module, where no image says it.
    """
    at = plan.interpreter
    return WORKER if at is None else (at.python, *WORKER[1:], "--pipe-root", at.pipe_root)


def told(tells: Tells, array: int) -> Iterator[str]:
    """The options by which a worker learns the variables that tell which job it is.

    The one job of a run reads no index: a variable of that name may be that of an array around it.
    """
    if array > 1:
        yield from ("--index-variable", tells.index)
    if tells.job is not None:
        yield from ("--job-variable", tells.job)
    if tells.attempt is not None:
        yield from ("--attempt-variable", tells.attempt)


def check_given(ours: Mapping[str, str], given: set[str]) -> None:
    """Refuse a variable that bundlerun itself gives to the job.

    Raises UsageError.
    """
    for name in sorted(given & ours.keys()):
        raise UsageError(
            f"{name} cannot be given to this job: bundlerun gives it the access to its remote",
            hint=f"another name, such as MY_{name}",
        )
