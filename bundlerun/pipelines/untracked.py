"""Untracked files: project files that a pipe reads although they are in no key.

Python tells of every file that it opens (audit hooks: docs.python.org/3/library/sys.html). What
libraries in C open by themselves is not seen. A hook stays for the life of the process, so there is
one, and it looks at paths only while a pipe runs.
"""

from __future__ import annotations

import contextvars
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import digest_of
from bundlerun.errors import UntrackedFile

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_MOVE = (
    "Put it into the package of the pipe, or add it as a bundle and read it by bundlerun.external"
)

# Modules count that an import statement names, in whichever package they lie.
_IMPORT = "Write an import statement of it in a module of the pipeline"

_WRITE_ONLY = os.O_WRONLY | os.O_TRUNC | os.O_EXCL

_PRESENT: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("watch", default=None)
_RUNNING: list[Watch] = []
_HOOKED: list[bool] = []


@dataclass(eq=False)
class Watch:
    """The files below ``root`` that one pipe opens and that do not count.

    ``counted`` has the paths, relative to ``root``, that do; ``is_own`` tells what bundlerun itself
    put where it is.
    """

    root: str
    counted: Mapping[str, Any]
    is_own: Callable[[str], bool]
    read: dict[str, None] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def opened(self, path: str, flags: int) -> None:
        """Take note of an open of the absolute ``path``."""
        if not path.startswith(self.root + os.sep):
            return
        if flags & _WRITE_ONLY:
            self.written.add(path)
        elif path not in self.written and os.path.isfile(path):
            self.read[path] = None

    def tracked(self) -> list[str]:
        """The files that were read and stand in the key, relative to the root."""
        return [name for name in self._names() if name in self.counted]

    def untracked(self) -> list[str]:
        """The opened files that stand in no key, relative to the root, in order.

        The order is that of their opening.
        """
        return [
            name
            for name, path in self._names().items()
            if name not in self.counted and not self._is_foreign(path)
        ]

    def _names(self) -> dict[str, str]:
        found = {os.path.relpath(_source(path), self.root): path for path in self.read}
        return {Path(name).as_posix(): path for name, path in found.items()}

    def _is_foreign(self, path: str) -> bool:
        below_prefix = path.startswith(sys.prefix + os.sep)
        return below_prefix or any(part in path for part in _INSTALLED) or self.is_own(path)


class Told:
    """The files that were named already.

    In this process and, by marks in ``folder`` (None: there is only this one), in those that work
    with it.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()
        self.folder: Path | None = None

    def first(self, path: str) -> bool:
        """Whether nobody has named ``path`` yet; from now on somebody has."""
        if path in self._told:
            return False
        self._told.add(path)
        if self.folder is None:
            return True
        try:
            (self.folder / f"told-{digest_of(os.fsencode(path))[:16]}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Send to ``watch`` the files that this thread opens while the block runs.

    Files opened by threads of the pipe's own go there too.
    """
    if not _HOOKED:
        _HOOKED.append(True)
        sys.addaudithook(_hook)
    _RUNNING.append(watch)
    token = _PRESENT.set(watch)
    try:
        yield
    finally:
        _PRESENT.reset(token)
        _RUNNING.remove(watch)


def in_child() -> None:
    """Forget, in a forked child, what threads of the parent watch."""
    _RUNNING.clear()
    _PRESENT.set(None)


def warn_of(watch: Watch, pipe: str, told: Told) -> None:
    """Warn (UntrackedFile) of each file that stands in no key and was not named yet."""
    for name in watch.untracked():
        if told.first(os.path.join(watch.root, name)):
            cure = _IMPORT if name.endswith(".py") else _MOVE
            warnings.warn(
                f"{pipe} read {name}, which stands in no key: an edit of it alone makes nothing"
                f" new. {cure}",
                UntrackedFile,
                stacklevel=1,
            )


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _RUNNING:
        return
    path, _, flags = arguments
    if isinstance(path, int) or not isinstance(flags, int):
        return
    watch = _PRESENT.get()
    # A thread of the pipe's own has no watch; with several applies at once one cannot tell whose.
    for each in (watch,) if watch is not None else tuple(_RUNNING):
        each.opened(os.path.abspath(os.fsdecode(path)), flags)


def _source(path: str) -> str:
    """The module's file, for what Python compiled of it."""
    try:
        return importlib.util.source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:
        return path
