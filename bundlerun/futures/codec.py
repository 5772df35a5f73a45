"""The codec of items and results: bundle values where they are ones, else pickles.

The first byte says which: ``v`` a bundle value, ``p`` a bundle value of a pickle and of the files
and directories that were taken out of it. A line of JSON follows, ``[sizes, packs]``, and the
objects of the value, the root first. What is large lies in packs on the remote, as that of bundles
does, and comes back by its digest. Opening a bundle value runs no code.
"""

from __future__ import annotations

import json
import re
import threading
import uuid as uuids
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import Digest, canonical_json, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import Location, Share
from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.storage import DirectoryEntry, Stamp
from bundlerun.errors import BadValue, IntegrityError, RemoteChanged, Untrusted
from bundlerun.futures.outcome import loaded_or_failed
from bundlerun.futures.pickles import pickled, unpickled
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.condemned import PushLease, lease_of
from bundlerun.remotes.fetch import Fetcher
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.records import share_of, share_row
from bundlerun.remotes.upload import send
from bundlerun.store.reader import StoreSource
from bundlerun.store.store import Store

OBJECT_BYTES = 64 * 1024
"""A larger object of a value goes to a pack of the remote."""

INLINE_BYTES = 256 * 1024
"""The most bytes of a value's objects that travel with the item; more go to packs."""

_VALUE, _PICKLE = b"v", b"p"

_TOLD = re.compile(rb'"(array|scalar|bundle)":|"as":"(\w+)')
"""What in a node is told of: bundles, and what a library is needed for."""

_LIBRARIES = {b"array": "numpy", b"scalar": "numpy", b"pandas": "pandas", b"polars": "polars"}

_AGAIN = "the map again: the object on the remote is not what the run wrote"


