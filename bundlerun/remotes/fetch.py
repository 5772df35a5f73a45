"""Download of objects: few requests, bounded memory, and every byte hashed first."""

from __future__ import annotations

import uuid as uuids
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import MAX_PACK_BYTES, members_of
from bundlerun.bundles.record import BundleRecord
from bundlerun.errors import (
    BundleNotFound,
    IntegrityError,
    RemoteChanged,
)
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.download import READS_AT_ONCE, gather
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.keys import bundle_key, pack_key
from bundlerun.remotes.pull import _given_up, _is_given_up, _other_record
from bundlerun.remotes.records import (
    PushedBundle,
    read_record,
    twice,
)
from bundlerun.store.local_packs import THIN_BYTES
from bundlerun.store.reader import Fetch
from bundlerun.store.remote_cache import Location, PackInfo, Share
from bundlerun.store.store import Store
from bundlerun.store.writer import SMALL_BYTES

GAP_BYTES = 64 << 10
"""The gap below which two members come as one range: a request costs more."""

PEEK_BYTES = 1 << 20
"""The size up to which a pack comes whole for a part of a value.

Of larger ones first the index comes, and then what is wanted.
"""


class Fetcher:
    """The download of objects of the remote ``uuid`` into the store.

    ``what`` names the bundle in messages; ``shares`` are the packs in which its bytes lie, as far
    as a record says so.

    Locations are hints: an object is stored once its bytes have its digest. Bytes that have not are
    left out, and IntegrityError follows when one of them was asked for.
    """

    def __init__(
        self,
        store: Store,
        remote: Remote,
        uuid: str,
        what: str,
        shares: Iterable[Share] = (),
        progress: Progress = SILENT,
    ) -> None:
        self._store = store
        self._remote = remote
        self._uuid = uuid
        self._what = what
        self._said = list(shares)
        self._shares = list(self._said)
        self._swept: set[str] = set()
        self._progress = progress
        self._bar: int | None = None
        self._problems: dict[str, str] = {}

    def read(self, link: Link) -> bytes:
        """The bytes of one object, brought here when they are not.

        Raises as ``bring``, and BundleNotFound where nobody knows of it.
        """
        found = self._store.objects.find(link)
        if found is not None:
            return found
        # The root of a bundle inside a value: its packs are known by it.
        self._shares += self._store.known.noted_value(self._uuid, link.digest) or []
        if self._shares or self._store.known.packs_of(self._uuid, [link.digest]):
            self.bring([link])
        return self._store.objects.read(link)

    def bring(self, links: Sequence[Link], *, whole_bytes: int = MAX_PACK_BYTES) -> None:
        """Bring all of ``links`` that are not here.

        A pack up to ``whole_bytes`` that is mostly the value's own is read whole where its index
        is not known.

        Raises IntegrityError naming bundle, pack and digest, RemoteError and its kinds.
        """
        # The digests of an object's parts come with it.
        links = [each for link in links for each in (link.parts_link, link) if each]
        if not self._brought(links, whole_bytes):
            # An answer may be shortened or changed on its way: damage is what comes twice.
            self._problems.clear()
            self._shares += self._said
            self._brought(links, whole_bytes, last=True)

    def _brought(self, links: Sequence[Link], whole_bytes: int, *, last: bool = False) -> bool:
        """Whether all of ``links`` are here, after they were asked for.

        The ``last`` time what is not is an IntegrityError.
        """
        wanted = self._absent(links)
        self._remote.check_carries(max((link.size for link in wanted.values()), default=0))
        located = self._store.known.packs_of(self._uuid, wanted)
        if wanted.keys() - located.keys():
            self._explore(whole_bytes)
            wanted = self._absent(list(wanted.values()))
            located = self._store.known.packs_of(self._uuid, wanted)
        self._bring_located([wanted[digest] for digest in located], located)
        if self._swept:
            # What was known of packs that a clean-up took is void; those of the record count.
            self._forget_swept()
            wanted = self._absent(list(wanted.values()))
            located = self._store.known.packs_of(self._uuid, wanted)
            self._bring_located([wanted[digest] for digest in located], located)
        absent = self._absent(list(wanted.values()))
        for digest in absent if last else ():
            where = located.get(digest)
            pack = where.pack if where else next(iter(self._problems), "")
            reason = self._problems.get(digest) or self._problems.get(pack)
            raise IntegrityError(
                f"{self._what}: the object {digest} "
                + (reason or f"is in none of the packs at {self._remote.url} that should have it")
            )
        return not absent

    def _absent(self, links: Sequence[Link]) -> dict[Digest, Link]:
        missing = self._store.objects.missing(link.digest for link in links)
        return {link.digest: link for link in links if link.digest in missing}

    def _forget_swept(self) -> None:
        for pack in self._swept:
            self._store.known.forget_pack(self._uuid, pack)
        self._swept.clear()
        self._shares = list(self._said)
        self._explore(PEEK_BYTES)

    def _explore(self, whole_bytes: int) -> None:
        """Learn the indexes of the packs that nothing is known of.

        A pack that is mostly wanted is read whole in the same request.
        """
        new = [s for s in self._shares if self._store.known.pack(self._uuid, s.pack.uuid) is None]
        self._shares = []

        def explore(share: Share) -> None:
            pack = share.pack
            try:
                # A pack over the limit is one object, which comes in parts once it is known.
                if 2 * share.used < pack.size or pack.size > whole_bytes:
                    self._learn(pack, self._range(pack, pack.size - pack.index_length, pack.size))
                else:
                    self._bring_whole(pack)
            except IntegrityError as error:
                self._problems[pack.uuid] = f"cannot be read: {error.message}"

        self._parallel(explore, {share.pack.uuid: share for share in new}.values())

    def _bring_whole(self, pack: PackInfo) -> None:
        data = self._range(pack, 0, pack.size)
        members = self._learn(pack, data[pack.size - pack.index_length :])
        missing = self._store.objects.missing(member.digest for member in members)
        if pack.size >= THIN_BYTES and len(missing) == len(members):
            view = memoryview(data)
            if all(m.length < SMALL_BYTES and _has(view, 0, m) for m in members):
                # As it is, under a name of this disk's own.
                local = replace(pack, uuid=str(uuids.uuid4()))
                self._store.objects.packs.keep(local, data, members)
                return
        self._keep(0, data, [member for member in members if member.digest in missing])

    def _bring_located(self, links: Sequence[Link], located: dict[Digest, Location]) -> None:
        members: dict[str, list[Location]] = defaultdict(list)
        large: list[tuple[PackInfo, Link]] = []
        runs: list[tuple[PackInfo, list[Location]]] = []
        for link in links:
            member = located[link.digest]
            info = self._store.known.pack(self._uuid, member.pack)
            if member.length != link.size or info is None:
                self._problems[link.digest] = f"has another size in pack {member.pack}"
            elif member.length > MAX_PACK_BYTES:
                large.append((info, link))
            else:
                members[member.pack].append(member)
        for pack, some in members.items():
            info = self._store.known.pack(self._uuid, pack)
            assert info is not None  # looked up above
            runs += [(info, run) for run in _runs(some)]
        self._parallel(lambda found: self._bring_run(*found), runs)
        # One after the other: each comes in parts, as many at a time as there are readers.
        for info, link in large:
            self._bring_large(info, link)

    def _bring_run(self, pack: PackInfo, run: Sequence[Location]) -> None:
        start, end = run[0].offset, run[-1].offset + run[-1].length
        try:
            data = self._range(pack, start, end) if end > start else b""
        except IntegrityError as error:
            self._problems[pack.uuid] = f"cannot be read: {error.message}"
            return
        self._keep(start, data, run)

    def _bring_large(self, pack: PackInfo, link: Link) -> None:
        if link.parts_link and self._absent([link.parts_link]):
            # They were to come before it, and their own digest says why they did not.
            return

        def read(start: int, end: int) -> bytes:
            return self._range(pack, start, end)

        try:
            gather(self._store, link, read)
        except IntegrityError as error:
            self._problems[link.digest] = (
                f"in pack {pack.uuid} at {self._remote.url}: {error.message}"
            )

    def _range(self, pack: PackInfo, start: int, end: int) -> bytes:
        data = self._remote.get(pack_key(pack.uuid), start, end - start)
        if data is None:
            self._swept.add(pack.uuid)
            raise self._gone(pack)
        if len(data) != end - start:
            raise IntegrityError(
                f"pack {pack.uuid} at {self._remote.url} ends early:"
                f" {len(data)} bytes from {start}, not {end - start}"
            )
        self._advance(len(data))
        return data

    def _gone(self, pack: PackInfo) -> IntegrityError:
        return IntegrityError(f"pack {pack.uuid} is not at {self._remote.url}")

    def _learn(self, pack: PackInfo, tail: bytes) -> list[Location]:
        members = members_of(pack, tail)
        self._store.known.note_pack(self._uuid, pack, members)
        return members

    def _keep(self, start: int, data: bytes, members: Sequence[Location]) -> None:
        """Store those of ``members`` whose bytes are sound in ``data``.

        ``data`` is the pack from the offset ``start`` on.
        """

        def right() -> Iterator[tuple[Link, bytes]]:
            view = memoryview(data)
            for member in members:
                if _has(view, start, member):
                    begin = member.offset - start
                    some = data[begin : begin + member.length]
                    yield Link(member.digest, member.length), some
                else:
                    self._problems[member.digest] = (
                        f"has other bytes in pack {member.pack} at {self._remote.url}"
                    )

        self._store.objects.put_all(right())

    def _advance(self, count: int) -> None:
        if self._bar is None:
            self._bar = self._progress.start("fetching", None, "bytes")
        self._progress.advance(self._bar, count)

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._progress.finish(self._bar)
            self._bar = None

    def _parallel(self, act: Callable[..., None], items: Iterable[object]) -> None:
        pool = ThreadPoolExecutor(READS_AT_ONCE)
        try:
            for future in [pool.submit(act, item) for item in items]:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _has(view: memoryview, start: int, member: Location) -> bool:
    """Whether ``view``, which is the pack from ``start`` on, has the member's bytes."""
    begin = member.offset - start
    return digest_of(view[begin : begin + member.length]) == member.digest


