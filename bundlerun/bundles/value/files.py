"""Files and folders as values, and what is in a folder: found on the way in, checked on the
way out."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bundlerun.bundles.link import Link
from bundlerun.bundles.paths import PathTree, are_ordinary, check_depth
from bundlerun.bundles.value.storage import DirectoryEntry, Stamp, stamp_of
from bundlerun.errors import BadPath, IntegrityError


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


class Found(NamedTuple):
    """A regular file below a folder, or (``stamp`` None) an empty folder in it.

    ``path`` is relative to the folder.
    """

    path: str
    stamp: Stamp | None
    executable: bool = False


def is_executable(mode: int) -> bool:
    """Whether the owner may run a file of that mode: the one bit of a mode that is kept."""
    return bool(mode & stat.S_IXUSR)


def scan(root: Path) -> list[Found]:
    """All regular files and empty folders below ``root``, sorted by path.

    A symbolic link to a regular file below ``root`` counts as that file. Raises BadPath, naming the
    path, for any other link, for pipes, sockets and devices, for paths that ``check_relative_path``
    refuses, for two that differ in case alone, and for what cannot be read.
    """
    found: list[Found] = []
    pending = [""]
    whole = os.path.realpath(root)
    above = os.path.join(root, "")
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(above + prefix) as listing:
                inside = list(listing)
            if prefix and not inside:
                found.append(Found(prefix[:-1], None))
            for entry in inside:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{prefix}{entry.name}/")
                else:
                    found.append(_file(entry, prefix + entry.name, whole))
        except OSError as error:
            raise BadPath(f"{error.filename!s:.300} cannot be read: {error.strerror}") from error
        _check(prefix, [entry.name for entry in inside])
    found.sort(key=itemgetter(0))
    return found


def _file(entry: os.DirEntry[str], path: str, whole: str) -> Found:
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not target.startswith(whole.rstrip("/") + "/") or not os.path.isfile(target):
            raise BadPath(
                f"{entry.path!r:.300} is a symbolic link to no regular file of the same folder",
                hint=f"cp --remove-destination $(readlink -f {path!r:.100}) {path!r:.100}",
            )
    found = entry.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BadPath(f"{entry.path!r:.300} is no regular file")
    return Found(path, stamp_of(found), is_executable(found.st_mode))


def _check(prefix: str, names: list[str]) -> None:
    """Raises BadPath unless the names of one folder, ``prefix``, can be kept side by side."""
    check_depth(prefix + names[0] if names else prefix[:-1])
    if not are_ordinary(names):
        tree = PathTree()
        for name in sorted(names):
            tree.add(prefix + name, folder=False)


def entry_bytes(path: bytes, link: bytes | None, executable: bool) -> bytes:
    """An entry of a Directory: ``[path]`` an empty folder, ``[path,link]`` and ``[path,link,1]``
    a file; ``path`` and ``link`` are JSON already."""
    if link is None:
        return b"[%s]" % path
    return b"[%s,%s,1]" % (path, link) if executable else b"[%s,%s]" % (path, link)


def entry_of(found: Any) -> DirectoryEntry:
    """The inverse of ``entry_bytes``; the path is not yet checked. Raises IntegrityError."""
    if type(found) is not list or not 1 <= len(found) <= 3 or type(found[0]) is not str:
        raise IntegrityError(f"an entry of a directory is malformed: {found!r:.120}")
    if len(found) == 3 and (type(found[2]) is not int or found[2] != 1):
        raise IntegrityError(f"an entry of a directory is malformed: {found!r:.120}")
    link = Link.from_json(found[1]) if len(found) > 1 else None
    return DirectoryEntry(found[0], link, executable=len(found) == 3)


def checked(entries: Iterable[Any], size: int) -> Iterator[DirectoryEntry]:
    """The entries of a Directory of ``size`` bytes, each path checked as on the way in.

    Raises IntegrityError.
    """
    tree = PathTree()
    last, left = "", size
    for found in entries:
        entry = entry_of(found)
        if entry.path <= last:
            raise IntegrityError(f"a directory is not in order at {entry.path!r:.200}")
        last = entry.path
        try:
            tree.add(entry.path, folder=entry.link is None)
        except BadPath as error:
            raise IntegrityError(f"a directory is malformed: {error.message}") from error
        left -= entry.link.size if entry.link else 0
        yield entry
    if left:
        raise IntegrityError("a directory has not the bytes it is said to have")
