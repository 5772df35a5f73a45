"""``bundlerun remote``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import with_workspace
from bundlerun.cli.render import echo_entries
from bundlerun.errors import OtherRemote
from bundlerun.remotes.identity import Leaving


@click.command()
@click.argument("context")
@click.argument("url")
@click.option(
    "--rebind", is_flag=True, help="Leave another remote for this one; what is known of it is kept."
)
@with_workspace
def command(workspace: Workspace, context: str, url: str, rebind: bool) -> None:
    """Bind CONTEXT to URL, s3://bucket/prefix or file:///dir. URL is read and written first.

    A remote that moved to another address is recognized. To leave it for another remote needs
    --rebind; without it, what only the old remote has is listed.
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
            f"of these, bytes lie at {leaving.url} alone (pull NAME --localize brings them):"
        )
        echo_entries(leaving.bundles, verbose=False)
    if leaving.runs:
        click.echo(f"these runs work on {leaving.url} and have not ended:")
        for run in leaving.runs:
            click.echo(f"  {run}")
