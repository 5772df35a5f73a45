"""Progress reporting: the protocol, a silent listener and one that writes a log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """The listener to work.

    Implementations are thread-safe and never raise.
    """

    def start(self, what: str, total: int | None, unit: str) -> int:
        """A new bar of ``total`` steps of ``unit`` ("bytes", "files"); its id.

        None for ``total``: unknown.
        """

    def advance(self, bar: int, steps: int) -> None:
        """``steps`` more of the bar ``bar`` are done."""

    def finish(self, bar: int) -> None:
        """The bar is complete and goes away."""

    def line(self, text: str) -> None:
        """One line of foreign output (a build, a job's log), without its newline."""


class Silent:
    """A Progress that shows nothing."""

    def start(self, what: str, total: int | None, unit: str) -> int:
        """Nothing is shown."""
        return 0

    def advance(self, bar: int, steps: int) -> None:
        """Nothing is shown."""

    def finish(self, bar: int) -> None:
        """Nothing is shown."""

    def line(self, text: str) -> None:
        """Nothing is shown."""


class Lines(Silent):
    """A Progress that gives each line to ``say``, for a log."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def line(self, text: str) -> None:
        """Give the line to ``say``."""
        self._say(text)


class Logged(Lines):
    """A Progress that writes each line to the log ``bundlerun``, at the level INFO."""

    def __init__(self) -> None:
        super().__init__(lambda text: _logger.info("%s", text))


def is_heard(progress: Progress) -> bool:
    """Whether anybody sees the lines that are given to ``progress``."""
    return _logger.isEnabledFor(logging.INFO) if progress is LOGGED else progress is not SILENT


_logger = logging.getLogger("bundlerun")
SILENT: Progress = Silent()
LOGGED: Progress = Logged()
