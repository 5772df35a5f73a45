"""Files and folders under their own names, for programs that want a path.

They lie in ``files/`` next to the objects, read-only, and nothing relies on them. Large files are
copies of their objects, so that no program that writes to one changes a bundle; their stamps are
recorded, and one whose stamp is another was written to and is made again. Small ones are compared.

What a store that may not be written lacks of them lies in a folder of the process's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bundlerun.bundles.link import Link
from bundlerun.bundles.paths import check_file_name, check_relative_path
from bundlerun.bundles.storage import DirectoryEntry, Stamp, stamp_of
from bundlerun.store.atomic import (
    EXECUTABLE_MODE,
    FILE_MODE,
    FOLDER_MODE,
    UNFINISHED,
    make_folder,
    unfinished,
)
from bundlerun.store.database import Database
from bundlerun.store.failures import translated
from bundlerun.store.file_copy import Copying
from bundlerun.store.locks import Guard
from bundlerun.store.read_only import private_folder

Held = bytes | Path
"""The bytes of a small object, or the file that holds a large one."""

HeldOf = Callable[[Iterable[Link]], Iterator[tuple[Link, Held]]]
"""The function that gives what is held of each link, in their order."""

Linked = Callable[[Iterable[Link]], None]
"""Told of the large objects whose files got one more name."""


class Localised:
    """The named files and folders of a store.

    Safe to use from threads and processes. ``link``: large files are hard links to their objects,
    which saves the copy and trusts every reader.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        guard: Guard,
        held: HeldOf,
        linked: Linked,
        *,
        link: bool,
    ) -> None:
        self._database = database
        self._folder = folder
        self._guard = guard
        self._held = held
        self._linked = linked
        self._link = link
        self._private: dict[tuple[str, str], Stamp] = {}
        """Stamps of the copies in this process's own folder, by folder and path."""

    def file(self, link: Link, name: str, executable: bool) -> Path:
        """A read-only file called ``name`` with the bytes of ``link``.

        Raises BadPath for a name that cannot be, BundleNotFound where the bytes are not on this
        disk, BundlerunError where the disk has no room for a copy.
        """
        check_file_name(name)
        folder = self._folder / (link.digest + ("+x" if executable else ""))
        entries = [DirectoryEntry(name, link, executable)]
        with translated(self._folder):
            if self._wrong(folder, entries):
                folder = self._writable(folder)
                with self._making(folder):
                    self._put(folder, self._wrong(folder, entries), beside=folder)
            _touch(folder)
        return folder / name

    def directory(self, root: Link, name: str, entries: Sequence[DirectoryEntry]) -> Path:
        """A folder called ``name`` with all of ``entries``, its files read-only.

        Raises as ``file``.
        """
        check_file_name(name)
        path = self._folder / f"{root.digest}+d" / name
        with translated(self._folder):
            if not self._is_whole(path, entries):
                path = self._writable(path.parent) / name
                with self._making(path.parent):
                    if not self._is_whole(path, entries):
                        self._make_whole(path, entries)
            _touch(path.parent)
        return path

    def _is_whole(self, path: Path, entries: Sequence[DirectoryEntry]) -> bool:
        return _has_names(path, entries) and not self._wrong(path, entries)

    def _writable(self, folder: Path) -> Path:
        """``folder``, or one of the same name where the store may not be written."""
        return private_folder() / folder.name if self._database.read_only else folder

    def is_believed(self, path: Path) -> bool:
        """Whether ``path``, below ``files/``, would be given out without being read."""
        found = os.lstat(path)
        folder, _, rest = path.relative_to(self._folder).as_posix().partition("/")
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT stamp FROM copies WHERE folder = ? AND path = ?", (folder, rest)
            ).fetchone()
        return (row is not None and row[0] == stamp_of(found)) or (
            self._link and found.st_nlink > 1
        )

    def copied(self) -> set[str]:
        """The folders right below ``files/`` that hold copies of large objects."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT DISTINCT folder FROM copies").fetchall()
        return {folder for (folder,) in rows}

    def forget(self, folder: str) -> None:
        """Forget the copies in ``folder``, right below ``files/``."""
        with self._database.writing() as tx:
            tx.execute("DELETE FROM copies WHERE folder = ?", (folder,))

    @contextlib.contextmanager
    def _making(self, folder: Path) -> Iterator[None]:
        """``folder`` is there, and no sweep and no other process changes it meanwhile."""
        with self._guard.sharing():
            make_folder(folder)
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                for name in filter(UNFINISHED.fullmatch, os.listdir(folder)):
                    # The process that was making it has died: the lock is ours.
                    _remove(f"{folder}/{name}")
                yield
            finally:
                os.close(handle)

    def _make_whole(self, path: Path, entries: Sequence[DirectoryEntry]) -> None:
        if path.is_dir() and not path.is_symlink():
            # In place: a large file that nobody wrote to is not copied again.
            _clear(path, entries)
            _make_folders(path, entries)
            self._put(path, self._wrong(path, entries), beside=path.parent)
            return
        _remove(str(path))
        partial = unfinished(path.parent)
        try:
            _make_folders(partial, entries)
            stamps = self._written(partial, _files(entries), None)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._note(path, stamps)

    def _put(self, root: Path, entries: Sequence[DirectoryEntry], *, beside: Path) -> None:
        """Make these files below ``root``, each in ``beside`` first."""
        self._note(root, self._written(root, entries, beside))

    def _written(
        self, root: Path, entries: Sequence[DirectoryEntry], beside: Path | None
    ) -> dict[str, Stamp]:
        """Write these files below ``root``; the stamps of the large ones by path.

        Each is written in ``beside`` first, unless nobody sees ``root`` yet (``beside`` is None).
        Stamps are those of copies; a hard link to a large object has none.
        """
        total = sum(entry.link.size for entry in entries if entry.link is not None)
        is_own = root.is_relative_to(self._folder)
        copying = Copying(beside or root.parent, total, link=self._link and is_own)
        stamps: dict[str, Stamp] = {}
        linked: list[Link] = []
        for entry, link, held in self._held_of(entries):
            target = f"{root}/{entry.path}"
            if beside is None:
                is_copy = _write(target, held, _mode(entry), copying)
            else:
                partial = unfinished(beside)
                try:
                    is_copy = _write(partial, held, _mode(entry), copying)
                    if os.path.isdir(target):
                        _remove(target)
                    os.replace(partial, target)
                finally:
                    partial.unlink(missing_ok=True)
            if is_copy:
                # After the rename, which changes ctime.
                stamps[entry.path] = stamp_of(os.lstat(target))
            elif isinstance(held, Path):
                linked.append(link)
        self._linked(linked)
        return stamps

    def _wrong(self, root: Path, entries: Sequence[DirectoryEntry]) -> list[DirectoryEntry]:
        """The files in ``entries`` that differ from what lies below ``root``."""
        if not root.is_dir():
            return _files(entries)
        stamps = self._stamps(root)
        return [
            entry
            for entry, _, held in self._held_of(_files(entries))
            if not self._is_right(f"{root}/{entry.path}", held, entry, stamps)
        ]

    def _is_right(
        self, path: str, held: Held, entry: DirectoryEntry, stamps: Mapping[str, Stamp]
    ) -> bool:
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != _mode(entry):
            return False
        if isinstance(held, bytes):
            return found.st_size == len(held) and Path(path).read_bytes() == held
        if self._link and os.path.samestat(found, held.stat()):
            return True
        return stamps.get(entry.path) == stamp_of(found)

    def _held_of(
        self, entries: Sequence[DirectoryEntry]
    ) -> Iterator[tuple[DirectoryEntry, Link, Held]]:
        """Entries that are files, each with its bytes."""
        held = self._held(entry.link for entry in entries if entry.link is not None)
        for entry, (link, data) in zip(entries, held, strict=True):
            yield entry, link, data

    def _key(self, root: Path) -> tuple[str, str]:
        """The folder right below ``files/``, and the prefix of the paths below ``root``."""
        is_own = root.is_relative_to(self._folder)
        below = root.relative_to(self._folder if is_own else private_folder())
        folder, _, rest = below.as_posix().partition("/")
        return folder, f"{rest}/" if rest else ""

    def _stamps(self, root: Path) -> dict[str, Stamp]:
        folder, prefix = self._key(root)
        if not root.is_relative_to(self._folder):
            mine = [(path, stamp) for (at, path), stamp in self._private.items() if at == folder]
            return {path.removeprefix(prefix): stamp for path, stamp in mine}
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT path, stamp FROM copies WHERE folder = ?", (folder,)
            ).fetchall()
        return {path.removeprefix(prefix): Stamp(stamp) for path, stamp in rows}

    def _note(self, root: Path, stamps: Mapping[str, Stamp]) -> None:
        if not stamps:
            return
        folder, prefix = self._key(root)
        if not root.is_relative_to(self._folder):
            self._private.update({(folder, prefix + path): at for path, at in stamps.items()})
            return
        rows = [(folder, prefix + path, stamp) for path, stamp in stamps.items()]
        with self._database.writing() as tx:
            tx.executemany("INSERT OR REPLACE INTO copies VALUES (?, ?, ?)", rows)


def _files(entries: Sequence[DirectoryEntry]) -> list[DirectoryEntry]:
    return [entry for entry in entries if entry.link is not None]


def _mode(entry: DirectoryEntry) -> int:
    return EXECUTABLE_MODE if entry.executable else FILE_MODE


def _touch(folder: Path) -> None:
    """Note the time at which a path was given out, for sweeps."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def _make_folders(root: Path, entries: Sequence[DirectoryEntry]) -> None:
    """Make ``root``, and below it every folder that ``entries`` need.

    Those are the empty folders, and the folders above files.
    """
    made: set[str] = set()
    above = os.path.join(root, "")
    _plain_folder(above, made)
    for entry in entries:
        path = above + check_relative_path(entry.path)
        _plain_folder(path + "/" if entry.link is None else path[: path.rindex("/") + 1], made)


