"""Files and folders under their own names, for programs that want a path.

They lie in ``files/`` beside the objects, read-only. They are no truth: before one is handed out
again it is compared with the object, and made anew where somebody changed it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bundlerun.bundles.links import Link
from bundlerun.bundles.paths import check_file_name, check_relative_path
from bundlerun.bundles.places import DirectoryEntry
from bundlerun.store.durable import (
    EXECUTABLE_MODE,
    FILE_MODE,
    FOLDER_MODE,
    aside,
    make_folder,
)
from bundlerun.store.refusals import translated

Held = bytes | Path
"""The bytes of a small object, or the file that holds a large one."""

HeldOf = Callable[[Iterable[Link]], Iterator[tuple[Link, Held]]]
"""What is held of each link, in their order."""

_CHUNK_BYTES = 1024 * 1024


class Localised:
    """The named files and folders of a store. Safe to use from threads and processes."""

    def __init__(self, folder: Path, held: HeldOf) -> None:
        self._folder = folder
        self._held = held

    def file(self, link: Link, name: str, executable: bool) -> Path:
        """A read-only file called ``name`` with the bytes of ``link``.

        Raises BadPath for a name that is none, BundleNotFound where the bytes are not on this
        disk, BundlerunError when the disk is full.
        """
        check_file_name(name)
        ((_, held),) = self._held([link])
        mode = EXECUTABLE_MODE if executable else FILE_MODE
        folder = self._folder / (link.digest + ("+x" if executable else ""))
        path = folder / name
        with translated(self._folder):
            if not _is_right(path, held, mode):
                make_folder(folder)
                with aside(folder) as partial:
                    _write(partial, held, mode)
                    os.replace(partial, path)
        return path

    def directory(self, root: Link, name: str, entries: Sequence[DirectoryEntry]) -> Path:
        """A folder called ``name`` with all of ``entries``, its files read-only.

        Raises as ``file``.
        """
        check_file_name(name)
        folder = self._folder / f"{root.digest}+d"
        path = folder / name
        with translated(self._folder):
            if self._is_whole(path, entries):
                return path
            make_folder(folder)
            partial = folder / f".{secrets.token_hex(12)}"
            try:
                self._fill(partial, entries)
                self._exchange(partial, path, entries)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return path

    def _fill(self, folder: Path, entries: Sequence[DirectoryEntry]) -> None:
        made: set[str] = set()
        root = os.path.join(folder, "")
        _plain_folder(root, made)
        for entry in entries:
            if entry.link is None:
                _plain_folder(f"{root}{check_relative_path(entry.path)}/", made)
        for entry, held in self._files(entries):
            target = root + check_relative_path(entry.path)
            _plain_folder(target[: target.rindex("/") + 1], made)
            _write(target, held, _mode(entry))

    def _files(self, entries: Sequence[DirectoryEntry]) -> Iterator[tuple[DirectoryEntry, Held]]:
        """The entries that are files, each with its bytes."""
        files = [entry for entry in entries if entry.link is not None]
        held = self._held(entry.link for entry in files if entry.link is not None)
        for entry, (_, data) in zip(files, held, strict=True):
            yield entry, data

    def _exchange(self, partial: Path, path: Path, entries: Sequence[DirectoryEntry]) -> None:
        while True:
            try:
                partial.rename(path)
                return
            except OSError:
                # Another process was first, or what stands there was changed by hand.
                if self._is_whole(path, entries):
                    return
                if not os.path.lexists(path):
                    raise
            old = path.with_name(f".{secrets.token_hex(12)}")
            with contextlib.suppress(FileNotFoundError):
                path.rename(old)
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)

    def _is_whole(self, path: Path, entries: Sequence[DirectoryEntry]) -> bool:
        if path.is_symlink() or not path.is_dir():
            return False
        wanted = {entry.path for entry in entries if entry.link is not None}
        found = {
            os.path.relpath(os.path.join(above, name), path)
            for above, _, names in os.walk(path)
            for name in names
        }
        return (
            found == wanted
            and all((path / entry.path).is_dir() for entry in entries if entry.link is None)
            and all(
                _is_right(path / entry.path, held, _mode(entry))
                for entry, held in self._files(entries)
            )
        )


def _mode(entry: DirectoryEntry) -> int:
    return EXECUTABLE_MODE if entry.executable else FILE_MODE


def _plain_folder(path: str, made: set[str]) -> None:
    """The folder ``path``, which ends in a slash, and those above it, unless it is one of
    ``made``, to which it is added."""
    if path in made:
        return
    if not os.path.isdir(path):
        _plain_folder(path[: path.rindex("/", 0, -1) + 1], made)
        os.mkdir(path)
        os.chmod(path, FOLDER_MODE)
    made.add(path)


def _write(target: str | Path, held: Held, mode: int) -> None:
    if isinstance(held, bytes):
        with open(target, "xb") as file:
            file.write(held)
            os.fchmod(file.fileno(), mode)
        return
    if stat.S_IMODE(held.stat().st_mode) == mode:
        # One inode has one mode; any refusal (other device, too many links) means a copy.
        with contextlib.suppress(OSError):
            os.link(held, target)
            return
    shutil.copyfile(held, target)
    os.chmod(target, mode)


def _is_right(path: Path, held: Held, mode: int) -> bool:
    """Whether the file at ``path`` has these bytes and this mode."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != mode:
            return False
        if isinstance(held, bytes):
            return found.st_size == len(held) and path.read_bytes() == held
        return path.samefile(held) or _same(path, held)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _same(left: Path, right: Path) -> bool:
    if left.stat().st_size != right.stat().st_size:
        return False
    with left.open("rb") as one, right.open("rb") as other:
        while chunk := one.read(_CHUNK_BYTES):
            if chunk != other.read(_CHUNK_BYTES):
                return False
    return True
