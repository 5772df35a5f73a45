"""Multipart upload of a large object: each part hashed, and none sent twice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import PART_BYTES, Link, parts_of
from bundlerun.bundles.packs import laid_out
from bundlerun.errors import (
    AccessDenied,
    BundlerunError,
    CloudError,
    IntegrityError,
    RemoteUnreachable,
)
from bundlerun.remotes.base import MAX_PARTS, Part, Remote, Upload
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.keys import pack_key
from bundlerun.store.remote_cache import Location, PackInfo
from bundlerun.store.store import Store

KEPT_S = 24 * 3600
"""The age at which a broken upload that nobody continues is given up."""

_CHUNK = 1 << 20
_PARTS_AT_ONCE = 4


class MultipartUpload:
    """The multipart upload of one object, in parts of ``part_bytes``.

    ``send`` is safe to use from threads.
    """

    def __init__(self, remote: Remote, link: Link, path: Path, digests: Sequence[Digest]) -> None:
        self._remote = remote
        self._link = link
        self._path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._digests = digests
        self._lock = threading.Lock()
        self._arrived: dict[int, Part] = {}
        self._ended = False
        self._is_ours = False
        self._upload: Upload | None = None
        self.pack, members, self._tail = laid_out([link])
        self.members: tuple[Location, ...] = tuple(members)
        self.part_bytes = part_bytes_of(self.pack.size)

    @staticmethod
    def begin(binding: Binding, link: Link) -> MultipartUpload:
        """Begin to send ``link``, or go on where an earlier push broke off.

        Raises BundleNotFound, IntegrityError.
        """
        store = binding.store
        path = store.objects.path(link)
        parts_link = link.parts_link
        digests = parts_of(link, store.objects.read(parts_link)) if parts_link else []
        parting = MultipartUpload(binding.remote, link, path, digests)
        try:
            if not digests:
                parting._check_whole()
            parting._begin(store, binding.uuid)
        except BaseException:
            parting.close()
            raise
        return parting

    def _begin(self, store: Store, uuid: str) -> None:
        # The store's file doubles as the lock of its upload. A second process does not wait: it
        # sends on its own.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._is_ours = True
        begun = [each for each in store.uploads.begun(uuid) if each.digest == self._link.digest]
        if self._is_ours and begun:
            upload = self._knowing(Upload(pack_key(begun[0].pack), begun[0].name, self.part_bytes))
            arrived = self._remote.parts(upload)
            if arrived is not None:
                self._upload = upload
                self._rename(begun[0].pack)
                right = {n: part for n, part in arrived.items() if part.size == self._size(n)}
                self._arrived = right
                return
        fresh = self._remote.begin(pack_key(self.pack.uuid), self.part_bytes)
        if fresh is None:
            return
        self._upload = self._knowing(fresh)
        if self._is_ours:
            store.uploads.begin(uuid, self._link.digest, self.pack.uuid, fresh.name)

    def _knowing(self, upload: Upload) -> Upload:
        """``upload`` with the digests of its parts, where they are parts of the object.

        The last one is not, since the pack's index follows.
        """
        if self.part_bytes != PART_BYTES:
            return upload
        whole = self._link.size // PART_BYTES
        return replace(upload, digests=self._digests[:whole])

    @property
    def there(self) -> int:
        """Bytes that need not be sent again."""
        return sum(part.size for part in self._arrived.values())

    @property
    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        if self._upload is None:
            return []
        count = -(-self.pack.size // self.part_bytes)
        return [number for number in range(1, count + 1) if number not in self._arrived]

    def send(self, number: int) -> int:
        """Send one part; its bytes.

        Raises IntegrityError where it is damaged here.
        """
        assert self._upload is not None  # else nothing is missing
        data = self._read(number)
        try:
            part = self._remote.put_part(self._upload, number, data)
        except IntegrityError as error:
            raise damaged(self._link.digest, number - 1) from error
        with self._lock:
            self._arrived[number] = part
        return len(data)

    def is_complete(self) -> bool:
        """Whether all parts are there; true for one caller alone, who is to complete."""
        with self._lock:
            if self._ended or self.missing:
                return False
            self._ended = True
            return True

    def complete(self) -> None:
        """Make the pack of its parts."""
        key = pack_key(self.pack.uuid)
        if self._upload is None:
            self._check_whole()
            self._remote.put_file(key, self._path, self._tail)
        else:
            try:
                self._remote.complete(self._upload, self._arrived)
            except (RemoteUnreachable, CloudError):
                # A lost answer, asked for again, comes back as "no such upload": look what is
                # there.
                if len(self._remote.get(key, self.pack.size - 1, 2) or b"") != 1:
                    raise
        self.close()

    def close(self) -> None:
        """Close the file, and give up an upload that nobody can take up again."""
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        os.close(handle)
        if self._upload is not None and not self._is_ours and not self._ended:
            # The error that led here says more than one of the clean-up would.
            with contextlib.suppress(BundlerunError):
                self._remote.abort(self._upload)

    def _rename(self, pack: str) -> None:
        self.pack = PackInfo(pack, self.pack.size, self.pack.index_length)
        (member,) = self.members
        self.members = (Location(pack, member.offset, member.length, member.digest),)

    def _size(self, number: int) -> int:
        start = (number - 1) * self.part_bytes
        return min(self.part_bytes, self.pack.size - start)

    def _read(self, number: int) -> bytes:
        """The bytes of a part.

        Those of the object are hashed against the digests of its parts, unless the remote is going
        to do it.
        """
        assert self._upload is not None
        known = self._upload.digest_of(number) is not None
        start = (number - 1) * self.part_bytes
        body = _part(self._handle, self._link.size, self._tail, start, self.part_bytes)
        view = memoryview(body)[: max(self._link.size - start, 0)]
        for at in range(0, len(view), PART_BYTES) if self._digests and not known else ():
            place = (start + at) // PART_BYTES
            if digest_of(view[at : at + PART_BYTES]) != self._digests[place]:
                raise damaged(self._link.digest, place)
        if len(body) != self._size(number):
            raise damaged(self._link.digest)
        return body

    def _check_whole(self) -> None:
        sha256 = hashlib.sha256()
        offset = 0
        while chunk := os.pread(self._handle, _CHUNK, offset):
            sha256.update(chunk)
            offset += len(chunk)
        if sha256.hexdigest() != self._link.digest:
            raise damaged(self._link.digest)


def put_in_parts(remote: Remote, key: str, source: Path, tail: bytes = b"") -> None:
    """Store the file ``source``, then ``tail``, under ``key`` by a multipart upload.

    The remote must take parts; a few are sent at a time. One part alone is a plain put. What fails
    is given up, so that nothing is left to pay.
    """
    size = source.stat().st_size
    part_bytes = part_bytes_of(size + len(tail))
    if size + len(tail) <= part_bytes:
        remote.put(key, source.read_bytes() + tail)
        return
    upload = remote.begin(key, part_bytes)
    assert upload is not None
    numbers = range(1, -(-(size + len(tail)) // part_bytes) + 1)
    with source.open("rb") as file:

        def send(number: int) -> Part:
            start = (number - 1) * part_bytes
            body = _part(file.fileno(), size, tail, start, part_bytes)
            return remote.put_part(upload, number, body)

        pool = ThreadPoolExecutor(_PARTS_AT_ONCE)
        try:
            sent = dict(zip(numbers, pool.map(send, numbers), strict=True))
            remote.complete(upload, sent)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            # The error that led here says more than one of the clean-up would.
            with contextlib.suppress(BundlerunError):
                remote.abort(upload)
            raise
        pool.shutdown()


def _part(handle: int, size: int, tail: bytes, start: int, length: int) -> bytes:
    """``length`` bytes from ``start`` of an open file of ``size`` bytes with ``tail``."""
    data = os.pread(handle, min(length, max(size - start, 0)), start)
    return data + tail[max(start - size, 0) :][: length - len(data)]


def part_bytes_of(size: int) -> int:
    """Bytes of a part of an upload of ``size`` bytes: one part of the object, or some."""
    return PART_BYTES * max(1, -(-size // (PART_BYTES * MAX_PARTS)))


def give_up_stale(binding: Binding, wanted: Sequence[Link]) -> None:
    """Abort uploads that broke off long ago, of objects that are not in ``wanted``."""
    begun = binding.store.uploads.begun(binding.uuid)
    if not begun:
        return
    digests = {link.digest for link in wanted}
    for each in begun:
        if each.digest not in digests and time.time() - each.begun_s > KEPT_S:
            # Where it is forbidden the bucket's own rules have to clean up.
            with contextlib.suppress(AccessDenied):
                binding.remote.abort(Upload(pack_key(each.pack), each.name, PART_BYTES))
            binding.store.uploads.end(binding.uuid, [each.pack])


def damaged(digest: Digest, part: int | None = None) -> IntegrityError:
    """Of an object on this disk, and the part of it (from 0) where that is known."""
    where = "" if part is None else f", in its part {part} of {PART_BYTES >> 20} MiB,"
    return IntegrityError(
        f"the bytes of {digest} on this disk{where} are damaged; nothing of them was sent",
        hint="bundlerun fsck --repair, or add the sound file again",
    )
