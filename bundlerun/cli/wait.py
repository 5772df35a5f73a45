"""``bundlerun wait``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.runs.record import RunResult


@click.command()
@click.argument("run")
@as_json
@with_workspace
def command(workspace: Workspace, run: str, as_json: bool) -> None:
    """Follow RUN to its end and bring its output home; Ctrl-C leaves it running."""
    result = wait_or_detach(workspace, run, {})
    if as_json:
        echo_json({"output": result.output and result.output.to_json()})
    elif result.output is not None:
        click.echo(f"made {label(result.output)}")


def wait_or_detach(workspace: Workspace, run: str, plan: Mapping[str, Any]) -> RunResult:
    """Wait for ``run``; at Ctrl-C say how to come back to it, and let it go on."""
    try:
        return dataclasses.replace(workspace.wait(run), plan=plan)
    except KeyboardInterrupt:
        click.echo(
            f"\nrun {run} goes on; bundlerun wait {run} comes back to it,"
            f" bundlerun cancel {run} stops it",
            err=True,
        )
        raise
