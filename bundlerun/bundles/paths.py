"""The check of file names and relative paths, on the way in and out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from bundlerun.errors import BadPath

MAX_PARTS = 500
"""The most parts of one path.

What walks and deletes folders goes a level of calls, and an open folder, deeper for each.
"""

MAX_PART_BYTES = 255
"""Bytes of one part of a path in UTF-8 (NAME_MAX of the usual Linux file systems)."""

_ORDINARY = re.compile(r"[\w-][\w. -]{0,254}(?:/[\w-][\w. -]{0,254})*", re.ASCII)
"""Paths that need no second look."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_relative_path(path: str) -> str:
    """``path``, checked to name only something inside the folder it is joined to.

    Raises BadPath for an absolute path, a part that is empty, ``.`` or ``..``, a backslash, a
    control character (NUL and line breaks among them), a lone surrogate, a part over 255 bytes and
    more than 500 parts.
    """
    check_depth(path)
    if _ORDINARY.fullmatch(path):
        return path
    if not path:
        raise BadPath("a file path is empty", hint="a relative path, such as data/raw.csv")
    if path.startswith("/"):
        raise BadPath(f"the file path {path!r:.200} is absolute", hint=path.lstrip("/")[:200])
    found = _CONTROL.search(path)
    if found or "\\" in path:
        what = repr(found[0]) if found else "a backslash"
        raise BadPath(
            f"the file path {path!r:.200} has {what}, which a bundle cannot keep",
            hint="a name without it: mv OLD NEW",
        )
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise BadPath(
                f"the file path {path!r:.200} has the part {part!r}",
                hint="the path without it, such as data/raw.csv",
            )
        if len(part) * 4 > MAX_PART_BYTES and _bytes_of(part) > MAX_PART_BYTES:
            raise BadPath(
                f"the file path {path!r:.200} has a part over {MAX_PART_BYTES} bytes",
                hint="a shorter name: mv OLD NEW",
            )
    if not path.isascii():
        _bytes_of(path)
    return path


def check_depth(path: str) -> None:
    """Refuse a relative path of more than 500 parts.

    Raises BadPath.
    """
    if path.count("/") >= MAX_PARTS:
        raise BadPath(
            f"the file path {path[:60]!r}... has more than {MAX_PARTS} parts",
            hint="a .tar file of the folder",
        )


def check_file_name(name: str) -> str:
    """``name``, when it is a path of one part.

    Raises BadPath.
    """
    if "/" in name:
        raise BadPath(
            f"the file name {name!r:.200} has a slash",
            hint="a name without a slash, or a bundlerun.Directory of the folder",
        )
    return check_relative_path(name)


def are_ordinary(names: Collection[str]) -> bool:
    """Whether the names of one folder pass ``PathTree`` for certain.

    Others may pass as well.
    """
    return all(map(_ORDINARY.fullmatch, names)) and len(set(map(str.lower, names))) == len(names)


def _bytes_of(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise BadPath(
            f"the file path {text!r:.200} is not valid Unicode",
            hint="convmv -f latin1 -t utf8 -r FOLDER, or another name: mv OLD NEW",
        ) from error


class PathTree:
    """Relative paths that can stand side by side on every file system.

    Two that differ only in case or in Unicode normalisation would be one file on some (macOS,
    Windows), so they are refused everywhere; so is a file that is also a folder.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}
        self._folders: set[str] = set()

    def add(self, path: str, *, folder: bool) -> None:
        """Take one more path in.

        Raises BadPath when it clashes with one before it.
        """
        check_relative_path(path)
        head, _, _ = path.rpartition("/")
        while head and head not in self._folders:
            self._note(head, folder=True)
            self._folders.add(head)
            head, _, _ = head.rpartition("/")
        if not self._note(path, folder=folder):
            raise BadPath(
                f"the file path {path!r:.200} is there twice", hint="one of the two alone"
            )

    def _note(self, path: str, *, folder: bool) -> bool:
        """Whether ``path`` was not there before."""
        mine = (path, folder)
        found = self._seen.setdefault(_folded(path), mine)
        if found is mine:
            return True
        known, known_folder = found
        if known != path:
            raise BadPath(
                f"the file paths {known!r:.200} and {path!r:.200} differ only in case "
                "or in Unicode normalisation",
                hint="another name for one of them: mv OLD NEW",
            )
        if known_folder != folder:
            raise BadPath(
                f"the file path {path!r:.200} is both a file and a folder",
                hint="another name for one of them: mv OLD NEW",
            )
        return False


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    # Folding can undo a normalisation (U+0345), hence twice.
    once = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    return unicodedata.normalize("NFC", once.casefold())
