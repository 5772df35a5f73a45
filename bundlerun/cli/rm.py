"""``bundlerun rm``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label


@click.command()
@click.argument("name")
@click.option("--old", is_flag=True, help="All versions but the latest.")
@click.option("--all", "every", is_flag=True, help="All versions.")
@click.option("--remote", is_flag=True, help="On the remote too, for everybody.")
@as_json
@with_workspace
def command(
    workspace: Workspace, name: str, old: bool, every: bool, remote: bool, as_json: bool
) -> None:
    """Remove the bundle NAME from this store; the remote keeps what was pushed, unless --remote.

    `bundlerun gc` frees the space.
    """
    if old and every:
        raise click.UsageError("--old and --all exclude each other")
    removed = workspace.remove(name, old=old, all=every, remote=remote)
    if as_json:
        echo_json([bundle.to_json() for bundle in removed])
        return
    for bundle in removed:
        click.echo(f"removed {label(bundle)}")
