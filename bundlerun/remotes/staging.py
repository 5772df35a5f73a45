"""Staging for jobs that may not write the remote: a folder laid over it.

The job writes the folder; what it left there is verified and published.
"""

from __future__ import annotations

import heapq
import os
import uuid as uuids
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory

from bundlerun.bundles.digest import checked_digest
from bundlerun.bundles.packs import damaged_member, members_of
from bundlerun.bundles.record import checked_id
from bundlerun.errors import AccessDenied, IntegrityError, RemoteChanged, RemoteError
from bundlerun.remotes.base import KeyInfo, Part, Remote, Upload
from bundlerun.remotes.condemned import PushLease, ShortMemory
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.identity import check_uuid, found_identity
from bundlerun.remotes.keys import bundle_key, pack_key, reuse_key, version_infos, version_key
from bundlerun.remotes.records import PushedBundle, VersionRecord, read_record
from bundlerun.remotes.versions import Created, settle_bundle, settle_version
from bundlerun.store.remote_cache import PackInfo, Share

_COPIES_AT_ONCE = 4
_TRIES = 10


def publish(remote: Remote, staging: FileRemote) -> list[str]:
    """Publish what a container pushed to ``staging``; the versions' ids, in order.

    Packs go to ``remote`` first, then bundle records, then versions, each at the number that is
    free now. Nothing unverified is written: every record is parsed, every member of every pack
    hashed, and every pack that a record names must be in one of the two; before that no record is
    written. Doing it again after it broke off goes on. Raises IntegrityError for a staging folder
    that is not what it says, RemoteChanged, and RemoteErrors.
    """
    identity = found_identity(remote)
    if identity is None:
        raise RemoteChanged(
            f"there is no bundlerun remote at {remote.url} any more",
            hint=f"bundlerun remote CONTEXT {remote.url} --rebind",
        )
    records = _records(staging)
    versions = _versions(staging, identity.uuid, records)
    packs = {s.pack.uuid: s.pack for record in records.values() for s in record.shares}
    permit = PushLease(remote, identity.uuid, ShortMemory(), identity.window_s)
    permit.renew()
    with TemporaryDirectory(prefix="publish-", dir=staging.root.parent) as name:
        folder = Path(name)
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            list(pool.map(lambda pack: _bring(remote, staging, pack, folder), packs.values()))
        copies = _Copies(remote, permit, folder)
        settled = {id: copies.settled(record) for id, record in records.items()}
    for version in versions:
        settle_version(remote, identity.uuid, settled[version.id])
        _write_reuse(remote, settled[version.id])
    return [version.id for version in versions]


def publish_packs(remote: Remote, staging: FileRemote, packs: Iterable[PackInfo]) -> None:
    """Bring packs in ``staging`` that no record of a bundle names.

    Each is verified first; one that is not staged must be on ``remote``. Raises as ``publish``.
    """
    with TemporaryDirectory(prefix="publish-", dir=staging.root.parent) as name:
        for pack in packs:
            _bring(remote, staging, pack, Path(name))


class _Copies:
    """Records whose packs were condemned since the container built on them.

    Such a pack is copied to a new key, and the record names that one.
    """

    def __init__(self, remote: Remote, permit: PushLease, folder: Path) -> None:
        self._remote = remote
        self._permit = permit
        self._folder = folder
        self._moved: dict[str, PackInfo] = {}

    def settled(self, record: PushedBundle) -> Created:
        """The record as it stands on the remote then.

        Raises IntegrityError where a pack is gone by now, RemoteError.
        """
        for _ in range(_TRIES):
            if self._permit.expired:
                self._permit.renew()
            record = replace(record, shares=tuple(map(self._sound, record.shares)))
            if not self._permit.expired:
                settled = settle_bundle(self._remote, record, self._permit)
                if settled is not None:
                    return settled
        raise RemoteError(
            f"{self._remote.url} answers too slowly, or clean-ups follow each other: "
            f"{bundle_key(record.bundle.id)} was not written in time",
            hint="bundlerun pull",
        )

    def _sound(self, share: Share) -> Share:
        pack = share.pack
        while self._permit.condemned([pack.uuid]):
            if pack.uuid not in self._moved:
                copy = _verified(self._remote, pack, self._folder)
                moved = replace(pack, uuid=str(uuids.uuid4()))
                self._remote.put_file(pack_key(moved.uuid), copy)
                copy.unlink()
                self._moved[pack.uuid] = moved
            pack = self._moved[pack.uuid]
        return replace(share, pack=pack)


def _records(staging: FileRemote) -> dict[str, PushedBundle]:
    records = {}
    for entry in staging.list("b/"):
        id = checked_id(entry.key.removeprefix("b/"))
        data = read_record(staging, bundle_key(id))
        records[id] = PushedBundle.from_bytes(data or b"", id)
    return records


def _versions(
    staging: FileRemote, uuid: str, records: Mapping[str, PushedBundle]
) -> list[VersionRecord]:
    versions = []
    for standing in version_infos(staging):
        data = read_record(staging, version_key(standing.name, standing.n))
        version = VersionRecord.from_bytes(data or b"", standing.name, standing.n)
        check_uuid(staging, version.remote, uuid)
        record = records.get(version.id)
        if record is None or record.bundle.name != version.name:
            raise IntegrityError(
                f"{version.key} at {staging.url} names a bundle that was not pushed"
            )
        versions.append(version)
    return _in_order(versions, records)