def _plain_folder(path: str, made: set[str]) -> None:
    """Make the folder ``path``, which ends in a slash, and the folders above it.

    Nothing is done for one of ``made``; what is made is added to it.
    """
    missing = []
    while path not in made and not os.path.isdir(path):
        missing.append(path)
        path = path[: path.rindex("/", 0, -1) + 1]
    made.add(path)
    for each in reversed(missing):
        os.mkdir(each)
        os.chmod(each, FOLDER_MODE)
        made.add(each)


def _has_names(path: Path, entries: Sequence[DirectoryEntry]) -> bool:
    """Whether ``path`` is a folder with exactly the files of ``entries``.

    The empty folders of ``entries`` must be there too.
    """
    if path.is_symlink() or not path.is_dir():
        return False
    wanted = {entry.path for entry in entries if entry.link is not None}
    return set(_names(path)) == wanted and all(
        (path / entry.path).is_dir() for entry in entries if entry.link is None
    )


def _names(path: Path) -> Iterator[str]:
    """All that is below a folder and no folder, by relative path."""
    for above, folders, names in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(above, name), path)


def _clear(path: Path, entries: Sequence[DirectoryEntry]) -> None:
    """Remove from the folder ``path`` the files that stand where ``entries`` has none."""
    wanted = {entry.path for entry in entries if entry.link is not None}
    for name in list(_names(path)):
        if name not in wanted:
            os.unlink(path / name)


def _remove(path: str) -> None:
    """Remove the file or folder ``path``, if there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _write(target: str | Path, held: Held, mode: int, copying: Copying) -> bool:
    """Make the file; whether it is a copy of a large object."""
    if isinstance(held, Path):
        return copying.copy(held, target, mode)
    with open(target, "xb") as file:
        file.write(held)
        os.fchmod(file.fileno(), mode)
    return False
