"""Texts that name a file which does not stay: in a pipe's scratch or the store.

A pipe that returns such a path keeps a text and loses the file, so it is refused with the cure. A
text is taken for a path as a whole: one that merely contains such a path is a message or a log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from bundlerun.bundles.value import tables
from bundlerun.bundles.value.kind import CannotKeep
from bundlerun.bundles.value.tables.texts import Wanted

MAX_PATH_LENGTH = 4096
"""Linux's PATH_MAX: a longer text is not a path."""

_STORE_FOLDERS = ("objects", "files", "packs", "quarantine")
"""The folders of a store that hold bytes.

The store's folder itself is a place that the user chose.
"""

_SCRATCH = "a file of the pipe's scratch, which is removed when the pipe has ended"
_STORE = "one of the store's own files, which are on this machine only and may be removed"


class LostPaths:
    """The folders whose files do not stay: a pipe's ``scratch``, and the ``store``."""

    def __init__(self, *, scratch: Path | None = None, store: Path | None = None) -> None:
        self._scratch = _spellings(scratch)
        self._store = _spellings(store)
        # However a path below a folder is spelled, the folder's name is in it.
        self._marks = tuple(dict.fromkeys(map(os.path.basename, [*self._scratch, *self._store])))

    def check_text(self, text: str) -> None:
        """Refuse a ``text`` that as a whole names a file which does not stay.

        Raises CannotKeep.
        """
        # For a million texts that are not paths, this is the whole cost.
        for mark in self._marks:
            if mark in text:
                self._check(text)

    def check_array(self, array: Any) -> None:
        """Refuse such a text in a numpy array of texts, or of records of them.

        Raises CannotKeep.
        """
        if array.dtype.names is not None:
            for name in array.dtype.names:
                self.check_array(array[name])
        elif array.dtype.kind == "U":
            from numpy import char

            for mark in self._marks:
                for text in array[char.find(array, mark) >= 0].tolist():
                    self._check(text)

    def check_table(self, table: Any) -> None:
        """Refuse such a text in an Arrow table: in a column, a label, or an object's cell.

        The table is as ``tables.pack`` makes it. Raises CannotKeep, naming the column.
        """
        if not self._marks:
            return
        wanted = Wanted("(?s)" + "|".join(self._patterns()), self._marks)
        for where, text in tables.texts(table, wanted):
            self._check(text, f"{where}: ")

    def _patterns(self) -> Iterator[str]:
        for base in self._scratch:
            # Its name is like no other, so that it is known in relative paths too.
            yield rf"^(?:.*/)?{re.escape(os.path.basename(base))}(?:/|$)"
        for base in self._store:
            parts = "/+".join(f"(?:{re.escape(p)}|{re.escape(quote(p))})" for p in base.split("/"))
            name = re.escape(os.path.basename(base))
            yield rf"^(?:file://)?{parts}/"
            yield rf"^(?:file://)?/(?:.*/)?\.\.?/(?:.*/)?{name}/"

    def _folders(self) -> Iterator[tuple[str, str]]:
        for base in self._scratch:
            yield base, _SCRATCH
        for base in self._store:
            for each in _STORE_FOLDERS:
                yield os.path.join(base, each), _STORE

    def _check(self, text: str, where: str = "") -> None:
        if len(text) > MAX_PATH_LENGTH or "\n" in text:
            return
        path = os.path.abspath(unquote(text[7:]) if text.startswith("file://") else text)
        # POSIX lets two slashes at the front mean another place; here they do not.
        path = f"/{path.lstrip('/')}"
        if any(map(str.isspace, text)) and not os.path.lexists(path):
            return  # a sentence that begins with a path
        for folder, what in self._folders():
            if path == folder or path.startswith(folder + "/"):
                raise CannotKeep(
                    f"{where}the text {text!r:.300} names {what}",
                    hint="bundlerun.File(path), or bundlerun.Directory(path), keeps what is there",
                )


def _spellings(folder: Path | None) -> list[str]:
    """The absolute paths of ``folder``: as given, and without symbolic links."""
    if folder is None:
        return []
    return list(dict.fromkeys([os.path.abspath(folder), os.path.realpath(folder)]))


NO_PATHS = LostPaths()
"""Every file stays."""
