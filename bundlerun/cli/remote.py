"""``bundlerun remote``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace


@click.command()
@click.argument("context")
@click.argument("url")
@with_workspace
def command(workspace: Workspace, context: str, url: str) -> None:
    """Bind CONTEXT to URL, s3://bucket/prefix or file:///dir, once it was read and written."""
    bound = workspace.bind_remote(context, url)
    click.echo(f"{bound.name} -> {bound.remote_url}")
