"""Sweep phase of a remote: condemn dead packs, delete them two windows later.

Times are the remote's own: the ages of its keys against its own clock. What is deleted: packs of a
list that has stood for two windows and that no record uses; bundle records that were given up so
long ago, and their reuse look-ups; runs, and writes that broke off, older than the grace period.
Version records stay, so the numbers have no hole. Safe during pushes (see condemned.py), during
other clean-ups, and when it dies at any step: what it did not get to is found by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bundlerun.errors import RemoteError
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.condemned import CondemnedRecord, epochs_in, read_list
from bundlerun.remotes.gc.mark import Inventory, in_parallel, take_inventory
from bundlerun.remotes.identity import check_remote, identity_of
from bundlerun.remotes.keys import CallPacks
from bundlerun.settings import GRACE_S
from bundlerun.store.reports import GcReport, MostlyDead, Reclaimed

KEPT_LISTS = 100
"""The lists of condemned packs that stay once all of their packs are gone.

A push that did not look at the remote while the others went builds on nothing that it knows from
before.
"""

UNFINISHED_S = 86_400.0
"""A write that broke off is left alone for so long, whatever the grace period."""

UNENDED_S = 30 * 86_400.0
"""The age to which the plan of a run without a result stays.

It holds whatever the grace period.
"""

MOSTLY = 0.5
"""A pack with a smaller live share than this is reported as mostly dead."""

_TRIES = 10


def collect(
    remote: Remote,
    uuid: str,
    *,
    grace_s: float = GRACE_S,
    delete: bool = False,
    progress: Progress = SILENT,
) -> GcReport:
    """Clean the remote ``uuid`` up; without ``delete`` only say what would be done.

    Raises RemoteChanged where another remote answers, IntegrityError for a record that cannot be
    read (then nothing is deleted), RemoteErrors.
    """
    # The time first: every age comes out too young rather than too old.
    now_s = remote.now_s()
    listed = check_remote(remote, uuid)
    window_s = identity_of(remote, uuid).window_s
    lists = _lists(remote, uuid, listed)
    bar = progress.start("looking at the remote", None, "records")
    picture = take_inventory(remote)
    progress.finish(bar)
    sweep = _Sweep(remote, uuid, picture, now_s, window_s)
    # Records before the packs that they name: a clean-up that dies leaves packs too many.
    sweep.records()
    # Before packs: those that a kept call names are used.
    sweep.runs(grace_s)
    sweep.packs(listed, lists)
    sweep.litter(grace_s)
    dead = sweep.dead(lists, grace_s)
    if delete:
        sweep.delete()
        _condemn(remote, uuid, dead)
    return GcReport(
        swept=tuple(sweep.found),
        deleted=delete,
        condemned=_swept("packs", [picture.packs[pack] for pack in dead]) if dead else None,
        waiting=sweep.waiting,
        wait_s=2 * window_s,
        mostly_dead=_mostly_dead(picture),
    )


class _Sweep:
    """One sweep: the choice of what to delete, kind by kind, and then its deletion."""

    def __init__(
        self, remote: Remote, uuid: str, picture: Inventory, now_s: float, window_s: float
    ) -> None:
        self._remote = remote
        self._uuid = uuid
        self._picture = picture
        self._now_s = now_s
        self._overlooked_s = 2 * window_s
        self._keys: list[str] = []
        self._litter: Sequence[KeyInfo] = []
        self._old_lists: list[str] = []
        self._calls = CallPacks()
        self.found: list[Reclaimed] = []
        self.waiting: Reclaimed | None = None

    def packs(self, listed: Sequence[KeyInfo], lists: Mapping[int, CondemnedRecord]) -> None:
        """Take the unused packs of lists that are due, and old, empty lists."""
        since_s = {entry.key: entry.modified_s for entry in listed}
        due: dict[str, KeyInfo] = {}
        early: dict[str, KeyInfo] = {}
        for record in lists.values():
            is_due = self._age_s(since_s[record.key]) > self._overlooked_s
            for pack in record.packs:
                entry = self._picture.packs.get(pack)
                if entry is not None and pack not in self._picture.live:
                    (due if is_due else early)[pack] = entry
        self._take("packs", due.values())
        early = {pack: entry for pack, entry in early.items() if pack not in due}
        self.waiting = _swept("packs", early.values()) if early else None
        for epoch in sorted(lists)[:-KEPT_LISTS]:
            # From the oldest on, so that those which are there have no hole.
            if not self._picture.packs.keys().isdisjoint(lists[epoch].packs):
                break
            self._old_lists.append(lists[epoch].key)

    def records(self) -> None:
        """Bundle records that were given up, and the reuse look-ups that lead to none."""
        picture = self._picture
        gone = [
            id
            for id, since_s in picture.given_up.items()
            if self._age_s(since_s) > self._overlooked_s
        ]
        kept = picture.records.keys() - picture.given_up.keys()
        dead = [entry for entry in picture.reuse if entry.key.rpartition("/")[2] not in kept]
        # Before the records, so that none leads to nothing.
        self._take("reuse look-ups", dead)
        self._take("bundle records", [picture.records[id] for id in gone])

    def runs(self, grace_s: float) -> None:
        """The folders of runs to which nothing was added for the grace period.

        Where there is no result yet, for UNENDED_S at least, since the job may wait in its queue.
        A call has its result once it is settled, whatever its items have left before.
        """
        old: list[KeyInfo] = []
        kept: list[KeyInfo] = []
        for entries in self._picture.runs.values():
            if not self._is_kept(entries, grace_s):
                old += entries
            else:
                kept += entries
        self._take("files of runs", old)
        self._calls = CallPacks.of(entry for entry in kept if entry.key.startswith("runs/"))
        for uuid in self._calls.named & self._picture.packs.keys():
            self._picture.live[uuid] = self._picture.packs[uuid].size

    def _is_kept(self, entries: Sequence[KeyInfo], grace_s: float) -> bool:
        has_ended = any(entry.key.split("/")[-1].startswith("result.") for entry in entries)
        keep_s = grace_s if has_ended else max(grace_s, UNENDED_S)
        return any(self._age_s(entry.modified_s) <= keep_s for entry in entries)

    def litter(self, grace_s: float) -> None:
        """Take writes that broke off."""
        self._litter = self._remote.litter(max(grace_s, UNFINISHED_S))
        if self._litter:
            self.found.append(_swept("broken writes", self._litter))

    def dead(self, lists: Mapping[int, CondemnedRecord], grace_s: float) -> list[str]:
        """The unused packs older than the grace period that are on no list.

        They are older than the oldest call that is kept, too.
        """
        on_lists = {pack for record in lists.values() for pack in record.packs}
        return [
            pack
            for pack, entry in self._picture.packs.items()
            if pack not in self._picture.live
            and pack not in on_lists
            and self._age_s(entry.modified_s) > grace_s
            and not self._calls.has(entry)
        ]

    def delete(self) -> None:
        """Delete what was taken."""
        if self._keys:
            self._remote.delete(self._keys)
        if self._old_lists:
            # One at a time, the oldest first: who looks meanwhile sees no hole.
            for key in self._old_lists:
                self._remote.delete([key])
        self._remote.discard(self._litter)

    def _take(self, kind: str, entries: Iterable[KeyInfo]) -> None:
        taken = list(entries)
        if taken:
            self._keys += [entry.key for entry in taken]
            self.found.append(_swept(kind, taken))

    def _age_s(self, modified_s: float) -> float:
        return self._now_s - modified_s


def _lists(remote: Remote, uuid: str, listed: Sequence[KeyInfo]) -> dict[int, CondemnedRecord]:
    epochs = sorted(epochs_in(listed))
    found = in_parallel(lambda epoch: read_list(remote, uuid, epoch), epochs)
    # One that is not there any more another clean-up took, as old and empty.
    return {record.epoch: record for record in found if record is not None}


def _condemn(remote: Remote, uuid: str, packs: Sequence[str]) -> None:
    """Write the list of ``packs`` as the next one, while others may write one too."""
    if not packs:
        return
    for _ in range(_TRIES):
        newest = max(epochs_in(remote.list("meta/")), default=0)
        record = CondemnedRecord(uuid, newest + 1, tuple(packs))
        if remote.put_new(record.key, record.to_bytes()):
            return
    raise RemoteError(
        f"other clean-ups of {remote.url} run at the same time", hint="the same command again"
    )


def _mostly_dead(picture: Inventory) -> tuple[MostlyDead, ...]:
    found = [
        MostlyDead(pack, entry.size, picture.live[pack])
        for pack, entry in picture.packs.items()
        if pack in picture.live and picture.live[pack] < MOSTLY * entry.size
    ]
    return tuple(sorted(found, key=lambda each: each.live - each.size))


def _swept(kind: str, entries: Iterable[KeyInfo]) -> Reclaimed:
    sizes = [entry.size for entry in entries]
    return Reclaimed(kind, len(sizes), sum(sizes))
