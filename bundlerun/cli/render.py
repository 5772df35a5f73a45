"""How results look: tables that fit the terminal, JSON for programs, no control characters."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from bundlerun.bundles.bundle import Bundle
    from bundlerun.store.catalog import Entry

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ID_SHOWN = 18
"""Characters of an id that are shown: 48 bits of time and 12 random ones."""


def clean(text: str) -> str:
    """``text`` without control characters and bidirectional overrides, which could make a
    terminal lie; newlines and tabs stay."""
    return _CONTROL.sub("�", text)


def echo_json(value: Any) -> None:
    """``value`` as indented JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def echo_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output; as wide as the terminal at most, untruncated into a pipe."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="ellipsis" if index else "fold", no_wrap=True)
    for row in rows:
        table.add_row(*(_escaped(clean(cell)) for cell in row))
    console().print(table)


def console() -> Console:
    """Standard output for tables and trees: as wide as the terminal, unbounded into a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)


def echo_entries(entries: Sequence[Entry], *, verbose: bool) -> None:
    """Bundles as a table, newest first."""
    columns = ["NAME", "ID", "STATE", "MADE", "TAGS"]
    if verbose:
        columns += ["PIPE", "PARAMS"]
    rows = []
    for entry in entries:
        bundle = entry.bundle
        row = [bundle.name, short(bundle), state(entry), when(bundle.made_at_s)]
        row.append(pairs(bundle.tags))
        if verbose:
            row += [bundle.lineage.pipe or "-", pairs(bundle.params)]
        rows.append(row)
    echo_table(columns, rows)


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry of the catalog as plain JSON values."""
    return {
        **entry.bundle.to_json(),
        "committed": entry.committed,
        "version": entry.version,
        "made_at_s": entry.bundle.made_at_s,
    }


def short(bundle: Bundle) -> str:
    """As much of a bundle's id as a person needs."""
    return bundle.id[:ID_SHOWN]


def label(bundle: Bundle) -> str:
    """``name@id``, as commands take it."""
    return f"{bundle.name}@{short(bundle)}"


def state(entry: Entry) -> str:
    """``scratch``, ``committed``, or ``pushed as N``."""
    if not entry.committed:
        return "scratch"
    return "committed" if entry.version is None else f"pushed as {entry.version}"


def pairs(values: Any) -> str:
    """``key:value`` pairs with spaces between."""
    return " ".join(f"{key}:{value}" for key, value in values.items())


def when(seconds: float | None) -> str:
    """Unix seconds as local time; ``-`` for None."""
    if seconds is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def size(count: float) -> str:
    """Bytes for a person: ``17 B``, ``1.5 MB`` (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} B"
    units = ["kB", "MB", "GB", "TB"]
    while (count := count / 1000) >= 1000 and len(units) > 1:
        units.pop(0)
    return f"{count:.1f} {units[0]}"


def _escaped(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)
