"""Objects of a remote to this disk: few requests, bounded memory, and every byte hashed first."""

from __future__ import annotations

import uuid as uuids
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.links import Link
from bundlerun.errors import IntegrityError
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.packs import LARGE_BYTES, MAX_PACK_BYTES, members_of
from bundlerun.remotes.records import pack_key
from bundlerun.store.known import Location, PackInfo, Share
from bundlerun.store.store import Store

READS_AT_ONCE = 4
"""Packs or ranges under way; each has at most MAX_PACK_BYTES in memory."""

GAP_BYTES = 64 << 10
"""Two members with fewer unwanted bytes between them come as one range: a request costs more."""


class Fetcher:
    """Brings objects of the remote ``uuid`` into the store. ``what`` names the bundle in messages;
    ``shares`` are the packs in which its bytes lie, as far as a record says so.

    Locations are hints: an object is stored once its bytes have its digest. Bytes that have not
    are left out, and IntegrityError follows when one of them was asked for.
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
        self._shares = list(shares)
        self._progress = progress
        self._bar: int | None = None
        self._problems: dict[str, str] = {}

    def read(self, link: Link) -> bytes:
        """The bytes of one object, brought here when they are not. Raises as ``bring``, and
        BundleNotFound where nobody knows of it."""
        found = self._store.objects.find(link)
        if found is not None:
            return found
        # The root of a bundle inside a value: its packs are known by it.
        self._shares += self._store.known.expected(self._uuid, link.digest) or []
        if self._shares or self._store.known.packs_of(self._uuid, [link.digest]):
            self.bring([link])
        return self._store.objects.read(link)

    def bring(self, links: Sequence[Link], *, everything: bool = False) -> None:
        """Bring all of ``links`` that are not here. With ``everything`` the caller is going to want
        the whole value, so a large pack that is mostly its own is read before its index is.

        Raises IntegrityError naming bundle, pack and digest, RemoteError and its kinds.
        """
        wanted = self._absent(links)
        located = self._store.known.packs_of(self._uuid, wanted)
        if wanted.keys() - located.keys():
            self._explore(everything)
            wanted = self._absent(list(wanted.values()))
            located = self._store.known.packs_of(self._uuid, wanted)
        self._bring_located([wanted[digest] for digest in located], located)
        for digest in self._absent(list(wanted.values())):
            where = located.get(digest)
            pack = where.pack if where else next(iter(self._problems), "")
            reason = self._problems.get(digest) or self._problems.get(pack)
            raise IntegrityError(
                f"{self._what}: the object {digest} "
                + (reason or f"is in none of the packs at {self._remote.url} that should have it")
            )

    def _absent(self, links: Sequence[Link]) -> dict[Digest, Link]:
        missing = self._store.objects.missing(link.digest for link in links)
        return {link.digest: link for link in links if link.digest in missing}

    def _explore(self, everything: bool) -> None:
        """Learn the indexes of the packs that nothing is known of; a pack that is mostly wanted is
        read whole in the same request."""
        new = [s for s in self._shares if self._store.known.pack(self._uuid, s.pack.uuid) is None]
        self._shares = []

        def explore(share: Share) -> None:
            pack = share.pack
            try:
                if 2 * share.used < pack.size or (pack.size > MAX_PACK_BYTES and not everything):
                    self._learn(pack, self._range(pack, pack.size - pack.index_length, pack.size))
                elif pack.size > MAX_PACK_BYTES:
                    self._bring_file(pack, None)
                else:
                    self._bring_whole(pack)
            except IntegrityError as error:
                self._problems[pack.uuid] = f"cannot be had: {error.message}"

        self._parallel(explore, {share.pack.uuid: share for share in new}.values())

    def _bring_whole(self, pack: PackInfo) -> None:
        data = self._range(pack, 0, pack.size)
        members = self._learn(pack, data[pack.size - pack.index_length :])
        missing = self._store.objects.missing(member.digest for member in members)
        self._keep(0, data, [member for member in members if member.digest in missing])

    def _bring_located(self, links: Sequence[Link], located: dict[Digest, Location]) -> None:
        members: dict[str, list[Location]] = defaultdict(list)
        jobs: list[Callable[[], None]] = []
        for link in links:
            member = located[link.digest]
            info = self._store.known.pack(self._uuid, member.pack)
            if member.length != link.size or info is None:
                self._problems[link.digest] = f"has another size in pack {member.pack}"
            elif member.length > LARGE_BYTES:
                jobs.append(lambda info=info, link=link: self._bring_file(info, link))  # type: ignore[misc]
            else:
                members[member.pack].append(member)
        for pack, some in members.items():
            info = self._store.known.pack(self._uuid, pack)
            assert info is not None  # looked up above
            for run in _runs(some):
                jobs.append(lambda info=info, run=run: self._bring_run(info, run))  # type: ignore[misc]
        self._parallel(lambda job: job(), jobs)

    def _bring_run(self, pack: PackInfo, run: Sequence[Location]) -> None:
        start, end = run[0].offset, run[-1].offset + run[-1].length
        try:
            data = self._range(pack, start, end) if end > start else b""
        except IntegrityError as error:
            self._problems[pack.uuid] = f"cannot be had: {error.message}"
            return
        self._keep(start, data, run)

    def _bring_file(self, pack: PackInfo, link: Link | None) -> None:
        """A pack of one large object, through a file; without ``link`` its index says which."""
        partial = self._store.path / "objects" / "tmp" / uuids.uuid4().hex
        try:
            length = link.size if link else pack.size
            if not self._remote.get_file(pack_key(pack.uuid), partial, length):
                raise self._gone(pack)
            if link is None:
                link = self._cut_tail(pack, partial)
            self._advance(partial.stat().st_size)
            self._store.objects.put_verified(link, partial)
        except IntegrityError as error:
            key = link.digest if link else pack.uuid
            self._problems[key] = f"in pack {pack.uuid} at {self._remote.url}: {error.message}"
        finally:
            partial.unlink(missing_ok=True)

    def _cut_tail(self, pack: PackInfo, partial: Path) -> Link:
        with partial.open("r+b") as file:
            file.seek(pack.size - pack.index_length)
            (member,) = self._learn(pack, file.read())
            file.truncate(member.length)
        return Link(member.digest, member.length)

    def _range(self, pack: PackInfo, start: int, end: int) -> bytes:
        data = self._remote.get(pack_key(pack.uuid), start, end - start)
        if data is None:
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
        self._store.known.learn(self._uuid, pack, members)
        return members

    def _keep(self, start: int, data: bytes, members: Sequence[Location]) -> None:
        """Store those of ``members`` that have their bytes in ``data``, which is the pack from
        ``start`` on."""

        def right() -> Iterator[tuple[Link, bytes]]:
            for member in members:
                begin = member.offset - start
                some = data[begin : begin + member.length]
                if digest_of(some) == member.digest:
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
        """The progress bar goes away."""
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
