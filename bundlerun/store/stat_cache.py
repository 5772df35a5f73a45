"""The contents of files by their stamps, so that unchanged files are not reread.

A file is known by its stamp (device, inode, size, mtime and ctime in nanoseconds). ctime cannot be
set by a program, so whatever touches the content makes another stamp, with one exception: a change
in the same tick of the clock as the one before it. Hence a file that was younger than YOUNG_NS when
it was read is not remembered (the "racy" entries of git's index: git-scm.com/docs/racy-git).

Stamps are believed on the disks of this machine alone (see mounts). A known limit there, as of
git's index: a write through a shared mapping (mmap) shows in the stamp only once the kernel writes
the page out, or the program flushes it; ``reread`` reads all the same.

A young file may also be written to while it is read. A small one is read at a moment at which
nobody has it open for writing (see lease); others are looked at again LOOK_S later. Who writes a
file in several steps that lie further apart, or with one write that takes longer, can still be met
in the middle.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import PART_BYTES, Hashing, Link
from bundlerun.bundles.storage import Stamp, changed_ns, size_in, stamp_of
from bundlerun.errors import BadPath
from bundlerun.store.database import Database, batches, marks
from bundlerun.store.mounts import Trust
from bundlerun.store.writer import SMALL_BYTES, Writer, file_of

T = TypeVar("T")

YOUNG_NS = 2_000_000_000
"""The age, when it is read, below which a file is not remembered.

