"""``bundlerun context``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, echo_table
from bundlerun.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option("-d", "--delete", is_flag=True, help="Delete NAME and its bundles here.")
@click.option("--force", is_flag=True, help="Delete committed bundles that were never pushed, too.")
@as_json
@with_workspace
def command(
    workspace: Workspace, name: str | None, delete: bool, force: bool, as_json: bool
) -> None:
    """List the contexts, or make NAME.

    The first context that is made is chosen at once; `bundlerun switch` chooses another.
    """
    if name is None:
        if delete:
            raise UsageError("-d needs the name of a context", hint="bundlerun context NAME -d")
        _list(workspace, as_json)
    elif delete:
        url = workspace.scope.store.contexts.get(name).remote_url
        workspace.delete_context(name, force=force)
        click.echo(f"deleted {name}" + (f"; {url} keeps what was pushed" if url else ""))
    else:
        made = workspace.context(name)
        current = workspace.scope.store.contexts.current()
        chosen = current == name
        note = "; it is chosen" if chosen else f"; bundlerun switch {name} chooses it"
        click.echo(f"made {made.name}{note}")


def _list(workspace: Workspace, as_json: bool) -> None:
    contexts = workspace.contexts()
    current = workspace.scope.store.contexts.current()
    if as_json:
        echo_json(
            [
                {"name": c.name, "remote": c.remote_url, "current": c.name == current}
                for c in contexts
            ]
        )
        return
    if not contexts:
        click.echo("no contexts here; bundlerun context NAME makes one", err=True)
        return
    rows = [["*" if c.name == current else "", c.name, c.remote_url or "-"] for c in contexts]
    echo_table(["", "CONTEXT", "REMOTE"], rows)
