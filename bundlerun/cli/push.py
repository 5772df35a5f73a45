"""``bundlerun push``."""

from __future__ import annotations

import dataclasses

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import counted, echo_json, label, size


@click.command()
@click.argument("name", required=False)
@as_json
@with_workspace
def command(workspace: Workspace, name: str | None, as_json: bool) -> None:
    """Send NAME (or everything committed) with its ancestors; what is there already is not sent."""
    report = workspace.push(name)
    if as_json:
        sent = dataclasses.asdict(report)
        echo_json({**sent, "bundles": [bundle.to_json() for bundle in report.bundles]})
    elif report.bundles:
        for bundle in report.bundles:
            click.echo(f"pushed {label(bundle)}")
        objects, packs = counted(report.objects, "new object"), counted(report.packs, "pack")
        click.echo(f"{objects}, {size(report.bytes)}, in {packs}")
    else:
        click.echo("nothing to push: the remote has it all")
