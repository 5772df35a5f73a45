"""Ctrl-C while a map is submitted or waited for, and what it left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_at_interrupt(what: str) -> Iterator[None]:
    """Add ``what`` as a note to a KeyboardInterrupt from the block.

    Python 3.10 has no notes: there nothing is added.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if sys.version_info >= (3, 11):
            error.add_note(what)
        raise
