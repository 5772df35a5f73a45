"""``bundlerun lineage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.bundles.lineage import LineageTree
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import ID_SHOWN, clean, console, echo_json, pairs

if TYPE_CHECKING:
    from rich.tree import Tree


@click.command()
@click.argument("name")
@as_json
@with_workspace
def command(workspace: Workspace, name: str, as_json: bool) -> None:
    """Draw what NAME was made of: bundles, pipes, parameters, code, image."""
    tree = workspace.lineage(name)
    if as_json:
        echo_json(_plain(tree))
        return
    console().print(_drawn(tree))


def _plain(tree: LineageTree) -> dict[str, Any]:
    return {
        "role": tree.role,
        "name": tree.name,
        "id": tree.id,
        "root": tree.root,
        "known": tree.known,
        "params": dict(tree.params),
        "tags": dict(tree.tags),
        **tree.lineage.to_json(),
        "parents": [_plain(parent) for parent in tree.parents],
    }


def _drawn(tree: LineageTree, into: Tree | None = None) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    text = Text()
    if tree.role:
        text.append(f"{clean(tree.role)} = ", style="dim")
    text.append(f"{clean(tree.name)}@{tree.id[:ID_SHOWN]}", style="bold")
    if not tree.known:
        text.append("  (not here: only its mention is left)", style="yellow")
    for line in _facts(tree):
        text.append(f"\n{clean(line)}", style="dim")
    node = Tree(text) if into is None else into.add(text)
    for parent in tree.parents:
        _drawn(parent, node)
    return node


def _facts(tree: LineageTree) -> list[str]:
    lines = []
    lineage = tree.lineage
    if lineage.pipe:
        took = ""
        if lineage.started_s is not None and lineage.finished_s is not None:
            took = f"  {lineage.finished_s - lineage.started_s:.2f} s"
        lines.append(f"pipe   {lineage.pipe} {pairs(tree.params)}{took}".rstrip())
    if lineage.code:
        commit = lineage.code.commit
        git = f"  git {commit[:12]}{' (dirty)' if lineage.code.dirty else ''}" if commit else ""
        lines.append(f"code   {lineage.code.source[:12]}{git}")
    if lineage.image:
        lines.append(f"image  {lineage.image}")
    if lineage.run:
        lines.append(f"run    {lineage.run}")
    if tree.tags:
        lines.append(f"tags   {pairs(tree.tags)}")
    return lines
