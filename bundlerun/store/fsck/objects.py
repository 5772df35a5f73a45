"""Check of a store's objects: each one hashed, and each file that holds some read."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bundlerun.bundles.digest import Digest, digest_of, digest_of_file
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import PackInfo
from bundlerun.bundles.storage import stamp_of
from bundlerun.errors import IntegrityError
from bundlerun.store.atomic import FILE_MODE
from bundlerun.store.database import FILE, Database
from bundlerun.store.fsck.quarantine import Quarantine
from bundlerun.store.reports import Fault, Finding, Kind
from bundlerun.store.store import Store
from bundlerun.store.writer import file_of

_ROWS = 64
"""Rows a query: each has less than 256 KiB."""

_TWO = re.compile(r"[0-9a-f]{2}")
_REST = re.compile(r"[0-9a-f]{62}")


Copy = Callable[[], "bytes | Path"]
"""The function that gives bytes found somewhere, to be hashed again before use."""


class _Row(NamedTuple):
    """An object as the catalog has it."""

    rowid: int
    digest: bytes
    size: int
    data: bytes | None
    pack: str | None
    offset: int | None
    stamp: bytes | None


@dataclass(frozen=True)
class Bad:
    """An object that has a row and not its bytes.

    ``link`` is what the row says of it.
    """

    link: Link
    kind: Kind
    where: str
    detail: str


class ObjectsProof:
    """A scan of the objects.

    ``bad`` has the bad ones by digest; ``copies`` the bytes found under a wrong name, by their true
    digest; ``faults`` what belongs to no row.
    """

    def __init__(self, store: Store, database: Database, looked_at: Counter[str]) -> None:
        self._store = store
        self._database = database
        self._folder = store.path / "objects"
        self._looked_at = looked_at
        self._quarantine = Quarantine(store.path)
        self.bad: dict[Digest, Bad] = {}
        self.bad_packs: dict[str, str] = {}
        self.copies: dict[Digest, Copy] = {}
        self.rowless: dict[Digest, Path] = {}
        self.faults: list[Fault] = []

    def scan(self) -> None:
        """Look at everything."""
        self._scan_packs()
        for row in self._rows():
            self._looked_at["objects"] += 1
            self._row(row)
        self._scan_files()

    def _rows(self) -> Iterator[_Row]:
        last = -1
        while True:
            with self._database.reading() as connection:
                # By rowid, so that a row whose digest is no more in its place is seen too.
                rows = connection.execute(
                    "SELECT o.rowid, o.digest, o.size, o.data, p.uuid, o.offset, o.stamp"
                    " FROM objects o LEFT JOIN local_packs p ON p.id = o.pack"
                    " WHERE o.rowid > ? ORDER BY o.rowid LIMIT ?",
                    (last, _ROWS),
                ).fetchall()
            yield from map(_Row._make, rows)
            if len(rows) < _ROWS:
                return
            last = rows[-1][0]

    def _row(self, row: _Row) -> None:
        rowid, raw, size, data, pack, offset, stamp = row
        if not isinstance(raw, bytes) or len(raw) != hashlib.sha256().digest_size:
            self._no_digest(rowid, raw)
            return
        digest = Digest(raw.hex())
        if data is not None:
            link = Link(digest, len(data))
            found = digest_of(data)
            if found != digest:
                self._note(link, Kind.DAMAGED, FILE, "its bytes are others")
                self.copies.setdefault(found, lambda: self._data(rowid))
            elif size != len(data):
                self._note(link, Kind.DAMAGED, FILE, f"its row says {size} bytes")
        elif pack is not None:
            self._member(Link(digest, size), pack, offset or 0)
        else:
            self._file(Link(digest, size), stamp)

    def _data(self, rowid: int) -> bytes:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT data FROM objects WHERE rowid = ?", (rowid,)
            ).fetchone()
        return b"" if row is None else bytes(row[0] or b"")

    def _no_digest(self, rowid: int, raw: object) -> None:
        def mend() -> None:
            self._quarantine.keep(f"object-{rowid}", self._data(rowid))
            with self._database.writing() as tx:
                tx.execute("DELETE FROM objects WHERE rowid = ?", (rowid,))

        what, detail = f"an object called {raw!r:.80}", "its name is not a digest"
        finding = Finding(Kind.DAMAGED, what, FILE, detail, "moved to quarantine/")
        self.copies.setdefault(digest_of(self._data(rowid)), lambda: self._data(rowid))
        self.faults.append(Fault(finding, mend))

    def _member(self, link: Link, pack: str, offset: int) -> None:
        path = self._store.objects.packs.path(pack)
        try:
            data = self._store.objects.packs.member(pack, offset, link.size)
        except IntegrityError as error:
            self._note(link, Kind.MISSING, f"packs/{pack}", error.message)
            return
        if digest_of(data) != link.digest:
            self._note(link, Kind.DAMAGED, f"packs/{path.name}", "its bytes are others")

    def _file(self, link: Link, made: bytes | None) -> None:
        path = file_of(self._folder, link.digest)
        where = str(path.relative_to(self._store.path))
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                self._note(link, Kind.DAMAGED, where, "not a regular file")
                return
            digest = digest_of_file(path)
        except FileNotFoundError:
            self._note(link, Kind.MISSING, where, "its file is gone")
            return
        except OSError as error:
            self._note(link, Kind.DAMAGED, where, f"it cannot be read: {error.strerror}")
            return
        if digest != link.digest:
            detail = "its bytes are others"
            if made is not None and stamp_of(found) != made:
                detail += ", and its file was written to after it was made"
            self._note(link, Kind.DAMAGED, where, detail)
            self.copies.setdefault(digest, lambda: path)
            # Whatever its mode: it goes aside, and what comes in its place has the right one.
            return
        if found.st_size != link.size:
            right = Link(link.digest, found.st_size)
            self._note(right, Kind.DAMAGED, FILE, f"its row says {link.size} bytes")
        self._check_mode(path, found.st_mode, f"object {link.digest}")

    def _check_mode(self, path: Path, mode: int, what: str) -> None:
        if stat.S_IMODE(mode) == FILE_MODE:
            return
        where = str(path.relative_to(self._store.path))
        self.faults.append(
            Fault(
                Finding(Kind.MODE, what, where, oct(stat.S_IMODE(mode))[2:], "chmod 444"),
                lambda: path.chmod(FILE_MODE),
            )
        )

    def _note(self, link: Link, kind: Kind, where: str, detail: str) -> None:
        self.bad[link.digest] = Bad(link, kind, where, detail)

    def _scan_packs(self) -> None:
        with self._database.reading() as connection:
            packs = [
                PackInfo(*row)
                for row in connection.execute("SELECT uuid, size, index_length FROM local_packs")
            ]
        folder = self._store.objects.packs.folder
        for pack in packs:
            self._looked_at["local packs"] += 1
            path = folder / pack.uuid
            try:
                self._store.objects.packs.index(pack)
                found = path.stat()
                if found.st_size != pack.size:
                    raise IntegrityError(f"the file has {found.st_size} bytes, not {pack.size}")
                self._check_mode(path, found.st_mode, f"local pack {pack.uuid}")
            except IntegrityError as error:
                self.bad_packs[pack.uuid] = error.message
        known = {pack.uuid for pack in packs}
        for path in sorted(folder.glob("*")):
            if path.name not in known:
                self._litter(path, "no row names it")

    def _scan_files(self) -> None:
        for path in _inside(self._folder):
            if path.name in ("tmp", "partial") and path.is_dir():
                for each in _inside(path):
                    self._litter(each, "unfinished, or on its way")
            elif path.is_dir() and _TWO.fullmatch(path.name):
                for each in _inside(path):
                    self._stray(each)
            else:
                self._litter(path, "no object is called so")

    def _stray(self, path: Path) -> None:
        digest = Digest(path.parent.name + path.name)
        if not _REST.fullmatch(path.name) or not path.is_file() or path.is_symlink():
            self._litter(path, "no object is called so")
            if path.is_file() and not path.is_symlink():
                self.copies.setdefault(digest_of_file(path), lambda: path)
            return
        if self._store.objects.has(digest):
            return
        found = digest_of_file(path)
        if found == digest:
            self.rowless[digest] = path
            self._litter(path, "no row names it")
            return
        self.copies.setdefault(found, lambda: path)

        def mend() -> None:
            self._quarantine.take(path)

        where = str(path.relative_to(self._store.path))
        finding = Finding(
            Kind.DAMAGED,
            f"file of {digest}",
            where,
            "its bytes are others, and adding the right ones would believe it",
            "moved to quarantine/",
        )
        self.faults.append(Fault(finding, mend))

    def _litter(self, path: Path, detail: str) -> None:
        where = str(path.relative_to(self._store.path))
        self.faults.append(Fault(Finding(Kind.LITTER, path.name, where, detail, "bundlerun gc")))


def _inside(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except FileNotFoundError:
        return []
