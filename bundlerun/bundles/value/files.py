"""Files and folders as values, checked on the way in and on the way out."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.paths import PathTree, are_ordinary, check_depth, check_file_name
from bundlerun.bundles.storage import DirectoryEntry, Stamp, stamp_of
from bundlerun.bundles.value.kind import Decoder, Encoder, Kind
from bundlerun.bundles.value.nodes import cut, entries_of, link_bytes, only
from bundlerun.bundles.value.scalars import text_term
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
        """The store's own file of a large File, for reading, and whether it may be run.

        None unless the File came out of a store and nobody has asked for its ``path``, so that
        nobody wrote to it.
        """
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
    """A folder as a value: its regular files by relative path, and empty folders.

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
    """Whether the owner may run a file of that mode; no other bit of a mode is kept."""
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
            raise BadPath(
                f"{error.filename!s:.300} cannot be read: {error.strerror}",
                hint=f"ls -l {error.filename!r:.300}",
            ) from error
        _check(prefix, [entry.name for entry in inside])
    found.sort(key=itemgetter(0))
    return found


def _file(entry: os.DirEntry[str], path: str, whole: str) -> Found:
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not target.startswith(whole.rstrip("/") + "/") or not os.path.isfile(target):
            raise BadPath(
                f"{entry.path!r:.300} is a symbolic link that does not lead to a regular "
                "file of the same folder",
                hint=f"cp --remove-destination $(readlink -f {path!r:.100}) {path!r:.100}",
            )
    found = entry.stat()
    if not stat.S_ISREG(found.st_mode):
        raise BadPath(
            f"{entry.path!r:.300} is not a regular file",
            hint=f"rm {entry.path!r:.300}, or a folder without it",
        )
    return Found(path, stamp_of(found), is_executable(found.st_mode))


def _check(prefix: str, names: list[str]) -> None:
    """Refuse names of one folder, ``prefix``, that cannot be kept side by side.

    Raises BadPath.
    """
    check_depth(prefix + names[0] if names else prefix[:-1])
    if not are_ordinary(names):
        tree = PathTree()
        for name in sorted(names):
            tree.add(prefix + name, folder=False)


def entry_bytes(path: bytes, link: bytes | None, executable: bool) -> bytes:
    """The JSON of an entry of a Directory.

    ``[path]`` is an empty folder, ``[path,link]`` and ``[path,link,1]`` a file, the latter
    executable; ``path`` and ``link`` are JSON already.
    """
    if link is None:
        return b"[%s]" % path
    return b"[%s,%s,1]" % (path, link) if executable else b"[%s,%s]" % (path, link)


def entry_of(found: Any) -> DirectoryEntry:
    """The inverse of ``entry_bytes``; the path is not yet checked.

    Raises IntegrityError.
    """
    if type(found) is not list or not 1 <= len(found) <= 3 or type(found[0]) is not str:
        raise IntegrityError(f"an entry of a directory is malformed: {found!r:.120}")
    if len(found) == 3 and (type(found[2]) is not int or found[2] != 1):
        raise IntegrityError(f"an entry of a directory is malformed: {found!r:.120}")
    link = Link.from_json(found[1]) if len(found) > 1 else None
    return DirectoryEntry(found[0], link, executable=len(found) == 3)


def checked(entries: Iterable[Any], size: int) -> Iterator[DirectoryEntry]:
    """The entries of a Directory of ``size`` bytes, paths checked as on the way in.

    Raises IntegrityError.
    """
    tree = PathTree()
    last, left = "", size
    for found in entries:
        entry = entry_of(found)
        if entry.path <= last:
            raise IntegrityError(f"a directory is not sorted at {entry.path!r:.200}")
        last = entry.path
        try:
            tree.add(entry.path, folder=entry.link is None)
        except BadPath as error:
            raise IntegrityError(f"a directory is malformed: {error.message}") from error
        left -= entry.link.size if entry.link else 0
        yield entry
    if left:
        raise IntegrityError("the size of a directory is not the sum of its files")


_FILES_AT_ONCE = 10_000
"""Of larger folders, so many files are looked up, and remembered, at once."""


def _present(value: File | Directory) -> tuple[Path, os.stat_result]:
    """The path of a file or folder, and its stat.

    Raises BadPath when it is not there.
    """
    try:
        path = value.path
        return path, os.stat(path)
    except OSError as error:
        raise BadPath(
            f"there is no file {error.filename!s:.300}: {error.strerror}",
            hint=f"ls -l {error.filename!r:.300}",
        ) from error
    except ValueError as error:
        raise BadPath(f"{value!r:.300}: {error}", hint="a path without NUL") from error


