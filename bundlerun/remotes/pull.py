"""From a remote to this store: records first, bytes when they are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.record import BundleRecord, checked_id
from bundlerun.errors import (
    BundleNotFound,
    BundlerunError,
    GivenUp,
    IntegrityError,
    RemoteChanged,
)
from bundlerun.remotes.base import Remote
from bundlerun.remotes.identity import bound_uuid, check_remote, check_uuid
from bundlerun.remotes.keys import VersionInfo, bundle_key, version_infos, version_key
from bundlerun.remotes.records import (
    RECORDS_AT_ONCE,
    PushedBundle,
    VersionRecord,
    read_record,
    twice,
)
from bundlerun.remotes.versions import read_tags
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


@dataclass(frozen=True)
class _Found:
    """A version as the remote has it: ``record``, the bytes of its bundle's, is None where this
    store has it already."""

    standing: VersionInfo
    id: str
    record: bytes | None
    tags: dict[str, str]


def pull(
    store: Store, context: Context, remote: Remote, name: str | None, *, all_versions: bool = False
) -> list[Entry]:
    """The records of what ``name`` means: every name (None), the latest version of one, or with
    ``all_versions`` each of them, or the bundle of ``name@id-prefix``.

    Raises as ``pull_latest``.
    """
    bare, _, prefix = (name or "").partition("@")
    if prefix:
        known = store.catalog.find(context, bare, id_prefix=prefix)
        return [pull_id(store, context, remote, known.bundle.id if known else checked_id(prefix))]
    if name is None or all_versions:
        return pull_all(store, context, remote, name, all_versions=all_versions)
    return [pull_latest(store, context, remote, name)]


def pull_latest(store: Store, context: Context, remote: Remote, name: str) -> Entry:
    """The newest version of ``name`` on the remote, its record only; 3 requests, and 1 more where
    tags were set later.

    Raises NoRemote, BundleNotFound, RemoteChanged where another remote answers or this one was
    rolled back, IntegrityError, and RemoteErrors.
    """
    bound_uuid(context)
    return twice(lambda: _pull_latest(store, context, remote, name))


def _pull_latest(store: Store, context: Context, remote: Remote, name: str) -> Entry:
    uuid = bound_uuid(context)
    known = store.catalog.newest_version(context, name)
    newest = 0
    for standing in version_infos(remote, name):
        newest = max(newest, standing.n)
        _check_newest(remote, name, newest, known)
        if not standing.removed:
            return _adopt(store, context, uuid, _found(store, context, remote, uuid, standing))
        store.catalog.mark_removed(context, name, standing.n)
    if newest == 0:
        # Nothing was read that says which remote answers.
        check_remote(remote, uuid)
    _check_newest(remote, name, newest, known)
    raise _no_such_name(store, context, remote, name)


def pull_id(store: Store, context: Context, remote: Remote, id: str) -> Entry:
    """The bundle of exactly this id, its record only, with its version number where it has one.

    Raises as ``pull_latest``.
    """
    return twice(lambda: _pull_id(store, context, remote, checked_id(id)))


def _pull_id(store: Store, context: Context, remote: Remote, id: str) -> Entry:
    uuid = bound_uuid(context)
    check_remote(remote, uuid)

    def read() -> tuple[bytes, PushedBundle]:
        data = read_record(remote, bundle_key(id))
        if data is None:
            known = store.catalog.by_id(context, id)
            if known is not None and _is_given_up(remote, uuid, known.bundle):
                raise _given_up(remote, known.bundle)
            raise BundleNotFound(f"{remote.url} has no bundle {id}", hint="bundlerun pull")
        return data, PushedBundle.from_bytes(data, id)

    data, record = twice(read)
    bundle = record.bundle
    at = _standing_of(remote, uuid, bundle, record.after)
    if at is not None:
        standing, version = at
        if version.record != digest_of(data):
            raise _other_record(remote, id)
        tags = _late_tags(remote, standing)
        if standing.removed:
            store.catalog.mark_removed(context, standing.name, standing.n)
        return _adopt(store, context, uuid, _Found(standing, id, data, tags))
    entry = store.catalog.adopt(context, bundle, version=None, record=data)
    store.known.note_value(uuid, bundle.root.digest, record.shares)
    return entry


def pull_all(
    store: Store,
    context: Context,
    remote: Remote,
    name: str | None = None,
    *,
    all_versions: bool = False,
) -> list[Entry]:
    """The newest version of every name (or of ``name`` alone), or every version; their records
    only.

    One listing (a request a 1,000 keys) and 2 requests for each version that is new here. Where a
    record is wrong the others come all the same, and then its error is raised. Raises as
    ``pull_latest``.
    """
    return twice(lambda: _pull_all(store, context, remote, name, all_versions))


def _pull_all(
    store: Store, context: Context, remote: Remote, name: str | None, all_versions: bool
) -> list[Entry]:
    check_remote(remote, bound_uuid(context))
    mine = store.catalog.search(context, name=name)
    here = {(entry.bundle.name, entry.version): entry for entry in mine}
    new: list[VersionInfo] = []
    entries: list[Entry] = []
    done: set[str] = set()
    numbers = _Numbers(remote)
    for standing in version_infos(remote, name):
        numbers.see(standing)
        if standing.removed:
            store.catalog.mark_removed(context, standing.name, standing.n)
        elif all_versions or standing.name not in done:
            done.add(standing.name)
            known = here.get((standing.name, standing.n))
            if known is None or standing.tags:
                new.append(standing)
            else:
                entries.append(known)
    adopted, errors = _adopt_all(store, context, remote, new)
    for error in [*errors, *numbers.errors(mine)]:
        raise error
    if name is not None and not entries and not adopted:
        raise _no_such_name(store, context, remote, name)
    return [*entries, *adopted]


def _given_up(remote: Remote, bundle: BundleRecord) -> GivenUp:
    return GivenUp(
        f"{bundle.name}@{bundle.id} was removed at {remote.url} for everybody, and its bytes are"
        " not there any more",
        hint=f"bundlerun pull {bundle.name}, which brings the latest version",
    )


def _is_given_up(remote: Remote, uuid: str, bundle: BundleRecord) -> bool:
    try:
        removed = (standing for standing in version_infos(remote, bundle.name) if standing.removed)
        return _standing_among(remote, uuid, bundle, removed) is not None
    except BundlerunError:
        return False  # What was raised first says more.


def _found(
    store: Store, context: Context, remote: Remote, uuid: str, standing: VersionInfo
) -> _Found:
    """Read a version, and its bundle's record unless this store has it."""
    name, n = standing.name, standing.n
    version = twice(lambda: _listed_version(remote, uuid, name, n))
    tags = _late_tags(remote, standing)
    known = store.catalog.by_id(context, version.id)
    if known is not None and known.version == n and not tags:
        return _Found(standing, version.id, None, tags)
    data = twice(lambda: _named_record(remote, version))
    named = PushedBundle.from_bytes(data, version.id).bundle.name
    if named != name:
        raise IntegrityError(f"{version_key(name, n)} names a bundle of {named!r}")
    return _Found(standing, version.id, data, tags)


