"""Progress on a terminal: bars on standard error, foreign lines above them.

A build prints hundreds of lines when all is well. On a terminal its last line is shown next to its
bar and goes with it; elsewhere each step is named once. ``bundlerun -v`` prints them all, and a
failing build's error has the lines that matter.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import click

from bundlerun.formatting import clean

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SHOWN_AFTER_S = 0.3
"""Work that is done sooner gets no bar."""

BUILD_UNIT = "steps"
"""The unit of bars whose foreign lines are condensed while they are open."""

STEP_SHOWN = 100
"""Characters of a build step that are shown where there is no terminal."""

LENGTH = 24
"""Characters of a full bar."""

LINE_SHOWN = 4000
"""Characters of a foreign line that are shown; ``bundlerun logs`` shows all."""

LATELY = 500
"""So many foreign lines are remembered."""

ECHOED = 4
"""The characters left free at the end of a line.

The terminal writes ^C there, and one that wrapped would leave the bar standing.
"""

_STEP = re.compile(r"(?:#\d+ (?=\[[^\]]*\d+/\d+\])|(?=Step \d+/\d+ : ))(.*)")
_PREFIX = re.compile(r"#\d+ (?:\d+\.\d+ )?\s*")
_SAYS_NOTHING = re.compile(r"\s*(?:sha256:|DONE|CACHED|\.\.\.|--->|$)")


@dataclass
class _Bar:
    what: str
    total: int | None
    unit: str
    done: int = 0
    task: TaskID | None = None
    timer: threading.Timer | None = None


class Bars:
    """A Progress that draws on standard error when it is a terminal.

    Elsewhere it only passes lines on. ``verbose``: a build's lines are passed on too.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._terminal = sys.stderr.isatty()
        self._verbose = verbose
        self._lock = threading.Lock()
        self._rich: RichProgress | None = None
        self._bars: dict[int, _Bar] = {}
        self._next = 0
        self._named: set[str] = set()
        self._lately: deque[str] = deque(maxlen=LATELY)

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in list(self._bars):
            self.finish(bar)

    def start(self, what: str, total: int | None, unit: str) -> int:
        """See Progress.start."""
        with self._lock:
            self._next += 1
            bar = self._bars[self._next] = _Bar(what, total, unit)
            if self._terminal:
                bar.timer = threading.Timer(SHOWN_AFTER_S, self._show, [self._next])
                bar.timer.daemon = True
                bar.timer.start()
            return self._next

    def advance(self, bar: int, steps: int) -> None:
        """See Progress.advance."""
        with self._lock:
            found = self._bars.get(bar)
            if found is None:
                return
            found.done += steps
            if found.task is not None and self._rich is not None:
                self._rich.advance(found.task, steps)

    def finish(self, bar: int) -> None:
        """See Progress.finish."""
        with self._lock:
            found = self._bars.pop(bar, None)
            if found is None:
                return
            if found.timer is not None:
                found.timer.cancel()
            if found.task is not None and self._rich is not None:
                self._rich.remove_task(found.task)
            # Nothing is left standing, so that what is printed next stands alone.
            if self._rich is not None and not any(
                left.task is not None for left in self._bars.values()
            ):
                self._rich.stop()
                self._rich = None

    def line(self, text: str) -> None:
        """See Progress.line: to standard error, above the bars."""
        with self._lock:
            building = None if self._verbose else self._building()
            if building is None:
                self._lately.append(text.rstrip())
                self._print(_cut(clean(text), LINE_SHOWN))
            elif self._terminal:
                self._detail(building, text)
            else:
                self._name_step(text)

    def has_shown(self, text: str) -> bool:
        """Whether every line of ``text`` was among the last foreign lines."""
        with self._lock:
            return {line.rstrip() for line in text.splitlines()} <= set(self._lately)

    def _building(self) -> _Bar | None:
        return next((bar for bar in self._bars.values() if bar.unit == BUILD_UNIT), None)

    def _detail(self, bar: _Bar, text: str) -> None:
        told = _PREFIX.sub("", text, count=1)
        if bar.task is not None and self._rich is not None and not _SAYS_NOTHING.match(told):
            self._rich.update(bar.task, detail=clean(told))

    def _name_step(self, text: str) -> None:
        step = _STEP.match(text)
        if step is None or step[1] in self._named:
            return
        self._named.add(step[1])
        self._print(_cut(clean(step[1]), STEP_SHOWN))

    def _print(self, text: str) -> None:
        if self._rich is not None:
            self._rich.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def _show(self, number: int) -> None:
        with self._lock:
            bar = self._bars.get(number)
            if bar is None:
                return
            if self._rich is None:
                self._rich = _drawing()
                self._rich.start()
            bar.task = self._rich.add_task(
                clean(bar.what), total=bar.total, completed=bar.done, unit=bar.unit, detail=""
            )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _drawing() -> RichProgress:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, TimeElapsedColumn
    from rich.progress import Task as RichTask
    from rich.table import Column
    from rich.text import Text

    from bundlerun.formatting import size

    class Done(ProgressColumn):
        """How much, in the bar's own unit; nothing where that says nothing."""

        def render(self, task: RichTask) -> Text:
            show = size if task.fields["unit"] == "bytes" else "{:.0f}".format
            if task.total:
                return Text(f"{show(task.completed)} of {show(task.total)}")
            return Text(show(task.completed) if task.completed else "")

    class Words(ProgressColumn):
        """A field of the task as plain text: a line of a build may look like markup."""

        def __init__(self, style: str, column: Column, field: str | None = None) -> None:
            super().__init__(table_column=column)
            self._style, self._field = style, field

        def render(self, task: RichTask) -> Text:
            words = task.description if self._field is None else task.fields[self._field]
            return Text(words, style=self._style)

    class Length(ProgressColumn):
        """The bar itself, where there is an end to be reached."""

        def render(self, task: RichTask) -> Text:
            if not task.total:
                return Text("")
            full = int(LENGTH * min(task.completed / task.total, 1))
            return Text.assemble(("━" * full, "cyan"), ("━" * (LENGTH - full), "dim"))

    return Progress(
        SpinnerColumn(style="cyan"),
        Words("bold", Column(no_wrap=True)),
        Length(),
        Done(),
        TimeElapsedColumn(),
        Words("dim", Column(no_wrap=True, overflow="ellipsis", ratio=1), "detail"),
        console=Console(stderr=True, width=max(Console(stderr=True).width - ECHOED, 20)),
        transient=True,
        expand=True,
        # What is printed meanwhile goes where it was sent, not to the console of the bars.
        redirect_stdout=False,
        redirect_stderr=False,
    )