class Codec:
    """The codec of items and results of one remote.

    Safe to use from threads. A store is opened, in ``folder``, once a value is large or has files.
    ``bundles`` are the records, by id, in what was encoded: their values do not travel with it.
    ``modules`` are those that are needed to decode it, numpy for an array, by their dotted names.
    """

    def __init__(self, remote: Remote, folder: Path, progress: Progress = SILENT) -> None:
        self.bundles: dict[str, BundleRecord] = {}
        self.modules: set[str] = set()
        self._open: Callable[[], Binding] = lambda: _scratch(remote, folder)
        self._progress = progress
        self._lock = threading.Lock()
        self._opened: Binding | None = None
        self._lease: PushLease | None = None
        self._away: dict[Digest, Link] = {}

    @staticmethod
    def of(binding: Binding, progress: Progress = SILENT) -> Codec:
        """A codec over the store and the remote of a context.

        What is known of the remote there is not sent again, and files come back as those of bundles
        do.
        """
        codec = Codec(binding.remote, binding.store.path, progress)
        codec._opened = binding
        return codec

    def encode(self, value: object) -> bytes:
        """The bytes of ``value``; what of it is large is on the remote when this returns.

        Raises BadValue, with the reason, for what can be neither kept nor pickled, BadPath for a
        file that is not there, RemoteErrors.
        """
        try:
            return _VALUE + self._encoded(value)
        except BadValue:
            found = pickled(value)
        self.bundles.update((bundle.id, bundle) for bundle in found.bundles)
        self.modules |= found.modules
        return _PICKLE + self._encoded([found.data, *found.leaves])

    def decode(self, data: bytes, trusted: bool) -> Any:
        """The inverse of ``encode``, equal to what went in.

        Files and directories come to this disk when their ``path`` is first asked for. Raises
        Untrusted, and opens nothing, for a pickle unless ``trusted``: its seal was right, or the
        caller says so. Raises IntegrityError for bytes that are not what they should be, ItemFailed
        for a pickle that cannot be loaded here, SettingsError where a library that the value needs
        is not installed, RemoteErrors.
        """
        tag, body = data[:1], data[1:]
        if tag == _VALUE:
            return self._decoded(body)
        if tag != _PICKLE:
            raise IntegrityError(f"a value of an unknown form: {tag!r}", hint=_AGAIN)
        if not trusted:
            raise Untrusted(
                "the value is a pickle, and nothing proves that the run wrote it",
                hint="bundlerun.attach(run_id, trust=True), where nobody else writes to the remote",
            )
        found = self._decoded(body)
        if type(found) is not list or not found or type(found[0]) is not bytes:
            raise IntegrityError("a pickled value is malformed", hint=_AGAIN)
        return loaded_or_failed(lambda: unpickled(found[0], found[1:]), "the value")

    def _encoded(self, value: object) -> bytes:
        from bundlerun.bundles.value import encode_value

        sink = _Memory(self._away)
        try:
            root = encode_value(value, sink)
            shares = self._found(sink.away)
        except _Large:
            return self._encoded_large(value)
        if any(map(_TOLD.search, sink.held.values())):
            self._links(root, lambda link: sink.held.get(link.digest))
        first = sink.held.pop(root.digest)
        return _laid_out([first, *sink.held.values()], shares)

    def _encoded_large(self, value: object) -> bytes:
        binding = self._binding()
        objects = binding.store.objects
        # No clean-up takes what no record names before it is sent.
        with objects.guard.sharing():
            root = binding.store.keep(value)
            inline, left = [objects.read(root)], INLINE_BYTES
            away: list[Link] = []
            for link in self._links(root, objects.find):
                if link.digest == root.digest:
                    continue
                if link.size <= min(left, OBJECT_BYTES):
                    inline.append(objects.read(link))
                    left -= link.size
                else:
                    away.append(link)
            shares = self._sent(binding, away)
        self._away.update((link.digest, link) for link in away)
        return _laid_out(inline, shares)

    def _links(self, root: Link, read: Callable[[Link], bytes | None]) -> list[Link]:
        """The objects of a value, each once, but for the values of bundles in it.

        The records of these are noted, and so are the libraries that the value needs.
        """
        from bundlerun.bundles.value import links

        nested: set[Digest] = set()

        def read_own(link: Link) -> bytes | None:
            data = None if link.digest in nested else read(link)
            told = set() if data is None else {each[0] or each[1] for each in _TOLD.findall(data)}
            if data is not None and b"bundle" in told:
                for bundle in _bundles_in(json.loads(data)):
                    nested.add(bundle.root.digest)
                    self.bundles[bundle.id] = bundle
            self.modules.update(_LIBRARIES[each] for each in told if each in _LIBRARIES)
            return data

        found = [link for link, _ in links(root, read_own)]
        return [link for link in found if link.digest not in nested]

    def _sent(self, binding: Binding, links: Sequence[Link]) -> list[Share]:
        """The packs of the remote in which ``links`` lie, after what it lacks was sent."""
        if not links:
            return []
        with self._lock:
            if self._lease is None:
                self._lease = lease_of(binding.remote, binding.uuid, binding.store.known)
            elif self._lease.expired:
                self._lease.renew()
            there = self._there(binding, links)
            missing = [link for link in links if link.digest not in there]
            send(binding, missing, self._progress)
        return _shares(binding, self._there(binding, links))

    def _found(self, links: Sequence[Link]) -> list[Share]:
        """The packs in which ``links`` lie, which were sent before.

        Raises _Large where they have to be sent again.
        """
        if not links:
            return []
        binding = self._binding()
        there = self._there(binding, links)
        if self._lease is None or self._lease.expired or len(there) < len(links):
            raise _Large
        return _shares(binding, there)

    @staticmethod
    def _there(binding: Binding, links: Iterable[Link]) -> dict[Digest, Location]:
        digests = dict.fromkeys(link.digest for link in links)
        return binding.store.known.sound_packs_of(binding.uuid, digests)

    def _decoded(self, body: bytes) -> Any:
        from bundlerun.bundles.value import decode_value

        objects, shares = _parsed(body)
        return decode_value(objects[0][0], _Held(objects, lambda: self._source(objects, shares)))

    def _source(
        self, objects: Sequence[tuple[Link, bytes]], shares: Sequence[Share]
    ) -> StoreSource:
        """A source over the store, which has these objects then."""
        binding = self._binding()
        binding.store.objects.put_all(objects)

        def fetch(links: Sequence[Link]) -> None:
            fetcher = Fetcher(
                binding.store, binding.remote, binding.uuid, _WHAT, shares, self._progress
            )
            fetcher.bring(links)
            fetcher.close()

        return StoreSource(binding.store.objects, _WHAT, fetch)

    def _binding(self) -> Binding:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened


_WHAT = "a value of the run"


def packs_in(data: bytes) -> list[Share]:
    """The packs of the remote that an encoded value needs, and how many bytes of each.

    Raises IntegrityError.
    """
    return _parsed(data[1:])[1]


def _scratch(remote: Remote, folder: Path) -> Binding:
    """A store of a job's own, bound to ``remote``."""
    uuid = found_uuid(remote)
    if uuid is None:
        raise RemoteChanged(
            f"there is no bundlerun remote at {remote.url} any more",
            hint=f"bundlerun remote CONTEXT {remote.url} --rebind",
        )
    store = Store.open(folder / "store")
    # A name of its own: the process before this one may have been killed, or be at work still.
    context = store.contexts.create(f"job-{uuids.uuid4()}")
    context = store.contexts.bind(context, remote.url, uuid)
    return Binding.of(store, context, remote)