def _listed_version(remote: Remote, uuid: str, name: str, n: int) -> VersionRecord:
    data = read_record(remote, version_key(name, n))
    if data is None:
        raise IntegrityError(
            f"{version_key(name, n)} is listed at {remote.url}, and cannot be read"
        )
    return _version(remote, uuid, data, name, n)


def _named_record(remote: Remote, version: VersionRecord) -> bytes:
    data = read_record(remote, bundle_key(version.id))
    if data is None:
        raise IntegrityError(
            f"{bundle_key(version.id)} is not at {remote.url}, though {version.key} names it"
        )
    if digest_of(data) != version.record:
        raise _other_record(remote, version.id)
    return data


def _standing_of(
    remote: Remote, uuid: str, bundle: BundleRecord, after: int
) -> tuple[VersionInfo, VersionRecord] | None:
    """The version that is the bundle, None when it has no number; sought from the newest down to
    the one that its writer knew."""
    newer = takewhile(lambda standing: standing.n > after, version_infos(remote, bundle.name))
    return _standing_among(remote, uuid, bundle, newer)


def _standing_among(
    remote: Remote, uuid: str, bundle: BundleRecord, candidates: Iterator[VersionInfo]
) -> tuple[VersionInfo, VersionRecord] | None:
    name = bundle.name

    def read(standing: VersionInfo) -> VersionRecord | None:
        data = read_record(remote, version_key(name, standing.n))
        return None if data is None else _version(remote, uuid, data, name, standing.n)

    def read_right(standing: VersionInfo) -> VersionRecord | None:
        return twice(lambda: read(standing))

    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        # The newest is asked for alone: mostly it is the one.
        few = 1
        while some := list(islice(candidates, few)):
            few = RECORDS_AT_ONCE
            for standing, version in zip(some, pool.map(read_right, some), strict=True):
                if version is not None and version.id == bundle.id:
                    return standing, version
    return None


