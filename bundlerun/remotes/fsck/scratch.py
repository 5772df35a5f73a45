"""The members found in a remote's packs, on disk, for there may be millions."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import Location
from bundlerun.store.database import batches, marks

_NODES = (b'{"format":', b'{"level":', b'{"term":')
"""How the bytes of nodes begin; some other objects may, which costs a little disk."""


class Ledger:
    """The sound members of packs, and the bytes of those that may be nodes."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        # Nobody needs it after a crash.
        self._connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE packs (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE);"
            "CREATE TABLE members (digest BLOB NOT NULL, pack INTEGER NOT NULL, offset INTEGER,"
            " length INTEGER, PRIMARY KEY (digest, pack)) WITHOUT ROWID;"
            "CREATE TABLE nodes (digest BLOB PRIMARY KEY, data BLOB NOT NULL);"
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def note(self, pack: str, members: Iterable[Location], nodes: Iterable[bytes]) -> None:
        """``members`` of a pack have their bytes, ``nodes`` among them as they are."""
        run = self._connection
        run.execute("BEGIN")
        run.execute("INSERT OR IGNORE INTO packs (uuid) VALUES (?)", (pack,))
        (number,) = run.execute("SELECT id FROM packs WHERE uuid = ?", (pack,)).fetchone()
        run.executemany(
            "INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?)",
            ((bytes.fromhex(m.digest), number, m.offset, m.length) for m in members),
        )
        run.executemany(
            "INSERT OR IGNORE INTO nodes VALUES (?, ?)",
            ((hashlib.sha256(data).digest(), data) for data in nodes),
        )
        run.execute("COMMIT")

    def node(self, link: Link) -> bytes | None:
        """The bytes of a node, None where no pack has it."""
        row = self._connection.execute(
            "SELECT data FROM nodes WHERE digest = ?", (bytes.fromhex(link.digest),)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def lacking(self, links: Collection[Link], packs: Collection[str]) -> list[Link]:
        """The links of ``links`` that none of ``packs`` has."""
        numbers = self._numbers(packs)
        left = {bytes.fromhex(link.digest): link for link in links}
        for some in batches(list(left)):
            rows = self._connection.execute(
                f"SELECT digest, pack, length FROM members WHERE digest IN ({marks(some)})", some
            ).fetchall()
            for raw, pack, length in rows:
                if pack in numbers and raw in left and left[raw].size == length:
                    del left[raw]
        return list(left.values())

    def places(self, digest: Digest) -> list[Location]:
        """The places of the bytes of ``digest``."""
        rows = self._connection.execute(
            "SELECT p.uuid, m.offset, m.length FROM members m JOIN packs p ON p.id = m.pack"
            " WHERE m.digest = ?",
            (bytes.fromhex(digest),),
        ).fetchall()
        return [Location(pack, offset, length, digest) for pack, offset, length in rows]

    def _numbers(self, packs: Collection[str]) -> set[int]:
        found: set[int] = set()
        for some in batches(packs):
            query = f"SELECT id FROM packs WHERE uuid IN ({marks(some)})"
            found.update(number for (number,) in self._connection.execute(query, some))
        return found


def may_be_node(data: bytes | memoryview) -> bool:
    """Whether the bytes begin as a node's do."""
    return bytes(data[:12]).startswith(_NODES)
