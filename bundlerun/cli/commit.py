"""``bundlerun commit``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace
from bundlerun.cli.render import label


@click.command()
@click.argument("name")
@with_workspace
def command(workspace: Workspace, name: str) -> None:
    """Mark the bundle NAME to be kept.

    Only committed bundles are pushed.
    """
    click.echo(f"committed {label(workspace.commit(name))}")
