"""``bundlerun switch``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace


@click.command()
@click.argument("name")
@with_workspace
def command(workspace: Workspace, name: str) -> None:
    """Choose the context NAME for later commands."""
    workspace.switch(name)
    click.echo(f"now in {name}")