def _runs(members: Sequence[Location]) -> Iterator[list[Location]]:
    """Members of one pack as lists that make one range each."""
    run: list[Location] = []
    for member in sorted(members, key=lambda m: (m.offset, m.length)):
        if run:
            end = run[-1].offset + run[-1].length
            size = member.offset + member.length - run[0].offset
            if member.offset - end > GAP_BYTES or size > MAX_PACK_BYTES:
                yield run
                run = []
        run.append(member)
    if run:
        yield run


def localise(
    store: Store, remote: Remote, bundles: Iterable[BundleRecord], *, progress: Progress = SILENT
) -> None:
    """Bring every byte of these bundles to this disk.

    About one request a pack, none when all is here already. Raises IntegrityError naming bundle,
    pack and digest for bytes that are others, and nothing wrong is stored; BundleNotFound,
    RemoteErrors.
    """
    fetchers: dict[str, Fetcher] = {}
    uuid: str | None = None
    for bundle in bundles:
        while absent := store.absent(bundle.root):
            uuid = uuid or _uuid_here(remote)
            with _perhaps_given_up(remote, uuid, bundle):
                if bundle.id not in fetchers:
                    fetchers[bundle.id] = _fetcher(store, remote, uuid, bundle, progress)
                fetchers[bundle.id].bring(absent)
    for fetcher in fetchers.values():
        fetcher.close()


