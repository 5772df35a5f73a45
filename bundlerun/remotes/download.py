"""A large object from a remote, part by part, into a file that outlives a break.

One hash a byte: the whole is hashed in order while its parts arrive. The digests of the parts are
for what a broken attempt left, which counts only where it has them, and for naming the damaged part
where the whole is not what it should be.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import PART_BYTES, Link, parts_of
from bundlerun.errors import IntegrityError
from bundlerun.store.failures import translated
from bundlerun.store.locks import locked
from bundlerun.store.store import Store

READS_AT_ONCE = 4
"""The packs, ranges or parts read at once.

Each has at most MAX_PACK_BYTES in memory. As many parts more may wait for the disk.
"""

Read = Callable[[int, int], bytes]
"""The bytes of the object from the first offset to before the second."""


def gather(store: Store, link: Link, read: Read) -> None:
    """Download the large object ``link`` into ``store``.

    ``read`` gives its bytes in any order and from several threads. What a broken attempt left here
    is not read again. Raises IntegrityError for bytes that are others, naming the part where the
    parts' digests are known; the right ones stay for the next attempt, and nothing is stored.
    Raises StoreBusy when another process brings the same object and does not get on.
    """
    claimed = link.parts_link
    digests = parts_of(link, store.objects.read(claimed)) if claimed else []
    path = store.objects.partial(link)
    with translated(path.parent), locked(path) as file:
        if store.objects.has(link.digest):
            # Another process was first.
            path.unlink()
            return
        if not digests:
            # Nothing says which of the bytes are right.
            os.truncate(file.fileno(), 0)
        gathering = _Gathering(link, read, file.fileno(), digests)
        if gathering.run() != link.digest:
            raise IntegrityError(f"the bytes have another digest{gathering.damage()}")
        store.objects.keep(link, path)


class _Gathering:
    def __init__(self, link: Link, read: Read, handle: int, digests: Sequence[Digest]) -> None:
        self._link = link
        self._read = read
        self._handle = handle
        self._digests = digests
        self._there = os.fstat(handle).st_size

    def run(self) -> str:
        """Bring and write all parts; the digest of the whole.

        They are written in their order, and by one thread: several would wait for each other at
        the file, and what a break leaves has no holes.
        """
        whole = hashlib.sha256()
        start = 0
        behind: deque[tuple[Future[None], Future[None]]] = deque()
        with ThreadPoolExecutor(1) as hasher, ThreadPoolExecutor(1) as writer:
            for part, is_here in self._parts():
                if len(behind) >= READS_AT_ONCE:
                    _done(behind.popleft())
                hashed = hasher.submit(whole.update, part)
                written = writer.submit(_write, self._handle, b"" if is_here else part, start)
                behind.append((hashed, written))
                start += len(part)
            while behind:
                _done(behind.popleft())
        os.truncate(self._handle, start)
        return whole.hexdigest()

    def _parts(self) -> Iterator[tuple[bytes, bool]]:
        """The parts in their order, few of them in memory, and whether the file has them."""
        waiting: deque[Future[tuple[bytes, bool]]] = deque()
        pool = ThreadPoolExecutor(READS_AT_ONCE)
        try:
            for number in range(-(-self._link.size // PART_BYTES)):
                waiting.append(pool.submit(self._part, number))
                if len(waiting) > READS_AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _part(self, number: int) -> tuple[bytes, bool]:
        start = number * PART_BYTES
        end = min(start + PART_BYTES, self._link.size)
        if self._digests and start < self._there:
            data = os.pread(self._handle, end - start, start)
            if digest_of(data) == self._digests[number]:
                return data, True
        return self._read(start, end), False

    def damage(self) -> str:
        """The numbers of the damaged parts, in words; "" where their digests are wrong.

        The right parts stay in the file.
        """
        bad = [
            str(number)
            for number, digest in enumerate(self._digests)
            if digest_of(os.pread(self._handle, PART_BYTES, number * PART_BYTES)) != digest
        ]
        if not bad:
            # The digests of the parts are those of other bytes: nothing here is worth keeping.
            os.truncate(self._handle, 0)
            return ""
        return f": of its parts of {PART_BYTES >> 20} MiB, counted from 0: {', '.join(bad)}"


def _done(work: tuple[Future[None], Future[None]]) -> None:
    for future in work:
        future.result()


def _write(handle: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, at)
        view, at = view[written:], at + written
