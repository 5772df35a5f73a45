"""``bundlerun cat``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.formatting import clean, outline_lines, pairs, when


@click.command()
@click.argument("name")
@as_json
@with_workspace
def command(workspace: Workspace, name: str, as_json: bool) -> None:
    """Show the record of NAME and an outline of its value."""
    bundle = workspace.scope.entry(name).bundle
    outline = workspace.cat(bundle)
    if as_json:
        echo_json({**bundle.to_json(), "value": outline})
        return
    click.echo(f"{label(bundle)}  made {when(bundle.made_at_s)}")
    if bundle.tags:
        click.echo(f"tags    {clean(pairs(bundle.tags))}")
    if bundle.lineage.pipe:
        click.echo(f"pipe    {clean(bundle.lineage.pipe)} {clean(pairs(bundle.params))}".rstrip())
    click.echo(f"root    {bundle.root.digest}")
    for line in outline_lines(outline):
        click.echo(clean(line))