def localise_parts(
    store: Store,
    remote: Remote,
    bundle: BundleRecord,
    patterns: Sequence[str],
    *,
    progress: Progress = SILENT,
) -> None:
    """Bring the parts of ``bundle`` whose paths fit ``patterns`` (``Store.pick``).

    Nothing else comes but the nodes that lead there; requests as ``localise``, one a level of
    nodes. Raises BundleNotFound, before any part is brought, for a pattern that nothing fits,
    naming what is there; else as ``localise``.
    """
    bring = fetcher(store, remote, bundle, progress=progress)
    while (found := store.pick(bundle.root, patterns)).absent:
        bring(list(found.absent.values()))
    if found.unmatched:
        raise BundleNotFound(
            f"{bundle.name}@{bundle.id} has nothing at {', '.join(found.unmatched)}; it has "
            + (", ".join(found.there) or "no parts"),
            hint=f"bundlerun cat {bundle.name}",
        )
    missing = store.objects.missing(found.links)
    if missing:
        bring([link for digest, link in found.links.items() if digest in missing])


def fetcher(
    store: Store, remote: Remote, bundle: BundleRecord, *, progress: Progress = SILENT
) -> Fetch:
    """The ``fetch`` of Store.value for objects of ``bundle`` that are not here.

    It brings these alone, and asks the remote nothing before it is called.
    """
    made: list[tuple[str, Fetcher]] = []

    def fetch(links: Sequence[Link]) -> None:
        uuid = made[0][0] if made else _uuid_here(remote)
        with _perhaps_given_up(remote, uuid, bundle):
            if not made:
                made.append((uuid, _fetcher(store, remote, uuid, bundle, progress)))
            made[0][1].bring(links, whole_bytes=PEEK_BYTES)
        made[0][1].close()

    return fetch


