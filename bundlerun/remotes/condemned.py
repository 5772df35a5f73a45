"""Condemned packs: a clean-up may delete them, and no push may build on them.

A collector first names dead packs in a list ``meta/condemned-E``, and deletes those that are still
dead two windows after the list stands there (see gc/sweep.py). A push that writes a bundle's record

- has read every list that ``meta/`` showed, and builds on no pack that one of them names;
- writes it at most ``window_s`` after that look at ``meta/``, or looks again;
- where it came to stand later than two windows after the look all the same (a machine that slept,
  an answer that hung), looks again before a version names it.

So a record that uses a condemned pack is there before the collector looks for what is used. A pack
that was condemned once is never built upon again, also where it turned out to be used and stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.record import FORMAT
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.identity import check_remote, identity_of
from bundlerun.remotes.records import (
    RECORDS_AT_ONCE,
    checked_uuid,
    parsed,
    read_record,
    reading,
    twice,
)
from bundlerun.store.remote_cache import Known

CONDEMNED = "meta/condemned-"


@dataclass(frozen=True)
class CondemnedRecord:
    """``meta/condemned-E``: packs of the remote ``remote`` that may be deleted."""

    remote: str
    epoch: int
    packs: tuple[str, ...]

    @property
    def key(self) -> str:
        """The key of the list."""
        return f"{CONDEMNED}{self.epoch:010}"

    def to_bytes(self) -> bytes:
        """The record as canonical JSON, with a digest of the packs."""
        packs = sorted(self.packs)
        return canonical_json(
            {
                "format": FORMAT,
                "remote": self.remote,
                "epoch": self.epoch,
                "packs": packs,
                "digest": digest_of(canonical_json(packs)),
            }
        )

    @staticmethod
    def from_bytes(data: bytes, remote: str, epoch: int) -> CondemnedRecord:
        """The inverse of ``to_bytes``.

        Raises IntegrityError when it is not that list.
        """
        with reading(f"{CONDEMNED}{epoch:010}"):
            packs = tuple(checked_uuid(pack) for pack in parsed(data).items("packs"))
            record = CondemnedRecord(remote, epoch, packs)
            if record.to_bytes() != data:
                raise IntegrityError("the list belongs to another remote, or its bytes changed")
        return record


class Memory(Protocol):
    """The memory of a remote's lists of condemned packs."""

    def epochs(self) -> set[int]:
        """The lists that were read."""

    def condemn(self, epoch: int, packs: Iterable[str]) -> None:
        """The list ``epoch`` was read."""

    def distrust_before(self, before: int) -> None:
        """Lists older than ``before`` are gone unread."""

    def condemned(self, packs: Iterable[str]) -> set[str]:
        """The packs among ``packs`` on which nothing may be built."""


class StoreMemory:
    """The Memory of a store."""

    def __init__(self, known: Known, uuid: str) -> None:
        self._known = known
        self._uuid = uuid

    def epochs(self) -> set[int]:
        """See Memory."""
        return self._known.epochs(self._uuid)

    def condemn(self, epoch: int, packs: Iterable[str]) -> None:
        """See Memory."""
        self._known.condemn(self._uuid, epoch, packs)

    def distrust_before(self, before: int) -> None:
        """See Memory."""
        self._known.distrust_before(self._uuid, before)

    def condemned(self, packs: Iterable[str]) -> set[str]:
        """See Memory."""
        return self._known.condemned(self._uuid, packs)


class ShortMemory:
    """The Memory of one call, which trusts only the packs that are there now.

    Of a list that is gone every pack is gone too.
    """

    def __init__(self) -> None:
        self._epochs: set[int] = set()
        self._packs: set[str] = set()

    def epochs(self) -> set[int]:
        """See Memory."""
        return self._epochs

    def condemn(self, epoch: int, packs: Iterable[str]) -> None:
        """See Memory."""
        self._epochs.add(epoch)
        self._packs.update(packs)

    def distrust_before(self, before: int) -> None:
        """See Memory."""
        self._epochs.update(range(before))

    def condemned(self, packs: Iterable[str]) -> set[str]:
        """See Memory."""
        return self._packs.intersection(packs)


