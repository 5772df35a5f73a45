"""``bundlerun cat``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bundlerun.api.workspace import Workspace
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import clean, echo_json, label, pairs, size, when

_FACTS = {
    "value": "{}",
    "name": "{}",
    "as": "{}",
    "rows": "{} rows",
    "dtype": "{}",
    "shape": "shape {}",
    "count": "of {}",
}
"""What a line says of a part beside its type, in this order."""

INLINE = 60
"""A list or tuple that is no longer than this stands on one line."""

BRACKETS = {"list": "[]", "tuple": "()"}

ENTRIES_SHOWN = 20
"""Entries of one dict or list that are shown; --json has more."""


@click.command()
@click.argument("name")
@as_json
@with_workspace
def command(workspace: Workspace, name: str, as_json: bool) -> None:
    """Show the record of NAME and an outline of its value."""
    bundle = workspace.scope.entry(name).bundle
    outline = workspace.cat(bundle)
    if as_json:
        echo_json({**bundle.to_json(), "value": outline})
        return
    click.echo(f"{label(bundle)}  made {when(bundle.made_at_s)}")
    if bundle.tags:
        click.echo(f"tags    {clean(pairs(bundle.tags))}")
    if bundle.lineage.pipe:
        click.echo(f"pipe    {clean(bundle.lineage.pipe)} {clean(pairs(bundle.params))}".rstrip())
    click.echo(f"root    {bundle.root.digest}")
    for line in outline_lines(outline):
        click.echo(clean(line))


def outline_lines(node: Mapping[str, Any], depth: int = 0) -> list[str]:
    """The outline of a value, an entry a line, indented by depth."""
    key = node.get("key", node.get("path"))
    head = "  " * depth + ("" if key is None else f"{key}: ")
    kind = str(node.get("type", ""))
    if kind == "NoneType":
        return [f"{head}None"]
    if (inline := _inline(node)) is not None and len(inline) <= INLINE:
        return [f"{head}{kind} {inline}"]
    facts = [words.format(node[fact]) for fact, words in _FACTS.items() if fact in node]
    # The size of a short text or number is seen.
    if "size" in node and "value" not in node:
        facts.append(size(node["size"]))
    lines = [f"{head}{kind} {', '.join(facts)}".rstrip()]
    entries = node.get("entries", ())
    for child in entries[:ENTRIES_SHOWN]:
        lines += outline_lines(child, depth + 1)
    more = node.get("more", 0) + max(0, len(entries) - ENTRIES_SHOWN)
    if more:
        lines.append("  " * (depth + 1) + f"... and {more} more")
    return lines


def _inline(node: Mapping[str, Any]) -> str | None:
    """A list or tuple of plain values as Python writes it; None for anything else."""
    entries = node.get("entries", ())
    if node.get("type") not in BRACKETS or node.get("more") or not entries:
        return None
    if not all("value" in entry and "key" not in entry for entry in entries):
        return None
    words = [
        repr(entry["value"]) if entry["type"] == "str" else str(entry["value"]) for entry in entries
    ]
    around = BRACKETS[node["type"]]
    return f"{around[0]}{', '.join(words)}{around[1]}"