def file_name(found: Any) -> str:
    """A name that passes the check.

    Raises IntegrityError.
    """
    if type(found) is not str:
        raise IntegrityError(f"{found!r:.80} is not a file name")
    try:
        return check_file_name(found)
    except BadPath as error:
        raise IntegrityError(error.message) from error


def size_of(found: Any) -> int:
    """A number of bytes.

    Raises IntegrityError.
    """
    if type(found) is not int or found < 0:
        raise IntegrityError(f"{found!r:.80} is not a size")
    return found


def directory_root(body: Any) -> Link:
    """The link to a Directory's content without its name: the digest of its entries.

    Raises IntegrityError.
    """
    try:
        data = canonical_json(body)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a directory is malformed: {error!s:.120}") from error
    return Link(digest_of(data), len(data))


def _encode_file(value: File, encoder: Encoder) -> bytes:
    unseen = value.unseen()
    path, found = (unseen[0], unseen[0].stat()) if unseen else _present(value)
    if not stat.S_ISREG(found.st_mode):
        raise BadPath(
            f"{str(path)!r:.300} is not a regular file",
            hint="bundlerun.Directory(path)" if path.is_dir() else f"ls -l {str(path)!r:.300}",
        )
    name = text_term(check_file_name(value.name))
    (link,) = encoder.put_files(path.parent, [(path.name, stamp_of(found))])
    runs = unseen[1] if unseen else is_executable(found.st_mode)
    flag = b',"x":true' if runs else b""
    return b'{"file":%s,"name":%s%s}' % (link_bytes(link), name, flag)


def _checked_file(term: dict[str, Any]) -> tuple[Link, str, bool]:
    only(term, "file", "name", optional=frozenset({"x"}))
    link, name = Link.from_json(term["file"]), file_name(term["name"])
    executable = term.get("x", False)
    if type(executable) is not bool:
        raise IntegrityError(f"a file is malformed: {term!r:.120}")
    return link, name, executable


def _decode_file(term: dict[str, Any], decoder: Decoder) -> File:
    link, name, executable = _checked_file(term)
    source = decoder.source

    def held() -> Path | bytes:
        found = source.map(link)
        return found if isinstance(found, Path) else source.read(link)

    fetch = lambda: source.file(link, name, executable)  # noqa: E731
    return File(name=name, link=link, fetch=fetch, held=held, executable=executable)


def _outline_file(term: dict[str, Any]) -> dict[str, Any]:
    link, name, _ = _checked_file(term)
    return {"type": "file", "name": name, "size": link.size}


FILE = Kind(
    tags=("file",),
    types=(File,),
    encode=_encode_file,
    decode=_decode_file,
    links=lambda term: (Link.from_json(term["file"]),),
    outline=_outline_file,
    name=lambda term: file_name(term["name"]) if "name" in term else "value",
    on_touch=True,
)


def _encode_directory(value: Directory, encoder: Encoder) -> bytes:
    path, found = _present(value)
    if not stat.S_ISDIR(found.st_mode):
        raise BadPath(f"{str(path)!r:.300} is not a folder", hint="bundlerun.File(path)")
    name = text_term(check_file_name(value.name))
    inside = scan(path)
    entries, size = [], 0
    for start in range(0, len(inside), _FILES_AT_ONCE):
        some = inside[start : start + _FILES_AT_ONCE]
        stamps = [(each.path, each.stamp) for each in some if each.stamp is not None]
        links = iter(encoder.put_files(path, stamps))
        for each in some:
            link = None if each.stamp is None else next(links)
            size += 0 if link is None else link.size
            linked = None if link is None else link_bytes(link)
            entries.append(entry_bytes(text_term(each.path), linked, each.executable))
    body = cut(entries, encoder.put_bytes)
    return b'{"directory":%s,"name":%s,"size":%d}' % (body, name, size)


def _decode_directory(term: dict[str, Any], decoder: Decoder) -> Directory:
    body = only(term, "directory", "name", "size")["directory"]
    name, size, root = file_name(term["name"]), size_of(term["size"]), directory_root(body)
    source = decoder.source

    def entries() -> list[DirectoryEntry]:
        # A list: no path is given away before the last one is checked.
        return list(checked(entries_of(body, source.read), size))

    return Directory(name=name, fetch=lambda: source.directory(root, name, entries))


def _outline_directory(term: dict[str, Any]) -> dict[str, Any]:
    only(term, "directory", "name", "size")
    name, size = file_name(term["name"]), size_of(term["size"])
    return {"type": "directory", "name": name, "size": size}


DIRECTORY = Kind(
    tags=("directory",),
    types=(Directory,),
    encode=_encode_directory,
    decode=_decode_directory,
    outline=_outline_directory,
    has_files=True,
    on_touch=True,
)
