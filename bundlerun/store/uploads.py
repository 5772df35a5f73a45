"""What is on its way to remotes in parts, so that a push that broke off goes on where it did."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from bundlerun.bundles.digest import Digest
from bundlerun.store.database import Database


@dataclass(frozen=True)
class Begun:
    """The object ``digest`` is on its way as the pack ``pack``; ``name`` is the remote's word for
    it. ``begun_s`` is seconds since 1970."""

    digest: Digest
    pack: str
    name: str
    begun_s: int


class Uploads:
    """Uploads that were begun and not ended. Losing it costs sending anew, never data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begun(self, uuid: str) -> list[Begun]:
        """All that is on its way to the remote ``uuid``."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT digest, pack, upload, begun_s FROM uploads"
                " WHERE remote = (SELECT id FROM remotes WHERE uuid = ?)",
                (uuid,),
            ).fetchall()
        return [Begun(Digest(raw.hex()), *rest) for raw, *rest in rows]

    def begin(self, uuid: str, digest: Digest, pack: str, name: str) -> None:
        """The object ``digest`` is on its way to the remote ``uuid``, in place of any before."""
        with self._database.writing() as tx:
            tx.execute("INSERT OR IGNORE INTO remotes (uuid) VALUES (?)", (uuid,))
            tx.execute(
                "INSERT OR REPLACE INTO uploads"
                " VALUES ((SELECT id FROM remotes WHERE uuid = ?), ?, ?, ?, ?)",
                (uuid, bytes.fromhex(digest), pack, name, int(time.time())),
            )

    def end(self, uuid: str, packs: Iterable[str]) -> None:
        """These packs are on the remote ``uuid``, or given up."""
        with self._database.writing() as tx:
            tx.executemany(
                "DELETE FROM uploads WHERE pack = ?"
                " AND remote = (SELECT id FROM remotes WHERE uuid = ?)",
                [(pack, uuid) for pack in packs],
            )
