"""Every call by which a forked child changes files or speaks to a server, seen before it is done.

The kernel (seccomp(2), user notifications) stops the child at each such call and asks its parent,
which counts it, notes it, lets it go on, or kills the child there with SIGKILL. Whoever makes the
call is seen: Python, SQLite, every thread. Nothing is installed, patched or compiled for it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

LIMIT_S = 60.0
"""A child that takes longer hangs."""

_X86_64 = {
    "write": 1, "pwrite64": 18, "writev": 20, "sendfile": 40, "sendto": 44, "ftruncate": 77,
    "fsync": 74, "fdatasync": 75, "truncate": 76, "rename": 82, "mkdir": 83, "rmdir": 84,
    "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91,
    "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266,
    "fchmodat": 268, "fallocate": 285, "pwritev": 296, "renameat2": 316, "copy_file_range": 326,
    "pwritev2": 328,
}  # fmt: skip
_AARCH64 = {
    "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45,
    "ftruncate": 46, "fallocate": 47, "fchmod": 52, "fchmodat": 53, "write": 64, "writev": 66,
    "pwrite64": 68, "pwritev": 70, "sendfile": 71, "fsync": 82, "fdatasync": 83, "sendto": 206,
    "renameat2": 276, "copy_file_range": 285, "pwritev2": 287,
}  # fmt: skip


@dataclass(frozen=True)
class _Machine:
    audit: int
    seccomp: int
    writing: dict[str, int]
    opening: dict[str, tuple[int, int]]  # number, and which argument has the flags


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, _X86_64, {"open": (2, 1), "openat": (257, 2)}),
    "aarch64": _Machine(0xC00000B7, 277, _AARCH64, {"openat": (56, 2)}),
}
_MACHINE = _MACHINES[platform.machine()]
_NAMES = {number: name for name, number in _MACHINE.writing.items()}
_NAMES |= {number: name for name, (number, _) in _MACHINE.opening.items()}

# linux/seccomp.h, linux/filter.h
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_REQUEST, _ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_SET_FILTER, _NEW_LISTENER, _GO_ON = 1, 8, 1
_NO_NEW_PRIVILEGES = 38


@dataclass(frozen=True)
class Call:
    """A call that is about to be done by the thread ``pid``."""

    name: str
    arguments: tuple[int, ...]
    pid: int


@dataclass(frozen=True)
class Ending:
    """How a child ended. ``calls``: how many it was let do. ``error``: the traceback of what
    ``act`` raised, empty when it returned or was killed."""

    calls: int
    killed: bool
    error: str


def watched(act: Callable[[], object], may: Callable[[Call], bool]) -> Ending:
    """Carry ``act`` out in a forked child. ``may`` is asked before each writing call of it; False
    kills the child there, before the call is done."""
    ours, theirs = socket.socketpair()
    errors, into = os.pipe()
    child = os.fork()
    if child == 0:
        ours.close()
        os.close(errors)
        _child(act, theirs, into)
    theirs.close()
    os.close(into)
    try:
        calls, killed = _watch(child, ours, may)
        with os.fdopen(errors, "r") as text:
            error = text.read()
    finally:
        ours.close()
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if not killed and not error and status != 0:
        error = f"the child ended with status {status}"
    return Ending(calls, killed, "" if killed else error)


def killed_at(act: Callable[[], object], number: int) -> Ending:
    """Carry ``act`` out in a child that is killed before its ``number``-th writing call, from 1."""
    left = number

    def may(call: Call) -> bool:
        nonlocal left
        left -= 1
        return left > 0

    return watched(act, may)


def counted(act: Callable[[], object]) -> int:
    """How many writing calls ``act`` does in a child. Fails when it raises."""
    ending = watched(act, lambda call: True)
    assert not ending.error, ending.error
    return ending.calls


def _child(act: Callable[[], object], parent: socket.socket, errors: int) -> NoReturn:
    try:
        listener = _install()
        socket.send_fds(parent, [b"l"], [listener])
        os.close(listener)
        parent.close()
        act()
    except BaseException:
        os.write(errors, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


def _install() -> int:
    """The filter, on this process and what it starts; where the parent hears of its calls."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    code = _program()
    body = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(body))
    listener: int = libc.syscall(_MACHINE.seccomp, _SET_FILTER, _NEW_LISTENER, program)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "this kernel tells no parent of its child's calls")
    return listener


def _program() -> bytes:
    """For each number in question: ask; for all others: go on."""

    def step(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, k)

    steps = [step(_LOAD, 4), step(_EQUAL, _MACHINE.audit, 1, 0), step(_RETURN, _ALLOW)]
    steps.append(step(_LOAD, 0))
    for number in _MACHINE.writing.values():
        steps += [step(_EQUAL, number, 0, 1), step(_RETURN, _NOTIFY)]
    for number, flags in _MACHINE.opening.values():
        steps += [
            step(_EQUAL, number, 0, 4),
            step(_LOAD, 16 + 8 * flags),
            step(_ANY_BIT, os.O_CREAT | os.O_TRUNC, 0, 1),
            step(_RETURN, _NOTIFY),
            step(_RETURN, _ALLOW),
        ]
    return b"".join([*steps, step(_RETURN, _ALLOW)])


def _watch(child: int, ours: socket.socket, may: Callable[[Call], bool]) -> tuple[int, bool]:
    """Answer the child until it ends; how many calls it did, and whether it was killed."""
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:  # it raised before there was anything to hear
        return 0, False
    (listener,) = fds
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(ended, select.POLLIN)
    calls = 0
    try:
        while True:
            ready = dict(poll.poll(LIMIT_S * 1000))
            assert ready, f"the child has done nothing for {LIMIT_S} s after {calls} calls"
            if ended in ready or not ready.get(listener, 0) & select.POLLIN:
                return calls, False
            call, request = _received(listener)
            if call is None:
                continue
            if not may(call):
                os.kill(child, signal.SIGKILL)
                return calls, True
            calls += 1
            _go_on(listener, request)
    finally:
        os.close(ended)
        os.close(listener)


def _received(listener: int) -> tuple[Call | None, int]:
    buffer = bytearray(_REQUEST.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer, True)
    except (FileNotFoundError, InterruptedError):  # the thread that called is gone
        return None, 0
    request, thread, _, number, _, _, *arguments = _REQUEST.unpack(buffer)
    return Call(_NAMES[number], tuple(arguments), thread), request


def _go_on(listener: int, request: int) -> None:
    try:
        fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(request, 0, 0, _GO_ON)), True)
    except FileNotFoundError:
        return
