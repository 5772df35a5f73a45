"""Waiting for another process: bounded by who waits, and said aloud once it lasts."""

from __future__ import annotations

import logging
import time

TOLD_AFTER_S = 2.0
"""A wait that is over sooner is nobody's concern."""

_logger = logging.getLogger("bundlerun.store")


class Notice:
    """Says once that a wait goes on. Made when it begins; ``due`` is called as long as it lasts.

    A warning: Python shows it on standard error unless the program has logging of its own.
    """

    def __init__(self, what: str, *, at_most_s: float) -> None:
        self._text = f"waiting for another process that {what}, for {at_most_s:.0f} s at most ..."
        self._began_s = time.monotonic()
        self._told = False

    def due(self) -> None:
        """Say it now if the wait has lasted for TOLD_AFTER_S."""
        if not self._told and time.monotonic() - self._began_s >= TOLD_AFTER_S:
            self._told = True
            _logger.warning("%s", self._text)
