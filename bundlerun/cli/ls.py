"""``bundlerun ls``."""

from __future__ import annotations

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, tag_option, with_workspace
from bundlerun.cli.render import bundle_json, echo_bundles, echo_json
from bundlerun.errors import BundleNotFound


@click.command()
@click.argument("name", required=False)
@click.option("-v", "--verbose", is_flag=True, help="Show pipes and parameters, too.")
@tag_option("-t", "--tag", "tags", help="Only bundles with this tag; repeatable.")
@click.option("--uncommitted", is_flag=True, help="Only scratch bundles.")
@as_json
@with_workspace
def command(
    workspace: Workspace,
    name: str | None,
    verbose: bool,
    tags: dict[str, str],
    uncommitted: bool,
    as_json: bool,
) -> None:
    """List the latest bundle of each name, or every version of NAME, newest first."""
    committed = False if uncommitted else None
    bundles = workspace.ls(name, tags=tags, committed=committed)
    if tags and not bundles:
        said = ", ".join(f"{key}:{value}" for key, value in tags.items())
        raise BundleNotFound(f"no bundle here has the tags {said}", hint="bundlerun ls")
    if name is not None and not bundles:
        raise BundleNotFound(f"no bundle is called {name!r} here", hint="bundlerun ls")
    if as_json:
        echo_json([bundle_json(bundle) for bundle in bundles])
    elif bundles:
        echo_bundles([(bundle, bundle.state) for bundle in bundles], verbose=verbose)
    else:
        click.echo("no bundles here; bundlerun add NAME PATH makes one", err=True)
