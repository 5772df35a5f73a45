"""Differences between two values, as data and as lines for terminal and notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun import html
from bundlerun.formatting import size

WHATS = ("added", "removed", "changed", "moved")
"""The changes that a part can have undergone."""

MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}

SHOWN = 50
"""Changes that a notebook shows."""

COLUMNS_SHOWN = 20
"""Columns of one table that are shown; --json has all."""


@dataclass(frozen=True)
class Change:
    """One part that differs.

    ``what`` is one of WHATS; ``where`` the path in the tree, ``value["a"][3]``, in a directory
    ``value["a"]/file``; ``old`` and ``new`` describe the part as ``outline`` does, None where it is
    not; ``columns`` are those that a table's schemas differ in, as (name, old type, new type).
    """

    what: str
    where: str
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    columns: tuple[tuple[str, str | None, str | None], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON form; what is empty is left out."""
        full = {"what": self.what, "where": self.where, "old": self.old, "new": self.new}
        columns = [list(each) for each in self.columns]
        return {k: v for k, v in {**full, "columns": columns}.items() if v not in (None, [])}


@dataclass(frozen=True, repr=False)
class Differences:
    """The numbers of parts added, removed, changed or moved, and the first of them."""

    counts: Mapping[str, int]
    changes: tuple[Change, ...]

    @property
    def equal(self) -> bool:
        """Whether the values are one and the same."""
        return not self.counts

    @property
    def more(self) -> int:
        """Changes that are counted and not described."""
        return sum(self.counts.values()) - len(self.changes)

    def summary(self) -> str:
        """``2 added, 1 changed``, or ``equal``."""
        words = [f"{self.counts[what]} {what}" for what in WHATS if self.counts.get(what)]
        return ", ".join(words) or "equal"

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        changes = [change.to_json() for change in self.changes]
        return {**self.counts, "equal": self.equal, "changes": changes, "more": self.more}

    def __repr__(self) -> str:
        return f"<Differences: {self.summary()}>"

    def _repr_html_(self) -> str:
        """For notebooks: the first changes, a line each."""
        lines = "\n".join(diff_lines(self, SHOWN))
        return str(html.joined([html.element("b", self.summary()), html.element("pre", lines)]))


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
