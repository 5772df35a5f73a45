"""``bundlerun wait``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from bundlerun.api.handle import RunResult
from bundlerun.api.workspace import Workspace
from bundlerun.cli.bars import Bars
from bundlerun.cli.main import INTERRUPTED
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label, short_run
from bundlerun.errors import RunFailed


@click.command()
@click.argument("run")
@as_json
@with_workspace
def command(workspace: Workspace, run: str, as_json: bool) -> None:
    """Follow RUN to its end and bring its output home.

    Ctrl-C leaves the run running.
    """
    result = wait_or_detach(workspace, run, {})
    if as_json:
        echo_json({"output": result.output and result.output.to_json()})
    elif result.output is not None:
        click.echo(f"made {label(result.output)}")
    elif result.record is not None:
        click.echo(f"run {short_run(result.record.run_id)}: {result.record.items} items succeeded")


def wait_or_detach(workspace: Workspace, run: str, plan: Mapping[str, Any]) -> RunResult:
    """Wait for ``run``; at Ctrl-C say how to come back to it, and let it go on."""
    bar = workspace.progress.start(f"run {short_run(run)}", None, "s")
    try:
        return dataclasses.replace(workspace.wait(run), plan=plan)
    except RunFailed as error:
        # The job's own log has just ended with it.
        if isinstance(workspace.progress, Bars) and workspace.progress.has_shown(error.evidence):
            error.evidence = ""
        raise
    except KeyboardInterrupt:
        workspace.progress.finish(bar)
        short = short_run(run)
        click.echo(
            f"it goes on: bundlerun wait {short} comes back, bundlerun cancel {short} stops it",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        workspace.progress.finish(bar)
