"""The cancelling of single items of shared jobs: asked for, and heard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import TYPE_CHECKING

from bundlerun.errors import BundlerunError, IntegrityError
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.runs.keys import cancel_key, cancels_prefix

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote

LOOK_S = 5.0
"""Seconds between two looks of a job for what was cancelled."""


def cancel_item(remote: Remote, run_id: str, index: int, seal: Seal) -> None:
    """Ask whichever job has the item ``index`` not to do it.

    One request.
    """
    remote.put(cancel_key(run_id, index), seal.sealed(Sealed.CANCEL, index, b""))


class Cancels:
    """Which of a job's ``items``, ascending, were cancelled, as far as it was heard.

    One listing a look, and a request for each that is found; by a thread, so that neither an item
    nor its time limit waits for the remote.
    """

    def __init__(self, remote: Remote, run_id: str, items: Sequence[int], seal: Seal) -> None:
        self._remote, self._run_id, self._seal = remote, run_id, seal
        self._items = items
        self._heard: set[int] = set()
        self._looking: Future[None] | None = None
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="cancels")
        self._next_s = 0.0

    def __contains__(self, index: object) -> bool:
        return index in self._heard

    def look(self) -> None:
        """Begin a look, unless one goes on, or the last was a moment ago."""
        if self._looking is not None:
            if not self._looking.done():
                return
            error = self._looking.exception()
            self._looking = None
            # What was not heard now is heard at the next look.
            if error is not None and not isinstance(error, BundlerunError):
                raise error
        if len(self._items) > 1 and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LOOK_S
            self._looking = self._looker.submit(self._listen)

    def close(self) -> None:
        """Look no more."""
        self._looker.shutdown(wait=True)

    def _listen(self) -> None:
        prefix, first, last = cancels_prefix(self._run_id), self._items[0], self._items[-1]
        after = cancel_key(self._run_id, first - 1) if first else ""
        listed = (entry.key for entry in self._remote.list(prefix, after=after))
        for key in list(takewhile(lambda key: key <= cancel_key(self._run_id, last), listed)):
            number = key.removeprefix(prefix)
            if number.isdecimal() and int(number) not in self._heard:
                self._hear(int(number), self._remote.get(key, 0, 1 << 10) or b"")

    def _hear(self, index: int, data: bytes) -> None:
        try:
            self._seal.opened(Sealed.CANCEL, index, data)
        except IntegrityError:
            return
        self._heard.add(index)
