"""How a supervisor talks to the process of its items: by pipes, and a signal.

A frame is its length (8 bytes, big-endian) and its bytes.
"""

from __future__ import annotations

import os
import signal

WHERE = signal.SIGUSR2
"""The signal that has the process of the items write where its threads stand.

It is sent by the supervisor, and answered by faulthandler.
"""

_LENGTH_BYTES = 8


def framed(data: bytes) -> bytes:
    """``data`` as a frame."""
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


def unframed(data: bytes | bytearray) -> bytes | None:
    """The bytes of the frame at the start of ``data``; None where it is not whole."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
    whole = len(data) >= max(end, _LENGTH_BYTES)
    return bytes(data[_LENGTH_BYTES:end]) if whole else None


def read_frame(descriptor: int) -> bytes | None:
    """The next frame of a pipe; None where no more come."""
    head = _read(descriptor, _LENGTH_BYTES)
    return None if head is None else _read(descriptor, int.from_bytes(head, "big"))


def write_frame(descriptor: int, data: bytes) -> None:
    """Send ``data`` through a pipe as a frame."""
    view = memoryview(framed(data))
    while view:
        view = view[os.write(descriptor, view) :]


def request(index: int, attempt: int, item: bytes) -> bytes:
    """What asks for the item ``index`` in its attempt ``attempt``.

    ``item`` is what the codec wrote.
    """
    return index.to_bytes(8, "big") + attempt.to_bytes(8, "big") + item


def requested(data: bytes) -> tuple[int, int, bytes]:
    """The inverse of ``request``."""
    return int.from_bytes(data[:8], "big"), int.from_bytes(data[8:16], "big"), data[16:]


def _read(descriptor: int, length: int) -> bytes | None:
    found = bytearray()
    while len(found) < length:
        piece = os.read(descriptor, min(length - len(found), 1 << 20))
        if not piece:
            return None
        found += piece
    return bytes(found)
