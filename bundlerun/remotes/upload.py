"""Upload of objects as packs: few requests, bounded memory, every byte hashed."""

from __future__ import annotations

import functools
import io
import uuid as uuids
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import MAX_PACK_BYTES, groups_of, laid_out
from bundlerun.errors import IntegrityError
from bundlerun.progress import Progress
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.keys import pack_key
from bundlerun.remotes.multipart import MultipartUpload, damaged, give_up_stale
from bundlerun.store.remote_cache import Location, PackInfo

UPLOADS_AT_ONCE = 8
"""Packs, or parts of large ones, under way at most."""

AT_ONCE_BYTES = 4 * MAX_PACK_BYTES
"""So many bytes of them are in memory, or one pack or part."""


@dataclass(frozen=True)
class Sent:
    """The amount that went to the remote."""

    packs: int = 0
    objects: int = 0
    bytes: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.packs + other.packs, self.objects + other.objects, self.bytes + other.bytes
        )


@dataclass(frozen=True)
class _SentPack:
    """A pack that is on the remote now, and what it holds."""

    pack: PackInfo
    members: Sequence[Location]


def send(binding: Binding, links: Sequence[Link], progress: Progress) -> Sent:
    """Upload the objects ``links`` as new packs.

    What is there is learned pack by pack, and large ones are remembered part by part, so that a
    push that broke off goes on where it did.

    Raises BundleNotFound for bytes that are not here, IntegrityError for damaged ones, RemoteError
    before anything is sent where one is too large for the remote.
    """
    if not links:
        return Sent()
    binding.remote.check_carries(max(link.size for link in links))
    give_up_stale(binding, links)
    bar = progress.start("sending", sum(link.size for link in links), "bytes")
    sending = _Sending(binding, lambda count: progress.advance(bar, count))
    try:
        return sending.all(links)
    finally:
        sending.close()
        progress.finish(bar)


class _Sending:
    """The packs of one push.

    Not thread-safe; UPLOADS_AT_ONCE threads send them.
    """

    def __init__(self, binding: Binding, advance: Callable[[int], None]) -> None:
        self._binding = binding
        self._store = binding.store
        self._remote = binding.remote
        self._advance = advance
        self._pool = ThreadPoolExecutor(UPLOADS_AT_ONCE)
        self._running: dict[Future[_SentPack | None], int] = {}
        self._large: list[MultipartUpload] = []
        self._sent = Sent()

    def all(self, links: Sequence[Link]) -> Sent:
        """Send everything."""
        rest = self._as_they_are(links)
        for group in groups_of(rest):
            if group[0].size > MAX_PACK_BYTES:
                self._in_parts(group[0])
            else:
                size = sum(link.size for link in group)
                self._submit(size, functools.partial(self._pack, group))
        while self._running:
            self._collect()
        return self._sent

    def close(self) -> None:
        """Wait for what is under way, and send nothing more.

        What was under way when another one failed is learned as well.
        """
        self._pool.shutdown(cancel_futures=True)
        self._learn(future.result() for future in self._running if _is_well(future))
        for large in self._large:
            large.close()

    def _as_they_are(self, links: Sequence[Link]) -> list[Link]:
        """Send the local packs of which every member is wanted; what is left to send."""
        wanted = {link.digest for link in links}
        packs = self._store.objects.packs
        for pack in packs.holding(wanted):
            members = packs.index(pack)
            if wanted.issuperset(member.digest for member in members):
                wanted.difference_update(member.digest for member in members)
                self._submit(pack.size, functools.partial(self._copy, pack, members))
        return [link for link in links if link.digest in wanted]

    def _in_parts(self, link: Link) -> None:
        large = MultipartUpload.begin(self._binding, link)
        self._large.append(large)
        self._advance(large.there)
        for number in large.missing:
            self._submit(large.part_bytes, functools.partial(self._part, large, number))
        if not large.missing:
            self._submit(0, functools.partial(self._part, large, None))

    def _part(self, large: MultipartUpload, number: int | None) -> _SentPack | None:
        """Send one part; the sender of the last one ends the upload."""
        if number is not None:
            self._advance(large.send(number))
        if not large.is_complete():
            return None
        large.complete()
        return _SentPack(large.pack, large.members)

    def _pack(self, group: Sequence[Link]) -> _SentPack:
        pack, members, tail = laid_out(group)
        body = io.BytesIO()
        for link, data in self._store.objects.many(group):
            if digest_of(data) != link.digest:
                raise damaged(link.digest)
            body.write(data)
        body.write(tail)
        # BytesIO gives its buffer away: no second copy of the pack in memory.
        self._remote.put(pack_key(pack.uuid), body.getvalue())
        self._advance(pack.size - pack.index_length)
        return _SentPack(pack, members)

    def _copy(self, local: PackInfo, members: Sequence[Location]) -> _SentPack:
        """A local pack as it is, under a new key: no key of a remote is used twice."""
        data = self._store.objects.packs.path(local.uuid).read_bytes()
        view = memoryview(data)
        for member in members:
            if digest_of(view[member.offset : member.offset + member.length]) != member.digest:
                raise damaged(member.digest)
        pack = replace(local, uuid=str(uuids.uuid4()))
        if len(data) != pack.size:
            raise IntegrityError(f"the store's pack {local.uuid} does not have {pack.size} bytes")
        self._remote.put(pack_key(pack.uuid), data)
        self._advance(pack.size - pack.index_length)
        return _SentPack(pack, [replace(member, pack=pack.uuid) for member in members])

    def _submit(self, size: int, job: Callable[[], _SentPack | None]) -> None:
        # No queue: what waits would be in memory, or hide that an earlier one has failed.
        while self._running and (
            len(self._running) >= UPLOADS_AT_ONCE
            or sum(self._running.values()) + size > AT_ONCE_BYTES
        ):
            self._collect()
        self._running[self._pool.submit(job)] = size

    def _collect(self) -> None:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            del self._running[future]
        self._learn(future.result() for future in done if _is_well(future))
        for future in done:
            future.result()

    def _learn(self, found: Iterable[_SentPack | None]) -> None:
        for sent in found:
            if sent is not None:
                self._store.known.note_pack(self._binding.uuid, sent.pack, sent.members)
                if sent.pack.size > MAX_PACK_BYTES:
                    self._store.uploads.end(self._binding.uuid, [sent.pack.uuid])
                size = sum(member.length for member in sent.members)
                self._sent += Sent(1, len(sent.members), size)


def _is_well(future: Future[_SentPack | None]) -> bool:
    return not future.cancelled() and future.exception() is None
