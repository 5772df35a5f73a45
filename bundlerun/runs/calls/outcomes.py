"""Outcomes of a part's job: on their way to the remote, and those that lie there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from bundlerun.errors import IntegrityError
from bundlerun.futures.item_packs import PACK_BYTES, entries_of, packed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.runs.keys import Written, outcomes_prefix

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote

FIRST_FLUSH_S = 1.0
"""Seconds from the end of a job's first item until its outcome is on its way.

Each further object is written after twice the time of the one before.
"""

FLUSH_S = 30.0
"""The most seconds from an item's end until its outcome is on its way."""

_ENTRY_BYTES = 8 + 32
"""What an entry takes in a pack besides the outcome: where it ends, and its seal."""


@dataclass(frozen=True)
class _Entry:
    index: int
    failed: bool
    data: bytes


class Outcomes:
    """What one attempt of a part's job has to tell, in the order of its items' ends.

    One object at the end, and more where that takes long (soon at first, so that somebody who waits
    sees that it goes well, and then ever more rarely) or has more than ``PACK_BYTES``; written by a
    thread, so that no item waits for it. A write that failed is done again with the next one:
    an hour's work does not end for a remote that is silent for a while.
    """

    def __init__(
        self,
        remote: Remote,
        run_id: str,
        part: int,
        attempt: int,
        seal: Seal,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote, self._run_id, self._seal = remote, run_id, seal
        self._part, self._attempt = part, attempt
        self._waiting: list[_Entry] = []
        self._bytes = 0
        self._now, self._since_s, self._pause_s = now, 0.0, FIRST_FLUSH_S
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="outcomes")
        self._writing: list[tuple[list[_Entry], Future[None]]] = []

    def add(self, outcome: Outcome) -> None:
        """Take one more."""
        data = self._seal.sealed(Sealed.OUTCOME, outcome.index, outcome.to_bytes())
        size = len(data) + _ENTRY_BYTES
        if self._bytes + size > PACK_BYTES:
            self.flush()
        if not self._waiting:
            self._since_s = self._now()
        self._waiting.append(_Entry(outcome.index, not outcome.ok, data))
        self._bytes += size
        self.flush_if_late()

    def flush_if_late(self) -> None:
        """Begin to write what has waited long enough."""
        if self._waiting and self._now() - self._since_s >= self._pause_s:
            self._pause_s = min(2 * self._pause_s, FLUSH_S)
            self.flush()

    def flush(self) -> None:
        """Begin to write what was added, and what could not be written before."""
        again = [entries for entries, each in self._writing if each.done() and each.exception()]
        self._writing = [(entries, each) for entries, each in self._writing if not each.done()]
        for entries in (*again, *_consecutive(self._waiting)):
            self._writing.append((entries, self._writer.submit(self._write, entries)))
        self._waiting, self._bytes = [], 0

    def drain(self) -> None:
        """Wait for what is being written."""
        wait([each for _, each in self._writing])

    def close(self) -> None:
        """Write all that was added; it is on the remote then.

        Raises what the remote raises.
        """
        self.flush()
        self.drain()
        self.flush()
        self._writer.shutdown(wait=True)
        for _, each in self._writing:
            each.result()

    def _write(self, entries: Sequence[_Entry]) -> None:
        failed = sum(entry.failed for entry in entries)
        written = Written(entries[0].index, self._attempt, self._part, len(entries), failed)
        self._remote.put(written.key(self._run_id), packed([entry.data for entry in entries]))


def final_ones(
    remote: Remote, run_id: str, part: int, items: Sequence[int], seal: Seal
) -> set[int]:
    """Those of ``items``, ascending, of which a part's job has told a final outcome.

    The seal is looked at, not what the keys say. One listing, and a request an object.
    """
    found: set[int] = set()
    for written in _told(remote, run_id, items):
        if written.part == part:
            data = remote.get(written.key(run_id), 0, PACK_BYTES + 1) or b""
            found |= set(_final(data, written, seal))
    return found.intersection(items)


def _told(remote: Remote, run_id: str, items: Sequence[int]) -> list[Written]:
    """What the keys of outcomes say that begin among ``items``."""
    prefix = outcomes_prefix(run_id)
    listed = remote.list(prefix, after=f"{prefix}{items[0]:09}")
    keys = takewhile(lambda key: key < f"{prefix}{items[-1] + 1:09}", (e.key for e in listed))
    return [written for key in keys if (written := Written.of(key)) is not None]


def _final(data: bytes, written: Written, seal: Seal) -> Iterator[int]:
    """The items that an object tells the end of; what is damaged tells nothing."""
    try:
        entries = entries_of(data)
    except IntegrityError:
        return
    for index, entry in enumerate(entries, written.first):
        try:
            outcome = Outcome.from_bytes(seal.opened(Sealed.OUTCOME, index, entry))
        except IntegrityError:
            continue
        if outcome.index == index and outcome.is_final:
            yield index


def _consecutive(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """``entries`` in pieces of which the items follow each other."""
    piece: list[_Entry] = []
    for entry in entries:
        if piece and entry.index != piece[-1].index + 1:
            yield piece
            piece = []
        piece.append(entry)
    if piece:
        yield piece
