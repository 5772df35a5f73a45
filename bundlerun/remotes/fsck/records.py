"""Every record of a remote, read and compared with what others say of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

from bundlerun.bundles.digest import Digest, checked_digest, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import checked_id
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.condemned import epochs_in, read_list
from bundlerun.remotes.identity import found_identity
from bundlerun.remotes.keys import (
    META,
    bundle_key,
    removed_key,
    reuse_key,
    tags_key,
    version_info,
    version_key,
)
from bundlerun.remotes.records import (
    RECORDS_AT_ONCE,
    PushedBundle,
    TagsRecord,
    VersionRecord,
    read_record,
)
from bundlerun.store.remote_cache import PackInfo
from bundlerun.store.reports import Finding, Kind

_BATCH = 256

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Problem:
    """A record that is wrong or not there.

    ``name`` and ``n`` are set for versions (and ``k`` for tags set later), ``id`` for bundle
    records, ``reuse`` for an entry of the look-up.
    """

    finding: Finding
    key: str
    name: str = ""
    n: int = 0
    k: int = 0
    id: str = ""


@dataclass(frozen=True)
class Facts:
    """The needed facts of a bundle's record that was proven."""

    id: str
    name: str
    root: Link
    digest: Digest
    packs: tuple[PackInfo, ...]
    keys: tuple[Digest, ...]


@dataclass
class Versions:
    """The listed versions of one name.

    ``numbers`` are all of them; ``tags`` has by number how often tags were set later.
    """

    numbers: set[int] = field(default_factory=set)
    tags: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    removed: set[int] = field(default_factory=set)