def _late_tags(remote: Remote, standing: VersionInfo) -> dict[str, str]:
    if not standing.tags:
        return {}
    return dict(read_tags(remote, standing.name, standing.n, standing.tags).tags)


def _version(remote: Remote, uuid: str, data: bytes, name: str, n: int) -> VersionRecord:
    version = VersionRecord.from_bytes(data, name, n)
    check_uuid(remote, version.remote, uuid)
    return version


def _adopt(store: Store, context: Context, uuid: str, found: _Found) -> Entry:
    if found.record is None:
        entry = store.catalog.by_id(context, found.id)
        if entry is not None:
            return entry
        raise BundleNotFound(
            f"{found.standing.name}@{found.id} was removed here while it was pulled",
            hint="bundlerun pull",
        )
    record = PushedBundle.from_bytes(found.record, found.id)
    bundle = record.bundle
    store.known.note_value(uuid, bundle.root.digest, record.shares)
    return store.catalog.adopt(
        context,
        replace(bundle, tags={**bundle.tags, **found.tags}),
        version=found.standing.n,
        record=found.record,
    )


def _adopt_all(
    store: Store, context: Context, remote: Remote, new: Sequence[VersionInfo]
) -> tuple[list[Entry], list[BundlerunError]]:
    """Read and adopt versions; those that are right, and the errors of the others."""
    uuid = bound_uuid(context)
    entries: list[Entry] = []
    errors: list[BundlerunError] = []
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        read = [
            pool.submit(_found, store, context, remote, uuid, standing)
            # Oldest first: an arrival in this order is the order of the versions.
            for standing in reversed(new)
        ]
        for future in read:
            try:
                entries.append(_adopt(store, context, uuid, future.result()))
            except IntegrityError as error:
                errors.append(error)
    return entries, errors


class _Numbers:
    """The version numbers that a listing had, newest first: no number below is ever free, and none
    that was known is ever gone."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._newest: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._holes: list[tuple[str, int]] = []

    def see(self, standing: VersionInfo) -> None:
        """The next version of the listing."""
        name, n = standing.name, standing.n
        self._newest.setdefault(name, n)
        if self._last.get(name, n + 1) != n + 1:
            self._holes.append((name, n + 1))
        self._last[name] = n

    def errors(self, known: Iterable[Entry]) -> list[BundlerunError]:
        """What is missing, where the versions ``known`` were there once."""
        errors: list[BundlerunError] = []
        newest: dict[str, int] = {}
        for entry in known:
            name = entry.bundle.name
            newest[name] = max(newest.get(name, 0), entry.version or 0)
        for name, n in newest.items():
            try:
                _check_newest(self._remote, name, self._newest.get(name, 0), n)
            except RemoteChanged as error:
                errors.append(error)
        firsts = [(name, 1) for name, n in self._last.items() if n != 1]
        for name, n in [*self._holes, *firsts]:
            errors.append(
                IntegrityError(f"{version_key(name, n)} is not at {self._remote.url} any more")
            )
        return errors


def _check_newest(remote: Remote, name: str, newest: int, known: int) -> None:
    if newest < known:
        raise RemoteChanged(
            f"{remote.url} had {known} versions of {name!r} and has {newest}: it was rolled back",
            hint="restore it from a backup, or accept it: bundlerun remote CONTEXT "
            f"{remote.url} --rebind",
        )


def _no_such_name(store: Store, context: Context, remote: Remote, name: str) -> BundleNotFound:
    here = store.catalog.find(context, name) is not None
    cure = (
        f"bundlerun commit {name}; bundlerun push {name}"
        if here
        else "bundlerun pull; bundlerun ls"
    )
    return BundleNotFound(f"{remote.url} has no bundle {name!r}", hint=cure)


def _other_record(remote: Remote, id: str) -> IntegrityError:
    return IntegrityError(
        f"{bundle_key(id)} at {remote.url} is not the record that its version names"
    )
