"""Where the bytes of a value go and come from, as far as freezing and thawing care."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bundlerun.bundles.links import Link


@dataclass(frozen=True)
class DirectoryEntry:
    """A file of a Directory, or, where ``link`` is None, an empty folder of it.

    ``path`` is relative, has passed ``check_relative_path``, and has ``/`` between its parts.
    """

    path: str
    link: Link | None
    executable: bool = False


class Sink(Protocol):
    """Where bytes go while a value is frozen."""

    def put_bytes(self, data: bytes) -> Link:
        """Keeps ``data``, once however often it comes."""

    def put_file(self, path: Path) -> Link:
        """Hashes and keeps the bytes of a regular file, without reading it whole into memory."""


class Source(Protocol):
    """Where bytes come from while a value is thawed.

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
        """The path of a file that holds the bytes, a buffer of them, or None: then ``read``."""
