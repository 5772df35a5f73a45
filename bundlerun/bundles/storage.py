"""The protocols by which a value's bytes are stored (Sink) and loaded (Source)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NewType, Protocol

from bundlerun.bundles.link import Link


@dataclass(frozen=True)
class DirectoryEntry:
    """A file of a Directory, or, where ``link`` is None, an empty folder of it.

    ``path`` is relative, has passed ``check_relative_path``, and has ``/`` between its parts.
    """

    path: str
    link: Link | None
    executable: bool = False


Stamp = NewType("Stamp", bytes)
"""The file system's facts on a file, which change when its bytes change.

Nobody opens the file for them. Five numbers of 8 bytes, big-endian: device, inode, size, and mtime
and ctime in nanoseconds.
"""

_STAMP = struct.Struct(">QQQqq")


def stamp_of(found: os.stat_result) -> Stamp:
    """The stamp in what ``os.stat`` found."""
    times = found.st_mtime_ns, found.st_ctime_ns
    return Stamp(_STAMP.pack(found.st_dev, found.st_ino, found.st_size, *times))


def size_in(stamp: Stamp) -> int:
    """The bytes that the file had."""
    return int.from_bytes(stamp[16:24], "big")


def changed_ns(stamp: Stamp) -> int:
    """The time of the file's last change, in Unix nanoseconds."""
    _, _, _, mtime_ns, ctime_ns = _STAMP.unpack(stamp)
    return int(max(mtime_ns, ctime_ns))


class Sink(Protocol):
    """The storage of a value's bytes while the value is encoded."""

    def put_bytes(self, data: bytes) -> Link:
        """Keep ``data``, once however often it comes."""

    def put_file(self, path: Path) -> Link:
        """Hash and keep the bytes of a regular file, without reading it whole into memory."""

    def put_files(self, folder: Path, files: Sequence[tuple[str, Stamp]]) -> Sequence[Link]:
        """``put_file`` of many, in their order, by their paths below ``folder``.

        Each ``stamp`` is as the file was before this call: a sink that knows what such a file holds
        need not read it.
        """


class Source(Protocol):
    """The source of a value's bytes while the value is decoded.

    Every method raises IntegrityError for bytes that are not what the link says.
    """

    def read(self, link: Link) -> bytes:
        """The bytes, verified."""

    def file(self, link: Link, name: str, executable: bool) -> Path:
        """A read-only file of that basename that holds the bytes."""

    def directory(
        self, root: Link, name: str, entries: Callable[[], Iterable[DirectoryEntry]]
    ) -> Path:
        """A read-only folder of that basename, whole.

        ``root`` is equal for equal content, so what is there already needs no ``entries()``.
        ``entries`` checks every path before it gives the first.
        """

    def map(self, link: Link) -> Any:
        """The path of a file with the bytes, a buffer of them, or None.

        Where it is None, call ``read``.
        """

    def bring(self, links: Sequence[Link]) -> None:
        """The caller is about to read all of these."""

    def ahead(self, term: Any) -> None:
        """Tell the source that the value of ``term`` will be made.

        ``term`` is a part of a parsed node; what its value takes, files and folders apart, can be
        brought at once.
        """
