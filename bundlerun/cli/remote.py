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
    "--rebind", is_flag=True, help="Also from another remote, of which what is known is kept."
)
@with_workspace
def command(workspace: Workspace, context: str, url: str, rebind: bool) -> None:
    """Bind CONTEXT to URL, s3://bucket/prefix or file:///dir, once it was read and written.

    A remote is known by what it is, not by its address: one that moved is bound again just so.
    Leaving it for another one wants --rebind, and what lies on the old one alone is listed first.
    """
    try:
        bound = workspace.bind_remote(context, url, rebind=rebind)
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
