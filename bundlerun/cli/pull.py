"""``bundlerun pull``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label


@click.command()
@click.argument("name", required=False)
@click.option("--localize", is_flag=True, help="Bring the bytes, too.")
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="PATTERN",
    help="Bring only the bytes at these paths, such as 'images/*'; repeatable.",
)
@click.option("--all-versions", is_flag=True, help="Bring every version, not only the latest.")
@as_json
@with_workspace
def command(
    workspace: Workspace,
    name: str | None,
    localize: bool,
    paths: tuple[str, ...],
    all_versions: bool,
    as_json: bool,
) -> None:
    """Bring the latest version of NAME, or of every name, from the remote.

    The record comes now; the bytes come when they are read, or now with --localize.
    """
    bundles = workspace.pull(
        name, localize=localize or bool(paths), all_versions=all_versions, paths=paths
    )
    if as_json:
        echo_json([bundle.to_json() for bundle in bundles])
        return
    for bundle in bundles:
        click.echo(f"pulled {label(bundle)}")
    if not bundles:
        click.echo("nothing new on the remote")
