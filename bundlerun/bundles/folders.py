"""What is in a folder: found on the way in, checked again on the way out."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from bundlerun.bundles.links import Link
from bundlerun.bundles.paths import PathTree, are_ordinary, check_depth
from bundlerun.bundles.places import DirectoryEntry, Stamp, stamp_of
from bundlerun.errors import BadPath, IntegrityError


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
