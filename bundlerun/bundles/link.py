"""Links to bytes, and the 8 MiB parts of large objects.

The digests of whole and parts are computed side by side in one pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bundlerun.bundles.digest import Digest, checked_digest
from bundlerun.errors import IntegrityError

PART_BYTES = 8 << 20


"""The size of a part: larger objects carry the digests of their parts.

The last part is shorter.
"""


_RAW_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Link:
    """The digest and size of some bytes, wherever they lie.

    ``parts`` names the object with the digests of the PART_BYTES pieces, 32 bytes each, back to
    back: with it a transfer that broke off goes on, and damage is found where it is. It follows
    from the bytes, so links are equal without it.
    """

    digest: Digest
    size: int
    parts: Digest | None = field(default=None, compare=False)

    @property
    def parts_link(self) -> Link | None:
        """The object that ``parts`` names."""
        if self.parts is None:
            return None
        return Link(self.parts, -(-self.size // PART_BYTES) * _RAW_DIGEST_BYTES)

    def to_json(self) -> list[str | int]:
        """``[digest, size]``, or ``[digest, size, parts]``."""
        found: list[str | int] = [self.digest, self.size]
        return found if self.parts is None else [*found, self.parts]

    @staticmethod
    def from_json(found: Sequence[object]) -> Link:
        """The inverse of ``to_json``.

        Raises IntegrityError for anything else.
        """
        if not isinstance(found, list) or not 2 <= len(found) <= 3:
            raise IntegrityError(f"{found!r:.80} is not a link")
        digest, size = found[:2]
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise IntegrityError(f"{size!r:.80} is not a size")
        if len(found) == 2:
            return Link(checked_digest(digest), size)
        if size <= PART_BYTES:
            raise IntegrityError(f"{found!r:.200}: an object of this size cannot have parts")
        return Link(checked_digest(digest), size, checked_digest(found[2]))


def parts_of(link: Link, data: bytes) -> list[Digest]:
    """The digests of the parts of ``link``, from the object ``data``.

    Raises IntegrityError.
    """
    claimed = link.parts_link
    if claimed is None or len(data) != claimed.size:
        raise IntegrityError(f"the parts of {link.digest} are malformed")
    step = _RAW_DIGEST_BYTES
    return [Digest(data[at : at + step].hex()) for at in range(0, len(data), step)]


class Hashing:
    """The hashing of a large object, part by part.

    Each part has PART_BYTES; the last one may be shorter.
    """

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._digests: list[bytes] = []
        self._size = 0

    def passing(self, parts: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """``parts`` as they are, hashed on the way.

        A part is hashed by the time the next is asked for.
        """
        with ThreadPoolExecutor(1) as pool:
            for part in parts:
                # hashlib lets go of the interpreter, so both hashes and a write share the cores.
                whole = pool.submit(self._whole.update, part)
                self._digests.append(hashlib.sha256(part).digest())
                self._size += len(part)
                yield part
                whole.result()

    def finished(self) -> tuple[Link, bytes]:
        """The link, and the bytes of its ``parts`` object (b"" for one part)."""
        digests = b"".join(self._digests)
        parts = None
        if self._size > PART_BYTES:
            parts = Digest(hashlib.sha256(digests).hexdigest())
        return Link(Digest(self._whole.hexdigest()), self._size, parts), digests
