"""Runs as a table for a person: text on a terminal, markup in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from bundlerun import html
from bundlerun.formatting import RUN_SHOWN, clean, minute, took

if TYPE_CHECKING:
    from bundlerun.runs.record import RunRecord

HEAD = ("RUN", "STATE", "ITEMS", "FUNCTION", "SUBMITTED", "TOOK", "REASON")


class JobsTable(Sequence["RunRecord"]):
    """Runs in their order, that show themselves as a table."""

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self._records = tuple(records)

    @overload
    def __getitem__(self, at: int) -> RunRecord: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[RunRecord]: ...

    def __getitem__(self, at: int | slice) -> RunRecord | Sequence[RunRecord]:
        return self._records[at]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        rows = [HEAD, *map(_row, self._records)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return str(html.table(HEAD, [_row(record) for record in self._records]))


def _row(record: RunRecord) -> tuple[str, ...]:
    counts = ", ".join(f"{count} {state}" for state, count in record.tally.items() if count)
    return tuple(
        clean(" ".join(text.split()))
        for text in (
            record.run_id[:RUN_SHOWN],
            record.state.value,
            f"{record.items or 1}{f': {counts}' if counts else ''}",
            record.pipe,
            minute(record.submitted_s),
            took(record.started_s, record.finished_s),
            record.failure or record.reason,
        )
    )
