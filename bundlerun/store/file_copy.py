"""Copies of files that share blocks where the file system can.

Shared blocks part when one side is written to. Elsewhere the bytes are copied.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from bundlerun.errors import BundlerunError

_FICLONE = 0x40049409
"""ioctl_ficlone(2)."""


class Copying:
    """Copies of files into the folder ``into``, ``total_bytes`` in all.

    The files are on the file system of ``into``. ``link``: hard links instead, where the mode is
    the same. Room for all is looked for before the first byte is written, unless the file system
    shares blocks.
    """

    def __init__(self, into: Path, total_bytes: int, *, link: bool) -> None:
        self._into = into
        self._total_bytes = total_bytes
        self._link = link
        self._has_room = False

    def copy(self, source: Path, target: str | Path, mode: int) -> bool:
        """Make ``target``, with the bytes of ``source`` and ``mode``.

        Whether it is a file of its own. Raises BundlerunError where there is no room.
        """
        if self._link and source.stat().st_mode & 0o7777 == mode:
            # One inode has one mode; any refusal (other device, too many links) means a copy.
            with contextlib.suppress(OSError):
                os.link(source, target)
                return False
        if not _shared(source, target):
            self._look_for_room()
            shutil.copyfile(source, target)
        # No sync: file systems write the size after the bytes, so that one which a power loss cut
        # off has another stamp.
        os.chmod(target, mode)
        return True

    def _look_for_room(self) -> None:
        if self._has_room:
            return
        disk = shutil.disk_usage(self._into)
        # Some file systems do not say how large they are (ramfs, many of FUSE): all zeros.
        if disk.total and disk.free < self._total_bytes:
            raise BundlerunError(
                f"a path needs a copy of {_mb(self._total_bytes)}, and the disk of "
                f"{self._into} has only {_mb(disk.free)} left",
                hint="bundlerun gc --delete (old copies go first), or File.open(), which reads"
                " without a copy",
            )
        self._has_room = True


def _shared(source: Path, target: str | Path) -> bool:
    """Make ``target`` share the blocks of ``source``; whether it could be done.

    btrfs and XFS can.
    """
    with source.open("rb") as reading, open(target, "xb") as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
            return True
        except OSError:
            return False


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