@contextmanager
def _perhaps_given_up(remote: Remote, uuid: str, bundle: BundleRecord) -> Iterator[None]:
    """Raise GivenUp where bytes are missing because the version was given up.

    That is not damage. The remote is asked once more then.
    """
    try:
        yield
    except (IntegrityError, BundleNotFound) as error:
        if not _is_given_up(remote, uuid, bundle):
            raise
        raise _given_up(remote, bundle) from error


def _fetcher(
    store: Store, remote: Remote, uuid: str, bundle: BundleRecord, progress: Progress
) -> Fetcher:
    shares = store.known.noted_value(uuid, bundle.root.digest)
    if shares is None:
        shares = twice(lambda: _shares_of(store, remote, bundle))
        store.known.note_value(uuid, bundle.root.digest, shares)
    return Fetcher(store, remote, uuid, f"{bundle.name}@{bundle.id}", shares, progress)


def _shares_of(store: Store, remote: Remote, bundle: BundleRecord) -> list[Share]:
    data = read_record(remote, bundle_key(bundle.id))
    if data is None:
        what, others = f"{bundle.name}@{bundle.id}", store.known.urls_of(bundle.root.digest)
        raise BundleNotFound(
            f"the bytes of {what} are neither on this disk nor at {remote.url}",
            hint=f"bundlerun remote CONTEXT {others[0]} --rebind; bundlerun pull {what} --localize"
            if others and others[0] != remote.url
            else f"bundlerun push {bundle.name}, where they are",
        )
    record = PushedBundle.from_bytes(data, bundle.id)
    if record.bundle.root != bundle.root:
        raise _other_record(remote, bundle.id)
    return list(record.shares)


def _uuid_here(remote: Remote) -> str:
    uuid = found_uuid(remote)
    if uuid is None:
        raise RemoteChanged(
            f"there is no bundlerun remote at {remote.url} any more",
            hint=f"bundlerun remote CONTEXT {remote.url} --rebind",
        )
    return uuid