class RecordsProof:
    """A reading of all records of the remote ``uuid``.

    ``facts`` by bundle id, ``ids`` by name and number, ``named``: the digests that versions say of
    the records of ids, ``given_up``: ids of which all versions were removed, ``condemned``: packs
    that a clean-up may delete.
    """

    def __init__(self, remote: Remote, uuid: str) -> None:
        self._remote = remote
        self._uuid = uuid
        self.problems: list[Problem] = []
        self.litter: list[Finding] = []
        self.facts: dict[str, Facts] = {}
        self.broken: set[str] = set()
        self.versions: dict[str, Versions] = {}
        self.ids: dict[tuple[str, int], str] = {}
        self.named: dict[str, Digest] = {}
        self.given_up: set[str] = set()
        self.condemned: set[str] = set()
        self.reuse: set[tuple[Digest, str]] = set()
        self._removed: set[str] = set()
        self._kept: set[str] = set()

    def read(self) -> None:
        """Read everything."""
        self._meta()
        # Against the order of writing: what a push adds meanwhile has all that it names.
        self._list_versions()
        reuse = [entry.key for entry in self._remote.list("k/")]
        self._bundles()
        self._read_versions()
        self._tags()
        self._reuse(reuse)

    def wrong(self, kind: Kind, key: str, detail: str, **more: object) -> None:
        """Take down that the record at ``key`` is not right."""
        finding = Finding(kind, f"record {key}", key, detail)
        self.problems.append(Problem(finding, key, **more))  # type: ignore[arg-type]

    def _meta(self) -> None:
        listed = list(self._remote.list(META))
        keys = {entry.key for entry in listed}
        marker = f"{META}uuid-{self._uuid}"
        try:
            found = found_identity(self._remote)
            if found is None:
                self.wrong(Kind.MISSING, f"{META}remote", "it says which remote this is")
            elif found.uuid != self._uuid:
                told = f"it says {found.uuid}, and this is {self._uuid}"
                self.wrong(Kind.DAMAGED, f"{META}remote", told)
        except IntegrityError as error:
            self.wrong(Kind.DAMAGED, f"{META}remote", error.message)
        if marker not in keys:
            self.wrong(Kind.MISSING, marker, "every push looks for it")
        for epoch in sorted(epochs_in(listed)):
            try:
                found_list = read_list(self._remote, self._uuid, epoch)
                self.condemned.update(found_list.packs if found_list else ())
            except IntegrityError as error:
                self.wrong(Kind.DAMAGED, f"{META}condemned-{epoch:010}", error.message)

    def _bundles(self) -> None:
        def read(entry: KeyInfo) -> tuple[str, bytes | None]:
            return entry.key.removeprefix("b/"), read_record(self._remote, entry.key)

        for id, data in self._parallel(read, self._remote.list("b/")):
            try:
                key = bundle_key(checked_id(id))
                self.facts[id] = self._proven(key, data, partial(_facts, id))
            except IntegrityError as error:
                self.broken.add(id)
                self.wrong(Kind.DAMAGED, f"b/{id}", error.message, id=id)

    def _list_versions(self) -> None:
        for entry in self._remote.list("v/"):
            standing = version_info(entry)
            if standing is None:
                self._litter(entry.key)
                continue
            found = self.versions.setdefault(standing.name, Versions())
            if standing.removed:
                found.removed.add(standing.n)
            elif standing.tags:
                found.tags[standing.n].add(standing.tags)
            elif "+" in entry.key:
                self._litter(entry.key)
            else:
                found.numbers.add(standing.n)

    def _read_versions(self) -> None:
        for name, found in self.versions.items():
            told = {*found.numbers, *found.tags, *found.removed}
            for n in sorted(set(range(1, max(told) + 1)) - found.numbers):
                detail = f"version {n} of {name!r} is a hole"
                self.wrong(Kind.MISSING, version_key(name, n), detail, name=name, n=n)
        listed = ((name, n) for name, found in self.versions.items() for n in sorted(found.numbers))

        def read(version: tuple[str, int]) -> tuple[str, int, bytes | None]:
            return (*version, read_record(self._remote, version_key(*version)))

        for name, n, data in self._parallel(read, listed):
            try:
                key = version_key(name, n)
                self._version(self._proven(key, data, partial(self._version_in, name, n)))
            except IntegrityError as error:
                self.wrong(Kind.DAMAGED, version_key(name, n), error.message, name=name, n=n)

        self.given_up = self._removed - self._kept

    def _proven(self, key: str, data: bytes | None, parse: Callable[[bytes], R]) -> R:
        """The result of ``parse``; a record that it refuses is read once more.

        What counts is what is there, not what became of an answer on its way.
        """
        try:
            return parse(data or b"")
        except IntegrityError:
            return parse(read_record(self._remote, key) or b"")

    def _version_in(self, name: str, n: int, data: bytes) -> VersionRecord:
        version = VersionRecord.from_bytes(data, name, n)
        if version.to_bytes() != data:
            raise IntegrityError("the record is not in the canonical form")
        if version.remote != self._uuid:
            raise IntegrityError(f"the record belongs to the remote {version.remote}")
        return version

    def _version(self, version: VersionRecord, *, again: bool = False) -> None:
        name, n = version.name, version.n
        removed = n in self.versions[name].removed
        facts = self.facts.get(version.id)
        fits = facts is not None and (facts.name, facts.digest) == (name, version.record)
        if not (fits or removed or again):
            self._version(self._read_again(version), again=True)
            return
        (self._removed if removed else self._kept).add(version.id)
        self.named[version.id] = version.record
        if facts is None and version.id not in self.broken:
            if not removed:
                detail = f"{version.key} names it"
                self.wrong(Kind.MISSING, f"b/{version.id}", detail, id=version.id, name=name, n=n)
        elif facts is not None and facts.name != name:
            raise IntegrityError(f"the record names {version.id}, a bundle of {facts.name!r}")
        elif facts is not None and facts.digest != version.record:
            detail = f"it is not the record that {version.key} names"
            self.wrong(Kind.DAMAGED, f"b/{version.id}", detail, id=version.id, name=name, n=n)
        self.ids[name, n] = version.id

    def _read_again(self, version: VersionRecord) -> VersionRecord:
        """The version as a second reading has it, and its bundle's record read again."""
        data = read_record(self._remote, version.key)
        found = self._version_in(version.name, version.n, data or b"")
        if found.id not in self.broken:
            data = read_record(self._remote, bundle_key(found.id))
            if data is not None:
                self.facts[found.id] = _facts(found.id, data)
        return found

    def _tags(self) -> None:
        rows = [
            (name, n, k)
            for name, found in self.versions.items()
            for n, times in found.tags.items()
            for k in range(1, max(times) + 1)
        ]

        def read(row: tuple[str, int, int]) -> tuple[str, int, int, bytes | None]:
            return (*row, read_record(self._remote, tags_key(*row)))

        for name, n, k, data in self._parallel(read, rows):
            key = tags_key(name, n, k)
            if data is None:
                self.wrong(Kind.MISSING, key, "later ones are there", name=name, n=n, k=k)
                continue
            try:
                self._proven(key, data, partial(_tags_in, key))
            except IntegrityError as error:
                self.wrong(Kind.DAMAGED, key, error.message, name=name, n=n, k=k)
        for name, found in self.versions.items():
            for n in found.removed:
                if read_record(self._remote, removed_key(name, n)):
                    self.wrong(Kind.DAMAGED, removed_key(name, n), "it is not empty", name=name)

    def _reuse(self, keys: list[str]) -> None:
        for listed in keys:
            parts = listed.split("/")
            try:
                digest, id = checked_digest(parts[1]), checked_id(parts[-1])
            except IntegrityError:
                self._litter(listed)
                continue
            facts = self.facts.get(id)
            if facts is not None and digest in facts.keys:
                self.reuse.add((digest, id))
            elif facts is None and id in self.broken:
                continue
            else:
                detail = "it leads to no bundle of that work"
                self.wrong(Kind.DAMAGED, listed, detail)
        for (name, n), id in self.ids.items():
            facts = self.facts.get(id)
            live = facts is not None and n not in self.versions[name].removed
            for digest in facts.keys if facts and live else ():
                if (digest, id) not in self.reuse:
                    key = reuse_key(digest, id)
                    self.wrong(Kind.HINT, key, "equal work is not found without it")

    def _litter(self, key: str) -> None:
        self.litter.append(Finding(Kind.LITTER, f"key {key}", key, "of an unknown form"))

    def _parallel(self, read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        rest = iter(items)
        with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
            while some := list(islice(rest, _BATCH)):
                yield from pool.map(read, some)


def _tags_in(key: str, data: bytes) -> TagsRecord:
    return TagsRecord.from_bytes(data, key)


def _facts(id: str, data: bytes) -> Facts:
    record = PushedBundle.from_bytes(data, id)
    if record.to_bytes() != data:
        raise IntegrityError(f"the record {bundle_key(id)} is not in the canonical form")
    bundle = record.bundle
    keys = filter(None, (bundle.lineage.task, bundle.lineage.request))
    return Facts(
        id=id,
        name=bundle.name,
        root=bundle.root,
        digest=digest_of(data),
        packs=tuple(share.pack for share in record.shares),
        keys=tuple(key.digest for key in keys),
    )