def _in_order(
    versions: Iterable[VersionRecord], records: Mapping[str, PushedBundle]
) -> list[VersionRecord]:
    """Ancestors before their descendants, and those of one name by number.

    Raises IntegrityError where one is its own ancestor.
    """
    by_id = {version.id: version for version in sorted(versions, key=lambda version: version.id)}
    before = {
        id: [p.id for p in records[id].bundle.lineage.parents if p.id in by_id] for id in by_id
    }
    older: dict[str, str] = {}
    for version in sorted(by_id.values(), key=lambda version: version.n):
        if version.name in older:
            before[version.id].append(older[version.name])
        older[version.name] = version.id
    try:
        return [by_id[id] for id in TopologicalSorter(before).static_order()]
    except CycleError as error:
        raise IntegrityError(
            f"the lineage names {error.args[1][0]} as an ancestor of itself"
        ) from error


def _bring(remote: Remote, staging: FileRemote, pack: PackInfo, folder: Path) -> None:
    """Copy a staged pack once it is verified.

    One that is not staged the remote must have. Raises IntegrityError.
    """
    key = pack_key(pack.uuid)
    if staging.get(key, 0, 0) is None:
        if len(remote.get(key, pack.size - 1, 2) or b"") != 1:
            raise IntegrityError(
                f"pack {pack.uuid} is neither in {staging.url} nor at {remote.url}"
            )
        return
    # A copy of our own: the owner of the folder could change a pack once it is hashed.
    copy = _verified(staging, pack, folder)
    remote.put_file(key, copy)
    copy.unlink()


def _verified(staging: Remote, pack: PackInfo, folder: Path) -> Path:
    """A copy on this disk of a pack, every member of which has its digest."""
    copy = folder / pack.uuid
    if not staging.get_file(pack_key(pack.uuid), copy, pack.size + 1):
        raise IntegrityError(f"pack {pack.uuid} is not at {staging.url} any more")
    if copy.stat().st_size != pack.size:
        raise IntegrityError(f"pack {pack.uuid} in {staging.url} does not have {pack.size} bytes")
    with copy.open("rb") as file:
        file.seek(pack.size - pack.index_length)
        members = members_of(pack, file.read())
        file.seek(0)
        damaged = damaged_member(file, members)
    if damaged is not None:
        raise IntegrityError(
            f"pack {pack.uuid} in {staging.url} has other bytes for {damaged.digest}"
        )
    return copy


def _write_reuse(remote: Remote, settled: Created) -> None:
    lineage = settled.record.bundle.lineage
    for key in filter(None, (lineage.task, lineage.request)):
        digest = checked_digest(key.digest)
        remote.put(reuse_key(digest, settled.record.bundle.id), b"")


class OverlayRemote(Remote):
    """A folder laid over a remote that is only read.

    What is written goes to the folder, and reads look there first. A container works so on a folder
    that belongs to somebody else. A create-only key that the lower one has is refused; the
    publisher of the folder settles the keys that others create meanwhile. Keys of the lower remote
    cannot be deleted.
    """

    def __init__(self, base: Remote, upper: FileRemote) -> None:
        self.base = base
        self.upper = upper
        self.url = base.url

    def prepare(self) -> None:
        """Make the upper folder unless it is there."""
        self.upper.prepare()

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """See Remote."""
        found = self.upper.get(key, start, length)
        return self.base.get(key, start, length) if found is None else found

    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        """See Remote."""
        return self.upper.get_file(key, target, length) or self.base.get_file(key, target, length)

    def put(self, key: str, data: bytes) -> None:
        """See Remote."""
        self.upper.put(key, data)

    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        """See Remote."""
        self.upper.put_file(key, source, tail)

    def begin(self, key: str, part_bytes: int) -> Upload | None:
        """See Remote."""
        return self.upper.begin(key, part_bytes)

    def parts(self, upload: Upload) -> dict[int, Part] | None:
        """See Remote."""
        return self.upper.parts(upload)

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        """See Remote."""
        return self.upper.put_part(upload, number, data)

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        """See Remote."""
        self.upper.complete(upload, parts)

    def abort(self, upload: Upload) -> None:
        """See Remote."""
        self.upper.abort(upload)

    def put_new(self, key: str, data: bytes) -> bool:
        """See Remote."""
        return self.base.get(key, 0, 0) is None and self.upper.put_new(key, data)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[KeyInfo]:
        """See Remote.

        What both have is listed once, with the size that is read.
        """
        left = limit
        last = None
        both = (self.upper.list(prefix, after=after), self.base.list(prefix, after=after))
        for entry in heapq.merge(*both, key=lambda entry: os.fsencode(entry.key)):
            if entry.key == last:
                continue
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            last = entry.key
            yield entry

    def now_s(self) -> float:
        """See Remote.

        The clock of the upper folder, which is of no use for the lower's keys: nothing that lies
        under an overlay is swept.
        """
        return self.upper.now_s()

    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys of the folder; see Remote.

        Raises AccessDenied for keys of the lower remote, before any is deleted.
        """
        for key in keys:
            if self.base.get(key, 0, 0) is not None:
                raise AccessDenied(
                    f"deleting {key} at {self.url}: a job cannot delete from this remote",
                    hint="bundlerun rm --remote NAME, when the run has ended",
                )
        self.upper.delete(keys)
