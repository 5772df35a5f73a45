"""The leaves of a value: links to bytes, and the File and Directory that users handle."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bundlerun.bundles.digest import Digest, checked_digest
from bundlerun.errors import IntegrityError

PART_BYTES = 8 << 20
"""Objects of more bytes carry the digests of their parts, each of so many bytes, the last of
fewer."""

_RAW_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Link:
    """Some bytes: their digest and how many they are. It says nothing of where they lie.

    ``parts`` names the object with the digests of the PART_BYTES pieces, 32 bytes each, back to
    back: with it a transfer that broke off goes on, and damage is found where it is. It follows
    from the bytes, so links are equal without it.
    """

    digest: Digest
    size: int
    parts: Digest | None = field(default=None, compare=False)

    @property
    def parts_link(self) -> Link | None:
        """The object that ``parts`` names."""
        if self.parts is None:
            return None
        return Link(self.parts, -(-self.size // PART_BYTES) * _RAW_DIGEST_BYTES)

    def to_json(self) -> list[str | int]:
        """``[digest, size]``, or ``[digest, size, parts]``."""
        found: list[str | int] = [self.digest, self.size]
        return found if self.parts is None else [*found, self.parts]

    @staticmethod
    def from_json(found: Sequence[object]) -> Link:
        """The inverse of ``to_json``. Raises IntegrityError for anything else."""
        if not isinstance(found, list) or not 2 <= len(found) <= 3:
            raise IntegrityError(f"{found!r:.80} is no link")
        digest, size = found[:2]
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise IntegrityError(f"{size!r:.80} is no size")
        if len(found) == 2:
            return Link(checked_digest(digest), size)
        if size <= PART_BYTES:
            raise IntegrityError(f"{found!r:.200}: so small an object has no parts")
        return Link(checked_digest(digest), size, checked_digest(found[2]))


def parts_of(link: Link, data: bytes) -> list[Digest]:
    """The digests of the parts of ``link``, as the object ``data`` says. Raises IntegrityError."""
    claimed = link.parts_link
    if claimed is None or len(data) != claimed.size:
        raise IntegrityError(f"the parts of {link.digest} are malformed")
    step = _RAW_DIGEST_BYTES
    return [Digest(data[at : at + step].hex()) for at in range(0, len(data), step)]


class File:
    """A file as a value, going in (a path of the caller's) or coming out of a store.

    ``name`` is kept, the folder is not. ``path``, ``open`` and ``read_*`` bring the bytes to this
    disk when they are not there yet. ``path`` is a copy for programs that want one; ``open`` and
    ``read_*`` read the store's own bytes. Equal are two files with one name and the same bytes.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        name: str | None = None,
        link: Link | None = None,
        fetch: Callable[[], Path] | None = None,
        held: Callable[[], Path | bytes] | None = None,
        executable: bool = False,
    ) -> None:
        self._path = None if path is None else Path(path)
        self._fetch = fetch
        self._held = held
        self._executable = executable
        self.name = name if name is not None else _name_of(self._path)
        self.link = link

    @property
    def path(self) -> Path:
        """The file on this disk."""
        if self._path is None:
            if self._fetch is None:
                raise ValueError("a File needs a path")
            self._path = self._fetch()
        return self._path

    def unseen(self) -> tuple[Path, bool] | None:
        """The store's own file of a large one that came out of a store and whose ``path`` nobody
        has asked for, so that nobody wrote to it, and whether it may be run; to be read alone."""
        if self._held is None or self._path is not None:
            return None
        found = self._held()
        return (found, self._executable) if isinstance(found, Path) else None

    def open(self) -> BinaryIO:
        """The content as an open binary file, to be read alone; no copy is made."""
        found = self.path if self._held is None else self._held()
        return io.BytesIO(found) if isinstance(found, bytes) else found.open("rb")

    def read_bytes(self) -> bytes:
        """The whole content."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole content as text, its line ends as ``\\n``."""
        with io.TextIOWrapper(self.open(), encoding=encoding) as file:
            return file.read()

    def __fspath__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        if self.name != other.name:
            return False
        if self.link is not None and other.link is not None:
            return self.link == other.link
        return self.read_bytes() == other.read_bytes()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"File({self.name!r})"


class Directory:
    """A folder as a value: every regular file below it, by relative path, and empty folders.

    Equal are two directories with one name, the same files and the same empty folders.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        name: str | None = None,
        fetch: Callable[[], Path] | None = None,
    ) -> None:
        self._path = None if path is None else Path(path)
        self._fetch = fetch
        self.name = name if name is not None else _name_of(self._path)

    @property
    def path(self) -> Path:
        """The folder on this disk."""
        if self._path is None:
            if self._fetch is None:
                raise ValueError("a Directory needs a path")
            self._path = self._fetch()
        return self._path

    def files(self) -> list[str]:
        """The relative paths of all files in it, sorted, with ``/`` between the parts."""
        root = self.path
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())

    def folders(self) -> list[str]:
        """The relative paths of all folders in it, sorted, with ``/`` between the parts."""
        root = self.path
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_dir())

    def __fspath__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Directory):
            return NotImplemented
        if self.name != other.name or self.files() != other.files():
            return False
        if self.folders() != other.folders():
            return False
        return all(
            (self.path / name).read_bytes() == (other.path / name).read_bytes()
            for name in self.files()
        )

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Directory({self.name!r})"


def _name_of(path: Path | None) -> str:
    # "." and ".." have names too: those of the folders that they stand for.
    return "" if path is None else os.path.basename(os.path.abspath(path))
