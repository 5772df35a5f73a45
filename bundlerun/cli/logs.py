"""``bundlerun logs``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace
from bundlerun.formatting import clean


@click.command()
@click.argument("run", metavar="RUN[:INDEX]")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@with_workspace
def command(workspace: Workspace, run: str, follow: bool) -> None:
    """Show the output of RUN's job, of a map that of its item INDEX alone."""
    for line in workspace.logs(run, follow=follow):
        click.echo(clean(line))
