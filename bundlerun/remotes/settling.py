"""Writing a version so that it is there whole or not at all, whoever else writes and whatever
answer is lost: the bundle's record first, then its place among the versions of its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.condemning import Permit
from bundlerun.remotes.records import (
    RECORDS_AT_ONCE,
    BundleRecord,
    VersionRecord,
    bundle_key,
    create,
    read_record,
    standings,
    twice,
    version_key,
)


@dataclass(frozen=True)
class Settled:
    """A bundle's record as it stands on the remote; ``created``: surely by this call."""

    record: BundleRecord
    digest: Digest
    created: bool


def settle_bundle(remote: Remote, record: BundleRecord, permit: Permit) -> Settled | None:
    """Write ``b/ID`` unless it is there. The first one wins: what stands there is returned.

    None where a sweep may have overlooked it and deleted packs that it needs: it is gone again,
    and is to be made anew upon what ``permit`` says now.
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


def settle_version(remote: Remote, uuid: str, settled: Settled) -> int:
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
    """The highest version number of ``name``, removed ones included; 0 when there is none."""
    return next((found.n for found in standings(remote, name)), 0)


def _put(remote: Remote, record: BundleRecord) -> Settled:
    data = record.to_bytes()
    key = bundle_key(record.bundle.id)
    there = create(remote, key, data)
    if there is None:
        return Settled(record, digest_of(data), True)

    def settled() -> Settled:
        nonlocal there
        found, there = there or read_record(remote, key), None
        if found is None:
            raise IntegrityError(f"{key} at {remote.url} was there and is gone")
        return Settled(BundleRecord.from_bytes(found, record.bundle.id), digest_of(found), False)

    return twice(settled)


def _id_at(remote: Remote, name: str, n: int) -> str:
    key = version_key(name, n)

    def read() -> str:
        data = read_record(remote, key)
        if data is None:
            raise IntegrityError(f"{key} at {remote.url} is taken and is not there")
        return VersionRecord.from_bytes(data, name, n).id

    return twice(read)


def _number_of(remote: Remote, name: str, id: str, numbers: range) -> int | None:
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        ids = pool.map(lambda n: _id_at(remote, name, n), numbers)
        return next((n for n, found in zip(numbers, ids, strict=True) if found == id), None)
