"""Bytes on their way in: small ones wait for the transaction, large ones become files first."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.links import Link
from bundlerun.errors import BadPath
from bundlerun.store.durable import FILE_MODE, aside, settle, sync_folder
from bundlerun.store.refusals import translated

SMALL_BYTES = 256 * 1024
"""Objects below this size are rows of the SQLite file, others are files of their own."""

WAITING_BYTES = 16 * 1024 * 1024
"""So many bytes of small objects wait in memory before a transaction of their own takes them."""

_CHUNK_BYTES = 1024 * 1024


class Intake:
    """Where a value's bytes go while it is frozen: the Sink of bundles.manifest.freeze.

    ``spill`` is called when WAITING_BYTES are exceeded and has to call ``write``; ``on_bytes``
    hears of every byte that was hashed. Of one thread; the same bytes are taken once.
    """

    def __init__(
        self,
        folder: Path,
        spill: Callable[[Intake], None],
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._folder = folder
        self._spill = spill
        self._on_bytes = on_bytes
        self._rows: dict[Digest, tuple[int, bytes | None]] = {}
        self._waiting = 0

    def put_bytes(self, data: bytes) -> Link:
        """Take ``data``. Raises BundlerunError when the disk is full or read-only."""
        link = Link(digest_of(data), len(data))
        self._on_bytes(link.size)
        self.put_hashed(link, data)
        return link

    def put_hashed(self, link: Link, data: bytes) -> None:
        """Take ``data``, whose link the caller has computed from it."""
        if link.digest in self._rows:
            return
        if link.size < SMALL_BYTES:
            self._row(link, data)
            return
        with translated(self._folder), aside(self._folder / "tmp") as partial:
            partial.write_bytes(data)
            self.keep(link, partial)

    def put_file(self, path: Path) -> Link:
        """Take the bytes of the regular file ``path``, with bounded memory.

        Raises BadPath when it cannot be read, is no regular file, or changes meanwhile.
        """
        with _opened(path) as source:
            before = _state(source)
            if before[0] < SMALL_BYTES:
                data = _read(source, path, SMALL_BYTES)
                _check(source, path, before, len(data))
                return self.put_bytes(data)
            with translated(self._folder), aside(self._folder / "tmp") as partial:
                link = self._copied(source, path, partial)
                _check(source, path, before, link.size)
                self.keep(link, partial)
        return link

    def keep(self, link: Link, partial: Path) -> None:
        """Make the file ``partial``, which has the bytes of ``link``, the store's own."""
        final = file_of(self._folder, link.digest)
        with translated(self._folder):
            if final.exists() and final.stat().st_size == link.size:
                # Its bytes were synced before it got its name; the name itself may not be yet.
                sync_folder(final.parent)
            else:
                settle(partial, final, FILE_MODE)
        self._row(link, None)

    def write(self, tx: sqlite3.Connection) -> None:
        """Put what waits into the transaction ``tx``."""
        tx.executemany(
            "INSERT INTO objects (digest, size, data) VALUES (?, ?, ?)"
            " ON CONFLICT (digest) DO NOTHING",
            [(bytes.fromhex(d), size, data) for d, (size, data) in self._rows.items()],
        )

    def written(self) -> None:
        """The transaction that ``write`` wrote to is durable."""
        self._rows.clear()
        self._waiting = 0

    def _row(self, link: Link, data: bytes | None) -> None:
        self._rows[link.digest] = (link.size, data)
        self._waiting += len(data or b"")
        if self._waiting > WAITING_BYTES:
            # Objects that no row names yet are litter after a crash, never a lie.
            self._spill(self)

    def _copied(self, source: BinaryIO, path: Path, partial: Path) -> Link:
        sha256 = hashlib.sha256()
        size = 0
        with partial.open("xb") as target:
            while chunk := _read(source, path, _CHUNK_BYTES):
                sha256.update(chunk)
                target.write(chunk)
                size += len(chunk)
                self._on_bytes(len(chunk))
        return Link(Digest(sha256.hexdigest()), size)


def file_of(folder: Path, digest: Digest) -> Path:
    """The file of a large object below ``objects/``."""
    return folder / digest[:2] / digest[2:]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # NONBLOCK: a named pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadPath(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(handle, "rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadPath(f"{path} is no regular file")
        yield source


def _state(source: BinaryIO) -> tuple[int, int]:
    found = os.fstat(source.fileno())
    return found.st_size, found.st_mtime_ns


def _read(source: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise BadPath(f"{path} cannot be read: {error.strerror}") from error


def _check(source: BinaryIO, path: Path, before: tuple[int, int], read: int) -> None:
    if _state(source) != before or read != before[0]:
        raise BadPath(f"{path} changed while it was read; add it once it is complete")
