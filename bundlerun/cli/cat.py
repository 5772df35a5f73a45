"""``bundlerun cat``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import clean, echo_json, label, pairs, size, when

_FACTS = ("type", "value", "name", "as", "rows", "dtype", "shape", "count")
"""What a line says of a part, in this order."""


@click.command()
@click.argument("name")
@as_json
@with_workspace
def command(workspace: Workspace, name: str, as_json: bool) -> None:
    """Show the record of NAME and what its value holds; files by name and size."""
    bundle = workspace.find(name)
    outline = workspace.outline(name)
    if as_json:
        echo_json({**bundle.to_json(), "value": outline})
        return
    click.echo(f"{label(bundle)}  made {when(bundle.made_at_s)}")
    if bundle.tags:
        click.echo(f"tags    {clean(pairs(bundle.tags))}")
    if bundle.lineage.pipe:
        click.echo(f"pipe    {clean(bundle.lineage.pipe)} {clean(pairs(bundle.params))}")
    click.echo(f"root    {bundle.root.digest}")
    for line in outline_lines(outline):
        click.echo(clean(line))


def outline_lines(node: Mapping[str, Any], depth: int = 0) -> list[str]:
    """The outline of a value, an entry a line, indented by depth."""
    key = node.get("key", node.get("path"))
    head = "  " * depth + ("" if key is None else f"{key}: ")
    facts = [str(node[fact]) for fact in _FACTS if fact in node]
    if "size" in node and node.get("type") != "str":
        facts.append(size(node["size"]))
    lines = [f"{head}{' '.join(facts)}"]
    for child in node.get("entries", ()):
        lines += outline_lines(child, depth + 1)
    if node.get("more"):
        lines.append("  " * (depth + 1) + f"... and {node['more']} more")
    return lines
