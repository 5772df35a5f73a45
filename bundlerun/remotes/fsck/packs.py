"""Check of a remote's packs: trailer, index, and each member hashed.

Memory is bounded by a few packs.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import PART_BYTES
from bundlerun.bundles.packs import MAX_PACK_BYTES, ROW, TRAILER, Location, PackInfo, members_of
from bundlerun.bundles.value import tables
from bundlerun.bundles.value.nodes import MAX_NODE_BYTES
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.download import READS_AT_ONCE
from bundlerun.remotes.fsck.scratch import may_be_node
from bundlerun.remotes.keys import pack_key
from bundlerun.remotes.records import checked_uuid


@dataclass(frozen=True)
class PackState:
    """The state of a pack.

    ``members`` are those that its index names, ``good`` those that have their bytes; ``problem``
    says what is wrong, "" for a whole pack; ``unreadable`` are members that begin as tables do and
    cannot be read as such, with the reason.
    """

    uuid: str
    info: PackInfo | None
    members: tuple[Location, ...]
    good: tuple[Location, ...]
    nodes: tuple[bytes, ...]
    problem: str
    unreadable: Mapping[Digest, str] = field(default_factory=dict)


def packs_read(remote: Remote, listed: Iterable[KeyInfo]) -> Iterator[PackState]:
    """Read the listed packs, a few at a time."""
    rest = iter(listed)
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        while some := list(islice(rest, READS_AT_ONCE)):
            yield from pool.map(lambda entry: pack_read(remote, entry), some)


def pack_read(remote: Remote, entry: KeyInfo) -> PackState:
    """The state of one pack, read once more where it is not whole.

    What counts is what is there, not what became of an answer on its way. Raises RemoteErrors.
    """
    state = _pack_read(remote, entry)
    return _pack_read(remote, entry) if state.problem else state


def _pack_read(remote: Remote, entry: KeyInfo) -> PackState:
    name = entry.key.removeprefix("packs/")
    members: list[Location] = []
    try:
        pack = _claimed(remote, checked_uuid(name), entry.size)
        if pack.size > MAX_PACK_BYTES:
            members = members_of(pack, _range(remote, pack, pack.size - pack.index_length))
            right, reason = _large(remote, members[0])
            unreadable = {members[0].digest: reason} if reason else {}
            return _state(pack, members, members[:1] if right else [], [], unreadable)
        data = _range(remote, pack, 0)
        members = members_of(pack, data[pack.size - pack.index_length :])
        view = memoryview(data)
        good, nodes, unreadable = [], [], {}
        for member in members:
            some = view[member.offset : member.offset + member.length]
            if digest_of(some) == member.digest:
                good.append(member)
                if member.length <= MAX_NODE_BYTES and may_be_node(some):
                    nodes.append(bytes(some))
                reason = tables.unreadable(some) if tables.may_be_table(some) else None
                if reason is not None:
                    unreadable[member.digest] = reason
        return _state(pack, members, good, nodes, unreadable)
    except IntegrityError as error:
        return PackState(name, None, (), (), (), error.message)


def _state(
    pack: PackInfo,
    members: list[Location],
    good: list[Location],
    nodes: list[bytes],
    unreadable: Mapping[Digest, str],
) -> PackState:
    problem = ""
    if len(good) < len(members):
        bad = {member.digest for member in members} - {member.digest for member in good}
        problem = f"{len(bad)} of {len(members)} objects have other bytes: {min(bad)}"
    whole = tuple(members), tuple(good), tuple(nodes)
    return PackState(pack.uuid, pack, *whole, problem, unreadable)


def _claimed(remote: Remote, uuid: str, size: int) -> PackInfo:
    """The pack as its own trailer claims it to be.

    The rest of the trailer is proven by the index. Raises IntegrityError.
    """
    least = TRAILER.size + ROW.size
    if size < least:
        raise IntegrityError(f"pack {uuid} has {size} bytes, fewer than any pack")
    data = remote.get(pack_key(uuid), size - TRAILER.size, TRAILER.size)
    if data is None or len(data) != TRAILER.size:
        raise IntegrityError(f"pack {uuid} is listed, and cannot be read")
    _, start, length, _ = TRAILER.unpack(data)
    if start + length + TRAILER.size != size:
        raise IntegrityError(f"the end of pack {uuid} is not that of a pack of {size} bytes")
    return PackInfo(uuid, size, length + TRAILER.size)


def _range(remote: Remote, pack: PackInfo, start: int) -> bytes:
    data = remote.get(pack_key(pack.uuid), start, pack.size - start)
    if data is None or len(data) != pack.size - start:
        raise IntegrityError(f"pack {pack.uuid} ends early")
    return data


def _large(remote: Remote, member: Location) -> tuple[bool, str | None]:
    """Whether a large member has its bytes, and why it cannot be read as a table.

    A table lies on this disk meanwhile, any other member in memory part by part.
    """
    sha256 = hashlib.sha256()
    with tempfile.NamedTemporaryFile(prefix="bundlerun-fsck-") as file:
        for start in range(0, member.length, PART_BYTES):
            count = min(PART_BYTES, member.length - start)
            part = remote.get(pack_key(member.pack), start, count) or b""
            sha256.update(part)
            if file.tell() == start and (start or tables.may_be_table(part)):
                file.write(part)
        file.flush()
        if Digest(sha256.hexdigest()) != member.digest:
            return False, None
        return True, tables.unreadable(Path(file.name)) if file.tell() else None
