"""The form of facts for a person: sizes, times, pairs, outlines.

It is the same on a terminal and in a notebook.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

ID_SHOWN = 18
"""Characters of an id that are shown: 48 bits of time and 12 random ones."""

RUN_SHOWN = 13
"""Characters of a run's id that are shown: its 48 bits of time."""

_FACTS = {
    "value": "{}",
    "name": "{}",
    "as": "{}",
    "rows": "{} rows",
    "dtype": "{}",
    "shape": "shape {}",
    "count": "of {}",
}
"""The facts on a part in a line, besides its type, in this order."""

INLINE = 60
"""A list or tuple that is no longer than this stands on one line."""

BRACKETS = {"list": "[]", "tuple": "()"}

ENTRIES_SHOWN = 20
"""Entries of one dict or list that are shown; --json has more."""


def clean(text: str) -> str:
    """``text`` without control characters and bidirectional overrides.

    These could make a terminal lie. Newlines and tabs stay.
    """
    return _CONTROL.sub("�", text)


def pairs(values: Any) -> str:
    """``key:value`` pairs with spaces between."""
    return " ".join(f"{key}:{value}" for key, value in values.items())


def standing(committed: bool, version: int | None) -> str:
    """The state of a bundle: ``scratch``, ``committed``, or ``pushed as N``."""
    if not committed:
        return "scratch"
    return "committed" if version is None else f"pushed as {version}"


def when(seconds: float | None) -> str:
    """Unix seconds as local time; ``-`` for None."""
    if seconds is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def took(started_s: float | None, finished_s: float | None) -> str:
    """How long something took; ``-`` unless it has begun and ended."""
    if started_s is None or finished_s is None:
        return "-"
    return f"{finished_s - started_s:.1f} s"


def minute(seconds: float | None) -> str:
    """A time as ``ls -l`` shows it: to the minute in this year, to the day in others."""
    if seconds is None:
        return "-"
    then = time.localtime(seconds)
    this_year = then.tm_year == time.localtime().tm_year
    return time.strftime("%b %d %H:%M" if this_year else "%Y-%m-%d", then)


def counted(count: int, noun: str) -> str:
    """``1 pack``, ``2 packs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: float) -> str:
    """Bytes for a person: ``17 B``, ``1.5 MB`` (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} B"
    units = ["kB", "MB", "GB", "TB"]
    while (count := count / 1000) >= 1000 and len(units) > 1:
        units.pop(0)
    return f"{count:.1f} {units[0]}"


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
    said = ", ".join(facts)
    lines = [head + (f"{kind} {said}".rstrip() if kind else said)]
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
