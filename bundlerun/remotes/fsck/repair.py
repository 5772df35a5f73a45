"""Repair of a remote: packs and records rewritten, byte by byte as they were.

What is put is proven to be what the others name, or nothing is put.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import PART_BYTES, Link
from bundlerun.bundles.packs import Location, PackInfo, damaged_member, laid_out
from bundlerun.errors import IntegrityError
from bundlerun.remotes.base import KeyInfo
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fsck.packs import PackState, pack_read
from bundlerun.remotes.fsck.records import Problem, RecordsProof
from bundlerun.remotes.fsck.scratch import Ledger
from bundlerun.remotes.identity import WINDOW_S, Identity
from bundlerun.remotes.keys import META, pack_key, tags_key
from bundlerun.remotes.records import TagsRecord, VersionRecord, read_record
from bundlerun.store.contexts import Context
from bundlerun.store.reports import Kind
from bundlerun.store.rows import Entry as Row
from bundlerun.store.store import Store

Mend = Callable[[], None]


class PackRestoring:
    """Damaged packs from this store's objects and the remote's own whole ones.

    A key is never used twice, so a pack is put again only with exactly the bytes that it had.
    """

    def __init__(self, binding: Binding, ledger: Ledger) -> None:
        self._store = binding.store
        self._remote = binding.remote
        self._uuid = binding.uuid
        self._ledger = ledger

    def cure(self, claimed: PackInfo, state: PackState | None) -> tuple[str, Mend] | None:
        """How to restore the pack ``claimed``; None where some of it is nowhere."""
        members = self._members(claimed, state)
        if members is None:
            return None
        sources = [self._source(member) for member in members]
        if any(source is None for source in sources):
            return None
        how = f"its {len(members)} objects sent again from this store"
        return how, lambda: self._mend(claimed, members)

    def _members(self, claimed: PackInfo, state: PackState | None) -> list[Location] | None:
        """The members of the pack, by its own index or by what was known of it."""
        candidates = [list(state.members)] if state is not None and state.info == claimed else []
        candidates.append(self._store.known.members(self._uuid, claimed.uuid))
        for members in candidates:
            info, again, _ = laid_out([Link(m.digest, m.length) for m in members])
            same = [m.offset for m in members] == [m.offset for m in again]
            if members and same and replace(info, uuid=claimed.uuid) == claimed:
                return members
        return None

    def _source(self, member: Location) -> Callable[[], Iterator[bytes]] | None:
        """The source of a member's bytes, which are hashed when they are used."""
        link = Link(member.digest, member.length)
        if self._store.objects.has(member.digest):
            return lambda: self._here(link)
        places = self._ledger.places(member.digest)
        return (lambda: self._there(places[0])) if places else None

    def _here(self, link: Link) -> Iterator[bytes]:
        held = self._store.objects.held(link)
        if isinstance(held, bytes):
            yield held
            return
        with held.open("rb") as file:
            while chunk := file.read(PART_BYTES):
                yield chunk

    def _there(self, place: Location) -> Iterator[bytes]:
        for start in range(0, place.length, PART_BYTES):
            count = min(PART_BYTES, place.length - start)
            yield self._remote.get(pack_key(place.pack), place.offset + start, count) or b""

    def _mend(self, claimed: PackInfo, members: Sequence[Location]) -> None:
        info, _, tail = laid_out([Link(m.digest, m.length) for m in members])
        if info.size != claimed.size:
            raise IntegrityError(f"pack {claimed.uuid} would get other bytes than it had")
        with tempfile.TemporaryDirectory(prefix="bundlerun-fsck-") as folder:
            path = Path(folder) / claimed.uuid
            with path.open("wb") as file:
                for member in members:
                    source = self._source(member)
                    for chunk in source() if source else ():
                        file.write(chunk)
            with path.open("rb") as file:
                damaged = damaged_member(file, members)
            if damaged is not None:
                raise IntegrityError(f"{damaged.digest} is damaged on this disk as well")
            self._remote.put_file(pack_key(claimed.uuid), path, tail)
        state = pack_read(self._remote, KeyInfo(pack_key(claimed.uuid), claimed.size))
        if state.problem or state.info != claimed:
            raise IntegrityError(f"pack {claimed.uuid} was sent again, and is not whole")


