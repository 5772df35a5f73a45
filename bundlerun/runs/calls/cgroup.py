"""What the kernel says of the memory of this process's control group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def oom_kills(mount: Path = _MOUNT, own: Path = _OWN) -> int:
    """How many processes of this control group were killed for its memory.

    0 where that cannot be read. ``mount`` is where the kernel shows its groups, ``own`` where it
    says which is this process's. ``oom_kill`` of memory.oom_control (cgroup v1, the kernel's
    Documentation/admin-guide/cgroup-v1/memory.rst) or of memory.events (v2, cgroup-v2.rst).
    """
    for file in _files(mount, own):
        for line in _lines(file):
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdecimal():
                return int(count)
    return 0


def _lines(file: Path) -> list[str]:
    try:
        with open(file) as opened:
            return opened.read().splitlines()
    except OSError:
        return []


def _files(mount: Path, own: Path) -> Iterator[Path]:
    """Where it may stand: the group's own folder, which a container sees as the root."""
    for row in _lines(own):
        _, controllers, group = row.split(":", 2)
        if controllers == "":
            folder, name = mount, "memory.events"
        elif "memory" in controllers.split(","):
            folder, name = mount / "memory", "memory.oom_control"
        else:
            continue
        yield folder / group.lstrip("/") / name
        yield folder / name
