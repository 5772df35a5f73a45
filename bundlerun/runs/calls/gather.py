"""The outcomes of a call on the remote: listed, fetched and opened once."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from bundlerun.errors import IntegrityError
from bundlerun.futures.item_packs import PACK_BYTES, entries_of
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import TAG_BYTES, Seal, Sealed
from bundlerun.runs.keys import Written, gathered_key, outcomes_prefix

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote

READERS = 16
"""Objects that are fetched at a time."""


class Open(Protocol):
    """The items whose outcome is still wanted."""

    def __contains__(self, index: object, /) -> bool: ...

    def first(self) -> int | None:
        """The lowest of them; None: there are none."""


class Gathering:
    """What is known of the outcomes of one run of ``items`` items, in one process.

    ``damaged`` says of items what is wrong with their bytes on the remote: none of those are
    opened. ``is_whole``: they were found put together, by who settled the run. ``seal`` None:
    nothing proves who wrote what is found. Outcomes are kept in a file, for who settles the run.
    """

    def __init__(self, run_id: str, items: int, seal: Seal | None) -> None:
        self.damaged: dict[int, IntegrityError] = {}
        self.is_whole = False
        self.kept = Kept(items)
        self._run_id = run_id
        self._items = items
        self._seal = seal
        self._read: set[str] = set()

    def new(self, remote: Remote, open: Open, chunk: int = 1) -> Iterator[Outcome]:
        """The outcomes on ``remote`` of ``open`` items that were not read before.

        One request a 1,000 keys from the first open item on, and one an object. ``chunk`` is how
        many items a job has, the most: an object may begin with one that is not open any more.
        """
        first = open.first()
        if first is None:
            return
        prefix = outcomes_prefix(self._run_id)
        found = remote.list(prefix, after=f"{prefix}{max(first - chunk + 1, 0):09}")
        keys = [entry.key for entry in found if entry.key not in self._read]
        for key, data in fetched(remote, keys):
            written = Written.of(key)
            if written is not None and data is not None:
                yield from self._opened(data, written.first, f"{key} at {remote.url}")
                # Last: of what was broken off in the middle the rest is still to be told.
                self._read.add(key)

    def gathered(self, remote: Remote) -> Iterator[Outcome]:
        """All outcomes, as the process that settled the run put them together.

        None where nobody has, or some of them are gone. One request for each object, and one more
        where there is none.
        """
        packs: list[tuple[int, bytes]] = []
        first = 0
        while first < self._items:
            data = remote.get(gathered_key(self._run_id, len(packs)), 0, PACK_BYTES + 1)
            try:
                count = len(entries_of(data or b""))
            except IntegrityError:
                return
            packs.append((first, data or b""))
            first += count
        if first == self._items:
            self.is_whole = True
            for number, (at, data) in enumerate(packs):
                where = f"{gathered_key(self._run_id, number)} at {remote.url}"
                yield from self._opened(data, at, where)

    def keep(self, outcome: Outcome) -> None:
        """Keep an outcome that no job wrote; without the key for this process alone."""
        data = outcome.to_bytes()
        if self._seal is None:
            data = bytes(TAG_BYTES) + data
        else:
            data = self._seal.sealed(Sealed.OUTCOME, outcome.index, data)
        self.kept.put(outcome.index, outcome.attempt, data)

    def opened(self, index: int, sealed: bytes) -> Outcome:
        """The outcome of an item.

        Raises IntegrityError where the run did not write it.
        """
        data = (
            sealed[TAG_BYTES:]
            if self._seal is None
            else self._seal.opened(Sealed.OUTCOME, index, sealed)
        )
        outcome = Outcome.from_bytes(data)
        if outcome.index != index:
            raise IntegrityError(f"it is the outcome of item {outcome.index}, not of {index}")
        return outcome

    def opened_all(self, data: bytes, first: int) -> Iterator[Outcome]:
        """The outcomes in an object that begins with item ``first``.

        What the run did not write is left out.
        """
        return self._opened(data, first, "")

    def _opened(self, data: bytes, first: int, where: str) -> Iterator[Outcome]:
        try:
            entries = entries_of(data)
        except IntegrityError as error:
            if 0 <= first < self._items:
                self.damaged[first] = _at(where, error)
            return
        for index, sealed in enumerate(entries, first):
            if index >= self._items:
                return
            try:
                outcome = self.opened(index, sealed)
            except IntegrityError as error:
                self.damaged[index] = _at(where, error)
                continue
            self.damaged.pop(index, None)
            self.kept.put(index, outcome.attempt, sealed)
            yield outcome


class Kept:
    """Sealed outcomes by item, in a file without a name.

    Memory holds their places alone. Of one process: after a fork it is empty, and what is missing
    is read again.
    """

    def __init__(self, items: int) -> None:
        self._items = items
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._file = tempfile.TemporaryFile(prefix="bundlerun-")  # noqa: SIM115
        self._at = array("q", [-1]) * self._items
        self._sizes = array("q", [0]) * self._items
        self._attempts = array("q", [0]) * self._items
        self._end = 0

    def put(self, index: int, attempt: int, data: bytes) -> None:
        """Keep ``data`` of the item, unless what is kept is of a later attempt."""
        if os.getpid() != self._process:
            self._begin()
        if attempt < self._attempts[index]:
            return
        self._attempts[index] = attempt
        os.pwrite(self._file.fileno(), data, self._end)
        self._at[index], self._sizes[index] = self._end, len(data)
        self._end += len(data)

    def get(self, index: int) -> bytes | None:
        """What is kept of the item, None: nothing."""
        if os.getpid() != self._process or self._at[index] < 0:
            return None
        return os.pread(self._file.fileno(), self._sizes[index], self._at[index])

    def missing(self) -> Sequence[int]:
        """The items of which nothing is kept."""
        if os.getpid() != self._process:
            return range(self._items)
        return [index for index, at in enumerate(self._at) if at < 0]


class All:
    """Every item is open: who reads the outcomes of a run anew."""

    def __contains__(self, index: object, /) -> bool:
        return True

    def first(self) -> int | None:
        """The first item."""
        return 0


def fetched(remote: Remote, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
    """Each key with its bytes, READERS at a time and in their order; None: it is gone."""
    running: deque[tuple[str, Future[bytes | None]]] = deque()
    with ThreadPoolExecutor(READERS, thread_name_prefix="results") as pool:
        try:
            for key in keys:
                if len(running) >= READERS:
                    done, future = running.popleft()
                    yield done, future.result()
                # No more than a pack can have: the remote may hold anything.
                running.append((key, pool.submit(remote.get, key, 0, PACK_BYTES + 1)))
            while running:
                done, future = running.popleft()
                yield done, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _at(where: str, error: IntegrityError) -> IntegrityError:
    return IntegrityError(f"{where}: {error.message}", hint=error.hint)
