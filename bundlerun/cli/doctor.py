"""``bundlerun doctor``."""

from __future__ import annotations

import dataclasses

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json
from bundlerun.formatting import clean

MARKS = {True: "ok  ", False: "FAIL", None: "--  "}


@click.command()
@as_json
@with_workspace
def command(workspace: Workspace, as_json: bool) -> None:
    """Say what works here, what does not, and the command that mends it.

    Exit code 1 when something that is configured does not work.
    """
    checks = workspace.doctor()
    if as_json:
        echo_json([dataclasses.asdict(check) for check in checks])
    else:
        wide = max(len(check.what) for check in checks)
        for check in checks:
            click.echo(f"{MARKS[check.ok]}  {check.what:<{wide}}  {clean(check.detail)}")
            if check.cure and check.ok is not True:
                click.echo(f"{'':>{wide + 8}}try: {clean(check.cure)}")
    if any(check.ok is False for check in checks):
        raise click.exceptions.Exit(1)
