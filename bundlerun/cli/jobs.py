"""``bundlerun jobs``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, echo_table, short_run
from bundlerun.formatting import clean, minute, took

SHOWN = 50
"""Runs that are listed unless more are asked for."""


@click.command()
@click.argument("run", required=False)
@click.option(
    "-n",
    "limit",
    type=click.IntRange(min=1),
    default=SHOWN,
    show_default=True,
    metavar="N",
    help="Show the newest N.",
)
@click.option(
    "--remote", is_flag=True, help="List the runs of the remote, of all who submit there."
)
@as_json
@with_workspace
def command(workspace: Workspace, run: str | None, limit: int, remote: bool, as_json: bool) -> None:
    """List the runs of this context, newest first, or show RUN.

    The state of each open run is asked for now.
    """
    # One more tells whether there are more.
    records = workspace.jobs(run, limit=limit + 1, remote=remote)
    if len(records) > limit:
        records = records[:limit]
        more = f"bundlerun jobs {'--remote ' * remote}-n {limit * 10}"
        click.echo(f"older runs are left out; try: {more}", err=True)
    if as_json:
        echo_json([record.to_json() for record in records])
    elif run is not None:
        for key, value in records[0].facts():
            click.echo(f"{key:<10}{clean(value)}")
    elif records:
        echo_table(
            ["RUN", "STATE", "BACKEND", "PIPE", "OUT", "SUBMITTED", "TOOK", "REASON"],
            [
                [
                    short_run(record.run_id),
                    record.state.value,
                    record.backend,
                    record.pipe,
                    record.output,
                    minute(record.submitted_s),
                    took(record.started_s, record.finished_s),
                    record.failure or record.reason,
                ]
                for record in records
            ],
            elastic=["PIPE", "OUT", "REASON"],
        )
    else:
        where = "on this remote" if remote else "in this context"
        click.echo(f"no runs {where} yet", err=True)
