"""From a plan to the job that carries it out: command, environment, mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bundlerun.backends.job import JobSpec, Mount
from bundlerun.backends.open import traits_of
from bundlerun.errors import UsageError
from bundlerun.pipelines.overrides import check_apart, check_secrets
from bundlerun.remotes.folder import folder_of
from bundlerun.remotes.s3 import bucket_and_prefix

if TYPE_CHECKING:
    from bundlerun.aws.session import Aws
    from bundlerun.backends.base import Tells
    from bundlerun.runs.plan import RunPlan, RunRequest
    from bundlerun.settings import Settings

REMOTE_INSIDE = "/bundlerun/remote"
STAGING_INSIDE = "/bundlerun/staging"
JOB_UID = 1000
"""As whom a container runs when the caller is root: the first ordinary user of Debian."""

WORKER = ("python", "-m", "bundlerun", "worker")
"""The command of every job: it needs an interpreter that has bundlerun, in an image or not."""

INDEX = "BUNDLERUN_INDEX"
"""The variable in which a backend that has none of its own tells a job its index in its array."""

HIDDEN = "BUNDLERUN_HIDDEN"
"""The variable that tells a worker which variables' values must not be written anywhere."""

SECRET = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})


@dataclass(frozen=True)
class Surroundings:
    """What a job specification needs beside plan and request."""

    remote_url: str
    staging: Path
    settings: Settings
    aws: Aws


def job_spec(plan: RunPlan, request: RunRequest, around: Surroundings) -> JobSpec:
    """The job of ``plan``. Makes the staging folder of a ``file://`` remote's job.

    Raises UsageError for a ``file://`` remote with a backend that runs elsewhere.
    """
    folder = shared_folder(around.remote_url)
    traits = traits_of(plan.backend)
    user = job_user() if traits.sees_folders else None
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = {}
    command: tuple[str, ...] = (around.remote_url, plan.run_id)
    if folder is not None:
        check_backend_reaches(around.remote_url, plan.backend)
        make_staging(around.staging)
        mounts = (
            Mount(str(folder), REMOTE_INSIDE, read_only=True),
            Mount(str(around.staging), STAGING_INSIDE, read_only=False),
        )
        command = (f"file://{REMOTE_INSIDE}", plan.run_id, "--staging", STAGING_INSIDE)
    else:
        env = _aws_env(request, around)
    values = {name: os.environ[name] for name, arn in request.secrets.items() if arn is None}
    _check_apart(env, {*plan.task.given.env, *request.secrets})
    hidden = {HIDDEN: ",".join(request.secrets)} if request.secrets else {}
    return JobSpec(
        run_id=plan.run_id,
        name=job_base(plan.task.pipe),
        image=plan.image or "",
        command=(*_worker(plan), *command, *_told(traits.tells, plan.array)),
        env={**plan.task.given.env, **values, **env, **hidden},
        secret=SECRET & env.keys() | values.keys(),
        resources=request.resources,
        timeout_s=request.timeout_s,
        array=plan.array,
        retries=request.retries,
        mounts=mounts,
        host_network=traits.sees_folders and any(_loopback(value) for value in env.values()),
        user=user,
        secrets={name: arn for name, arn in request.secrets.items() if arn is not None},
        options=request.options,
    )


def _worker(plan: RunPlan) -> tuple[str, ...]:
    """The command without its arguments, and where the pipe's module is where no image says so."""
    at = plan.interpreter
    return WORKER if at is None else (at.python, *WORKER[1:], "--pipe-root", at.pipe_root)


def _told(tells: Tells, array: int) -> Iterator[str]:
    """The options by which a worker learns the variables that tell it which job it is. The one job
    of a run reads no index: a variable of that name may be that of an array around it."""
    if array > 1:
        yield from ("--index-variable", tells.index or INDEX)
    if tells.job is not None:
        yield from ("--job-variable", tells.job)
    if tells.attempt is not None:
        yield from ("--attempt-variable", tells.attempt)


def job_base(pipe: str) -> str:
    """``bundlerun-pkg-module``: what the jobs of a pipe's module are called."""
    return "bundlerun-" + pipe.rpartition(".")[0].replace(".", "-")


def check_backend_reaches(remote_url: str, backend: str) -> None:
    """Raises UsageError when a job of ``backend`` cannot see the remote."""
    if shared_folder(remote_url) is not None and not traits_of(backend).sees_folders:
        raise UsageError(
            f"a job on {backend} cannot reach {remote_url}, a folder of this machine",
            hint="bundlerun remote CONTEXT s3://bucket/prefix",
        )


def check_secrets_reach(request: RunRequest) -> None:
    """Raises UsageError for a secret that a job of the request's backend cannot get."""
    if traits_of(request.backend).private_variables:
        check_secrets(request.secrets, request.given)
        return
    check_apart(request.secrets, request.given)
    for name, arn in request.secrets.items():
        if arn is None:
            raise UsageError(
                f"a job on {request.backend} gets the secret {name} by its ARN alone: its value"
                " would stand in the job's description",
                hint=f"--secret {name}=arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME",
            )


def shared_folder(remote_url: str) -> Path | None:
    """The folder of a ``file://`` remote, None for any other."""
    return folder_of(remote_url) if remote_url.startswith("file://") else None


def job_user() -> str:
    """``uid:gid`` of a local container: the caller's, and an ordinary user's for root."""
    uid, gid = os.getuid(), os.getgid()
    return f"{uid}:{gid}" if uid else f"{JOB_UID}:{JOB_UID}"


def make_staging(folder: Path) -> None:
    """The folder a container writes to, owned by the user it runs as, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if os.getuid() == 0:
        os.chown(folder, JOB_UID, JOB_UID)


def _check_apart(ours: Mapping[str, str], given: set[str]) -> None:
    """Raises UsageError for a variable that bundlerun itself gives to the job."""
    for name in sorted(given & ours.keys()):
        raise UsageError(
            f"{name} cannot be given to this job: bundlerun gives it the AWS access to its remote",
            hint="another name, or --job-role-arn ARN for what the pipe itself does on AWS",
        )


def _aws_env(request: RunRequest, around: Surroundings) -> dict[str, str]:
    """Credentials for this job alone. Narrowed ones when asked for; a role needs none; a local
    container gets the caller's own."""
    aws, settings = around.aws, around.settings.aws
    seconds = request.session_seconds or settings.session_seconds
    if seconds:
        policy = aws.prefix_policy(*bucket_and_prefix(around.remote_url))
        return aws.narrowed(settings.session_role_arn, seconds, policy)
    if traits_of(request.backend).private_variables:
        return aws.credentials_env()
    return aws.place_env()


def _loopback(value: str) -> bool:
    host = urlsplit(value).hostname if "://" in value else None
    return host is not None and (host == "localhost" or host.startswith("127.") or host == "::1")
