"""``bundlerun why``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from bundlerun.api.workspace import Workspace
from bundlerun.bundles.value.differences import diff_lines
from bundlerun.cli.options import as_json, with_workspace
from bundlerun.cli.render import echo_json, label
from bundlerun.formatting import ID_SHOWN, clean

if TYPE_CHECKING:
    from bundlerun.pipelines.why import Changed, Reason, Why

SHOWN = 10
"""Changes of one part, and of one value, that are shown; --json has all."""


@click.command()
@click.argument("name")
@as_json
@with_workspace
def command(workspace: Workspace, name: str, as_json: bool) -> None:
    """Say why NAME was made instead of found.

    Which parameter, source file, input, dependency or environment differs from the nearest earlier
    version, and in what.
    """
    why = workspace.why(name)
    if as_json:
        echo_json(why.to_json())
        return
    for line in told(why):
        click.echo(clean(line))


def told(why: Why) -> Iterator[str]:
    """The answer, line by line."""
    from bundlerun.pipelines.why import Verdict

    mine = label(why.bundle)
    before = label(why.nearest) if why.nearest else ""
    if why.verdict is Verdict.ADDED:
        yield f"{mine} was added: no pipe made it"
    elif why.verdict is Verdict.FIRST:
        yield f"{mine} is the first of its name and of its pipe: there was nothing to find"
    elif why.verdict is Verdict.REUSED:
        yield f"{mine} reuses the value of {before}: the work is equal"
    elif why.verdict is Verdict.FORCED:
        yield (
            f"{mine} differs in nothing from {before}: it was forced, or made where that one was"
            " not known"
        )
    else:
        yield f"{mine} compared with {before}, the nearest earlier version:"
        for reason in why.reasons:
            yield from _reason(reason)
        if why.same:
            yield f"the same: {', '.join(why.same)}"


def _reason(reason: Reason) -> Iterator[str]:
    yield reason.part + (f"  ({reason.note})" if reason.note else "")
    for change in reason.changes[:SHOWN]:
        yield f"  {_changed(change)}"
        if change.value is not None:
            yield f"    {change.value.summary()}"
            yield from (f"    {line}" for line in diff_lines(change.value, SHOWN))
        parent = change.parents[1]
        if reason.part == "dependencies" and parent is not None:
            yield f"    bundlerun why {parent.name}@{parent.id[:ID_SHOWN]}"
    if len(reason.changes) > SHOWN:
        yield f"  ... and {len(reason.changes) - SHOWN} more"


def _changed(change: Changed) -> str:
    old, new = (_short(text, change) for text in (change.old, change.new))
    if old is None:
        return f"{change.what}: {new} (new)"
    if new is None:
        return f"{change.what}: {old} (gone)"
    return f"{change.what}: {old} -> {new}"


def _short(text: str | None, change: Changed) -> str | None:
    """A bundle's label with as much of the id as a person needs."""
    if text is None or not any(change.parents):
        return text
    name, _, id = text.partition("@")
    return f"{name}@{id[:ID_SHOWN]}"