The age is that of its last change.
"""

LOOK_S = 0.05
"""The time after which a file that was young when it was read is looked at again."""

MOST_ROWS = 1 << 20
"""The last so many recordings are kept, at about 150 bytes each."""

_LOOKS = 3
"""So many times a file is read that changes meanwhile."""

_ROUNDS = 10
"""So many times a value is taken in while files of it are written to."""

_DEVICE_BYTES = 8
_FILE_BYTES = 16
"""So many bytes of a stamp, device and inode, say which file it is."""

_KNOWN = "SELECT stamp, digest FROM stats WHERE file IN ({marks})"

_FIND = """
SELECT s.stamp, s.digest, parts, o.stamp FROM stats s JOIN objects o ON o.digest = s.digest
WHERE file IN ({marks})
AND (parts IS NULL OR EXISTS (SELECT 1 FROM objects p WHERE p.digest = s.parts))
"""


class StatCache:
    """Links by stamp, of which the loss costs reading and never data.

    Safe to use from threads.
    """

    def __init__(self, database: Database, folder: Path, trust: Trust) -> None:
        self._database = database
        self._folder = folder / "objects"
        self._trust = trust

    def believes(self, path: Path, stamp: Stamp) -> bool:
        """Whether the file system of ``path`` changes a stamp with the bytes.

        ``stamp`` is that of ``path``. Where it does not, nothing is looked up or remembered of it.
        """
        return self._trust.believes(stamp[:_DEVICE_BYTES], path)

    def find(self, stamps: Sequence[Stamp]) -> list[Link | None]:
        """For each stamp the link of what such a file holds.

        None where that is not known, or the bytes are not on this disk any more.
        """
        rows: dict[bytes, tuple[bytes, bytes | None, bytes | None]] = {}
        # Sorted: files that were made together are neighbours in the table's index.
        for files in batches(sorted(stamp[:_FILE_BYTES] for stamp in stamps)):
            with self._database.reading() as connection:
                found = connection.execute(_FIND.format(marks=marks(files)), files).fetchall()
            rows.update((row[0], row[1:]) for row in found)
        return [self._link(stamp, rows.get(stamp)) for stamp in stamps]

    def digests(self, files: Sequence[Path]) -> list[Digest]:
        """The digests of regular files that are not taken in.

        What did not change since it was read last is not opened. Raises OSError, and BadPath for a
        file that changes all the while.
        """
        stamps = [stamp_of(os.stat(file)) for file in files]
        known: dict[bytes, bytes] = {}
        for some in batches(sorted(stamp[:_FILE_BYTES] for stamp in stamps)):
            with self._database.reading() as connection:
                rows = connection.execute(_KNOWN.format(marks=marks(some)), some)
                known.update(rows.fetchall())
        found, seen = [], []
        for file, stamp in zip(files, stamps, strict=True):
            is_believed = self.believes(file, stamp)
            digest = known.get(stamp)
            if digest is not None and is_believed:
                found.append(Digest(digest.hex()))
                continue
            link, read_stamp, settled = _hashed(file)
            found.append(link.digest)
            if settled and is_believed:
                seen.append((read_stamp, link))
        if seen:
            with self._database.writing() as tx:
                self.record(tx, seen)
        return found

    def record(self, tx: sqlite3.Connection, seen: Iterable[tuple[Stamp, Link]]) -> None:
        """Remember what files held, in the transaction ``tx``.

        It replaces what was known of them; the oldest rows go where there are more than MOST_ROWS.
        """
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
    """The link to what the file holds, its stamp, and whether to remember them."""
    for _ in range(_LOOKS):
        now_ns = time.time_ns()
        with file.open("rb") as stream:
            stamp = stamp_of(os.fstat(stream.fileno()))
            link = _link_of(stream)
            again = stamp_of(os.fstat(stream.fileno()))
        if again == stamp:
            return link, stamp, changed_ns(stamp) <= now_ns - YOUNG_NS
    raise BadPath(
        f"{file} changes while it is read", hint="the same command again, when the file is complete"
    )


def _link_of(stream: BinaryIO) -> Link:
    data = stream.read(PART_BYTES)
    if len(data) < PART_BYTES:
        return Link(digest_of(data), len(data))
    hashing = Hashing()
    rest = iter(lambda: stream.read(PART_BYTES), b"")
    for _ in hashing.passing(itertools.chain([data], rest)):
        pass
    return hashing.finished()[0]


class CachedWriter:
    """The Sink of bundles.value.encode that reads no file whose stamp is known.

    ``reread``: every file is read. Not thread-safe.
    """

    def __init__(self, intake: Writer, index: StatCache, *, reread: bool = False) -> None:
        self._intake = intake
        self._index = index
        self._reread = reread
        self._seen: dict[Stamp, Link] = {}
        self._young: dict[Stamp, tuple[Path, Link]] = {}
        self._young_s = 0.0
        self._taken: dict[Stamp, Link] = {}
        self.put_bytes = intake.put_bytes
        self.put_file = intake.put_file

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> list[Link]:
        """Take the bytes of each file.

        Those that did not change since they were read last are here already, and are not opened.
        Raises as Writer.put_file.
        """
        believed: dict[bytes, bool] = {}
        for path, stamp in files:
            device = stamp[:_DEVICE_BYTES]
            if device not in believed:
                believed[device] = self._index.believes(folder / path, stamp)
        known: Sequence[Link | None] = [None] * len(files)
        # What is young now was not remembered: where nothing else is, nothing is looked up.
        old_ns = time.time_ns() - YOUNG_NS
        has_old = any(changed_ns(stamp) <= old_ns for _, stamp in files)
        if has_old and any(believed.values()) and not self._reread:
            known = self._index.find([stamp for _, stamp in files])
        if not all(believed.values()):
            pairs = zip(files, known, strict=True)
            known = [link if believed[s[:_DEVICE_BYTES]] else None for (_, s), link in pairs]
        links = []
        for (path, stamp), link in zip(files, known, strict=True):
            if link is None:
                link = self._taken.get(stamp)
            if link is None:
                link = self._read(folder / path, stamp, believed[stamp[:_DEVICE_BYTES]])
            links.append(link)
        return links

    def settled(self, read: Callable[[], T]) -> T:
        """The result of ``read``, repeated for files that change meanwhile.

        It is called again while files that it read within YOUNG_NS of a change have changed LOOK_S
        later, for these alone. A program that rewrites a file in place leaves it half old and half
        new for a moment, and the time of change does not always tell.

        Raises BadPath for a file that changes all the while.
        """
        changed: list[Path] = []
        for _ in range(_ROUNDS):
            found = read()
            changed = self._changed()
            if not changed:
                return found
        raise BadPath(
            f"{changed[0]} keeps changing", hint="the same command again, when the file is complete"
        )

    def write(self, tx: sqlite3.Connection) -> None:
        """Put what waits, and what was seen of the files, into the transaction ``tx``."""
        self._intake.write(tx)
        self._index.record(tx, self._seen.items())

    def _read(self, path: Path, stamp: Stamp, is_believed: bool) -> Link:
        # Before the file is opened: what changes it later has a later ctime than this.
        now_ns = time.time_ns()
        if changed_ns(stamp) <= now_ns - YOUNG_NS:
            link = self._intake.put_file(path)
            if is_believed:
                self._seen[stamp] = link
            return link
        if size_in(stamp) < SMALL_BYTES:
            whole = self._intake.put_unwritten(path)
            if whole is not None:
                return whole
        # One write sets the time of change as it begins, however long it takes.
        wait_s = LOOK_S - (now_ns - changed_ns(stamp)) / 1e9
        time.sleep(min(LOOK_S, max(0.0, wait_s)))
        link = self._intake.put_file(path)
        self._young[stamp] = (path, link)
        self._young_s = time.monotonic()
        return link

    def _changed(self) -> list[Path]:
        """The young files that changed after they were read.

        The others need no second read.
        """
        young, self._young = self._young, {}
        if young:
            time.sleep(max(0.0, self._young_s + LOOK_S - time.monotonic()))
        self._taken = dict(self._seen)
        changed = []
        for stamp, (path, link) in young.items():
            with contextlib.suppress(OSError):
                if stamp_of(path.stat()) == stamp:
                    self._taken[stamp] = link
                    continue
            changed.append(path)
        return changed
