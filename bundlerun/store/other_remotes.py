"""The known places of bundles on remotes that their context is not bound to now.

A row of ``bundles`` says where a bundle stands on the one remote to which its context is bound, so
that the latest version is one look at an index. When a context is bound to another remote that is
put aside, by the remote's uuid, and what was put aside of the other one is taken up again.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass

from bundlerun.store.remote_cache import remote_row
from bundlerun.store.schema import UNNUMBERED, UNPUSHED


@dataclass(frozen=True)
class _Place:
    version: int | None
    hidden: bool
    record_digest: str | None
    tags: dict[str, str]
    """The tags that the remote knows."""

    def rank(self, seq: int) -> int | None:
        if self.hidden:
            return None
        return UNNUMBERED + seq if self.version is None else self.version


def put_aside(tx: sqlite3.Connection, context: int, uuid: str) -> None:
    """Keep where the context's bundles stand on the remote ``uuid``, its present one."""
    sent: dict[int, dict[str, str]] = defaultdict(dict)
    for seq, key, value in tx.execute(
        "SELECT bundle, key, value FROM tags WHERE context = ? AND sent = 1", (context,)
    ).fetchall():
        sent[seq][key] = value
    # What is hidden and has no number was given up on another one.
    rows = tx.execute(
        "SELECT seq, version, hidden, record_digest FROM bundles WHERE context = ? AND pushed = 1"
        " AND (hidden = 0 OR version IS NOT NULL)",
        (context,),
    ).fetchall()
    remote = remote_row(tx, uuid)
    tx.executemany(
        "INSERT OR REPLACE INTO elsewhere (remote, bundle, version, hidden, record_digest, tags)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(remote, *row, json.dumps(sent.get(row[0], {}))) for row in rows],
    )


def take_up(tx: sqlite3.Connection, context: int, uuid: str) -> None:
    """Restore the known places of the context's bundles on the remote ``uuid``.

    The other committed bundles become unpushed, in their order.
    """
    places = _places(tx, context, uuid)
    rows = tx.execute(
        "SELECT seq, rank FROM bundles WHERE context = ? AND committed = 1 ORDER BY rank, seq",
        (context,),
    ).fetchall()
    known = [(seq, places[seq]) for seq, _ in rows if seq in places]
    tx.executemany(
        "UPDATE bundles SET pushed = 1, version = ?, hidden = ?, record_digest = ?, rank = ?"
        " WHERE seq = ?",
        [
            (place.version, place.hidden, place.record_digest, place.rank(seq), seq)
            for seq, place in known
        ],
    )
    new = [seq for seq, rank in rows if seq not in places and rank is not None]
    tx.executemany(
        "UPDATE bundles SET pushed = 0, version = NULL, record_digest = NULL, rank = ?"
        " WHERE seq = ?",
        [(UNPUSHED + place, seq) for place, seq in enumerate(new, start=1)],
    )
    # Given up on the old one, and never seen on this one: found by its full id, as before.
    given_up = [(seq,) for seq, rank in rows if seq not in places and rank is None]
    tx.executemany(
        "UPDATE bundles SET version = NULL, record_digest = NULL WHERE seq = ?", given_up
    )
    # A record that is pushed anew carries all tags; one that is there has those it was left with.
    tx.execute("UPDATE tags SET sent = 1 WHERE context = ?", (context,))
    for seq, place in known:
        _mark_tags(tx, seq, place.tags)
    tx.execute(
        "DELETE FROM elsewhere WHERE remote = ?1 AND bundle IN"
        " (SELECT seq FROM bundles WHERE context = ?2)",
        (remote_row(tx, uuid), context),
    )


def _places(tx: sqlite3.Connection, context: int, uuid: str) -> dict[int, _Place]:
    rows = tx.execute(
        "SELECT e.bundle, e.version, e.hidden, e.record_digest, e.tags FROM elsewhere e"
        " JOIN bundles b ON b.seq = e.bundle WHERE e.remote = ? AND b.context = ?",
        (remote_row(tx, uuid), context),
    ).fetchall()
    return {
        seq: _Place(version, bool(hidden), digest, json.loads(tags))
        for seq, version, hidden, digest, tags in rows
    }


def _mark_tags(tx: sqlite3.Connection, seq: int, known: dict[str, str]) -> None:
    tags = tx.execute("SELECT key, value FROM tags WHERE bundle = ?", (seq,)).fetchall()
    new = [(seq, key) for key, value in tags if known.get(key) != value]
    tx.executemany("UPDATE tags SET sent = 0 WHERE bundle = ? AND key = ?", new)
