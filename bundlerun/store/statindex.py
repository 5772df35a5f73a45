"""What a file held when it was last read, so that one that did not change is not read again.

A file is known by its stamp (device, inode, size, mtime and ctime in nanoseconds). ctime cannot be
set by a program, so whatever touches the content makes another stamp, with one exception: a change
in the same tick of the clock as the one before it. Hence a file that was younger than YOUNG_NS when
it was read is not remembered (the "racy" entries of git's index: git-scm.com/docs/racy-git).

Known limits, as of git's index: writes through a shared mapping (mmap) show in the stamp only when
the kernel next writes the page out, and a network file system may answer with a stamp of some
seconds ago.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.hashing import Hashing
from bundlerun.bundles.links import PART_BYTES, Link
from bundlerun.bundles.places import Stamp, changed_ns, size_in, stamp_of
from bundlerun.errors import BadPath
from bundlerun.store.batches import batches, marks
from bundlerun.store.database import Database
from bundlerun.store.intake import SMALL_BYTES, Intake, file_of

YOUNG_NS = 2_000_000_000
"""A file that changed within so many nanoseconds before it was read is not remembered."""

MOST_ROWS = 1 << 20
"""The last so many recordings are kept, at about 150 bytes each."""

_LOOKS = 3
"""So many times a file is read that changes meanwhile."""

_FILE_BYTES = 16
"""So many bytes of a stamp, device and inode, say which file it is."""

_KNOWN = "SELECT stamp, digest FROM stats WHERE file IN ({marks})"

_FIND = """
SELECT s.stamp, s.digest, parts, o.stamp FROM stats s JOIN objects o ON o.digest = s.digest
WHERE file IN ({marks})
AND (parts IS NULL OR EXISTS (SELECT 1 FROM objects p WHERE p.digest = s.parts))
"""


class StatIndex:
    """Links by stamp. Losing it costs reading, never data. Safe to use from threads."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder / "objects"

    def find(self, stamps: Sequence[Stamp]) -> list[Link | None]:
        """For each stamp the link of what such a file holds; None where that is not known, or the
        bytes are not on this disk any more."""
        rows: dict[bytes, tuple[bytes, bytes | None, bytes | None]] = {}
        # Sorted: files that were made together are neighbours in the table's index.
        for files in batches(sorted(stamp[:_FILE_BYTES] for stamp in stamps)):
            with self._database.reading() as connection:
                found = connection.execute(_FIND.format(marks=marks(files)), files).fetchall()
            rows.update((row[0], row[1:]) for row in found)
        return [self._link(stamp, rows.get(stamp)) for stamp in stamps]

    def digests(self, files: Sequence[Path]) -> list[Digest]:
        """The digests of regular files that are not taken in; what did not change since it was read
        last is not opened. Raises OSError, and BadPath for a file that changes all the while."""
        stamps = [stamp_of(os.stat(file)) for file in files]
        known: dict[bytes, bytes] = {}
        for some in batches(sorted(stamp[:_FILE_BYTES] for stamp in stamps)):
            with self._database.reading() as connection:
                rows = connection.execute(_KNOWN.format(marks=marks(some)), some)
                known.update(rows.fetchall())
        found, seen = [], []
        for file, stamp in zip(files, stamps, strict=True):
            digest = known.get(stamp)
            if digest is not None:
                found.append(Digest(digest.hex()))
                continue
            link, read_stamp, settled = _hashed(file)
            found.append(link.digest)
            if settled:
                seen.append((read_stamp, link))
        if seen:
            with self._database.writing() as tx:
                self.record(tx, seen)
        return found

    def record(self, tx: sqlite3.Connection, seen: Iterable[tuple[Stamp, Link]]) -> None:
        """Remember what files held, over what was known of them, in the transaction ``tx``; the
        oldest recordings go where they are over MOST_ROWS."""
        rows = sorted(
            (
                stamp[:_FILE_BYTES],
                stamp,
                bytes.fromhex(link.digest),
                link.parts and bytes.fromhex(link.parts),
            )
            for stamp, link in seen
        )
        if not rows:
            return
        tx.executemany("INSERT OR REPLACE INTO stats VALUES (?, ?, ?, ?)", rows)
        # A replaced row is a new one at the end, so there are at most as many as this span.
        tx.execute(
            "DELETE FROM stats WHERE rowid <= (SELECT max(rowid) FROM stats) - ?", (MOST_ROWS,)
        )

    def _link(
        self, stamp: Stamp, row: tuple[bytes, bytes | None, bytes | None] | None
    ) -> Link | None:
        if row is None:
            return None
        digest, parts, made = row
        link = Link(Digest(digest.hex()), size_in(stamp), Digest(parts.hex()) if parts else None)
        if link.size < SMALL_BYTES:
            return link
        # Only the row of a large object was looked at: somebody may have deleted its file, or
        # written to it.
        with contextlib.suppress(FileNotFoundError):
            if stamp_of(file_of(self._folder, link.digest).stat()) == made:
                return link
        return None


def _hashed(file: Path) -> tuple[Link, Stamp, bool]:
    """What the file holds, its stamp, and whether that may be remembered."""
    for _ in range(_LOOKS):
        now_ns = time.time_ns()
        with file.open("rb") as stream:
            stamp = stamp_of(os.fstat(stream.fileno()))
            link = _link_of(stream)
            again = stamp_of(os.fstat(stream.fileno()))
        if again == stamp:
            return link, stamp, changed_ns(stamp) <= now_ns - YOUNG_NS
    raise BadPath(f"{file} changes while it is read", hint="wait until it is written")


def _link_of(stream: BinaryIO) -> Link:
    data = stream.read(PART_BYTES)
    if len(data) < PART_BYTES:
        return Link(digest_of(data), len(data))
    hashing = Hashing()
    rest = iter(lambda: stream.read(PART_BYTES), b"")
    for _ in hashing.passing(itertools.chain([data], rest)):
        pass
    return hashing.finished()[0]


class IndexedIntake:
    """An intake that reads no file whose stamp is known: the Sink of bundles.manifest.freeze."""

    def __init__(self, intake: Intake, index: StatIndex) -> None:
        self._intake = intake
        self._index = index
        self._seen: list[tuple[Stamp, Link]] = []
        self.put_bytes = intake.put_bytes
        self.put_file = intake.put_file

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> list[Link]:
        """Take the bytes of each file; those that did not change since they were read last are
        here already, and are not opened. Raises as Intake.put_file."""
        links = []
        known = self._index.find([stamp for _, stamp in files])
        for (path, stamp), link in zip(files, known, strict=True):
            if link is None:
                # Before the file is opened: what changes it later has a later ctime than this.
                now_ns = time.time_ns()
                link = self._intake.put_file(folder / path)
                if changed_ns(stamp) <= now_ns - YOUNG_NS:
                    self._seen.append((stamp, link))
            links.append(link)
        return links

    def write(self, tx: sqlite3.Connection) -> None:
        """Put what waits, and what was seen of the files, into the transaction ``tx``."""
        self._intake.write(tx)
        self._index.record(tx, self._seen)
