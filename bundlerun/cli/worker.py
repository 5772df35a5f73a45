"""``bundlerun worker``: what a container runs. Not for people."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from bundlerun import errors
from bundlerun.progress import Lines


@click.command(hidden=True)
@click.argument("remote")
@click.argument("run")
@click.option("--staging", type=click.Path(path_type=Path), help="Write here instead of to REMOTE.")
@click.option("--pipe-root", type=click.Path(path_type=Path), help="Where the source lies.")
def command(remote: str, run: str, staging: Path | None, pipe_root: Path | None) -> None:
    """Carry out the plan of RUN on REMOTE; the exit code is the error's own."""
    from bundlerun.images.dockerfile import CODE
    from bundlerun.pipelines.inner import alone
    from bundlerun.runs.job_spec import HIDDEN
    from bundlerun.runs.worker import Attempt, open_job_remote, work

    # Not for the pipes: to them the secrets are variables like others.
    hidden = os.environ.pop(HIDDEN, "")

    def say(text: str) -> None:
        click.echo(text, err=True)

    alone()
    attempt = Attempt(
        remote=open_job_remote(remote, staging, Lines(say)),
        run_id=run,
        # On AWS Batch all attempts of a job see one id; a local engine has one container a run.
        job=os.environ.get("AWS_BATCH_JOB_ID") or socket.gethostname(),
        # AWS Batch numbers the attempts of a job from 1 in this variable.
        number=int(os.environ.get("AWS_BATCH_JOB_ATTEMPT") or 1),
        pipe_root=pipe_root or Path(CODE),
        hidden=tuple(os.environ.get(name, "") for name in hidden.split(",")),
    )
    envelope = work(attempt, say=say)
    if not envelope.succeeded:
        kind = errors.named(envelope.error, errors.InfraError, errors.RunFailed)
        raise click.exceptions.Exit(kind.exit_code)
