"""The looks of results: tables that fit the terminal, JSON, no control characters."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bundlerun.formatting import ID_SHOWN, RUN_SHOWN, clean, minute, pairs

if TYPE_CHECKING:
    from rich.console import Console

    from bundlerun.api.bundle import Bundle
    from bundlerun.bundles.record import BundleRecord


ELASTIC_LEAST = 6
"""Characters that a column keeps which may be cut."""

COLUMN_GAP = 2
"""Characters between two columns."""


def echo_json(value: Any) -> None:
    """``value`` as indented JSON on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def echo_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, elastic: Sequence[str] = ()
) -> None:
    """Print a table, as wide as the terminal at most, untruncated into a pipe.

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
    """The width of each column; the elastic ones shrink where there is less ``room``."""
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
    """Standard output for tables and trees: a terminal's width, unbounded elsewhere."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)


def echo_bundles(bundles: Sequence[tuple[BundleRecord, str]], *, verbose: bool = False) -> None:
    """Bundles, each with its state, as a table."""
    columns = ["NAME", "ID", "STATE", "MADE", "TAGS"]
    if verbose:
        columns += ["PIPE", "PARAMS"]
    rows = []
    for bundle, state in bundles:
        row = [bundle.name, short(bundle), state, minute(bundle.made_at_s)]
        row.append(pairs(bundle.tags))
        if verbose:
            row += [bundle.lineage.pipe or "-", pairs(bundle.params)]
        rows.append(row)
    echo_table(columns, rows, elastic=["TAGS", "PIPE", "PARAMS"])


def bundle_json(bundle: Bundle) -> dict[str, Any]:
    """A bundle and where it stands among the versions, as plain JSON values."""
    return {
        **bundle.to_json(),
        "committed": bundle.committed,
        "version": bundle.version,
        "made_at_s": bundle.made_at_s,
    }


def short(bundle: BundleRecord) -> str:
    """The first part of a bundle's id, as much as a person needs."""
    return bundle.id[:ID_SHOWN]


def short_run(run_id: str) -> str:
    """The first part of a run's id, its milliseconds."""
    return run_id[:RUN_SHOWN]


def label(bundle: BundleRecord) -> str:
    """``name@id``, as commands take it."""
    return f"{bundle.name}@{short(bundle)}"
