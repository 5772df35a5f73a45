"""Progress on a terminal: bars on standard error, foreign lines above them."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from bundlerun.cli.render import clean

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SHOWN_AFTER_S = 0.3
"""Work that is done sooner gets no bar."""


class Bars:
    """A Progress that draws on standard error when it is a terminal, and only passes lines on
    when it is not."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._rich: RichProgress | None = None
        self._bars: dict[int, tuple[str, int | None, str, float, int]] = {}
        self._shown: dict[int, TaskID] = {}
        self._next = 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._rich is not None:
                self._rich.stop()
                self._rich = None

    def start(self, what: str, total: int | None, unit: str) -> int:
        """See Progress.start."""
        with self._lock:
            self._next += 1
            self._bars[self._next] = (what, total, unit, time.monotonic(), 0)
            return self._next

    def advance(self, bar: int, steps: int) -> None:
        """See Progress.advance."""
        if not self._terminal:
            return
        with self._lock:
            found = self._bars.get(bar)
            if found is None:
                return
            what, total, unit, started, done = found
            self._bars[bar] = (what, total, unit, started, done + steps)
            if bar in self._shown and self._rich is not None:
                self._rich.advance(self._shown[bar], steps)
            elif time.monotonic() - started > SHOWN_AFTER_S:
                self._shown[bar] = self._add(what, total, done + steps)

    def finish(self, bar: int) -> None:
        """See Progress.finish."""
        with self._lock:
            self._bars.pop(bar, None)
            shown = self._shown.pop(bar, None)
            if shown is not None and self._rich is not None:
                self._rich.remove_task(shown)

    def line(self, text: str) -> None:
        """See Progress.line: to standard error, above the bars."""
        with self._lock:
            if self._rich is not None:
                self._rich.console.print(clean(text), markup=False, highlight=False)
            else:
                click.echo(clean(text), err=True)

    def _add(self, what: str, total: int | None, done: int) -> TaskID:
        if self._rich is None:
            self._rich = _drawing()
            self._rich.start()
        return self._rich.add_task(clean(what), total=total, completed=done)


def _drawing() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
