"""``bundlerun add``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import click

from bundlerun.api.workspace import Workspace
from bundlerun.bundles.value.files import Directory, File
from bundlerun.cli.options import as_json, tag_option, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.errors import BadPath, UsageError


@click.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@tag_option("-t", "--tag", "tags", help="A tag; repeatable.")
@click.option("--commit", is_flag=True, help="Commit the new version.")
@click.option(
    "--reread", is_flag=True, help="Read every file, even if it seems unchanged since the last add."
)
@click.option("--as", "kind", type=click.Choice(["table"]), help="Read each PATH as a table.")
@as_json
@with_workspace
def command(
    workspace: Workspace,
    name: str,
    paths: tuple[str, ...],
    tags: dict[str, str],
    commit: bool,
    reread: bool,
    kind: str | None,
    as_json: bool,
) -> None:
    """Add a new version of NAME.

    One PATH: the value is that file or folder. Several: a dict by basename. KEY=PATH: a dict by
    KEY. A pipe gets exactly this value.
    """
    bundle = workspace.add(name, _value(paths, kind), tags=tags, commit=commit, reread=reread)
    if as_json:
        echo_json({**bundle.to_json(), "committed": commit})
        return
    note = "" if commit else f" (scratch; bundlerun commit {name} keeps it)"
    click.echo(f"added {label(bundle)}{note}")


def _value(paths: Sequence[str], kind: str | None) -> object:
    if len(paths) == 1 and (Path(paths[0]).exists() or "=" not in paths[0]):
        return _leaf(paths[0], kind)
    found: dict[str, object] = {}
    for path in paths:
        key, equals, where = path.partition("=")
        if not equals or Path(path).exists():
            key, where = Path(path).resolve().name, path
        if key in found:
            raise UsageError(
                f"two of the paths are called {key!r}",
                hint=f"bundlerun add NAME {key}={where} OTHER_KEY=OTHER_PATH",
            )
        found[key] = _leaf(where, kind)
    return found


def _nearest(path: Path) -> str:
    """The path of nearest name in its folder, or a command to list the folder."""
    folder = path.parent
    there = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=1)
    return str(folder / near[0]) if near else f"ls {folder}"


def _leaf(path: str, kind: str | None) -> object:
    where = Path(path)
    if not where.exists():
        raise BadPath(f"{path!r} does not exist", hint=_nearest(where))
    if kind == "table":
        from bundlerun.bundles.value.tables import read_table

        return read_table(where)
    name = where.resolve().name
    return Directory(where, name=name) if where.is_dir() else File(where, name=name)
