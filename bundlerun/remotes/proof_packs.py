"""Every pack of a remote read: its trailer, its index, and each member hashed; memory is bounded
by a few packs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.links import PART_BYTES
from bundlerun.bundles.nodes import MAX_NODE_BYTES
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import Entry, Remote
from bundlerun.remotes.ledger import may_be_node
from bundlerun.remotes.packs import MAX_PACK_BYTES, members_of
from bundlerun.remotes.records import checked_uuid, pack_key
from bundlerun.store.packing import ROW, TRAILER, Location, PackInfo

_READERS = 4


@dataclass(frozen=True)
class PackState:
    """What a pack is. ``members`` are those that its index names, ``good`` those that have their
    bytes; ``problem`` says what is wrong, "" for a whole pack."""

    uuid: str
    info: PackInfo | None
    members: tuple[Location, ...]
    good: tuple[Location, ...]
    nodes: tuple[bytes, ...]
    problem: str


def packs_read(remote: Remote, listed: Iterable[Entry]) -> Iterator[PackState]:
    """Read the listed packs, a few at a time."""
    rest = iter(listed)
    with ThreadPoolExecutor(_READERS) as pool:
        while some := list(islice(rest, _READERS)):
            yield from pool.map(lambda entry: pack_read(remote, entry), some)


def pack_read(remote: Remote, entry: Entry) -> PackState:
    """Read one pack, once more where it is not whole: what counts is what is there, not what became
    of an answer on its way. Raises RemoteErrors."""
    state = _pack_read(remote, entry)
    return _pack_read(remote, entry) if state.problem else state


def _pack_read(remote: Remote, entry: Entry) -> PackState:
    name = entry.key.removeprefix("packs/")
    members: list[Location] = []
    try:
        pack = _claimed(remote, checked_uuid(name), entry.size)
        if pack.size > MAX_PACK_BYTES:
            members = members_of(pack, _range(remote, pack, pack.size - pack.index_length))
            good = [members[0]] if _large_is_right(remote, members[0]) else []
            return _state(pack, members, good, [])
        data = _range(remote, pack, 0)
        members = members_of(pack, data[pack.size - pack.index_length :])
        view = memoryview(data)
        good, nodes = [], []
        for member in members:
            some = view[member.offset : member.offset + member.length]
            if digest_of(some) == member.digest:
                good.append(member)
                if member.length <= MAX_NODE_BYTES and may_be_node(some):
                    nodes.append(bytes(some))
        return _state(pack, members, good, nodes)
    except IntegrityError as error:
        return PackState(name, None, (), (), (), error.message)


def _state(
    pack: PackInfo, members: list[Location], good: list[Location], nodes: list[bytes]
) -> PackState:
    problem = ""
    if len(good) < len(members):
        bad = {member.digest for member in members} - {member.digest for member in good}
        problem = f"{len(bad)} of {len(members)} objects have other bytes: {min(bad)}"
    return PackState(pack.uuid, pack, tuple(members), tuple(good), tuple(nodes), problem)


def _claimed(remote: Remote, uuid: str, size: int) -> PackInfo:
    """What the pack's own trailer claims of it; the rest of the trailer is proven by the index."""
    least = TRAILER.size + ROW.size
    if size < least:
        raise IntegrityError(f"pack {uuid} has {size} bytes, fewer than any pack")
    data = remote.get(pack_key(uuid), size - TRAILER.size, TRAILER.size)
    if data is None or len(data) != TRAILER.size:
        raise IntegrityError(f"pack {uuid} is listed and cannot be read")
    _, start, length, _ = TRAILER.unpack(data)
    if start + length + TRAILER.size != size:
        raise IntegrityError(f"pack {uuid} does not end as a pack of {size} bytes does")
    return PackInfo(uuid, size, length + TRAILER.size)


def _range(remote: Remote, pack: PackInfo, start: int) -> bytes:
    data = remote.get(pack_key(pack.uuid), start, pack.size - start)
    if data is None or len(data) != pack.size - start:
        raise IntegrityError(f"pack {pack.uuid} ends early")
    return data


def _large_is_right(remote: Remote, member: Location) -> bool:
    sha256 = hashlib.sha256()
    for start in range(0, member.length, PART_BYTES):
        count = min(PART_BYTES, member.length - start)
        sha256.update(remote.get(pack_key(member.pack), start, count) or b"")
    return Digest(sha256.hexdigest()) == member.digest
