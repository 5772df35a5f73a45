"""``bundlerun push``."""

from __future__ import annotations

import dataclasses

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.errors import PushIncomplete
from bundlerun.formatting import counted, size
from bundlerun.remotes.push import PushReport


@click.command()
@click.argument("name", required=False)
@as_json
@with_workspace
def command(workspace: Workspace, name: str | None, as_json: bool) -> None:
    """Send NAME, or everything committed, with its ancestors.

    What the remote has already is not sent again.
    """
    try:
        _show(workspace.push(name), as_json=as_json)
    except PushIncomplete as error:
        if isinstance(error.report, PushReport):
            _show(error.report, as_json=as_json)
        raise


def _show(report: PushReport, *, as_json: bool) -> None:
    if as_json:
        sent = dataclasses.asdict(report)
        bundles = [bundle.to_json() for bundle in report.bundles]
        echo_json(
            {**sent, "bundles": bundles, "left": [bundle.to_json() for bundle in report.left]}
        )
        return
    for bundle in report.left:
        click.echo(f"not sent {label(bundle)}")
    if report.left and not report.bundles:
        return
    if report.bundles:
        for bundle in report.bundles:
            click.echo(f"pushed {label(bundle)}")
        objects, packs = counted(report.objects, "new object"), counted(report.packs, "pack")
        click.echo(f"{objects}, {size(report.bytes)}, in {packs}")
    else:
        click.echo("nothing to push: the remote has it all")
