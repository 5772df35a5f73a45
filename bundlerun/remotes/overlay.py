"""One folder laid over another remote that is only read."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bundlerun.errors import AccessDenied
from bundlerun.remotes.base import Entry, Part, Remote, Upload
from bundlerun.remotes.file import FileRemote


class OverlayRemote(Remote):
    """A folder laid over a remote that is only read: what is written goes to the folder, and reads
    look there first. A container works so on a folder that belongs to somebody else.

    A create-only key that the lower one has is refused; whoever publishes the folder settles the
    keys that others create meanwhile. Keys of the lower remote cannot be deleted.
    """

    def __init__(self, base: Remote, upper: FileRemote) -> None:
        self.base = base
        self.upper = upper
        self.url = base.url

    def prepare(self) -> None:
        """Make the upper folder unless it is there."""
        self.upper.prepare()

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """See Remote."""
        found = self.upper.get(key, start, length)
        return self.base.get(key, start, length) if found is None else found

    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        """See Remote."""
        return self.upper.get_file(key, target, length) or self.base.get_file(key, target, length)

    def put(self, key: str, data: bytes) -> None:
        """See Remote."""
        self.upper.put(key, data)

    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        """See Remote."""
        self.upper.put_file(key, source, tail)

    def begin(self, key: str, part_bytes: int) -> Upload | None:
        """See Remote."""
        return self.upper.begin(key, part_bytes)

    def parts(self, upload: Upload) -> dict[int, Part] | None:
        """See Remote."""
        return self.upper.parts(upload)

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        """See Remote."""
        return self.upper.put_part(upload, number, data)

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        """See Remote."""
        self.upper.complete(upload, parts)

    def abort(self, upload: Upload) -> None:
        """See Remote."""
        self.upper.abort(upload)

    def put_new(self, key: str, data: bytes) -> bool:
        """See Remote."""
        return self.base.get(key, 0, 0) is None and self.upper.put_new(key, data)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[Entry]:
        """See Remote. What both have is listed once, with the size that is read."""
        left = limit
        last = None
        both = (self.upper.list(prefix, after=after), self.base.list(prefix, after=after))
        for entry in heapq.merge(*both, key=lambda entry: os.fsencode(entry.key)):
            if entry.key == last:
                continue
            if left is not None:
                if left <= 0:
                    return
                left -= 1
            last = entry.key
            yield entry

    def now_s(self) -> float:
        """See Remote. The clock of the upper folder, which is of no use for the lower's keys:
        nothing that lies under an overlay is swept."""
        return self.upper.now_s()

    def delete(self, keys: Sequence[str]) -> None:
        """See Remote. Raises AccessDenied for keys of the lower remote, before any is deleted."""
        for key in keys:
            if self.base.get(key, 0, 0) is not None:
                raise AccessDenied(f"deleting {key} at {self.url}: this remote is only read here")
        self.upper.delete(keys)
