"""Packs on this disk: many small objects of one add or pulled pack, as one file.

A file ``packs/<uuid>`` is whole and synced before a row names it. One that no row of
``local_packs`` names is litter of a crash.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import Location, PackInfo, laid_out, members_of
from bundlerun.errors import IntegrityError
from bundlerun.store.atomic import FILE_MODE, aside, settle
from bundlerun.store.database import Database, batches, marks
from bundlerun.store.failures import translated
from bundlerun.store.locks import Guard

Place = tuple[str, int, int, bytes]
"""Pack, offset, length, raw digest of a member."""

MENDING = "bundlerun fsck --repair, or add the sound file again"
"""The cure where bytes of this disk are gone or damaged."""


THIN_BYTES = 1024 * 1024
"""Fewer new bytes than this are not worth a pack."""


class LocalPacks:
    """The packs of a store.

    Safe to use from threads and processes.
    """

    def __init__(self, database: Database, folder: Path, guard: Guard) -> None:
        self._database = database
        self.folder = folder
        self._guard = guard

    def path(self, uuid: str) -> Path:
        """The file of a pack."""
        return self.folder / uuid

    def member(self, uuid: str, offset: int, length: int) -> bytes:
        """The bytes of a member.

        Raises IntegrityError where the file is gone or cut.
        """
        ((_, data),) = self.members([(uuid, offset, length, b"")])
        return data

    def members(self, places: Iterable[Place]) -> Iterator[tuple[bytes, bytes]]:
        """Raw digest and bytes of each member, pack by pack.

        Raises as ``member``.
        """
        for uuid, some in groupby(sorted(places), key=lambda place: place[0]):
            path = self.path(uuid)
            try:
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise IntegrityError(f"the store's pack {path} is gone", hint=MENDING) from error
            try:
                for _, offset, length, raw in some:
                    data = os.pread(handle, length, offset)
                    if len(data) != length:
                        raise IntegrityError(f"the store's pack {path} was cut off", hint=MENDING)
                    yield raw, data
            finally:
                os.close(handle)

    def holding(self, digests: Iterable[Digest]) -> list[PackInfo]:
        """The packs in which some of these objects lie."""
        numbers: set[int] = set()
        with self._database.reading() as connection:
            for some in batches(digests):
                query = (
                    "SELECT DISTINCT pack FROM objects WHERE pack NOT NULL"
                    f" AND digest IN ({marks(some)})"
                )
                raw = [bytes.fromhex(digest) for digest in some]
                numbers.update(number for (number,) in connection.execute(query, raw))
            packs: list[PackInfo] = []
            for some_numbers in batches(sorted(numbers)):
                rows = connection.execute(
                    "SELECT uuid, size, index_length FROM local_packs"
                    f" WHERE id IN ({marks(some_numbers)}) ORDER BY id",
                    some_numbers,
                )
                packs += [PackInfo(*row) for row in rows]
        return packs

    def index(self, pack: PackInfo) -> list[Location]:
        """The members of a pack, by the index in its own file.

        Raises IntegrityError where it is damaged.
        """
        tail = self.member(pack.uuid, pack.size - pack.index_length, pack.index_length)
        return members_of(pack, tail)

    def keep(self, pack: PackInfo, data: bytes, members: Sequence[Location]) -> None:
        """Keep the whole pack ``data`` with its ``members``.

        The caller has hashed each member, and none of them is on this disk yet; the file is called
        ``pack.uuid``, which must be new here.
        """
        with self._guard.sharing():
            with translated(self.folder), aside(self.folder.parent / "objects" / "tmp") as partial:
                partial.write_bytes(data)
                settle(partial, self.path(pack.uuid), FILE_MODE)
            with self._database.writing() as tx:
                number = note_pack(tx, pack)
                tx.executemany(
                    "INSERT INTO objects (digest, size, pack, offset) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (digest) DO NOTHING",
                    [(bytes.fromhex(m.digest), m.length, number, m.offset) for m in members],
                )


def write_pack(
    objects: Sequence[tuple[Link, bytes]], folder: Path, aside_folder: Path
) -> tuple[PackInfo, list[Location]]:
    """Write the bytes of ``objects`` into one pack below ``folder``.

    It is written in ``aside_folder`` first, on the same file system, so the file is whole before it
    has its name: a row never names what is not there. Raises StoreError.
    """
    info, members, tail = laid_out([link for link, _ in objects])
    with translated(folder), aside(aside_folder) as partial:
        with partial.open("xb") as file:
            file.writelines(data for _, data in objects)
            file.write(tail)
        settle(partial, folder / info.uuid, FILE_MODE)
    return info, members


def note_pack(tx: sqlite3.Connection, pack: PackInfo) -> int | None:
    """Give the local pack its row; the row's number."""
    return tx.execute(
        "INSERT INTO local_packs (uuid, size, index_length) VALUES (?, ?, ?)",
        (pack.uuid, pack.size, pack.index_length),
    ).lastrowid