class PushLease:
    """Leave to build on the packs of the remote ``uuid``.

    Good for ``window_s`` after a look at ``meta/``; there is none before the first ``renew``.
    """

    def __init__(self, remote: Remote, uuid: str, memory: Memory, window_s: float) -> None:
        self.uuid = uuid
        self._remote = remote
        self._memory = memory
        self._window_s = window_s
        self._since: tuple[float, ...] = ()

    def renew(self) -> None:
        """List ``meta/`` again and read the lists of condemned packs that are new.

        One request, and one a new list. Raises as ``check_remote``; IntegrityError for a damaged
        list.
        """
        # Before the request: what it did not see may have come right after.
        since = clocks()
        read_condemned(self._remote, self.uuid, self._memory, check_remote(self._remote, self.uuid))
        self._since = since

    @property
    def expired(self) -> bool:
        """Whether ``meta/`` must be listed again before a record is written."""
        return self._age_s() > self._window_s

    @property
    def late(self) -> bool:
        """Whether a record that is there now may have been overlooked by a sweep."""
        return self._age_s() > 2 * self._window_s

    def condemned(self, packs: Iterable[str]) -> set[str]:
        """The packs among ``packs`` on which nothing may be built."""
        return self._memory.condemned(packs)

    def _age_s(self) -> float:
        now = clocks()
        return max((b - a for a, b in zip(self._since, now, strict=True)), default=0.0)


def lease_of(remote: Remote, uuid: str, known: Known) -> PushLease:
    """A renewed lease, remembered in the store.

    One request once a list was read, and one more the first time.
    """
    window_s = known.window_s(uuid)
    permit = PushLease(remote, uuid, StoreMemory(known, uuid), window_s or 0.0)
    permit.renew()
    if window_s is None:
        permit._window_s = identity_of(remote, uuid).window_s
        known.note_window(uuid, permit._window_s)
    return permit


def read_condemned(remote: Remote, uuid: str, memory: Memory, listed: Sequence[KeyInfo]) -> None:
    """Read the new lists of condemned packs into ``memory``.

    ``listed`` are the keys of ``meta/``.
    """
    present = epochs_in(listed)
    read = memory.epochs()
    if present and not read.issuperset(range(1, min(present))):
        memory.distrust_before(min(present))
    new = sorted(present - read)
    if not new:
        return
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        found = list(pool.map(lambda epoch: read_list(remote, uuid, epoch), new))
    for epoch, record in zip(new, found, strict=True):
        if record is None:
            memory.distrust_before(epoch + 1)
        else:
            memory.condemn(epoch, record.packs)


def epochs_in(listed: Iterable[KeyInfo]) -> set[int]:
    """The epochs of the lists among the keys of ``meta/``."""
    texts = (e.key.removeprefix(CONDEMNED) for e in listed if e.key.startswith(CONDEMNED))
    # Others than these are of no known form.
    return {int(text) for text in texts if len(text) == 10 and text.isdecimal() and int(text)}


def read_list(remote: Remote, uuid: str, epoch: int) -> CondemnedRecord | None:
    """A list of condemned packs, None when there is none.

    Raises IntegrityError.
    """

    def read() -> CondemnedRecord | None:
        data = read_record(remote, CondemnedRecord(uuid, epoch, ()).key)
        return None if data is None else CondemnedRecord.from_bytes(data, uuid, epoch)

    return twice(read)


def clocks() -> tuple[float, ...]:
    """Seconds by two clocks, of which the one that advanced most is right.

    One counts the time that a machine slept, the other what a stopped virtual machine missed.
    """
    asleep_too = getattr(time, "CLOCK_BOOTTIME", None)
    steady = time.monotonic() if asleep_too is None else time.clock_gettime(asleep_too)
    return steady, time.time()
