"""What is known here of a remote's packs. It belongs to the remote's uuid, not to its address."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundlerun.bundles.digest import Digest
from bundlerun.store.database import Database
from bundlerun.store.objects import batches


@dataclass(frozen=True)
class Location:
    """Where the bytes of ``digest`` lie in a pack: a hint, to be believed once they are hashed."""

    pack: str
    offset: int
    length: int
    digest: Digest


@dataclass(frozen=True)
class PackInfo:
    """A pack on a remote: ``size`` bytes in all, the last of them ``index_length`` of index."""

    uuid: str
    size: int
    index_length: int


@dataclass(frozen=True)
class Share:
    """A pack in which bytes of a value lie, ``used`` of them: what a bundle record says."""

    pack: PackInfo
    used: int


class Known:
    """The catalog's memory of remotes. Losing it costs requests, never data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def packs_of(self, uuid: str, digests: Iterable[Digest]) -> dict[Digest, Location]:
        """Where the remote ``uuid`` has these digests, as far as known here."""
        found: dict[Digest, Location] = {}
        with self._database.reading() as connection:
            for some in batches(dict.fromkeys(digests)):
                rows = connection.execute(
                    "SELECT m.digest, p.uuid, m.offset, m.length FROM members m"
                    " JOIN packs p ON p.id = m.pack"
                    " WHERE m.remote = (SELECT id FROM remotes WHERE uuid = ?)"
                    f" AND m.digest IN ({','.join('?' * len(some))})",
                    [uuid, *(bytes.fromhex(digest) for digest in some)],
                )
                for raw, pack, offset, length in rows.fetchall():
                    digest = Digest(raw.hex())
                    found[digest] = Location(pack, offset, length, digest)
        return found

    def pack(self, uuid: str, pack: str) -> PackInfo | None:
        """What is known of one pack of the remote ``uuid``, None when nothing is."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT uuid, size, index_length FROM packs WHERE uuid = ?"
                " AND remote = (SELECT id FROM remotes WHERE uuid = ?)",
                (pack, uuid),
            ).fetchone()
        return None if row is None else PackInfo(*row)

    def learn(self, uuid: str, pack: PackInfo, members: Iterable[Location]) -> None:
        """The remote ``uuid`` has ``pack`` with ``members``. A digest known in two packs counts as
        in the one learned last."""
        with self._database.writing() as tx:
            tx.execute("INSERT OR IGNORE INTO remotes (uuid) VALUES (?)", (uuid,))
            remote = _number(tx, "SELECT id FROM remotes WHERE uuid = ?", (uuid,))
            tx.execute(
                "INSERT OR IGNORE INTO packs (remote, uuid, size, index_length)"
                " VALUES (?, ?, ?, ?)",
                (remote, pack.uuid, pack.size, pack.index_length),
            )
            number = _number(
                tx, "SELECT id FROM packs WHERE remote = ? AND uuid = ?", (remote, pack.uuid)
            )
            tx.executemany(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?)",
                (
                    (remote, bytes.fromhex(m.digest), number, m.offset, m.length)
                    for m in sorted(members, key=lambda m: m.digest)
                ),
            )

    def expect(self, uuid: str, root: Digest, shares: Sequence[Share]) -> None:
        """The whole value ``root`` lies in these packs of the remote ``uuid``, as a bundle record
        there says. Their indexes need not be known."""
        rows = [[s.pack.uuid, s.pack.size, s.pack.index_length, s.used] for s in shares]
        with self._database.writing() as tx:
            tx.execute("INSERT OR IGNORE INTO remotes (uuid) VALUES (?)", (uuid,))
            tx.execute(
                "INSERT OR REPLACE INTO roots"
                " VALUES ((SELECT id FROM remotes WHERE uuid = ?), ?, ?)",
                (uuid, bytes.fromhex(root), json.dumps(rows)),
            )

    def expected(self, uuid: str, root: Digest) -> list[Share] | None:
        """The packs of the remote ``uuid`` that hold the value ``root``, None when unknown here."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT packs FROM roots WHERE digest = ?"
                " AND remote = (SELECT id FROM remotes WHERE uuid = ?)",
                (bytes.fromhex(root), uuid),
            ).fetchone()
        if row is None:
            return None
        return [
            Share(PackInfo(pack, size, index), used)
            for pack, size, index, used in json.loads(row[0])
        ]

    def forget(self, uuid: str) -> None:
        """Nothing is known of the remote ``uuid`` any more."""
        with self._database.writing() as tx:
            tx.execute("DELETE FROM remotes WHERE uuid = ?", (uuid,))


def _number(tx: sqlite3.Connection, query: str, values: tuple[object, ...]) -> int:
    return int(tx.execute(query, values).fetchone()[0])
