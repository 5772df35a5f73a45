"""What a disk holds after the power went: a model of what is promised to survive, and no more.

The bytes of a file survive fsync(2) or fdatasync(2) of the file; a name (made, renamed, linked,
removed) survives fsync of the folder it stands in. What was not synced may be lost, in any
combination; one rename or link is there or not. Memory that SQLite shares between processes (its
``-shm`` file) is lost as a whole, for it is made anew when it is not there.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Step = tuple[str, str, str, int, bytes]
"""What was done, to which path, its second path, a number, and bytes."""


@dataclass(eq=False)
class Inode:
    """A file: its bytes now, those that survive, and what changed between: writes, and where bytes
    are None a new size."""

    now: bytearray = field(default_factory=bytearray)
    kept: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)
    mode: int = 0o644


@dataclass(eq=False)
class Folder:
    """A folder: its names now, and those that survive."""

    now: dict[str, Inode | Folder] = field(default_factory=dict)
    kept: dict[str, Inode | Folder] = field(default_factory=dict)
    mode: int = 0o755


Names = Callable[[str, Folder], dict[str, "Inode | Folder"]]
Bytes = Callable[[str, Inode], bytes]


class Disk:
    """A folder of the real disk, all of it durable at first, and what steps make of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._inodes: dict[int, Inode] = {}
        self._top = self._loaded(root)

    def do(self, step: Step) -> None:
        """Carry ``step`` out; one that fails on a real disk (no such file, a name that is taken)
        changes nothing."""
        what, path, other, number, data = step
        if what in ("rename", "link"):
            self._move(path, other, keep_first=what == "link")
        elif what in ("create", "mkdir"):
            self._make(path, what, truncate=bool(number))
        elif what == "unlink":
            self._unlink(path)
        else:
            found = self._at(path)
            if isinstance(found, Inode):
                _change(found, what, number, data)
            elif found is not None and what == "sync":
                found.kept = dict(found.now)

    def _make(self, path: str, what: str, *, truncate: bool) -> None:
        above, name = self._above(path)
        if above is None:
            return
        found = above.now.get(name)
        if found is None:
            above.now[name] = Folder() if what == "mkdir" else Inode()
        elif isinstance(found, Inode) and truncate and what == "create":
            _change(found, "truncate", 0, b"")

    def _move(self, path: str, other: str, *, keep_first: bool) -> None:
        source, name = self._above(path)
        target, new = self._above(other)
        if source is None or target is None or name not in source.now:
            return
        if keep_first and new in target.now:
            return
        there = target.now.get(new)
        if isinstance(there, Folder) and there.now:
            return
        target.now[new] = source.now[name] if keep_first else source.now.pop(name)

    def _unlink(self, path: str) -> None:
        above, name = self._above(path)
        if above is not None:
            found = above.now.get(name)
            if not (isinstance(found, Folder) and found.now):
                above.now.pop(name, None)

    def _above(self, path: str) -> tuple[Folder | None, str]:
        folder, _, name = path.rpartition("/")
        found = self._at(folder)
        return (found if isinstance(found, Folder) else None), name

    def _at(self, path: str) -> Inode | Folder | None:
        found: Inode | Folder | None = self._top
        for part in filter(None, path.split("/")):
            if not isinstance(found, Folder):
                return None
            found = found.now.get(part)
        return found

    def _loaded(self, path: Path) -> Folder:
        folder = Folder(mode=path.stat().st_mode & 0o777)
        for entry in os.scandir(path):
            if entry.name == "spare":  # room alone; nothing is ever read from it
                continue
            state = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                folder.now[entry.name] = self._loaded(Path(entry.path))
                continue
            if state.st_ino not in self._inodes:
                data = Path(entry.path).read_bytes()
                made = Inode(bytearray(data), data, mode=state.st_mode & 0o777)
                self._inodes[state.st_ino] = made
            folder.now[entry.name] = self._inodes[state.st_ino]
        folder.kept = dict(folder.now)
        return folder

    def left(self, names: Names, content: Bytes) -> dict[str, tuple[int, bytes | None, int]]:
        """What survives: by path the mode, the bytes (None: a folder), and which inode it is."""
        found: dict[str, tuple[int, bytes | None, int]] = {}
        pending: list[tuple[str, Folder]] = [("", self._top)]
        while pending:
            at, folder = pending.pop()
            for name, node in names(at, folder).items():
                path = f"{at}/{name}"
                if isinstance(node, Folder):
                    found[path] = (node.mode, None, id(node))
                    pending.append((path, node))
                elif not name.endswith("-shm"):
                    found[path] = (node.mode, content(path, node), id(node))
        return found


def _change(file: Inode, what: str, number: int, data: bytes) -> None:
    if what == "sync":
        file.kept, file.since = bytes(file.now), []
    elif what == "mode":
        file.mode = number
    else:
        change = (number, data if what == "write" else None)
        _applied(file.now, change)
        file.since.append(change)


def _applied(data: bytearray, change: tuple[int, bytes | None]) -> None:
    at, some = change
    end = at if some is None else at + len(some)
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    if some is None:
        del data[at:]
    else:
        data[at:end] = some


def policies(seed: int) -> Iterator[tuple[str, Names, Bytes]]:
    """Ways to lose what was not synced: all of it, the bytes alone, the names alone, all but on the
    remote (which is another machine), and by chance."""
    chance = random.Random(seed)

    def some_names(path: str, folder: Folder) -> dict[str, Inode | Folder]:
        found = {}
        for name in sorted(folder.kept.keys() | folder.now.keys()):
            node = (folder.now if chance.random() < 0.5 else folder.kept).get(name)
            if node is not None:
                found[name] = node
        return found

    def some_bytes(path: str, file: Inode) -> bytes:
        data = bytearray(file.kept)
        for change in file.since:
            if chance.random() < 0.5:
                _applied(data, change)
        return bytes(data)

    def far(path: str) -> bool:
        return path.startswith("/remote") or path == ""

    yield "all is lost", lambda _, f: f.kept, lambda _, f: f.kept
    yield "bytes are lost", lambda _, f: f.now, lambda _, f: f.kept
    yield "names are lost", lambda _, f: f.kept, lambda _, f: bytes(f.now)
    yield (
        "all is lost here",
        lambda path, f: f.now if far(path) else f.kept,
        lambda path, f: bytes(f.now) if far(path) else f.kept,
    )
    yield "some is lost", some_names, some_bytes


def fingerprint(left: dict[str, tuple[int, bytes | None, int]]) -> bytes:
    """Equal for equal states of a disk."""
    sha256 = hashlib.sha256()
    for path, (mode, data, _) in sorted(left.items()):
        size = -1 if data is None else len(data)
        sha256.update(f"{path}\0{mode}\0{size}\0".encode() + (data or b""))
    return sha256.digest()


def written(left: dict[str, tuple[int, bytes | None, int]], root: Path) -> None:
    """Make the real, new folder ``root`` so."""
    root.mkdir()
    inodes: dict[int, Path] = {}
    for path, (mode, data, inode) in sorted(left.items()):
        target = root / path[1:]
        if data is None:
            target.mkdir()
        elif inode in inodes:
            os.link(inodes[inode], target)
            continue
        else:
            target.write_bytes(data)
            inodes[inode] = target
        target.chmod(mode)
