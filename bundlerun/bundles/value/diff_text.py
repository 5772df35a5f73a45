"""Differences as lines that a person reads, on a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bundlerun.formatting import size

if TYPE_CHECKING:
    from bundlerun.bundles.value.diff import Change, Differences

MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}

COLUMNS_SHOWN = 20
"""Columns of one table that are shown; --json has all."""


def diff_lines(found: Differences, limit: int) -> Iterator[str]:
    """The first changes, a line each, and how many more there are."""
    for change in found.changes[:limit]:
        yield f"{MARKS[change.what]} {change.where}  {_told(change)}".rstrip()
        for name, was, now in change.columns[:COLUMNS_SHOWN]:
            mark = "+" if was is None else "-" if now is None else "~"
            types = " -> ".join(filter(None, [was, now]))
            yield f"    {mark} column {name}  {types}"
        if len(change.columns) > COLUMNS_SHOWN:
            yield f"    ... and {len(change.columns) - COLUMNS_SHOWN} more columns"
    left = sum(found.counts.values()) - min(limit, len(found.changes))
    if left:
        yield f"... and {left} more"


def _told(change: Change) -> str:
    old, new = (_words(part) for part in (change.old, change.new))
    if old is None or new is None:
        return old or new or ""
    if change.what == "moved":
        return "its entries stand in another order"
    return f"{old} -> {new}" if old != new else f"{old}, other bytes"


def _words(part: Mapping[str, Any] | None) -> str | None:
    """A part of a value in a few words."""
    if part is None:
        return None
    kind = part["type"]
    if "value" in part:
        return repr(part["value"]) if kind == "str" else str(part["value"])
    if kind == "table":
        return f"{part['as']} table, {part['rows']} rows, {part['columns']} columns"
    if kind == "array":
        return f"array {part['dtype']} {tuple(part['shape'])}"
    facts = [str(kind)]
    facts += [str(part["name"])] if "name" in part else []
    facts += [f"of {part['count']}"] if "count" in part else []
    facts += [size(part["size"])] if "size" in part else []
    facts += ["executable"] if part.get("executable") else []
    return " ".join(facts)
