"""The pack format: many objects as one file, on a remote and in a local store.

Local packs are made where one add brings many small objects. Members stand back to back from offset
0; then the index, 48 bytes a member (digest, offset, length); then a trailer of 56 bytes (magic,
offset and length of the index, its SHA-256). Numbers are big-endian. A pack does not say its own
name, so the same bytes can stand under another one. Locations are hints: a reader hashes each
member before believing it.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import PART_BYTES, Link
from bundlerun.errors import IntegrityError

MAX_PACK_BYTES = 16 << 20
"""The largest pack of several members: one that can be read whole."""

MAX_OBJECT_BYTES = 50 << 40
"""A larger claim is a lie: S3 takes 50 TB an object."""

_MAGIC = b"BRPACK\x00\x01"
ROW = struct.Struct(">32sQQ")
TRAILER = struct.Struct(">8sQQ32s")


@dataclass(frozen=True, slots=True)
class Location:
    """The place of an object in a pack: a hint, to be verified by the object's digest."""

    pack: str
    offset: int
    length: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A pack of ``size`` bytes, the last ``index_length`` of them index and trailer."""

    uuid: str
    size: int
    index_length: int


@dataclass(frozen=True, slots=True)
class Share:
    """A pack with bytes of a value, ``used`` of them, as a bundle record says."""

    pack: PackInfo
    used: int


def laid_out(links: Sequence[Link]) -> tuple[PackInfo, list[Location], bytes]:
    """A new pack of ``links``: its claims, the place of each member, and its tail.

    The tail, index and trailer, follows the members.
    """
    name = str(uuid.uuid4())
    members: list[Location] = []
    offset = 0
    for link in links:
        members.append(Location(name, offset, link.size, link.digest))
        offset += link.size
    index = b"".join(ROW.pack(bytes.fromhex(m.digest), m.offset, m.length) for m in members)
    digest = bytes.fromhex(digest_of(index))
    tail = index + TRAILER.pack(_MAGIC, offset, len(index), digest)
    return PackInfo(name, offset + len(tail), len(tail)), members, tail


def members_of(pack: PackInfo, tail: bytes) -> list[Location]:
    """The members of a pack by its ``tail``, its last ``pack.index_length`` bytes.

    They are in their order. Raises IntegrityError unless they cover the pack exactly, each digest
    once.
    """
    check_claims(pack)
    place = f"the index of pack {pack.uuid}"
    if len(tail) != pack.index_length:
        raise IntegrityError(f"{place} ends early: {len(tail)} of {pack.index_length} bytes")
    index = tail[: -TRAILER.size]
    magic, start, length, digest = TRAILER.unpack(tail[-TRAILER.size :])
    if magic != _MAGIC:
        raise IntegrityError(f"{place} has an unknown format: {magic!r}")
    if start != pack.size - pack.index_length or length != len(index):
        raise IntegrityError(f"{place} is not where the bundle record says")
    if bytes.fromhex(digest_of(index)) != digest:
        raise IntegrityError(f"{place} is damaged: its digest differs")
    members = []
    seen = set()
    offset = 0
    for raw, begin, size in ROW.iter_unpack(index):
        # Back to back: so members cannot overlap, nor claim more than the pack has.
        if begin != offset or size > start - offset or raw in seen:
            raise IntegrityError(f"{place} overlaps, leaves gaps or names an object twice")
        seen.add(raw)
        members.append(Location(pack.uuid, begin, size, Digest(raw.hex())))
        offset += size
    if offset != start:
        raise IntegrityError(f"{place} leaves {start - offset} bytes unaccounted for")
    return members


def damaged_member(file: BinaryIO, members: Iterable[Location]) -> Location | None:
    """The first of ``members`` whose bytes are not those of its digest, or None.

    They stand back to back from where ``file`` is. Memory is bounded.
    """
    for member in members:
        sha256 = hashlib.sha256()
        left = member.length
        while left > 0 and (chunk := file.read(min(left, PART_BYTES))):
            sha256.update(chunk)
            left -= len(chunk)
        if sha256.hexdigest() != member.digest:
            return member
    return None


def check_claims(pack: PackInfo) -> None:
    """Refuse sizes that no pack has, before memory is asked for them.

    Raises IntegrityError.
    """
    rows = pack.index_length - TRAILER.size
    if rows < ROW.size or rows % ROW.size or pack.size < pack.index_length:
        raise IntegrityError(f"pack {pack.uuid} cannot have an index of {pack.index_length} bytes")
    limit = MAX_OBJECT_BYTES if is_single(pack) else MAX_PACK_BYTES
    if pack.size > limit:
        raise IntegrityError(f"pack {pack.uuid} cannot have {pack.size} bytes")


def is_single(pack: PackInfo) -> bool:
    """Whether the pack has one member only, which may be larger than memory."""
    return pack.index_length == TRAILER.size + ROW.size


__all__ = [
    "LARGE_BYTES",
    "MAX_OBJECT_BYTES",
    "MAX_PACK_BYTES",
    "check_claims",
    "damaged_member",
    "groups_of",
    "is_single",
    "laid_out",
    "members_of",
]

LARGE_BYTES = PART_BYTES
"""An object over this goes alone, in parts."""


def groups_of(links: Iterable[Link]) -> Iterator[list[Link]]:
    """``links`` in their order, in lists that make one pack each."""
    group: list[Link] = []
    size = TRAILER.size
    for link in links:
        if link.size > LARGE_BYTES:
            yield [link]
            continue
        if group and size + link.size + ROW.size > MAX_PACK_BYTES:
            yield group
            group, size = [], TRAILER.size
        group.append(link)
        size += link.size + ROW.size
    if group:
        yield group
