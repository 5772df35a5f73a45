"""``bundlerun cancel``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.backends.job import JobState
from bundlerun.cli.options import with_workspace
from bundlerun.cli.render import short_run
from bundlerun.runs.record import RunRecord


@click.command()
@click.argument("run")
@with_workspace
def command(workspace: Workspace, run: str) -> None:
    """Stop RUN.

    It says whether that was done. To cancel a run that has ended does nothing.
    """
    record = workspace.cancel(run)
    click.echo(f"run {short_run(record.run_id)} {_what_was_done(record)}")


def _what_was_done(record: RunRecord) -> str:
    if record.state is JobState.CANCELLED:
        return "is cancelled"
    if record.settled:
        return f"has ended ({record.state.value}): nothing was cancelled"
    if record.handles:
        return f"was told to end, and is {record.state.value}: bundlerun wait tells of its end"
    return "is being submitted, and is ended by its submitter: bundlerun jobs tells of it"