class RecordRestoring:
    """Damaged records from what this store knows of the remote ``uuid``."""

    def __init__(self, binding: Binding, proof: RecordsProof) -> None:
        self._store = binding.store
        self._remote = binding.remote
        self._uuid = binding.uuid
        self._proof = proof
        bound = [c for c in binding.store.contexts.list() if c.remote_uuid == binding.uuid]
        self._contexts: list[Context] = bound
        self._rows: dict[str, dict[int, tuple[Context, Row]]] = {}

    def cure(self, problem: Problem) -> tuple[str, Mend] | None:
        """How to restore the record; None where nobody knows its bytes."""
        if problem.key.startswith("k/"):
            return self._reuse(problem)
        if problem.key.startswith(META):
            return self._meta(problem)
        if problem.key.endswith("+x"):
            return "emptied again", lambda: self._remote.put(problem.key, b"")
        data = self._data(problem)
        if data is None:
            return None
        superseded = problem.k and self._tags_at(problem.name, problem.n, problem.k + 1)
        how = "with what was set later" if superseded else "as it was, from what this store knows"
        return how, lambda: self._remote.put(problem.key, data)

    def _data(self, problem: Problem) -> bytes | None:
        if problem.k:
            return self._tags(problem)
        if problem.key.startswith("b/"):
            return self._bundle(problem.id)
        return self._version(problem.name, problem.n)

    def _reuse(self, problem: Problem) -> tuple[str, Mend]:
        if problem.finding.kind is Kind.HINT:
            return "rewritten", lambda: self._remote.put(problem.key, b"")
        return "deleted, for it is a hint", lambda: self._remote.delete([problem.key])

    def _meta(self, problem: Problem) -> tuple[str, Mend] | None:
        if problem.key == f"{META}uuid-{self._uuid}":
            return "rewritten", lambda: self._remote.put(problem.key, b"")
        others = [e for e in self._remote.list(f"{META}uuid-") if not e.key.endswith(self._uuid)]
        if problem.key != f"{META}remote" or others:
            return None
        window_s = self._store.known.window_s(self._uuid) or WINDOW_S
        data = Identity(self._uuid, window_s).to_bytes()
        return "as it was", lambda: self._remote.put(problem.key, data)

    def _row(self, name: str, n: int) -> tuple[Context, Row] | None:
        if name not in self._rows:
            self._rows[name] = {
                row.version: (context, row)
                for context in self._contexts
                for row in self._store.catalog.search(context, name=name)
                if row.version is not None
            }
        return self._rows[name].get(n)

    def _version(self, name: str, n: int) -> bytes | None:
        found = self._row(name, n)
        if found is None:
            return None
        context, row = found
        facts = self._proof.facts.get(row.bundle.id)
        known = self._store.catalog.record_digest(context, row.bundle.id)
        digest = facts.digest if facts else known
        if digest is None or (known is not None and known != digest):
            return None
        return VersionRecord(self._uuid, name, n, row.bundle.id, digest).to_bytes()

    def _bundle(self, id: str) -> bytes | None:
        """The record with the digest that its version names, as it was pushed or pulled."""
        for context in self._contexts:
            wanted = self._proof.named.get(id) or self._store.catalog.record_digest(context, id)
            data = wanted and self._store.catalog.pushed_record(context, id, wanted)
            if data:
                return data
        return None

    def _tags(self, problem: Problem) -> bytes | None:
        name, n, k = problem.name, problem.n, problem.k
        # A later setting stands over it: what it said is of no use to anybody.
        later = self._tags_at(name, n, k + 1)
        if later is not None:
            return replace(later, key=problem.key).to_bytes()
        found = self._row(name, n)
        if found is None:
            return None
        context, row = found
        if self._store.catalog.pending_tags(context, row.bundle.id):
            return None
        earlier = self._tags_at(name, n, k - 1) if k > 1 else None
        before: Mapping[str, str] = earlier.tags if earlier else {}
        return TagsRecord(problem.key, {**before, **row.bundle.tags}).to_bytes()

    def _tags_at(self, name: str, n: int, k: int) -> TagsRecord | None:
        key = tags_key(name, n, k)
        try:
            data = read_record(self._remote, key)
            return None if data is None else TagsRecord.from_bytes(data, key)
        except IntegrityError:
            return None


def local_newest(store: Store, uuid: str) -> dict[str, int]:
    """The highest version numbers of the remote ``uuid`` that were seen here, by name."""
    found: dict[str, int] = {}
    for context in store.contexts.list():
        if context.remote_uuid == uuid:
            for row in store.catalog.latest(context):
                name = row.bundle.name
                newest = store.catalog.newest_version(context, name)
                found[name] = max(found.get(name, 0), newest)
    return found


def known_place(store: Store, uuid: str, digests: Sequence[Digest]) -> str | None:
    """The pack in which one of these objects was known to lie."""
    located = store.known.packs_of(uuid, digests)
    return next((place.pack for place in located.values()), None)
