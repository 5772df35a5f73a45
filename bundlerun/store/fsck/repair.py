"""Repair of objects: fetch good bytes, quarantine the old, put the good in place."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of, digest_of_file
from bundlerun.bundles.link import Link
from bundlerun.errors import BundlerunError, IntegrityError
from bundlerun.store.atomic import aside
from bundlerun.store.database import Database
from bundlerun.store.fsck.bundles import RecordsProof, User
from bundlerun.store.fsck.objects import Bad, Copy, ObjectsProof
from bundlerun.store.fsck.quarantine import Quarantine
from bundlerun.store.reports import Fault, Finding, Kind
from bundlerun.store.store import Store
from bundlerun.store.writer import file_of

Bring = Callable[[User, Link], "bytes | Path"]
"""A function that brings an object's bytes from the remote of the user's context.

They are hashed already; a file is the caller's to move. Raises BundlerunError where they are not
available.
"""

_NOWHERE = ", and no other copy is known: add the same value again"
_KEPT_ASIDE = "moved to quarantine/: nobody else has its bytes"


class Mending:
    """The faults of one store's objects, once all copies of their bytes are known."""

    def __init__(
        self,
        store: Store,
        database: Database,
        copies: Mapping[Digest, Copy],
        bring: Bring | None,
    ) -> None:
        self._store = store
        self._database = database
        self._copies = copies
        self._bring = bring
        self._quarantine = Quarantine(store.path)

    def faults(self, objects: ObjectsProof, records: RecordsProof) -> list[Fault]:
        """Of bad objects, bad packs, and of objects that bundles need and nobody has."""
        # What is missing first: its bytes may lie where something else is to go aside.
        found = [
            self._missing(link, user, objects.rowless.get(digest))
            for digest, (link, user) in records.missing.items()
        ]
        found += [
            self._bad(bad, *records.users.get(d, (bad.link, None)))
            for d, bad in objects.bad.items()
        ]
        found += [self._bad_pack(uuid, detail) for uuid, detail in objects.bad_packs.items()]
        return found

    def _how(self, digest: Digest, user: User | None) -> str | None:
        if digest in self._copies:
            return "from another copy on this disk"
        if user is not None and self._bring is not None and user.context.remote_url is not None:
            return f"from {user.context.remote_url}" if user.pushed else None
        return None

    def _bad(self, bad: Bad, link: Link, user: User | None) -> Fault:
        """``link`` has the size that the user says: the row's may be wrong."""
        digest = link.digest
        how = self._how(digest, user)
        resized = bad.detail.startswith("its row says")
        needed = f"; {user.label} needs it" if user else ""
        if resized:
            how = "from its bytes"
        elif how is None and user is None:
            how = "moved to quarantine/: no bundle needs it"
        elif how is None:
            needed += _NOWHERE
        finding = Finding(bad.kind, f"object {digest}", bad.where, bad.detail + needed, how)
        if resized:
            return Fault(finding, lambda: self._resize(bad.link))
        return Fault(finding, lambda: self._replace(link, user))

    def _missing(self, link: Link, user: User, rowless: Path | None) -> Fault:
        how = "its file has no row" if rowless else self._how(link.digest, user)
        needed = f"{user.label} needs it" + ("" if how else _NOWHERE)
        finding = Finding(Kind.MISSING, f"object {link.digest}", "objects", needed, how)

        def mend() -> None:
            if rowless is not None:
                self._take_in(link, lambda: rowless)
            else:
                self._replace(link, user)

        return Fault(finding, None if how is None else mend)

    def _resize(self, link: Link) -> None:
        with self._database.writing() as tx:
            raw = bytes.fromhex(link.digest)
            tx.execute("UPDATE objects SET size = ? WHERE digest = ?", (link.size, raw))

    def _replace(self, link: Link, user: User | None) -> None:
        """Good bytes in the place of those that are there.

        Raises IntegrityError when there are none: then what was there lies in quarantine/, so that
        nobody believes it.
        """
        good = self._good(link, user)
        self._set_aside(link.digest)
        if good is not None:
            self._take_in(link, good)
        elif user is not None:
            raise IntegrityError(_KEPT_ASIDE)

    def _good(self, link: Link, user: User | None) -> Copy | None:
        """Bytes that have the digest, had and hashed before anything is touched."""
        copy = self._copies.get(link.digest)
        if copy is not None:
            # Where it lay it may have been moved meanwhile.
            with contextlib.suppress(OSError):
                data = copy()
                found = digest_of_file(data) if isinstance(data, Path) else digest_of(data)
                if found == link.digest:
                    return lambda: data
        if user is None or self._bring is None or user.context.remote_url is None:
            return None
        try:
            brought = self._bring(user, link)
        except BundlerunError as error:
            self._set_aside(link.digest)
            raise IntegrityError(f"{_KEPT_ASIDE} ({error.message})") from error
        return lambda: brought

    def _take_in(self, link: Link, copy: Copy) -> None:
        """Keep bytes that were hashed; a file is copied, for it may be somebody's."""
        data = copy()
        size = data.stat().st_size if isinstance(data, Path) else len(data)
        right = Link(link.digest, size)
        if isinstance(data, bytes):
            self._store.objects.put_verified(right, data)
            return
        with aside(self._store.path / "objects" / "tmp") as partial:
            shutil.copyfile(data, partial)
            with contextlib.suppress(FileNotFoundError):
                self._store.objects.put_verified(right, partial)

    def _set_aside(self, digest: Digest) -> None:
        """Move the bytes of an object to quarantine/ and take its row away."""
        raw = bytes.fromhex(digest)
        with self._database.writing() as tx:
            row = tx.execute(
                "SELECT o.data, p.uuid FROM objects o LEFT JOIN local_packs p ON p.id = o.pack"
                " WHERE o.digest = ?",
                (raw,),
            ).fetchone()
            path = file_of(self._store.path / "objects", digest)
            if path.exists() or path.is_symlink():
                self._quarantine.take(path)
            if row is None:
                return
            if row[0] is not None:
                self._quarantine.keep(digest, row[0])
            tx.execute("DELETE FROM objects WHERE digest = ?", (raw,))
        if row[1] is not None:
            self._unpack(str(row[1]))

    def _bad_pack(self, uuid: str, detail: str) -> Fault:
        finding = Finding(
            Kind.DAMAGED,
            f"local pack {uuid}",
            f"packs/{uuid}",
            detail,
            "its whole members become rows, the rest moves to quarantine/",
        )
        return Fault(finding, lambda: self._unpack(uuid))

    def _unpack(self, uuid: str) -> None:
        """Give a damaged pack's sound members rows of their own, and quarantine its file.

        So no push sends the pack as it is.
        """
        packs = self._store.objects.packs
        with self._database.writing() as tx:
            rows = tx.execute(
                "SELECT o.digest, o.offset, o.size FROM objects o JOIN local_packs p"
                " ON p.id = o.pack WHERE p.uuid = ?",
                (uuid,),
            ).fetchall()
            for raw, offset, size in rows:
                data = _member(lambda o=offset, s=size: packs.member(uuid, o, s))  # type: ignore[misc]
                if data is not None and digest_of(data) == raw.hex():
                    tx.execute(
                        "UPDATE objects SET data = ?, pack = NULL, offset = NULL WHERE digest = ?",
                        (data, raw),
                    )
                else:
                    tx.execute("DELETE FROM objects WHERE digest = ?", (raw,))
            tx.execute("DELETE FROM local_packs WHERE uuid = ?", (uuid,))
        path = packs.path(uuid)
        if path.exists():
            self._quarantine.take(path)


def _member(read: Callable[[], bytes]) -> bytes | None:
    try:
        return read()
    except IntegrityError:
        return None
