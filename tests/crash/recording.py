"""The calls of a child as steps on a disk: paths and bytes are read from the child itself."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

from tests.crash.calls import Call
from tests.crash.disk import Step

_HERE = (1 << 32) - 100  # AT_FDCWD in 32 bits
_PATH_BYTES = 4096


class Recording:
    """The steps that a child does below ``root``, in their order. Give ``noted`` to ``watched``."""

    def __init__(self, root: Path) -> None:
        self.root = str(root.resolve())
        self.steps: list[Step] = []

    def noted(self, call: Call) -> bool:
        """Note ``call``, which is about to be done. Fails for one that it does not know."""
        step = _STEPS[call.name](call)
        what, path, other, number, data = step
        inside = [self._inside(path), self._inside(other) if other else ""]
        if inside[0] is not None:
            self.steps.append((what, inside[0], inside[1] or "", number, data))
        return True

    def _inside(self, path: str) -> str | None:
        if path == self.root:
            return ""
        return path[len(self.root) :] if path.startswith(self.root + "/") else None


def _memory(call: Call, at: int, size: int) -> bytes:
    with open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:
        found = bytearray()
        while len(found) < size:
            some = os.pread(memory.fileno(), size - len(found), at + len(found))
            if not some:
                break
            found += some
        return bytes(found)


def _text(call: Call, at: int) -> str:
    """The text that ends with a zero byte, never read beyond its page."""
    found = b""
    while b"\0" not in found and len(found) < _PATH_BYTES:
        start = at + len(found)
        found += _memory(call, start, _PATH_BYTES - start % _PATH_BYTES)
    return os.fsdecode(found.split(b"\0")[0])


def _path(call: Call, at: int, folder: int = _HERE) -> str:
    text = _text(call, at)
    if text.startswith("/"):
        return os.path.normpath(text)
    number = folder & 0xFFFFFFFF
    base = "cwd" if number == _HERE else f"fd/{number}"
    return os.path.normpath(os.path.join(os.readlink(f"/proc/{call.pid}/{base}"), text))


def _of(call: Call, handle: int) -> str:
    # Of an unlinked file: "... (deleted)", which is no path of the disk's.
    return os.readlink(f"/proc/{call.pid}/fd/{handle}")


def _position(call: Call, handle: int, pointer: int = 0) -> int:
    if pointer:
        (offset,) = struct.unpack("=q", _memory(call, pointer, 8))
        return int(offset)
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{call.pid}/fdinfo/{handle}").read_text().splitlines()
    )
    if int(fields["flags"], 8) & os.O_APPEND:
        return os.stat(f"/proc/{call.pid}/fd/{handle}").st_size
    return int(fields["pos"])


def _open(call: Call) -> Step:
    if call.name == "openat":
        folder, at, flags, _, _, _ = call.arguments
    else:
        folder, (at, flags) = _HERE, call.arguments[:2]
    made = "create" if flags & os.O_CREAT else "truncate"
    return (made, _path(call, at, folder), "", int(made == "create" and flags & os.O_TRUNC), b"")


def _write(call: Call) -> Step:
    handle, at, size, offset = call.arguments[:4]
    path = _of(call, handle)
    if not path.startswith("/"):  # a pipe or a socket
        return ("write", path, "", 0, b"")
    position = offset if call.name == "pwrite64" else _position(call, handle)
    return ("write", path, "", position, _memory(call, at, size))


def _copy(call: Call) -> Step:
    """Bytes from file to file within the kernel."""
    if call.name == "sendfile":
        target, source, from_, size = call.arguments[:4]
        into = 0
    else:
        source, from_, target, into, size, _ = call.arguments
    start = _position(call, source, from_)
    with open(f"/proc/{call.pid}/fd/{source}", "rb", buffering=0) as file:
        data = os.pread(file.fileno(), min(size, 1 << 30), start)
    return ("write", _of(call, target), "", _position(call, target, into), data)


def _two(what: str) -> Callable[[Call], Step]:
    def step(call: Call) -> Step:
        if call.name in ("rename", "link"):
            one, other = (_path(call, at) for at in call.arguments[:2])
        else:
            folder, at, folder_2, at_2 = call.arguments[:4]
            one, other = _path(call, at, folder), _path(call, at_2, folder_2)
        return (what, one, other, 0, b"")

    return step


def _one(what: str) -> Callable[[Call], Step]:
    """A call with a path; in a ``...at`` form with a folder before it. The mode follows."""

    def step(call: Call) -> Step:
        if call.name.endswith("at"):
            folder, at, mode = call.arguments[:3]
            return (what, _path(call, at, folder), "", mode, b"")
        return (what, _path(call, call.arguments[0]), "", call.arguments[1], b"")

    return step


def _by_handle(what: str) -> Callable[[Call], Step]:
    return lambda call: (what, _of(call, call.arguments[0]), "", call.arguments[1], b"")


def _truncate(call: Call) -> Step:
    return ("truncate", _path(call, call.arguments[0]), "", call.arguments[1], b"")


def _sent(call: Call) -> Step:
    return ("write", "socket", "", 0, b"")


_STEPS: dict[str, Callable[[Call], Step]] = {
    "open": _open,
    "openat": _open,
    "write": _write,
    "pwrite64": _write,
    "sendfile": _copy,
    "copy_file_range": _copy,
    "sendto": _sent,
    # Room that is only ever given back: no bytes that anybody reads.
    "fallocate": _sent,
    "truncate": _truncate,
    "ftruncate": _by_handle("truncate"),
    "fsync": _by_handle("sync"),
    "fdatasync": _by_handle("sync"),
    "fchmod": _by_handle("mode"),
    "chmod": _one("mode"),
    "fchmodat": _one("mode"),
    "rename": _two("rename"),
    "renameat": _two("rename"),
    "renameat2": _two("rename"),
    "link": _two("link"),
    "linkat": _two("link"),
    "unlink": _one("unlink"),
    "unlinkat": _one("unlink"),
    "rmdir": _one("unlink"),
    "mkdir": _one("mkdir"),
    "mkdirat": _one("mkdir"),
}
