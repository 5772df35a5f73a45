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
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.identity import check_remote, check_uuid
from bundlerun.remotes.keys import VersionInfo, bundle_key, version_infos, version_key
from bundlerun.remotes.records import (
    RECORDS_AT_ONCE,
    PushedBundle,
    VersionRecord,
    read_record,
    twice,
)
from bundlerun.remotes.versions import read_tags
from bundlerun.store.rows import Entry


@dataclass(frozen=True)
class _Found:
    """A version as the remote has it.

    ``record``, the bytes of its bundle's, is None where this store has it already.
    """

    standing: VersionInfo
    id: str
    record: bytes | None
    tags: dict[str, str]


def pull(binding: Binding, name: str | None, *, all_versions: bool = False) -> list[Entry]:
    """The entries of what ``name`` means, their records brought here.

    None: every name; a name: its latest version, or with ``all_versions`` each of them;
    ``name@id-prefix``: that bundle. Raises as ``pull_latest``.
    """
    bare, _, prefix = (name or "").partition("@")
    if prefix:
        known = binding.store.catalog.find(binding.context, bare, id_prefix=prefix)
        return [pull_id(binding, known.bundle.id if known else checked_id(prefix))]
    if name is None or all_versions:
        return pull_all(binding, name, all_versions=all_versions)
    return [pull_latest(binding, name)]


def pull_latest(binding: Binding, name: str) -> Entry:
    """The newest version of ``name`` on the remote, its record only.

    3 requests, and 1 more where tags were set later. Raises BundleNotFound, RemoteChanged where
    another remote answers or this one was rolled back, IntegrityError, and RemoteErrors.
    """
    return twice(lambda: _pull_latest(binding, name))


def _pull_latest(binding: Binding, name: str) -> Entry:
    known = binding.store.catalog.newest_version(binding.context, name)
    newest = 0
    for standing in version_infos(binding.remote, name):
        newest = max(newest, standing.n)
        _check_newest(binding.remote, name, newest, known)
        if not standing.removed:
            return _adopt(binding, _found(binding, standing))
        binding.store.catalog.mark_removed(binding.context, name, standing.n)
    if newest == 0:
        # Nothing was read that says which remote answers.
        check_remote(binding.remote, binding.uuid)
    _check_newest(binding.remote, name, newest, known)
    raise _no_such_name(binding, name)


def pull_id(binding: Binding, id: str) -> Entry:
    """The bundle of exactly this id, its record only.

    It has its version number, where it has one. Raises as ``pull_latest``.
    """
    return twice(lambda: _pull_id(binding, checked_id(id)))


def _pull_id(binding: Binding, id: str) -> Entry:
    check_remote(binding.remote, binding.uuid)

    def read() -> tuple[bytes, PushedBundle]:
        data = read_record(binding.remote, bundle_key(id))
        if data is None:
            known = binding.store.catalog.by_id(binding.context, id)
            if known is not None and _is_given_up(binding.remote, binding.uuid, known.bundle):
                raise _given_up(binding.remote, known.bundle)
            raise BundleNotFound(f"{binding.remote.url} has no bundle {id}", hint="bundlerun pull")
        return data, PushedBundle.from_bytes(data, id)

    data, record = twice(read)
    bundle = record.bundle
    at = _standing_of(binding.remote, binding.uuid, bundle, record.after)
    if at is not None:
        standing, version = at
        if version.record != digest_of(data):
            raise _other_record(binding.remote, id)
        tags = _late_tags(binding.remote, standing)
        if standing.removed:
            binding.store.catalog.mark_removed(binding.context, standing.name, standing.n)
        return _adopt(binding, _Found(standing, id, data, tags))
    entry = binding.store.catalog.adopt(binding.context, bundle, version=None, record=data)
    binding.store.known.note_value(binding.uuid, bundle.root.digest, record.shares)
    return entry


