"""``bundlerun rm``."""

from __future__ import annotations

import shlex

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.errors import UsageError
from bundlerun.formatting import counted


@click.command()
@click.argument("name")
@click.option("--old", is_flag=True, help="Remove all versions but the latest.")
@click.option("--all", "every", is_flag=True, help="Remove all versions.")
@click.option("--remote", is_flag=True, help="Remove on the remote too, for all who use it.")
@click.option(
    "--yes", is_flag=True, help="With --remote and --old or --all: remove, instead of only showing."
)
@as_json
@with_workspace
def command(
    workspace: Workspace,
    name: str,
    old: bool,
    every: bool,
    remote: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove the bundle NAME from this store.

    The remote keeps what was pushed, unless --remote is given. To remove many versions from the
    remote, --yes is needed, too: without it they are only shown. `bundlerun gc` frees the space.
    """
    if old and every:
        raise UsageError("--old and --all exclude each other", hint=f"bundlerun rm {name} --old")
    only_shown = remote and (old or every) and not yes
    bundles = workspace.rm(name, old=old, all=every, remote=remote, dry_run=only_shown)
    if as_json:
        echo_json([bundle.to_json() for bundle in bundles])
        return
    for bundle in bundles:
        click.echo(f"{'would remove' if only_shown else 'removed'} {label(bundle)}")
    if only_shown and bundles:
        which = "--all" if every else "--old"
        click.echo(f"{counted(len(bundles), 'version')}, for everybody who uses the remote")
        click.echo(f"  bundlerun rm {shlex.quote(name)} --remote {which} --yes  does it")
