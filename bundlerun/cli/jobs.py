"""``bundlerun jobs``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import clean, echo_json, echo_table, when


@click.command()
@click.argument("run", required=False)
@as_json
@with_workspace
def command(workspace: Workspace, run: str | None, as_json: bool) -> None:
    """List the runs of this context, newest first, or show RUN; states are asked for now."""
    records = workspace.jobs(run)
    if as_json:
        echo_json([record.to_json() for record in records])
    elif run is not None:
        for key, value in records[0].to_json().items():
            if value not in (None, ""):
                click.echo(f"{key:<13}{clean(str(value))}")
    elif records:
        echo_table(
            ["RUN", "STATE", "BACKEND", "PIPE", "OUT", "SUBMITTED", "TOOK", "REASON"],
            [
                [
                    record.run_id,
                    record.state.value,
                    record.backend,
                    record.pipe,
                    record.output,
                    when(record.submitted_s),
                    _took(record.started_s, record.finished_s),
                    record.failure or record.reason,
                ]
                for record in records
            ],
        )
    else:
        click.echo("no runs in this context yet", err=True)


def _took(started_s: float | None, finished_s: float | None) -> str:
    if started_s is None or finished_s is None:
        return "-"
    return f"{finished_s - started_s:.1f} s"
