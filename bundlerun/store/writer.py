"""Bytes on their way into the store.

Small ones wait for the transaction, or for a local pack where they are many; large ones become
files first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import PART_BYTES, Hashing, Link
from bundlerun.bundles.packs import MAX_PACK_BYTES, ROW, TRAILER, PackInfo
from bundlerun.bundles.storage import Stamp, stamp_of
from bundlerun.errors import BadPath
from bundlerun.store.atomic import FILE_MODE, aside, make_folder, settle, sync_folder
from bundlerun.store.failures import translated
from bundlerun.store.lease import unwritten
from bundlerun.store.local_packs import THIN_BYTES, note_pack, write_pack

SMALL_BYTES = 256 * 1024
"""The size below which objects are rows of the SQLite file; others are files."""

WAITING_BYTES = MAX_PACK_BYTES - TRAILER.size
"""The most bytes of small objects that wait in memory, index rows included."""

_CHUNK_BYTES = 1024 * 1024


class _Waiting(NamedTuple):
    """An object without a row yet.

    ``data`` is None where the bytes are a file already.
    """

    link: Link
    data: bytes | None
    pack: PackInfo | None = None
    offset: int | None = None
    stamp: Stamp | None = None


class Writer:
    """The Sink of bundles.value.encode: where a value's bytes go.

    ``is_sound`` says whether a large object is there, and nobody wrote to its file; ``spill`` is
    called when WAITING_BYTES are exceeded and has to call ``write`` and ``written``, and may call
    ``pack`` before; ``on_bytes`` hears of every byte that was hashed. Of one thread; the same bytes
    are taken once.
    """

    def __init__(
        self,
        folder: Path,
        is_sound: Callable[[Link], bool],
        spill: Callable[[Writer], None],
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._folder = folder
        self._is_sound = is_sound
        self._spill = spill
        self._on_bytes = on_bytes
        self._rows: dict[Digest, _Waiting] = {}
        self._waiting = 0

    def put_bytes(self, data: bytes) -> Link:
        """Take ``data``.

        Raises BundlerunError when the disk is full or read-only.
        """
        if len(data) > PART_BYTES:
            hashing = Hashing()
            view = memoryview(data)
            for part in hashing.passing(
                view[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)
            ):
                self._on_bytes(len(part))
            link = self._with_parts(hashing)
        else:
            link = Link(digest_of(data), len(data))
            self._on_bytes(link.size)
        self.put_hashed(link, data)
        return link

    def put_hashed(self, link: Link, data: bytes) -> None:
        """Take ``data``, whose link the caller has computed from it."""
        if link.digest in self._rows:
            return
        if link.size < SMALL_BYTES:
            self._row(_Waiting(link, data))
            return
        with translated(self._folder), aside(self._folder / "tmp") as partial:
            partial.write_bytes(data)
            self.keep(link, partial)

    def put_file(self, path: Path) -> Link:
        """Take the bytes of the regular file ``path``, with bounded memory.

        Raises BadPath when it cannot be read, is not a regular file, or changes meanwhile.
        """
        with _opened(path) as source:
            before = _state(source)
            if before[0] < SMALL_BYTES:
                data = _read(source, path, SMALL_BYTES)
                _check(source, path, before, len(data))
                return self.put_bytes(data)
            with translated(self._folder), aside(self._folder / "tmp") as partial:
                copy = self._copied if before[0] <= PART_BYTES else self._copied_in_parts
                link = copy(source, path, partial)
                _check(source, path, before, link.size)
                self.keep(link, partial)
        return link

    def put_unwritten(self, path: Path) -> Link | None:
        """Take a small file while nobody has it open for writing.

        None where that cannot be told, or the file is not small. Raises as ``put_file``.
        """
        with _opened(path) as source, unwritten(source.fileno()) as is_unwritten:
            before = _state(source)
            if not is_unwritten or before[0] >= SMALL_BYTES:
                return None
            data = _read(source, path, SMALL_BYTES)
            _check(source, path, before, len(data))
        return self.put_bytes(data)

    def keep(self, link: Link, partial: Path) -> None:
        """Make the file ``partial`` the store's own, with the bytes of ``link``.

        It takes the place of a file that somebody wrote to.
        """
        final = file_of(self._folder, link.digest)
        stamp = None
        with translated(self._folder):
            if self._is_sound(link):
                # Its bytes were synced before it got its name; the name itself may not be yet.
                make_folder(final.parent)
                sync_folder(final.parent)
            else:
                settle(partial, final, FILE_MODE)
                stamp = stamp_of(final.stat())
        self._row(_Waiting(link, None, stamp=stamp))

    def pack(self, absent: Iterable[Digest], folder: Path) -> None:
        """Write the waiting ones of ``absent`` into a pack below ``folder``.

        Nothing is done when they are few (less than THIN_BYTES). Call ``write`` afterwards.
        """
        chosen = [self._rows[digest] for digest in absent]
        if sum(row.link.size for row in chosen) < THIN_BYTES:
            return
        info, members = write_pack(
            [(row.link, row.data or b"") for row in chosen], folder, self._folder / "tmp"
        )
        for row, member in zip(chosen, members, strict=True):
            self._rows[member.digest] = _Waiting(row.link, None, info, member.offset)

    def small(self) -> list[Digest]:
        """The digests of the objects that wait in memory."""
        return [digest for digest, row in self._rows.items() if row.data is not None]

    def write(self, tx: sqlite3.Connection) -> None:
        """Put what waits into the transaction ``tx``."""
        packs: dict[PackInfo | None, int | None] = {None: None}
        for pack in {row.pack for row in self._rows.values() if row.pack}:
            packs[pack] = note_pack(tx, pack)
        tx.executemany(
            "INSERT INTO objects (digest, size, data, pack, offset, stamp)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET stamp = excluded.stamp"
            " WHERE excluded.stamp IS NOT NULL AND data IS NULL AND pack IS NULL",
            (
                (
                    bytes.fromhex(digest),
                    row.link.size,
                    row.data,
                    packs[row.pack],
                    row.offset,
                    row.stamp,
                )
                for digest, row in self._rows.items()
            ),
        )

    def written(self) -> None:
        """Note that the transaction of ``write`` is durable."""
        self._rows.clear()
        self._waiting = 0

    def _row(self, row: _Waiting) -> None:
        size = 0 if row.data is None else row.link.size + ROW.size
        if self._waiting + size > WAITING_BYTES:
            # Objects that no row names yet are litter after a crash, never a lie.
            self._spill(self)
        self._rows[row.link.digest] = row
        self._waiting += size

    def _with_parts(self, hashing: Hashing) -> Link:
        link, digests = hashing.finished()
        if link.parts_link is not None:
            self.put_hashed(link.parts_link, digests)
        return link

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

    def _copied_in_parts(self, source: BinaryIO, path: Path, partial: Path) -> Link:
        hashing = Hashing()
        with partial.open("xb", buffering=0) as target:
            for part in hashing.passing(_parts(source, path)):
                _write(target, part)
                self._on_bytes(len(part))
        return self._with_parts(hashing)


def file_of(folder: Path, digest: Digest) -> Path:
    """The file of a large object below ``objects/``."""
    return folder / digest[:2] / digest[2:]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # NONBLOCK: a named pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadPath(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    with os.fdopen(handle, "rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadPath(f"{path} is not a regular file", hint=f"ls -l {path}")
        yield source


def _state(source: BinaryIO) -> tuple[int, int]:
    found = os.fstat(source.fileno())
    return found.st_size, found.st_mtime_ns


def _read(source: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return source.read(size)
    except OSError as error:
        raise BadPath(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error


def _parts(source: BinaryIO, path: Path) -> Iterator[bytes]:
    """The rest of ``source`` in pieces of exactly PART_BYTES and a last one."""
    while part := _read(source, path, PART_BYTES):
        while len(part) < PART_BYTES and (more := _read(source, path, PART_BYTES - len(part))):
            part += more
        yield part


def _write(target: BinaryIO, data: bytes | memoryview) -> None:
    """All of ``data`` to an unbuffered file, which may take it in pieces."""
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def _check(source: BinaryIO, path: Path, before: tuple[int, int], read: int) -> None:
    if _state(source) != before or read != before[0]:
        raise BadPath(
            f"{path} changed while it was read",
            hint="the same command again, when the file is complete",
        )
