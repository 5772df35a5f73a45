"""How results look: tables that fit the terminal, JSON for programs, no control characters."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from bundlerun.bundles.record import BundleRecord
    from bundlerun.store.catalog import Entry

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ID_SHOWN = 18
"""Characters of an id that are shown: 48 bits of time and 12 random ones."""

ELASTIC_LEAST = 6
"""Characters that a column keeps which may be cut."""

COLUMN_GAP = 2
"""Characters between two columns."""

RUN_SHOWN = 13
"""Characters of a run's id that are shown: its 48 bits of time."""


def clean(text: str) -> str:
    """``text`` without control characters and bidirectional overrides, which could make a
    terminal lie; newlines and tabs stay."""
    return _CONTROL.sub("�", text)


def echo_json(value: Any) -> None:
    """``value`` as indented JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def echo_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, elastic: Sequence[str] = ()
) -> None:
    """A table on standard output; as wide as the terminal at most, untruncated into a pipe.

    Only the ``elastic`` columns are cut where it is narrow, a PIPE in front: its end is what tells
    it from others of its module. A column with nothing in it is left out. Of its own: rich's table
    takes a millisecond and more a row.
    """
    told = [at for at, _ in enumerate(columns) if any(row[at] not in ("", "-") for row in rows)]
    cells = [[_on_one_line(clean(row[at])) for at in told] for row in rows]
    names = [columns[at] for at in told]
    out = console()
    widths = _widths(names, cells, elastic, out.width)
    header = _line(names, widths)
    keeps_end = [name == "PIPE" for name in names]
    lines = [_line(row, widths, keeps_end) for row in cells]
    rule = _said("─", "-") * (sum(widths) + COLUMN_GAP * (len(widths) - 1))
    click.echo("\n".join([click.style(header, bold=True) if _is_fancy() else header, rule, *lines]))


def _said(character: str, plain: str) -> str:
    """``character`` where standard output can say it."""
    return character if (sys.stdout.encoding or "").lower().startswith("utf") else plain


def _is_fancy() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _on_one_line(text: str) -> str:
    return " ".join(text.split("\n")).expandtabs(1)


def _line(cells: Sequence[str], widths: Sequence[int], keeps_end: Sequence[bool] = ()) -> str:
    """The cells, each as wide as its column."""
    ends = keeps_end or [False] * len(cells)
    return (" " * COLUMN_GAP).join(map(_fitted, cells, widths, ends)).rstrip()


def _fitted(text: str, width: int, keeps_end: bool) -> str:
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) > width and keeps_end:
        while cell_len(text) > width - 1:
            text = text[1:]
        return set_cell_size(_said("…", "~") + text, width)
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + _said("…", "~")
    return set_cell_size(text, width)


def _widths(
    names: Sequence[str], cells: Sequence[Sequence[str]], elastic: Sequence[str], room: int
) -> list[int]:
    """As wide as each column needs; the elastic ones less where there is less ``room``."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    gaps = COLUMN_GAP * (len(names) - 1)
    while sum(widths) + gaps > room:
        able = [
            at for at, name in enumerate(names) if name in elastic and widths[at] > ELASTIC_LEAST
        ]
        if not able:
            break
        widths[max(able, key=widths.__getitem__)] -= 1
    return widths


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
        row = [bundle.name, short(bundle), state(entry), minute(bundle.made_at_s)]
        row.append(pairs(bundle.tags))
        if verbose:
            row += [bundle.lineage.pipe or "-", pairs(bundle.params)]
        rows.append(row)
    echo_table(columns, rows, elastic=["TAGS", "PIPE", "PARAMS"])


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry of the catalog as plain JSON values."""
    return {
        **entry.bundle.to_json(),
        "committed": entry.committed,
        "version": entry.version,
        "made_at_s": entry.bundle.made_at_s,
    }


def short(bundle: BundleRecord) -> str:
    """As much of a bundle's id as a person needs."""
    return bundle.id[:ID_SHOWN]


def short_run(run_id: str) -> str:
    """As much of a run's id as a person needs: its milliseconds."""
    return run_id[:RUN_SHOWN]


def label(bundle: BundleRecord) -> str:
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


def minute(seconds: float | None) -> str:
    """As ``ls -l`` shows times: to the minute in this year, to the day in others."""
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
