"""A file of a folder remote that grows part by part, in any order and over breaks.

Next to the file lies its log, a line for each part that is durable: number, offset and length.
Parts that no line names do not count.
"""

from __future__ import annotations

import os
from pathlib import Path

from bundlerun.bundles.digest import digest_of
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import Part, Upload

_TOKEN = "written"
"""The folder has no word of its own for a part."""


def begin(path: Path) -> None:
    """Make the file ``path`` and its log, both empty."""
    path.touch(exist_ok=False)
    _log(path).touch(exist_ok=False)


def parts(path: Path) -> dict[int, Part] | None:
    """The parts that are durable; None when the file is gone."""
    if not path.is_file() or not _log(path).is_file():
        return None
    found = {}
    for line in _log(path).read_bytes().splitlines(keepends=True):
        words = line.split()
        # A line that a crash cut off has no end.
        if line.endswith(b"\n") and len(words) == 2 and all(word.isdigit() for word in words):
            found[int(words[0])] = Part(int(words[1]), _TOKEN)
    return found


def put_part(path: Path, upload: Upload, number: int, data: bytes) -> Part:
    """Write a part to its place, durably.

    Raises FileNotFoundError when the file is gone, IntegrityError.
    """
    wanted = upload.digest_of(number)
    if wanted is not None and digest_of(data) != wanted:
        raise IntegrityError(f"part {number} of {upload.key} has another digest than {wanted}")
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        view = memoryview(data)
        offset = (number - 1) * upload.part_bytes
        while view:
            written = os.pwrite(handle, view, offset)
            view, offset = view[written:], offset + written
        # The bytes first: a line never names what a power loss takes back.
        os.fdatasync(handle)
    finally:
        os.close(handle)
    log = os.open(_log(path), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        # A line of its own, even after one that a crash cut off.
        os.write(log, b"\n%d %d\n" % (number, len(data)))
    finally:
        os.close(log)
    return Part(len(data), _TOKEN)


def remove(path: Path) -> None:
    """Remove the file and its log, if they are there."""
    path.unlink(missing_ok=True)
    forget(path)


def forget(path: Path) -> None:
    """Remove the log: the file is complete."""
    _log(path).unlink(missing_ok=True)


def _log(path: Path) -> Path:
    return path.with_name(path.name + ".parts")
