"""``bundlerun worker``: what a container runs.

Not for people.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import click

from bundlerun import errors
from bundlerun.progress import Lines


@click.command(hidden=True)
@click.argument("run")
@click.option("--remote", required=True, help="Where the plan lies.")
@click.option("--staging", type=click.Path(path_type=Path), help="Write here instead of to REMOTE.")
@click.option("--pipe-root", type=click.Path(path_type=Path), help="The folder of the source.")
@click.option("--job-variable", help="The variable that holds the job's id.")
@click.option("--attempt-variable", help="The variable that holds the number of the attempt.")
@click.option("--index-variable", help="The variable that holds the job's index, in an array.")
@click.option("--part", type=int, help="The part of a call that the job is of.")
def command(
    run: str,
    remote: str,
    staging: Path | None,
    pipe_root: Path | None,
    job_variable: str | None,
    attempt_variable: str | None,
    index_variable: str | None,
    part: int | None,
) -> None:
    """Carry out the plan of RUN on REMOTE.

    The exit code is that of the error.
    """
    from bundlerun.futures.sealing import KEY_VARIABLE
    from bundlerun.images.layout import CODE
    from bundlerun.pipelines.inner import alone
    from bundlerun.runs.calls.carry import carry_part
    from bundlerun.runs.masking import HIDDEN
    from bundlerun.runs.worker import Attempt, open_job_remote, work

    # Not for the pipes: to them the secrets are variables like others.
    names = [name for name in os.environ.pop(HIDDEN, "").split(",") if name]

    def say(text: str) -> None:
        click.echo(text, err=True)

    # Nor has the user's code, in a process of its own, the key that the run's outcomes are told by.
    key = os.environ.pop(KEY_VARIABLE, "")
    attempt = Attempt(
        remote=open_job_remote(remote, staging, Lines(say)),
        run_id=run,
        # All attempts of a job see one id; where none is told, a run has one container.
        job=_told(job_variable) or socket.gethostname(),
        number=int(_told(attempt_variable) or 1),
        index=0 if index_variable is None else _index(index_variable),
        pipe_root=pipe_root or Path(CODE),
        hidden={name: os.environ.get(name, "") for name in names},
    )
    if part is not None:
        raise click.exceptions.Exit(carry_part(attempt, part, key, staging=staging))
    alone()
    envelope = work(attempt, say=say)
    if not envelope.succeeded:
        kind = errors.named(envelope.error, errors.InfraError, errors.RunFailed)
        raise click.exceptions.Exit(kind.exit_code)


def _index(variable: str) -> int:
    """The index of this job among those of its run, never guessed.

    Raises InfraError.
    """
    text = os.environ.get(variable, "")
    if not (text.isascii() and text.isdecimal()):
        raise errors.InfraError(
            f"{variable} must tell this job's index among those of its run, and it is {text!r:.40}",
            hint="bundlerun doctor",
        )
    return int(text)


def _told(variable: str | None) -> str | None:
    return os.environ.get(variable) if variable else None
