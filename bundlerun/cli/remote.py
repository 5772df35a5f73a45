"""``bundlerun remote``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace
from bundlerun.cli.render import echo_bundles
from bundlerun.errors import OtherRemote
from bundlerun.formatting import standing
from bundlerun.remotes.binding import Leaving


@click.command()
@click.argument("context")
@click.argument("url")
@click.option("--rebind", is_flag=True, help="Leave the present remote for another one.")
@with_workspace
def command(workspace: Workspace, context: str, url: str, rebind: bool) -> None:
    """Bind CONTEXT to URL, s3://bucket/prefix or file:///dir, after a test of the URL.

    A remote that moved to another URL is recognized. To leave one remote for another, use --rebind;
    without it, the bundles that only the old remote has are listed.
    """
    try:
        bound = workspace.remote(context, url, rebind=rebind)
    except OtherRemote as error:
        if isinstance(error.leaving, Leaving):
            _show(error.leaving)
        raise
    click.echo(f"{bound.name} -> {bound.remote_url}")


def _show(leaving: Leaving) -> None:
    if leaving.bundles:
        click.echo(
            f"of these, only {leaving.url} has the bytes (pull NAME --localize brings them):"
        )
        echo_bundles([(e.bundle, standing(e.committed, e.version)) for e in leaving.bundles])
    if leaving.runs:
        click.echo(f"these runs use {leaving.url} and have not ended:")
        for run in leaving.runs:
            click.echo(f"  {run}")
