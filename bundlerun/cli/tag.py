"""``bundlerun tag``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import parsed_tags, with_workspace
from bundlerun.cli.render import label
from bundlerun.formatting import clean, pairs


@click.command()
@click.argument("name")
@click.argument("tags", nargs=-1, required=True, metavar="KEY:VALUE...")
@with_workspace
def command(workspace: Workspace, name: str, tags: tuple[str, ...]) -> None:
    """Set tags on the bundle NAME; the next push sends them."""
    bundle = workspace.tag(name, parsed_tags(tags))
    click.echo(f"{label(bundle)} {clean(pairs(bundle.tags))}")
