"""Check of bundles: records parsed, values walked, their bytes here or remote."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.value.walk import parts
from bundlerun.errors import IntegrityError
from bundlerun.store.contexts import Context
from bundlerun.store.database import FILE, Database, batches
from bundlerun.store.reports import Fault, Finding, Kind
from bundlerun.store.rows import record_sha, set_tags, write_record
from bundlerun.store.store import Store

_ROWS = 200

_COLUMNS = "seq, context, id, name, record, record_sha, committed, pushed, hidden, version, rank"


@dataclass(frozen=True)
class User:
    """A bundle that needs an object."""

    context: Context
    bundle: BundleRecord
    pushed: bool
    given_up: bool = False

    @property
    def label(self) -> str:
        """``name@id``."""
        return f"{self.bundle.name}@{self.bundle.id}"


FetchRecord = Callable[[Context, str], "BundleRecord | None"]
"""The record that a context's remote has of the bundle of that id."""


class RecordsProof:
    """A walk through the bundles.

    ``users`` of the objects in ``bad``, and ``missing`` objects, with their links, and ``tables``
    that are here; ``elsewhere`` counts, by context and remote, what only that remote has, and with
    no remote what was removed there for everybody.
    """

    def __init__(
        self,
        store: Store,
        database: Database,
        bad: frozenset[Digest],
        fetch_record: FetchRecord | None,
        looked_at: Counter[str],
    ) -> None:
        self._store = store
        self._database = database
        self._bad = bad
        self._fetch_record = fetch_record
        self._looked_at = looked_at
        self._nodes: set[bytes] = set()
        self.users: dict[Digest, tuple[Link, User]] = {}
        self.missing: dict[Digest, tuple[Link, User]] = {}
        self.tables: dict[Digest, tuple[Link, User]] = {}
        self.elsewhere: dict[tuple[Context, str], Counter[str]] = {}
        self.faults: list[Fault] = []

    def walk(self) -> None:
        """Look at everything."""
        contexts = {context.id: context for context in self._store.contexts.list()}
        # Pushed ones first: what a remote may have is told by a bundle that it has.
        for pushed in (1, 0):
            for row in self._rows(pushed):
                self._looked_at["bundles"] += 1
                context = contexts.get(row["context"])
                bundle = self._record(row, context)
                if bundle is not None and context is not None:
                    self._value(User(context, bundle, bool(row["pushed"]), bool(row["hidden"])))

    def _rows(self, pushed: int) -> Iterator[dict[str, Any]]:
        last = -1
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT {_COLUMNS} FROM bundles WHERE pushed = ? AND seq > ?"
                    " ORDER BY seq LIMIT ?",
                    (pushed, last, _ROWS),
                ).fetchall()
            for row in rows:
                yield dict(zip(_COLUMNS.split(", "), row, strict=True))
            if len(rows) < _ROWS:
                return
            last = rows[-1][0]

    def _record(self, row: dict[str, Any], context: Context | None) -> BundleRecord | None:
        """The bundle of a row, proven; a fault and perhaps None where it is not."""
        data = row["record"]
        data = data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogatepass")
        if row["record_sha"] is not None and record_sha(data) != row["record_sha"]:
            self._damaged_record(row, context, "it has other bytes than it was written with")
            return None
        try:
            bundle = BundleRecord.from_bytes(data)
        except IntegrityError as error:
            self._damaged_record(row, context, error.message)
            return None
        lineage = bundle.lineage
        if (bundle.id, bundle.name) != (row["id"], row["name"]):
            told = f"its row calls it {row['name']}@{row['id']}"
            self._mend_row(row, bundle, told, {"id": bundle.id, "name": bundle.name})
        keys = {
            "task": lineage.task and lineage.task.digest,
            "request": lineage.request and lineage.request.digest,
        }
        with self._database.reading() as connection:
            seq = (row["seq"],)
            found = connection.execute("SELECT task, request FROM bundles WHERE seq = ?", seq)
            if found.fetchone() != tuple(keys.values()):
                self._mend_row(row, bundle, "its row has other reuse keys", keys)
            tags = dict(connection.execute("SELECT key, value FROM tags WHERE bundle = ?", seq))
        if tags != dict(bundle.tags):
            self._mend_tags(row, bundle, context)
        ranked = row["version"] is not None and not row["hidden"]
        if (ranked and row["rank"] != row["version"]) or (not row["committed"] and row["rank"]):
            told = f"version {row['version']} stands at rank {row['rank']}"
            self._mend_row(row, bundle, told, {"rank": row["version"]})
        return bundle

    def _mend_row(
        self, row: dict[str, Any], bundle: BundleRecord, detail: str, columns: Mapping[str, object]
    ) -> None:
        def mend() -> None:
            sets = ", ".join(f"{column} = ?" for column in columns)
            with self._database.writing() as tx:
                tx.execute(
                    f"UPDATE bundles SET {sets} WHERE seq = ?", [*columns.values(), row["seq"]]
                )

        what = f"bundle {bundle.name}@{bundle.id}"
        finding = Finding(Kind.DAMAGED, what, FILE, detail, "from its record")
        self.faults.append(Fault(finding, mend))

    def _mend_tags(
        self, row: dict[str, Any], bundle: BundleRecord, context: Context | None
    ) -> None:
        def mend() -> None:
            if context is None:
                raise IntegrityError("its context is gone")
            with self._database.writing() as tx:
                tx.execute("DELETE FROM tags WHERE bundle = ?", (row["seq"],))
                # Not known any more which were sent: sent again they do no harm.
                set_tags(tx, context, row["seq"], bundle.tags, sent=not row["pushed"])

        what, detail = f"bundle {bundle.name}@{bundle.id}", "the index of its tags has others"
        finding = Finding(Kind.DAMAGED, what, FILE, detail, "from its record")
        self.faults.append(Fault(finding, mend))

    def _damaged_record(self, row: dict[str, Any], context: Context | None, detail: str) -> None:
        fetch = self._fetch_record
        what = f"bundle {row['name']}@{row['id']}"
        reachable = row["pushed"] and context is not None and context.remote_url is not None
        if fetch is None or context is None or not reachable:
            self.faults.append(Fault(Finding(Kind.DAMAGED, what, FILE, f"its record: {detail}")))
            return

        def mend() -> None:
            bundle = fetch(context, row["id"])
            if bundle is None:
                raise IntegrityError(f"{context.remote_url} has no such record")
            with self._database.writing() as tx:
                late = dict(
                    tx.execute("SELECT key, value FROM tags WHERE bundle = ?", (row["seq"],))
                )
                whole = dataclasses.replace(bundle, tags={**bundle.tags, **late})
                write_record(tx, row["seq"], whole)

        how = f"from {context.remote_url}"
        finding = Finding(Kind.DAMAGED, what, FILE, f"its record: {detail}", how)
        self.faults.append(Fault(finding, mend))

    def _value(self, user: User) -> None:
        remote = "" if user.given_up else self._expected_at(user)
        excused = bool(remote or user.given_up)
        counted = False
        try:
            for some in batches(parts(user.bundle.root, self._read)):
                wanted = {part.link.digest: part.link for part in some}
                for digest in self._bad & wanted.keys():
                    self.users.setdefault(digest, (wanted[digest], user))
                absent = self._store.objects.missing(wanted)
                for part in some:
                    digest = part.link.digest
                    if part.is_table and digest not in absent and digest not in self._bad:
                        self.tables.setdefault(digest, (part.link, user))
                for digest in absent if not excused else ():
                    self.missing.setdefault(digest, (wanted[digest], user))
                if absent and excused:
                    counts = self.elsewhere.setdefault((user.context, remote), Counter())
                    counts["objects"] += len(absent)
                    counts["bundles"] += not counted
                    counted = True
        except IntegrityError as error:
            finding = Finding(Kind.DAMAGED, f"bundle {user.label}", "its value", error.message)
            self.faults.append(Fault(finding))

    def _expected_at(self, user: User) -> str:
        """The URL of the remote that must have the whole value; "" where none is known.

        The context's own remote comes before others that it was bound to.
        """
        known, context = self._store.known, user.context
        uuid, root = context.remote_uuid, user.bundle.root.digest
        if user.pushed or (uuid and known.noted_value(uuid, root)):
            return context.remote_url or (uuid and known.url(uuid)) or "a remote"
        return next(iter(known.urls_of(root)), "")

    def _read(self, link: Link) -> bytes | None:
        raw = bytes.fromhex(link.digest)
        # What lies below a node that was seen was looked at then.
        if raw in self._nodes or link.digest in self._bad:
            return None
        self._nodes.add(raw)
        return self._store.objects.find(link)
