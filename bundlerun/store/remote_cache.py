"""The cache of what is known of a remote: its packs, and uploads under way.

It belongs to the remote's uuid, not to its address.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import Location, PackInfo, Share
from bundlerun.store.database import Database, batches, marks

__all__ = ["Known", "Location", "PackInfo", "Share"]


class Known:
    """The catalog's memory of remotes.

    Losing it costs requests, never data.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def packs_of(self, uuid: str, digests: Iterable[Digest]) -> dict[Digest, Location]:
        """The packs of the remote ``uuid`` with these digests, as far as known here."""
        found: dict[Digest, Location] = {}
        names: dict[str, str] = {}
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
                    # Of many members, few packs: their names are kept once each.
                    pack = names.setdefault(pack, pack)
                    found[digest] = Location(pack, offset, length, digest)
        return found

    def pack(self, uuid: str, pack: str) -> PackInfo | None:
        """The known facts on one pack of the remote ``uuid``, None without any."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT uuid, size, index_length FROM packs WHERE uuid = ?"
                " AND remote = (SELECT id FROM remotes WHERE uuid = ?)",
                (pack, uuid),
            ).fetchone()
        return None if row is None else PackInfo(*row)

    def members(self, uuid: str, pack: str) -> list[Location]:
        """The known members of one pack of the remote ``uuid``, by offset.

        What is known of a later pack too is left out.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT p.uuid, m.offset, m.length, m.digest FROM packs p"
                " JOIN members m ON m.remote = p.remote AND m.pack = p.id WHERE p.uuid = ?"
                " AND p.remote = (SELECT id FROM remotes WHERE uuid = ?) ORDER BY m.offset",
                (pack, uuid),
            ).fetchall()
        return [Location(row[0], row[1], row[2], Digest(row[3].hex())) for row in rows]

    def note_pack(self, uuid: str, pack: PackInfo, members: Iterable[Location]) -> None:
        """Note that the remote ``uuid`` has ``pack`` with ``members``.

        A digest known in two packs counts as in the one learned last.
        """
        with self._database.writing() as tx:
            remote = remote_row(tx, uuid)
            tx.execute(
                "INSERT OR IGNORE INTO packs (remote, uuid, size, index_length)"
                " VALUES (?, ?, ?, ?)",
                (remote, pack.uuid, pack.size, pack.index_length),
            )
            number = _number(
                tx, "SELECT id FROM packs WHERE remote = ? AND uuid = ?", (remote, pack.uuid)
            )
            # What lies in a sound pack too is better known there.
            or_else = "IGNORE" if _condemned(tx, uuid, [pack.uuid]) else "REPLACE"
            tx.executemany(
                f"INSERT OR {or_else} INTO members VALUES (?, ?, ?, ?, ?)",
                (
                    (remote, bytes.fromhex(m.digest), number, m.offset, m.length)
                    for m in sorted(members, key=lambda m: m.digest)
                ),
            )

    def note_value(self, uuid: str, root: Digest, shares: Sequence[Share]) -> None:
        """Note the packs of the remote ``uuid`` that hold the whole value ``root``.

        A bundle record there says so. The packs' indexes need not be known.
        """
        rows = [[s.pack.uuid, s.pack.size, s.pack.index_length, s.used] for s in shares]
        with self._database.writing() as tx:
            tx.execute(
                "INSERT OR REPLACE INTO roots VALUES (?, ?, ?)",
                (remote_row(tx, uuid), bytes.fromhex(root), json.dumps(rows)),
            )

    def noted_value(self, uuid: str, root: Digest) -> list[Share] | None:
        """The packs of the remote ``uuid`` with the value ``root``; None when unknown."""
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

    def has_root(self, root: Link) -> bool:
        """Whether some remote is known to hold the whole value ``root``."""
        with self._database.reading() as connection:
            query = "SELECT 1 FROM roots WHERE remote IN (SELECT id FROM remotes) AND digest = ?"
            return connection.execute(query, (bytes.fromhex(root.digest),)).fetchone() is not None

    def sound_packs_of(self, uuid: str, digests: Iterable[Digest]) -> dict[Digest, Location]:
        """``packs_of`` without condemned packs: what a new record may build upon."""
        found = self.packs_of(uuid, digests)
        bad = self.condemned(uuid, {location.pack for location in found.values()})
        if not bad:
            return found
        return {digest: location for digest, location in found.items() if location.pack not in bad}

    def sound_shares(self, uuid: str, root: Digest) -> list[Share] | None:
        """The packs of ``noted_value``, unless one of them is condemned."""
        shares = self.noted_value(uuid, root)
        if shares and self.condemned(uuid, [share.pack.uuid for share in shares]):
            return None
        return shares

    def condemned(self, uuid: str, packs: Iterable[str]) -> set[str]:
        """The condemned ones of ``packs``, by the lists of the remote ``uuid`` read here."""
        with self._database.reading() as connection:
            return _condemned(connection, uuid, packs)

    def condemn(self, uuid: str, epoch: int, packs: Iterable[str]) -> None:
        """Note the list ``epoch`` of the remote ``uuid``, which condemns ``packs``."""
        with self._database.writing() as tx:
            remote = remote_row(tx, uuid)
            tx.executemany(
                "INSERT OR IGNORE INTO condemned VALUES (?, ?)", ((remote, p) for p in packs)
            )
            tx.execute("INSERT OR IGNORE INTO epochs VALUES (?, ?)", (remote, epoch))

    def epochs(self, uuid: str) -> set[int]:
        """The lists of condemned packs of the remote ``uuid`` that were read here."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT epoch FROM epochs WHERE remote = (SELECT id FROM remotes WHERE uuid = ?)",
                (uuid,),
            ).fetchall()
        return {epoch for (epoch,) in rows}

    def distrust_before(self, uuid: str, before: int) -> None:
        """Condemn all packs known until now: lists before the epoch ``before`` are gone.

        They were never read here, so any of the packs may be one of theirs.
        """
        with self._database.writing() as tx:
            remote = remote_row(tx, uuid)
            rows = tx.execute("SELECT packs FROM roots WHERE remote = ?", (remote,)).fetchall()
            of_roots = {row[0] for (packs,) in rows for row in json.loads(packs)}
            tx.executemany(
                "INSERT OR IGNORE INTO condemned VALUES (?, ?)", ((remote, p) for p in of_roots)
            )
            tx.execute(
                "INSERT OR IGNORE INTO condemned SELECT remote, uuid FROM packs WHERE remote = ?",
                (remote,),
            )
            tx.executemany(
                "INSERT OR IGNORE INTO epochs VALUES (?, ?)", ((remote, n) for n in range(before))
            )

    def url(self, uuid: str) -> str | None:
        """The last known URL of the remote ``uuid``, or None.

        It is the one by which a context was last bound to it.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT url FROM remotes WHERE uuid = ?", (uuid,)).fetchone()
        return None if row is None else row[0]

    def urls_of(self, root: Digest) -> list[str]:
        """The URLs, of now or once, of remotes known to hold the whole value ``root``."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT r.url FROM remotes r JOIN roots o ON o.remote = r.id"
                " WHERE o.digest = ? AND r.url IS NOT NULL ORDER BY r.id DESC",
                (bytes.fromhex(root),),
            ).fetchall()
        return [url for (url,) in rows]

    def window_s(self, uuid: str) -> float | None:
        """The ``window_s`` of the remote ``uuid``, None when it was not read yet."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT window_s FROM remotes WHERE uuid = ?", (uuid,)
            ).fetchone()
        return None if row is None else row[0]

    def note_window(self, uuid: str, window_s: float) -> None:
        """Note the window of the remote's own record, which never changes."""
        with self._database.writing() as tx:
            tx.execute(
                "UPDATE remotes SET window_s = ? WHERE id = ?", (window_s, remote_row(tx, uuid))
            )

    def forget_pack(self, uuid: str, pack: str) -> None:
        """Forget a pack that is not on the remote ``uuid`` any more."""
        with self._database.writing() as tx:
            found = tx.execute(
                "SELECT p.id, p.remote FROM packs p JOIN remotes r ON r.id = p.remote"
                " WHERE r.uuid = ? AND p.uuid = ?",
                (uuid, pack),
            ).fetchone()
            if found is not None:
                tx.execute("DELETE FROM members WHERE pack = ? AND remote = ?", found)
                tx.execute("DELETE FROM packs WHERE id = ?", found[:1])

    def forget(self, uuid: str) -> None:
        """Forget all that is known of the remote ``uuid``."""
        with self._database.writing() as tx:
            tx.execute("DELETE FROM remotes WHERE uuid = ?", (uuid,))


