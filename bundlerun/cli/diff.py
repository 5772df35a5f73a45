"""``bundlerun diff``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.bundles.value.differences import diff_lines
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.formatting import clean


@click.command()
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@click.option("--limit", default=50, show_default=True, help="Show at most so many changes.")
@as_json
@with_workspace
def command(workspace: Workspace, old: str, new: str, limit: int, as_json: bool) -> None:
    """Say what differs between the values of the bundles A and B.

    Entries, files, the columns and rows of tables. A and B are NAME or NAME@ID-PREFIX.
    """
    # Once: a version that comes meanwhile is not what is compared.
    before, after = workspace.scope.entry(old).bundle, workspace.scope.entry(new).bundle
    found = workspace.diff(before, after)
    if as_json:
        echo_json(found.to_json())
        return
    click.echo(f"{label(before)} -> {label(after)}: {found.summary()}")
    for line in diff_lines(found, limit):
        click.echo(clean(line))
