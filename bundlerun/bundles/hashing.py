"""Large bytes as their digest and those of their parts, computed side by side in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.links import PART_BYTES, Link


class Hashing:
    """Hashes a large object part by part: PART_BYTES each, the last one may be shorter."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._digests: list[bytes] = []
        self._size = 0

    def passing(self, parts: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """``parts`` as they are; what was given on is hashed by the time the next is asked for."""
        with ThreadPoolExecutor(1) as pool:
            for part in parts:
                # hashlib lets go of the interpreter, so both hashes and a write share the cores.
                whole = pool.submit(self._whole.update, part)
                self._digests.append(hashlib.sha256(part).digest())
                self._size += len(part)
                yield part
                whole.result()

    def finished(self) -> tuple[Link, bytes]:
        """The link, and the bytes of the object that its ``parts`` names (none for one part)."""
        digests = b"".join(self._digests)
        parts = None
        if self._size > PART_BYTES:
            parts = Digest(hashlib.sha256(digests).hexdigest())
        return Link(Digest(self._whole.hexdigest()), self._size, parts), digests
