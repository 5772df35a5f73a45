"""The bytes of a store by their digest: small ones are rows, large ones are files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bundlerun.bundles.digest import Digest, digest_of, digest_of_file
from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import Stamp, stamp_of
from bundlerun.errors import BundleNotFound, BundlerunError, IntegrityError
from bundlerun.settings import StoreSettings
from bundlerun.store.atomic import aside
from bundlerun.store.checkout import Localised
from bundlerun.store.database import Database, batches, marks
from bundlerun.store.failures import translated
from bundlerun.store.local_packs import MENDING, LocalPacks
from bundlerun.store.locks import Guard
from bundlerun.store.writer import SMALL_BYTES, Writer, file_of

__all__ = ["Objects", "batches"]

_AT_ONCE_BYTES = 16 << 20
_LINK_BYTES = 256

_SAME_FILE_BYTES = 32
"""The bytes of a stamp, all but ctime, that stay when a file gets one more name."""


class _LargeFile(NamedTuple):
    """The file of a large object, and whether it is another than when it was made."""

    path: Path
    is_touched: bool


class Objects:
    """Bytes by digest, each hashed on its way in.

    Safe to use from threads.
    """

    def __init__(self, database: Database, folder: Path, settings: StoreSettings) -> None:
        self._database = database
        self._folder = folder / "objects"
        self._proven: dict[Digest, Stamp] = {}
        self.guard = Guard(folder)
        self.packs = LocalPacks(database, folder / "packs", self.guard)
        self.localised = Localised(
            database,
            folder / "files",
            self.guard,
            self.many_held,
            self._linked,
            link=settings.checkout == "link",
        )

    def has(self, digest: Digest) -> bool:
        """Whether the bytes are on this disk."""
        with self._database.reading() as connection:
            query = "SELECT 1 FROM objects WHERE digest = ?"
            return connection.execute(query, (bytes.fromhex(digest),)).fetchone() is not None

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """The digests of ``digests`` whose bytes are not on this disk."""
        wanted = set(digests)
        with self._database.reading() as connection:
            for some in batches(list(wanted)):
                rows = connection.execute(
                    f"SELECT digest FROM objects WHERE digest IN ({marks(some)})",
                    [bytes.fromhex(digest) for digest in some],
                )
                wanted.difference_update(Digest(raw.hex()) for (raw,) in rows.fetchall())
        return wanted

    def find(self, link: Link) -> bytes | None:
        """The bytes, None when they are not on this disk.

        Raises IntegrityError when they are not as long as the link says.
        """
        held = self._find(link)
        return held.read_bytes() if isinstance(held, Path) else held

    def read(self, link: Link) -> bytes:
        """The bytes of ``link``.

        Raises BundleNotFound when they are not on this disk, IntegrityError.
        """
        held = self.held(link)
        return held.read_bytes() if isinstance(held, Path) else held

    def held(self, link: Link) -> bytes | Path:
        """The bytes of a small object, or the file of a large one.

        A file that was touched since it was made is hashed first. Raises as ``read``.
        """
        found = self._find(link)
        if found is None:
            raise BundleNotFound(
                f"the bytes {link.digest} are not on this disk",
                hint="bundlerun pull NAME --localize",
            )
        return found

    def many(self, links: Iterable[Link]) -> Iterator[tuple[Link, bytes]]:
        """The bytes of each link, in their order.

        Raises as ``read``.
        """
        for link, held in self.many_held(links):
            yield link, held if isinstance(held, bytes) else held.read_bytes()

    def many_held(self, links: Iterable[Link]) -> Iterator[tuple[Link, bytes | Path]]:
        """``held`` of each link, in their order.

        Small ones come by hundreds in one query, and no more than _AT_ONCE_BYTES of them are in
        memory. Raises as ``read``.
        """
        for some in _by_size(links):
            small = [bytes.fromhex(link.digest) for link in some if link.size < SMALL_BYTES]
            found: dict[str, bytes] = {}
            for raws in batches(small):
                found.update(self._small(raws))
            for link in some:
                data = found.get(link.digest)
                if data is None or len(data) != link.size:
                    yield link, self.held(link)
                else:
                    yield link, data

    def put_bytes(self, data: bytes) -> Link:
        """Keep ``data``, durably."""
        with self.guard.sharing():
            intake = self.intake()
            link = intake.put_bytes(data)
            self._write(intake)
        return link

    def put_file(self, path: Path) -> Link:
        """Keep the bytes of the file ``path``, durably.

        Raises BadPath.
        """
        with self.guard.sharing():
            intake = self.intake()
            link = intake.put_file(path)
            self._write(intake)
        return link

    def put_verified(self, link: Link, data: bytes | Path) -> None:
        """Keep bytes from elsewhere under their link; a file is moved in.

        They are hashed here: IntegrityError when they are others, and nothing is kept.
        """
        if isinstance(data, bytes):
            self.put_all([(link, data)])
            return
        _check(link, digest_of_file(data), data.stat().st_size)
        if link.size < SMALL_BYTES:
            self.put_all([(link, data.read_bytes())])
            data.unlink()
            return
        with translated(self._folder), aside(self._folder / "tmp") as partial:
            shutil.move(data, partial)
            self.keep(link, partial)

    def keep(self, link: Link, partial: Path) -> None:
        """Make the file ``partial`` the large object ``link``, durably.

        It is on this file system, and the caller has hashed it.
        """
        with self.guard.sharing():
            intake = self.intake()
            intake.keep(link, partial)
            self._write(intake)

    def partial(self, link: Link) -> Path:
        """The file in which the parts of a large object gather until all are here.

        ``store.locks`` locks it.
        """
        return self._folder / "partial" / link.digest

    def put_all(self, items: Iterable[tuple[Link, bytes]]) -> None:
        """``put_verified`` of many, in as few transactions as memory allows (16 MiB each).

        A wrong one raises IntegrityError; those before it may be kept.
        """
        with self.guard.sharing():
            intake = self.intake()
            for link, data in items:
                _check(link, digest_of(data), len(data))
                intake.put_hashed(link, data)
            self._write(intake)

    def path(self, link: Link) -> Path:
        """A file with the bytes of ``link``, of a large object the store's own as it is.

        The caller must hash what it reads of it, and write nothing. Raises as ``read``.
        """
        found = self._look_up(link)
        if isinstance(found, _LargeFile):
            return found.path
        return self.localised.file(link, "bytes", False)

    def localise(self, link: Link, name: str, executable: bool = False) -> Path:
        """A read-only file called ``name`` with the bytes of ``link``.

        Raises as ``read``, and BadPath.
        """
        return self.localised.file(link, name, executable)

    def intake(self, on_bytes: Callable[[int], None] = lambda count: None) -> Writer:
        """The writer of a value's bytes before its transaction."""
        return Writer(self._folder, self._is_untouched, self._spill, on_bytes)

    def _is_untouched(self, link: Link) -> bool:
        """Whether a large object is here and its file is as it was when it was made."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT stamp FROM objects WHERE digest = ? AND size = ?",
                (bytes.fromhex(link.digest), link.size),
            ).fetchone()
        with contextlib.suppress(FileNotFoundError):
            found = file_of(self._folder, link.digest).stat()
            return row is not None and row[0] == stamp_of(found)
        return False

    def is_suspect(self, digest: Digest) -> bool:
        """Whether the file of this large object is gone, or changed since it was made.

        False where ``digest`` is not that of a large object.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT stamp FROM objects WHERE digest = ? AND stamp IS NOT NULL",
                (bytes.fromhex(digest),),
            ).fetchone()
        if row is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            return bool(row[0] != stamp_of(file_of(self._folder, digest).stat()))
        return True

    def _prove(self, link: Link, path: Path) -> None:
        """Hash the file of a large object that somebody touched; the next use need not."""
        before = stamp_of(path.stat())
        if self._proven.get(link.digest) == before:
            return
        if digest_of_file(path) != link.digest:
            raise IntegrityError(
                f"the store's file {path} was changed after it was made: its bytes are not those"
                f" of {link.digest}",
                hint=MENDING,
            )
        # In a store that may not be written it is hashed once a process.
        self._proven[link.digest] = before
        with contextlib.suppress(BundlerunError), self._database.writing() as tx:
            raw = bytes.fromhex(link.digest)
            tx.execute("UPDATE objects SET stamp = ? WHERE digest = ?", (before, raw))

    def _linked(self, links: Iterable[Link]) -> None:
        """Note that files got one more name, which changes ctime and nothing else."""
        rows = []
        for link in links:
            stamp = stamp_of(file_of(self._folder, link.digest).stat())
            rows.append((stamp, bytes.fromhex(link.digest), stamp[:_SAME_FILE_BYTES]))
        if rows:
            with self._database.writing() as tx:
                tx.executemany(
                    "UPDATE objects SET stamp = ? WHERE digest = ?"
                    f" AND substr(stamp, 1, {_SAME_FILE_BYTES}) = ?",
                    rows,
                )

    def _spill(self, intake: Writer) -> None:
        absent = self.missing(intake.small())
        intake.pack([digest for digest in intake.small() if digest in absent], self.packs.folder)
        self._write(intake)

    def _write(self, intake: Writer) -> None:
        with self._database.writing() as tx:
            intake.write(tx)
        intake.written()

    def _small(self, raws: list[bytes]) -> Iterator[tuple[str, bytes]]:
        """Digest and bytes of those that are rows, or members of packs."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT o.digest, o.size, o.data, p.uuid, o.offset FROM objects o"
                f" LEFT JOIN local_packs p ON p.id = o.pack WHERE o.digest IN ({marks(raws)})",
                raws,
            ).fetchall()
        yield from ((raw.hex(), data) for raw, _, data, _, _ in rows if data is not None)
        packed = [(pack, offset, size, raw) for raw, size, _, pack, offset in rows if pack]
        yield from ((raw.hex(), data) for raw, data in self.packs.members(packed))

    def _find(self, link: Link) -> bytes | Path | None:
        found = self._look_up(link)
        if not isinstance(found, _LargeFile):
            return found
        if found.is_touched:
            self._prove(link, found.path)
        return found.path

    def _look_up(self, link: Link) -> bytes | _LargeFile | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT o.size, o.data, p.uuid, o.offset, o.stamp FROM objects o"
                " LEFT JOIN local_packs p ON p.id = o.pack WHERE o.digest = ?",
                (bytes.fromhex(link.digest),),
            ).fetchone()
        if row is None:
            return None
        size, data, pack, offset, stamp = row
        if size != link.size:
            raise IntegrityError(f"{link.digest} has {size} bytes here, not {link.size}")
        if data is not None:
            return bytes(data)
        if pack is not None:
            return self.packs.member(pack, offset, size)
        path = file_of(self._folder, link.digest)
        try:
            found = path.stat()
        except FileNotFoundError as error:
            raise IntegrityError(f"the store's file {path} is gone", hint=MENDING) from error
        if found.st_size != size:
            raise IntegrityError(
                f"the store's file {path} has {found.st_size} bytes, not {size}", hint=MENDING
            )
        return _LargeFile(path, stamp_of(found) != stamp)


def _by_size(links: Iterable[Link]) -> Iterator[list[Link]]:
    """``links`` in batches of at most _AT_ONCE_BYTES.

    Counted are the small objects, and the links themselves.
    """
    some: list[Link] = []
    left = _AT_ONCE_BYTES
    for link in links:
        left -= min(link.size, SMALL_BYTES) + _LINK_BYTES
        if left < 0:
            yield some
            some, left = [], _AT_ONCE_BYTES
        some.append(link)
    yield some


def _check(link: Link, digest: Digest, size: int) -> None:
    if digest != link.digest or size != link.size:
        raise IntegrityError(
            f"{size} bytes with the digest {digest} came instead of {link.size} bytes with the"
            f" digest {link.digest}"
        )
