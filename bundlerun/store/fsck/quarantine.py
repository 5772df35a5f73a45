"""The quarantine of what is damaged: put aside, never deleted."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bundlerun.store.atomic import FILE_MODE, aside, make_folder, settle, sync_folder
from bundlerun.store.failures import translated

FOLDER = "quarantine"


class Quarantine:
    """The folder ``quarantine/`` of a store.

    What is in it nobody reads but its owner.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store / FOLDER

    def take(self, path: Path) -> Path:
        """Move the file or folder ``path`` there; where it lies now."""
        with translated(self.folder):
            make_folder(self.folder)
            target = self._free(path.name if len(path.name) > 60 else _long_name(path))
            os.rename(path, target)
            sync_folder(self.folder)
            sync_folder(path.parent)
        return target

    def keep(self, name: str, data: bytes) -> Path:
        """Write a copy of ``data`` there; where it lies."""
        with translated(self.folder):
            make_folder(self.folder)
            target = self._free(name)
            with aside(self.folder) as partial:
                partial.write_bytes(data)
                settle(partial, target, FILE_MODE)
        return target

    def _free(self, name: str) -> Path:
        target = self.folder / name
        return target if not os.path.lexists(target) else self.folder / _again(name)


def _long_name(path: Path) -> str:
    """With the folder's name, for it is part of a digest."""
    return f"{path.parent.name}-{path.name}"


def _again(name: str) -> str:
    return f"{name}.{secrets.token_hex(4)}"