def pull_all(
    binding: Binding,
    name: str | None = None,
    *,
    all_versions: bool = False,
) -> list[Entry]:
    """The newest or every version of all names or of ``name``, their records only.

    One listing (a request a 1,000 keys) and 2 requests for each version that is new here. Where a
    record is wrong the others come all the same, and then its error is raised. Raises as
    ``pull_latest``.
    """
    return twice(lambda: _pull_all(binding, name, all_versions))


def _pull_all(binding: Binding, name: str | None, all_versions: bool) -> list[Entry]:
    check_remote(binding.remote, binding.uuid)
    mine = binding.store.catalog.search(binding.context, name=name)
    here = {(entry.bundle.name, entry.version): entry for entry in mine}
    new: list[VersionInfo] = []
    entries: list[Entry] = []
    done: set[str] = set()
    numbers = _Numbers(binding.remote)
    for standing in version_infos(binding.remote, name):
        numbers.see(standing)
        if standing.removed:
            binding.store.catalog.mark_removed(binding.context, standing.name, standing.n)
        elif all_versions or standing.name not in done:
            done.add(standing.name)
            known = here.get((standing.name, standing.n))
            if known is None or standing.tags:
                new.append(standing)
            else:
                entries.append(known)
    adopted, errors = _adopt_all(binding, new)
    for error in [*errors, *numbers.errors(mine)]:
        raise error
    if name is not None and not entries and not adopted:
        raise _no_such_name(binding, name)
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


def _found(binding: Binding, standing: VersionInfo) -> _Found:
    """Read a version, and its bundle's record unless this store has it."""
    name, n = standing.name, standing.n
    version = twice(lambda: _listed_version(binding.remote, binding.uuid, name, n))
    tags = _late_tags(binding.remote, standing)
    known = binding.store.catalog.by_id(binding.context, version.id)
    if known is not None and known.version == n and not tags:
        return _Found(standing, version.id, None, tags)
    data = twice(lambda: _named_record(binding.remote, version))
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
    """The version of the bundle; None when it has no number.

    It is sought from the newest down to the one that its writer knew.
    """
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


def _adopt(binding: Binding, found: _Found) -> Entry:
    if found.record is None:
        entry = binding.store.catalog.by_id(binding.context, found.id)
        if entry is not None:
            return entry
        raise BundleNotFound(
            f"{found.standing.name}@{found.id} was removed here while it was pulled",
            hint="bundlerun pull",
        )
    record = PushedBundle.from_bytes(found.record, found.id)
    bundle = record.bundle
    binding.store.known.note_value(binding.uuid, bundle.root.digest, record.shares)
    return binding.store.catalog.adopt(
        binding.context,
        replace(bundle, tags={**bundle.tags, **found.tags}),
        version=found.standing.n,
        record=found.record,
    )


def _adopt_all(
    binding: Binding, new: Sequence[VersionInfo]
) -> tuple[list[Entry], list[BundlerunError]]:
    """Read and adopt versions; those that are right, and the errors of the others."""
    entries: list[Entry] = []
    errors: list[BundlerunError] = []
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        read = [
            pool.submit(_found, binding, standing)
            # Oldest first: an arrival in this order is the order of the versions.
            for standing in reversed(new)
        ]
        for future in read:
            try:
                entries.append(_adopt(binding, future.result()))
            except IntegrityError as error:
                errors.append(error)
    return entries, errors


class _Numbers:
    """The version numbers of a listing, newest first.

    No number below is ever free, and none that was known is ever gone.
    """

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
        """The errors for missing ones of the versions ``known``, which were there once."""
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


def _no_such_name(binding: Binding, name: str) -> BundleNotFound:
    here = binding.store.catalog.find(binding.context, name) is not None
    cure = (
        f"bundlerun commit {name}; bundlerun push {name}"
        if here
        else "bundlerun pull; bundlerun ls"
    )
    return BundleNotFound(f"{binding.remote.url} has no bundle {name!r}", hint=cure)


def _other_record(remote: Remote, id: str) -> IntegrityError:
    return IntegrityError(
        f"{bundle_key(id)} at {remote.url} is not the record that its version names"
    )
