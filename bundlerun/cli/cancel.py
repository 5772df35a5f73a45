"""``bundlerun cancel``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace
from bundlerun.cli.render import short_run


@click.command()
@click.argument("run")
@with_workspace
def command(workspace: Workspace, run: str) -> None:
    """Stop RUN.

    To cancel a run that has ended does nothing.
    """
    record = workspace.cancel(run)
    click.echo(f"run {short_run(record.run_id)} is {record.state.value}")
