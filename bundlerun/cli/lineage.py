"""``bundlerun lineage``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.bundles.lineage import Lineage, LineageTree
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import console, echo_json
from bundlerun.formatting import ID_SHOWN, clean, pairs

if TYPE_CHECKING:
    from rich.text import Text
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


def _plain(tree: LineageTree, drawn: set[str] | None = None) -> dict[str, Any]:
    drawn = set() if drawn is None else drawn
    again = tree.id in drawn
    drawn.add(tree.id)
    return {
        "role": tree.role,
        "name": tree.name,
        "id": tree.id,
        "root": tree.root,
        "known": tree.known,
        "params": dict(tree.params),
        "tags": dict(tree.tags),
        **tree.lineage.to_json(),
        # One that many others were made of is told in full once.
        "again": again,
        "parents": [] if again else [_plain(parent, drawn) for parent in tree.parents],
    }


def _drawn(tree: LineageTree) -> Tree:
    from rich.tree import Tree

    root = Tree(_words(tree, []))
    drawn = {tree.id}
    told = _origin(tree)
    for parent in tree.parents:
        _add(parent, root, drawn, told)
    return root


def _add(tree: LineageTree, into: Tree, drawn: set[str], told: list[str]) -> None:
    from rich.text import Text

    if tree.id in drawn and (tree.parents or tree.lineage.pipe):
        text = _words(dataclasses.replace(tree, lineage=Lineage(), params={}, tags={}), [])
        into.add(Text.assemble(text, ("  (as above)", "dim")))
        return
    drawn.add(tree.id)
    node = into.add(_words(tree, told))
    for parent in tree.parents:
        _add(parent, node, drawn, _origin(tree))


def _words(tree: LineageTree, told: list[str]) -> Text:
    """A bundle and its facts, but those told already of what was made of it."""
    from rich.text import Text

    text = Text()
    if tree.role:
        text.append(f"{clean(tree.role)} = ", style="dim")
    text.append(f"{clean(tree.name)}@{tree.id[:ID_SHOWN]}", style="bold")
    if not tree.known:
        text.append("  (not here: only its mention is left)", style="yellow")
    for line in [*_making(tree), *(line for line in _origin(tree) if line not in told)]:
        text.append(f"\n{clean(line)}", style="dim")
    return text


def _making(tree: LineageTree) -> list[str]:
    lines = []
    lineage = tree.lineage
    if lineage.pipe:
        facts = [lineage.pipe]
        if tree.params:
            facts.append(pairs(tree.params))
        if lineage.started_s is not None and lineage.finished_s is not None:
            facts.append(f"{lineage.finished_s - lineage.started_s:.2f} s")
        lines.append(f"pipe   {'  '.join(facts)}")
    if tree.tags:
        lines.append(f"tags   {pairs(tree.tags)}")
    return lines


def _origin(tree: LineageTree) -> list[str]:
    lines = []
    lineage = tree.lineage
    if lineage.code:
        commit = lineage.code.commit
        git = f"  git {commit[:12]}{' (dirty)' if lineage.code.dirty else ''}" if commit else ""
        lines.append(f"code   {lineage.code.source[:12]}{git}")
    if lineage.image:
        lines.append(f"image  {lineage.image}")
    if lineage.run:
        lines.append(f"run    {lineage.run}")
    return lines
