"""Versions of a name: the next number, a version written whole, tags, and removal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.errors import IntegrityError, RemoteError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.condemned import PushLease
from bundlerun.remotes.keys import (
    bundle_key,
    removed_key,
    reuse_key,
    tags_key,
    version_infos,
    version_key,
)
from bundlerun.remotes.records import (
    RECORDS_AT_ONCE,
    PushedBundle,
    TagsRecord,
    VersionRecord,
    create,
    read_record,
    twice,
)
from bundlerun.store.rows import Entry


@dataclass(frozen=True)
class Created:
    """A bundle's record, and its bytes, as it stands on the remote.

    ``created``: surely by this call.
    """

    record: PushedBundle
    data: bytes
    created: bool

    @property
    def digest(self) -> Digest:
        """The digest by which a version names it."""
        return digest_of(self.data)


def settle_bundle(remote: Remote, record: PushedBundle, permit: PushLease) -> Created | None:
    """Write ``b/ID`` unless it is there; the record that stands there.

    The first one wins. None where a sweep may have overlooked it and deleted packs that it needs:
    it is gone again, and must be made again from what ``permit`` says now.
    """
    settled = _put(remote, record)
    if permit.late:
        permit.renew()
    elif settled.created:
        return settled
    there = settled.record
    if not permit.condemned(share.pack.uuid for share in there.shares):
        return settled
    # One that has its number is whole: it was found sound before it got it.
    newest = newest_number(remote, there.bundle.name)
    numbers = range(there.after + 1, newest + 1)
    if _number_of(remote, there.bundle.name, there.bundle.id, numbers) is not None:
        return settled
    remote.delete([bundle_key(there.bundle.id)])
    return None


def settle_version(remote: Remote, uuid: str, settled: Created) -> int:
    """Write ``v/NAME/n`` for a settled bundle at the first free n; that n.

    A taken number that names this bundle is our own write, of which the answer was lost.
    """
    bundle = settled.record.bundle
    n = settled.record.after + 1
    while True:
        version = VersionRecord(uuid, bundle.name, n, bundle.id, settled.digest)
        there = create(remote, version.key, version.to_bytes())
        if there is None or there == version.to_bytes():
            return n
        if _id_at(remote, bundle.name, n) == bundle.id:
            return n
        newest = max(newest_number(remote, bundle.name), n)
        if not settled.created:
            # An earlier attempt may have got a number further up before it died.
            mine = _number_of(remote, bundle.name, bundle.id, range(n + 1, newest + 1))
            if mine is not None:
                return mine
        n = newest + 1


def newest_number(remote: Remote, name: str) -> int:
    """The highest version number of ``name``, removed ones included; 0 without any."""
    return next((found.n for found in version_infos(remote, name)), 0)


def _put(remote: Remote, record: PushedBundle) -> Created:
    data = record.to_bytes()
    key = bundle_key(record.bundle.id)
    there = create(remote, key, data)
    if there is None:
        return Created(record, data, True)

    def settled() -> Created:
        nonlocal there
        found, there = there or read_record(remote, key), None
        if found is None:
            raise IntegrityError(f"{key} at {remote.url} was deleted")
        return Created(PushedBundle.from_bytes(found, record.bundle.id), found, False)

    return twice(settled)


def _id_at(remote: Remote, name: str, n: int) -> str:
    key = version_key(name, n)

    def read() -> str:
        data = read_record(remote, key)
        if data is None:
            raise IntegrityError(f"{key} at {remote.url} can be neither created nor read")
        return VersionRecord.from_bytes(data, name, n).id

    return twice(read)


def _number_of(remote: Remote, name: str, id: str, numbers: range) -> int | None:
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        ids = pool.map(lambda n: _id_at(remote, name, n), numbers)
        return next((n for n, found in zip(numbers, ids, strict=True) if found == id), None)


_TRIES = 100


def send_tags(binding: Binding, id: str) -> None:
    """Write the tags of a version that were set here since it was pushed.

    They go over those that others set meanwhile. No request when there are none. Raises
    RemoteError.
    """
    store, context, remote = binding.store, binding.context, binding.remote
    pending = store.catalog.pending_tags(context, id)
    entry = store.catalog.by_id(context, id)
    if not pending or entry is None or entry.version is None:
        return
    name, n = entry.bundle.name, entry.version
    for _ in range(_TRIES):
        k = _times_tagged(remote, name, n)
        there = {key: v for key, v in entry.bundle.tags.items() if key not in pending}
        if k:
            there = dict(read_tags(remote, name, n, k).tags)
        record = TagsRecord(tags_key(name, n, k + 1), {**there, **pending})
        if remote.put_new(record.key, record.to_bytes()) or _is_there(remote, record):
            store.catalog.tags_sent(context, id, pending)
            return
    raise RemoteError(
        f"others set tags of {version_key(name, n)} at {remote.url} at the same time",
        hint="the same command again",
    )


def read_tags(remote: Remote, name: str, n: int, k: int) -> TagsRecord:
    """The tags of a version after they were set the ``k``-th time.

    Raises IntegrityError.
    """
    key = tags_key(name, n, k)
    return twice(lambda: TagsRecord.from_bytes(read_record(remote, key) or b"", key))


def _is_there(remote: Remote, record: TagsRecord) -> bool:
    """Whether the record on the remote is ``record``.

    Then it is our own write, of which the answer was lost.
    """
    return read_record(remote, record.key) == record.to_bytes()


def give_up(remote: Remote, entry: Entry) -> None:
    """Mark the version on the remote as removed; its work is not found again.

    It is never the latest again, for anybody. Doing it again changes nothing. Its version record
    stays, so the versions have no hole; a clean-up takes the rest. Nothing for what is not a
    version there. The store learns it by ``catalog.mark_removed``.
    """
    if entry.version is None:
        return
    create(remote, removed_key(entry.bundle.name, entry.version), b"")
    lineage = entry.bundle.lineage
    keys = [key for key in (lineage.task, lineage.request) if key is not None]
    if keys:
        remote.delete([reuse_key(key.digest, entry.bundle.id) for key in keys])


def _times_tagged(remote: Remote, name: str, n: int) -> int:
    prefix = f"{version_key(name, n)}+t"
    numbers = [entry.key.removeprefix(prefix) for entry in remote.list(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
