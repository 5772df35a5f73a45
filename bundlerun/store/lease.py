"""Files that nobody has open for writing, as the kernel says (fcntl(2), "Leases")."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def unwritten(handle: int) -> Iterator[bool]:
    """Whether nobody has the file open for writing, or can before the block ends.

    Writable mappings count too. Who opens it for writing waits until the block ends, so keep it
    short. False also where the kernel does not say: another user's file, most network file systems.
    """
    try:
        # The default signal for "somebody waits" ends a process; this one is ignored by default.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        # The kernel takes it back by itself from one who was stopped for too long.
        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
