"""Whether the file system of a file keeps its time of change truthfully.

Sources: proc(5) (mountinfo), filesystems(5). tmpfs and ramfs do not touch mtime for writes through
mmap, ever; on a disk such a write shows once the kernel writes the page out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path

from bundlerun.errors import SettingsError

_SHARED = "9p|afs|beegfs|ceph|cifs|fuse|gfs2|gluster|gpfs|lustre|nfs|ocfs2|smb|virtiofs"
"""The types of file systems to which several machines may write start so."""

IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "rootfs", "hugetlbfs")
"""File systems in memory, whose times say nothing of writes through mmap."""

_MEMORY_S = 1.0
"""So long it is remembered what a device is: something else may be mounted."""


def file_system(path: Path) -> str:
    """The type of the file system that ``path`` is on, "" where nobody says."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    real = path.resolve()
    best, kind = -1, ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = Path(fields.split()[4].encode().decode("unicode_escape"))
        depth = len(mount.parts)
        # Of two mounts on one folder the later one is seen.
        if depth >= best and (real == mount or mount in real.parents):
            best, kind = depth, rest.split()[0]
    return kind


def is_shared(kind: str) -> bool:
    """Whether several machines may write to a file system of this type."""
    return re.match(_SHARED, kind) is not None


class Trust:
    """Whether an unchanged stamp proves an unchanged file.

    Safe to use from threads. ``also``: types of file systems that are believed though they are not
    disks of this machine ("overlay", "nfs4", "fuse" for all of "fuse.*"). Raises SettingsError for
    one in memory.
    """

    def __init__(self, also: Iterable[str] = ()) -> None:
        self._also = frozenset(also)
        for kind in self._also.intersection(IN_MEMORY):
            raise SettingsError(
                f"[store] trust_times must not name {kind}: a write through mmap leaves no trace"
                " there",
                hint="leave it out; a folder on a disk needs no trust_times",
            )
        self._known: dict[bytes, tuple[bool, float]] = {}

    def believes(self, device: bytes, path: Path) -> bool:
        """Whether the stamps of the files of ``device`` can be trusted.

        ``path`` is one of these files.
        """
        now_s = time.monotonic()
        known = self._known.get(device)
        if known is None or now_s - known[1] > _MEMORY_S:
            known = self._known[device] = (self._is_believed(file_system(path)), now_s)
        return known[0]

    def _is_believed(self, kind: str) -> bool:
        if kind in IN_MEMORY:
            return False
        if kind in self._also or kind.partition(".")[0] in self._also:
            return True
        return bool(kind) and kind != "overlay" and not is_shared(kind)
