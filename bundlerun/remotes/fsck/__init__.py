"""fsck of a remote: records read, packs hashed, every live value found in packs."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import PackInfo
from bundlerun.bundles.value.walk import parts
from bundlerun.errors import IntegrityError
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import KeyInfo
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fsck.packs import PackState, packs_read
from bundlerun.remotes.fsck.records import Facts, Problem, RecordsProof
from bundlerun.remotes.fsck.repair import (
    PackRestoring,
    RecordRestoring,
    known_place,
    local_newest,
)
from bundlerun.remotes.fsck.scratch import Ledger
from bundlerun.remotes.identity import check_remote
from bundlerun.remotes.keys import CallPacks, pack_key, version_key
from bundlerun.store.database import batches
from bundlerun.store.fsck.tables import FROM_SOURCE, state_of
from bundlerun.store.reports import Fault, Finding, Kind, Proof, until_mended

_MEMO = 8
"""Sets of packs that are remembered for a node."""


def prove(binding: Binding, *, repair: bool = False, progress: Progress = SILENT) -> Proof:
    """Look at everything on the remote, and with ``repair`` mend what the store can.

    Every byte of it is read, in bounded memory; requests: one a record, two a pack, one a 1,000
    keys. What a push adds meanwhile is whole as far as it is seen. Raises RemoteChanged where
    another remote answers, RemoteErrors.
    """
    check_remote(binding.remote, binding.uuid)
    looked_at: Counter[str] = Counter()

    def look() -> list[Fault]:
        looked_at.clear()
        # What mends a pack looks it up once more: it stays open until the next look, or the end.
        ledger = stack.enter_context(contextlib.closing(Ledger(Path(tempfile.mkdtemp(dir=folder)))))
        return _Proving(binding, ledger, looked_at).faults(progress)

    with (
        tempfile.TemporaryDirectory(prefix="bundlerun-fsck-") as folder,
        contextlib.ExitStack() as stack,
    ):
        return Proof(until_mended(look, repair=repair), dict(looked_at))


class _Proving:
    def __init__(self, binding: Binding, ledger: Ledger, looked_at: Counter[str]) -> None:
        self._binding = binding
        self._remote = binding.remote
        self._uuid = binding.uuid
        self._store = binding.store
        self._ledger = ledger
        self._records = RecordsProof(binding.remote, binding.uuid)
        self._infos: dict[str, PackInfo | None] = {}
        self._bad: dict[str, PackState | None] = {}
        self._problems: dict[str, str] = {}
        self._users: dict[str, list[str]] = {}
        self._whole: dict[Digest, list[frozenset[str]]] = {}
        self._found: list[Fault] = []
        self._unreadable: dict[Digest, str] = {}
        self._looked_at = looked_at

    def faults(self, progress: Progress) -> list[Fault]:
        """Every fault; of records before those of packs, so that they are mended first."""
        bar = progress.start("proving records", None, "records")
        self._records.read()
        self._rolled_back()
        progress.finish(bar)
        bar = progress.start("proving packs", None, "bytes")
        for state in packs_read(self._remote, self._listed()):
            progress.advance(bar, state.info.size if state.info else 0)
            self._pack(state)
        progress.finish(bar)
        live = [f for id, f in self._records.facts.items() if id not in self._records.given_up]
        bar = progress.start("proving values", len(live), "bundles")
        for facts in live:
            self._claims(facts)
        for facts in live:
            self._value(facts)
            progress.advance(bar, 1)
        progress.finish(bar)
        self._looked_at["records"] = len(self._records.facts) + len(self._records.ids)
        self._looked_at["reuse look-ups"] = len(self._records.reuse)
        return [*self._record_faults(), *self._pack_faults(), *self._found, *self._litter()]

    def _rolled_back(self) -> None:
        for name, newest in local_newest(self._store, self._uuid).items():
            versions = self._records.versions.get(name)
            there = max(versions.numbers, default=0) if versions else 0
            holes = {p.n for p in self._records.problems if p.name == name}
            for n in range(there + 1, newest + 1):
                if n not in holes:
                    detail = f"version {n} of {name!r} was there before"
                    self._records.wrong(Kind.MISSING, version_key(name, n), detail, name=name, n=n)

    def _listed(self) -> Iterator[KeyInfo]:
        for entry in self._remote.list("packs/"):
            self._looked_at["packs"] += 1
            self._looked_at["bytes"] += entry.size
            yield entry

    def _pack(self, state: PackState) -> None:
        self._infos[state.uuid] = state.info
        self._looked_at["objects"] += len(state.members)
        self._unreadable.update(state.unreadable)
        if state.good:
            self._ledger.note(state.uuid, state.good, state.nodes)
        if state.problem:
            self._note(state.uuid, replace(state, nodes=()), state.problem)

    def _note(self, uuid: str, state: PackState | None, problem: str) -> None:
        self._bad.setdefault(uuid, state)
        self._problems.setdefault(uuid, problem)

    def _claims(self, facts: Facts) -> None:
        """The packs that a record names are there, and are as it says."""
        label = f"{facts.name}@{facts.id}"
        for claimed in facts.packs:
            self._users.setdefault(claimed.uuid, []).append(label)
            if claimed.uuid not in self._infos:
                if facts.id not in self._records.named and claimed.uuid in self._records.condemned:
                    self._broken_push(facts, claimed)
                    continue
                self._note(claimed.uuid, None, "it is not there")
            elif self._infos[claimed.uuid] not in (claimed, None):
                self._note(claimed.uuid, None, "it is another pack than its records say")

    def _broken_push(self, facts: Facts, claimed: PackInfo) -> None:
        detail = f"of a push that broke off; its pack {claimed.uuid} was cleaned up since"
        finding = Finding(Kind.LITTER, f"record b/{facts.id}", f"b/{facts.id}", detail)
        self._found.append(Fault(finding))

    def _value(self, facts: Facts) -> None:
        """Every object of a value is in one of the packs that its record names."""
        self._looked_at["bundles"] += 1
        packs = frozenset(pack.uuid for pack in facts.packs)
        explained = not packs.isdisjoint(self._bad) or not packs <= self._infos.keys()
        nodes: set[Digest] = set()
        lacking: list[Link] = []
        tables: list[Digest] = []

        def read(link: Link) -> bytes | None:
            if any(known <= packs for known in self._whole.get(link.digest, ())):
                return None
            nodes.add(link.digest)
            return self._ledger.node(link)

        try:
            for some in batches(parts(facts.root, read)):
                lacking += self._ledger.lacking([part.link for part in some], packs)
                tables += [part.link.digest for part in some if part.is_table]
        except IntegrityError as error:
            self._malformed(facts, error.message)
            return
        for digest in dict.fromkeys(tables):
            if digest in self._unreadable:
                self._table(facts, digest)
        if not lacking:
            for digest in nodes:
                self._whole.setdefault(digest, []).append(packs)
                del self._whole[digest][:-_MEMO]
        elif not explained:
            self._lacking(facts, lacking)

    def _table(self, facts: Facts, digest: Digest) -> None:
        """Note a table that nobody can read, though its bytes are whole.

        It was kept before tables were read back.
        """
        told = (
            f"{self._unreadable[digest]}; {facts.name}@{facts.id} needs it; {self._instead(facts)}"
        )
        finding = Finding(Kind.DAMAGED, f"table {digest}", f"b/{facts.id}", told)
        self._found.append(Fault(finding))

    def _instead(self, facts: Facts) -> str:
        """The replacement of a table that cannot be read."""
        name = facts.name
        versions = self._records.versions.get(name)
        for n in sorted(versions.numbers - versions.removed if versions else (), reverse=True):
            other = self._records.facts.get(self._records.ids.get((name, n), ""))
            if other is None or other.id == facts.id:
                continue
            packs = frozenset(pack.uuid for pack in other.packs)

            def absent(links: Iterable[Link], packs: frozenset[str] = packs) -> bool:
                return any(self._ledger.lacking(some, packs) for some in batches(links))

            if state_of(other.root, self._ledger.node, self._unreadable, absent):
                how = f"bundlerun pull {name} --all-versions --localize"
                return f"version {n}, {name}@{other.id}, can be read: {how}; else {FROM_SOURCE}"
        return f"no other version of {name!r} can be read: {FROM_SOURCE}"

    def _malformed(self, facts: Facts, detail: str) -> None:
        label = f"{facts.name}@{facts.id}"
        finding = Finding(Kind.DAMAGED, f"bundle {label}", f"b/{facts.id}", f"its value: {detail}")
        self._found.append(Fault(finding))

    def _lacking(self, facts: Facts, lacking: list[Link]) -> None:
        """A whole pack stands where another one should."""
        packs = [pack.uuid for pack in facts.packs]
        place = known_place(self._store, self._uuid, [link.digest for link in lacking])
        if place in packs:
            self._note(place, None, f"it lacks {lacking[0].digest}: it is another pack than it was")
            return
        label = f"{facts.name}@{facts.id}"
        told = f"{len(lacking)} objects are in none of its packs, {', '.join(packs[:3])}"
        detail = f"{told}: {lacking[0].digest}"
        finding = Finding(Kind.DAMAGED, f"bundle {label}", f"b/{facts.id}", detail)
        self._found.append(Fault(finding))

    def _record_faults(self) -> Iterator[Fault]:
        restoring = RecordRestoring(self._binding, self._records)
        # Bundle records first: versions name their digests.
        for problem in sorted(self._records.problems, key=_rank):
            cure = restoring.cure(problem)
            if cure is None:
                yield Fault(problem.finding)
            else:
                yield Fault(replace(problem.finding, mendable=cure[0]), cure[1])

    def _pack_faults(self) -> Iterator[Fault]:
        restoring = PackRestoring(self._binding, self._ledger)
        claims = {pack.uuid: pack for facts in self._records.facts.values() for pack in facts.packs}
        for uuid, state in self._bad.items():
            users = self._users.get(uuid, [])
            kind = Kind.MISSING if uuid not in self._infos else Kind.DAMAGED
            more = f" and {len(users) - 1} more" if len(users) > 1 else ""
            needed = f"; {users[0]}{more} needs it" if users else "; no record names it"
            finding = Finding(
                kind if users else Kind.LITTER,
                f"pack {uuid}",
                pack_key(uuid),
                self._problems[uuid] + needed,
            )
            cure = restoring.cure(claims[uuid], state) if users else None
            if cure is None:
                yield Fault(finding)
            else:
                yield Fault(replace(finding, mendable=cure[0]), cure[1])

    def _litter(self) -> Iterator[Fault]:
        yield from map(Fault, self._records.litter)
        named = {pack.uuid for facts in self._records.facts.values() for pack in facts.packs}
        unnamed = self._infos.keys() - named - self._bad.keys()
        if unnamed:
            calls = CallPacks.of(self._remote.list("runs/"))
            used = [pack.key for pack in self._remote.list("packs/") if calls.has(pack)]
            unnamed -= {key.removeprefix("packs/") for key in used}
        for uuid in self._infos:
            if uuid in unnamed:
                detail = "no record names it: a push that goes on or broke off, or cleaned up soon"
                how = "bundlerun gc --remote"
                finding = Finding(Kind.LITTER, f"pack {uuid}", pack_key(uuid), detail, how)
                yield Fault(finding)


def _rank(problem: Problem) -> tuple[int, str]:
    order = ("meta/", "b/", "v/", "k/")
    at = next((at for at, prefix in enumerate(order) if problem.key.startswith(prefix)), 9)
    return at, problem.key