def _number(tx: sqlite3.Connection, query: str, values: tuple[object, ...]) -> int:
    return int(tx.execute(query, values).fetchone()[0])


def remote_row(tx: sqlite3.Connection, uuid: str) -> int:
    """The row of the remote ``uuid``, made when there is none."""
    tx.execute("INSERT OR IGNORE INTO remotes (uuid) VALUES (?)", (uuid,))
    return _number(tx, "SELECT id FROM remotes WHERE uuid = ?", (uuid,))


def _condemned(connection: sqlite3.Connection, uuid: str, packs: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for some in batches(packs):
        rows = connection.execute(
            "SELECT pack FROM condemned WHERE remote = (SELECT id FROM remotes WHERE uuid = ?)"
            f" AND pack IN ({marks(some)})",
            [uuid, *some],
        )
        found.update(pack for (pack,) in rows.fetchall())
    return found


@dataclass(frozen=True)
class Begun:
    """An upload of the object ``digest`` that was begun, as the pack ``pack``.

    ``name`` is the remote's word for it. ``begun_s`` is seconds since 1970.
    """

    digest: Digest
    pack: str
    name: str
    begun_s: int


class Uploads:
    """Uploads that were begun and not ended.

    Losing them costs sending again, never data.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begun(self, uuid: str) -> list[Begun]:
        """All uploads to the remote ``uuid`` that were begun and not ended."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT digest, pack, upload, begun_s FROM uploads"
                " WHERE remote = (SELECT id FROM remotes WHERE uuid = ?)",
                (uuid,),
            ).fetchall()
        return [Begun(Digest(raw.hex()), *rest) for raw, *rest in rows]

    def begin(self, uuid: str, digest: Digest, pack: str, name: str) -> None:
        """Note an upload of ``digest`` to the remote ``uuid``, over any earlier one."""
        with self._database.writing() as tx:
            tx.execute("INSERT OR IGNORE INTO remotes (uuid) VALUES (?)", (uuid,))
            tx.execute(
                "INSERT OR REPLACE INTO uploads"
                " VALUES ((SELECT id FROM remotes WHERE uuid = ?), ?, ?, ?, ?)",
                (uuid, bytes.fromhex(digest), pack, name, int(time.time())),
            )

    def end(self, uuid: str, packs: Iterable[str]) -> None:
        """Forget the uploads of these packs: they ended, or were given up."""
        with self._database.writing() as tx:
            tx.executemany(
                "DELETE FROM uploads WHERE pack = ?"
                " AND remote = (SELECT id FROM remotes WHERE uuid = ?)",
                [(pack, uuid) for pack in packs],
            )
