"""What the kernel says of the memory of this process's control group."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")


def oom_kills() -> int:
    """How many processes of this control group were killed for its memory.

    0 where that cannot be read. ``oom_kill`` of memory.oom_control (cgroup v1, the kernel's
    Documentation/admin-guide/cgroup-v1/memory.rst) or of memory.events (v2, cgroup-v2.rst).
    """
    file = _file()
    for line in _lines(file) if file else ():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdecimal():
            return int(count)
    return 0


@cache
def _file() -> Path | None:
    """Where the count stands: a process stays in its group."""
    return next(
        (file for file in _files() if any("oom_kill " in line for line in _lines(file))), None
    )


def _lines(file: Path) -> list[str]:
    try:
        with open(file) as opened:
            return opened.read().splitlines()
    except OSError:
        return []


def _files() -> Iterator[Path]:
    """Where it may stand: the group's own folder, which a container sees as the root."""
    for row in _lines(Path("/proc/self/cgroup")):
        _, controllers, group = row.split(":", 2)
        if controllers == "":
            folder, name = _MOUNT, "memory.events"
        elif "memory" in controllers.split(","):
            folder, name = _MOUNT / "memory", "memory.oom_control"
        else:
            continue
        yield folder / group.lstrip("/") / name
        yield folder / name