def _shares(binding: Binding, located: Mapping[Digest, Location]) -> list[Share]:
    used: Counter[str] = Counter()
    for location in located.values():
        used[location.pack] += location.length
    infos = {uuid: binding.store.known.pack(binding.uuid, uuid) for uuid in used}
    return [Share(info, used[uuid]) for uuid, info in infos.items() if info is not None]


def _laid_out(objects: Sequence[bytes], shares: Sequence[Share]) -> bytes:
    head = canonical_json([[len(each) for each in objects], [share_row(each) for each in shares]])
    return b"".join([head, b"\n", *objects])


def _parsed(body: bytes) -> tuple[list[tuple[Link, bytes]], list[Share]]:
    """The objects, the root first, and the packs of the others.

    Raises IntegrityError.
    """
    head, _, rest = body.partition(b"\n")
    try:
        sizes, rows = json.loads(head)
        shares = [share_of(row) for row in rows]
        if not sizes or any(type(size) is not int or size < 0 for size in sizes):
            raise ValueError("no sizes")
        if sum(sizes) != len(rest):
            raise ValueError(f"{len(rest)} bytes instead of {sum(sizes)}")
    except (ValueError, TypeError, RecursionError) as error:
        raise IntegrityError(f"a value is malformed: {error!s:.200}", hint=_AGAIN) from error
    found, at = [], 0
    for size in sizes:
        data = rest[at : at + size]
        found.append((Link(digest_of(data), size), data))
        at += size
    return found, shares


def _bundles_in(found: Any) -> Iterator[BundleRecord]:
    """The records of bundles in the JSON of a node."""
    if isinstance(found, list):
        for each in found:
            yield from _bundles_in(each)
    elif isinstance(found, dict):
        if "bundle" in found:
            yield BundleRecord.from_json(found["bundle"])
        else:
            yield from _bundles_in(list(found.values()))


class _Large(Exception):
    """A value is not one to hold in memory, or has files."""


class _Memory:
    """The Sink of small values.

    ``held`` are their objects, and ``away`` those that are on the remote already, ``known`` by
    digest.
    """

    def __init__(self, known: Mapping[Digest, Link]) -> None:
        self.held: dict[Digest, bytes] = {}
        self.away: list[Link] = []
        self._known = known
        self._left = INLINE_BYTES

    def put_bytes(self, data: bytes) -> Link:
        """See Sink."""
        if len(data) > OBJECT_BYTES and not self._known:
            raise _Large
        link = Link(digest_of(data), len(data))
        if len(data) > OBJECT_BYTES or len(data) > self._left:
            known = self._known.get(link.digest)
            if known is None:
                raise _Large
            # The digests of its parts are an object of their own, which went with it.
            parts = self._known.get(known.parts_link.digest) if known.parts_link else None
            self.away += [each for each in (known, parts) if each is not None]
            return known
        if link.digest not in self.held:
            self.held[link.digest] = data
            self._left -= len(data)
        return link

    def put_file(self, path: Path) -> Link:
        """See Sink."""
        raise _Large

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> Sequence[Link]:
        """See Sink."""
        raise _Large


class _Held:
    """The Source of a value whose small objects came with it.

    A store is asked for others.
    """

    def __init__(
        self, objects: Sequence[tuple[Link, bytes]], store: Callable[[], StoreSource]
    ) -> None:
        self._data = {link.digest: data for link, data in objects}
        self._store = store
        self._made: StoreSource | None = None
        self._ahead: Any = None

    def _stored(self) -> StoreSource:
        if self._made is None:
            self._made = self._store()
            self._made.ahead(self._ahead)
        return self._made

    def read(self, link: Link) -> bytes:
        """See Source."""
        found = self._data.get(link.digest)
        return self._stored().read(link) if found is None else found

    def file(self, link: Link, name: str, executable: bool) -> Path:
        """See Source."""
        return self._stored().file(link, name, executable)

    def directory(
        self, root: Link, name: str, entries: Callable[[], Iterable[DirectoryEntry]]
    ) -> Path:
        """See Source."""
        return self._stored().directory(root, name, entries)

    def map(self, link: Link) -> Path | None:
        """See Source."""
        return None if link.digest in self._data else self._stored().map(link)

    def bring(self, links: Sequence[Link]) -> None:
        """See Source."""
        absent = [link for link in links if link.digest not in self._data]
        if absent:
            self._stored().bring(absent)

    def ahead(self, term: Any) -> None:
        """See Source."""
        self._ahead = term
