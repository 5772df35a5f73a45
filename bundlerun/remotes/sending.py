"""Objects of this disk as packs on a remote, a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.links import Link
from bundlerun.errors import IntegrityError
from bundlerun.progress import Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.packs import LARGE_BYTES, groups_of, laid_out
from bundlerun.remotes.records import pack_key
from bundlerun.store.known import Location, PackInfo
from bundlerun.store.store import Store

UPLOADS_AT_ONCE = 4
"""Packs under way; each has at most MAX_PACK_BYTES in memory."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class SentPack:
    """A pack that is on the remote now, and what it holds."""

    pack: PackInfo
    members: tuple[Location, ...]


def send(
    store: Store, remote: Remote, uuid: str, links: Sequence[Link], progress: Progress
) -> list[SentPack]:
    """Upload the objects ``links`` as new packs; what is there is learned pack by pack, so that a
    push that broke off goes on where it did.

    Raises BundleNotFound for bytes that are not here, IntegrityError for damaged ones.
    """
    if not links:
        return []
    bar = progress.start("sending", sum(link.size for link in links), "bytes")
    pool = ThreadPoolExecutor(UPLOADS_AT_ONCE)
    sent: list[SentPack] = []
    running: set[Future[SentPack]] = set()

    def collect(done: Iterable[Future[SentPack]]) -> None:
        for future in done:
            found = future.result()
            store.known.learn(uuid, found.pack, found.members)
            progress.advance(bar, sum(member.length for member in found.members))
            sent.append(found)

    try:
        for group in groups_of(links):
            running.add(pool.submit(_upload, store, remote, group))
            if len(running) >= UPLOADS_AT_ONCE:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                collect(done)
        collect(wait(running).done)
    finally:
        pool.shutdown(cancel_futures=True)
        progress.finish(bar)
    return sent


def _upload(store: Store, remote: Remote, group: Sequence[Link]) -> SentPack:
    pack, members, tail = laid_out(group)
    if group[0].size > LARGE_BYTES:
        path = store.objects.path(group[0])
        _check_file(group[0], path)
        remote.put_file(pack_key(pack.uuid), path, tail)
        return SentPack(pack, tuple(members))
    body = bytearray()
    for link, data in store.objects.many(group):
        if digest_of(data) != link.digest:
            raise _damaged(link)
        body += data
    body += tail
    remote.put(pack_key(pack.uuid), bytes(body))
    return SentPack(pack, tuple(members))


def _check_file(link: Link, path: Path) -> None:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
    if sha256.hexdigest() != link.digest:
        raise _damaged(link)


def _damaged(link: Link) -> IntegrityError:
    return IntegrityError(
        f"the bytes of {link.digest} on this disk are damaged; nothing of them was sent"
    )
