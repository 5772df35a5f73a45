"""Two machines and one remote, in any order of verbs: after every one, what each has and what the
remote has is what a model of a few lines says, every bundle whole or not there at all.

BUNDLERUN_EXAMPLES=1000 in the environment makes a run of as many examples.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bundlerun.api.workspace import Workspace
from bundlerun.errors import BundleNotFound
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all
from bundlerun.settings import Settings
from bundlerun.store.store import Store
from tests.crash.calls import killed_at
from tests.crash.verbs import Later

EXAMPLES = int(os.environ.get("BUNDLERUN_EXAMPLES", "12"))
DAYS = 30
"""What a clean-up of the remote takes the time since the last one to be."""

names = strategies.sampled_from(["a", "b"])
numbers = strategies.integers(0, 4)
whos = strategies.sampled_from([0, 1])
moments = strategies.integers(1, 60)
picks = strategies.integers(0, 100)
tags = strategies.sampled_from([{"k": "1"}, {"k": "2"}, {"l": "1"}])


def value_of(number: int) -> dict[str, Any]:
    """One of five values; some have a large object, some share one."""
    size = 300_000 if number % 2 else 2_000
    return {"n": number, "own": bytes([number]) * size, "shared": b"s" * 5_000, "none": None}


@dataclass
class Version:
    """A version on the remote."""

    id: str
    number: int
    tags: dict[str, str]
    removed: bool = False


@dataclass
class Held:
    """A bundle on one machine. ``order``: of its commit; ``here``: all of its bytes are."""

    id: str
    name: str
    number: int
    seq: int
    order: int | None = None
    version: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    here: bool = True

    @property
    def rank(self) -> tuple[int, int] | None:
        """Its place among the versions of its name."""
        if self.version is not None:
            return (0, self.version)
        return None if self.order is None else (1, self.order)


class Machines(RuleBasedStateMachine):
    """The model, and the real thing beside it."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(
            tempfile.mkdtemp("", "bundlerun-crash-", memory if memory.is_dir() else None)
        )
        self.url = f"file://{self.folder}/remote"
        self.clients = [self.client("one"), self.client("two")]
        self.held: list[dict[str, Held]] = [{}, {}]
        self.remote: dict[str, list[Version]] = {}
        self.count = 0

    def real_remote(self) -> Remote:
        """The remote, as the first machine has it."""
        scope = self.clients[0].scope
        return scope.remote(scope.context())

    def client(self, name: str) -> Workspace:
        """A machine that is bound to the remote."""
        workspace = Workspace(
            Settings(home=self.folder / "home", store=self.folder / name), context="work"
        )
        workspace.context("work")
        workspace.remote("work", self.url)
        return workspace

    def teardown(self) -> None:
        try:
            self.look_from_afar()
        finally:
            for workspace in self.clients:
                workspace.close()
            shutil.rmtree(self.folder)

    @rule(who=whos, name=names, number=numbers, commit=strategies.booleans())
    def add(self, who: int, name: str, number: int, commit: bool) -> None:
        bundle = self.clients[who].add(name, value_of(number), commit=commit)
        self.count += 1
        order = self.count if commit else None
        self.held[who][bundle.id] = Held(bundle.id, name, number, self.count, order)
        self.look()

    @rule(who=whos, pick=picks)
    def commit(self, who: int, pick: int) -> None:
        open_ones = [h for h in self.held[who].values() if h.rank is None]
        if open_ones:
            held = open_ones[pick % len(open_ones)]
            self.clients[who].commit(f"{held.name}@{held.id}")
            self.count += 1
            held.order = self.count
            self.look()

    @rule(who=whos, pick=picks, tags=tags)
    def tag(self, who: int, pick: int, tags: dict[str, str]) -> None:
        every = list(self.held[who].values())
        if every:
            held = every[pick % len(every)]
            self.clients[who].tag(f"{held.name}@{held.id}", tags)
            changed = {key: text for key, text in tags.items() if held.tags.get(key) != text}
            held.tags.update(changed)
            held.pending.update(changed)
            self.look()

    @rule(who=whos, moment=strategies.none() | moments)
    def push(self, who: int, moment: int | None) -> None:
        self.killed_first(moment, self.clients[who].push)
        self.clients[who].push()
        waiting = [h for h in self.held[who].values() if h.rank and h.version is None]
        for held in sorted(waiting, key=lambda h: h.order or 0):
            there = self.remote.setdefault(held.name, [])
            there.append(Version(held.id, held.number, dict(held.tags)))
            held.version, held.pending = len(there), {}
        for held in self.held[who].values():
            if held.version is not None:
                self.remote[held.name][held.version - 1].tags.update(held.pending)
                held.pending = {}
        self.look()

    @rule(who=whos, name=names, localize=strategies.booleans(), moment=strategies.none() | moments)
    def pull(self, who: int, name: str, localize: bool, moment: int | None) -> None:
        def act() -> None:
            with contextlib.suppress(BundleNotFound):
                self.clients[who].pull(name, localize=localize)

        self.killed_first(moment, act)
        act()
        there = self.remote.get(name, [])
        for n in range(len(there), 0, -1):
            if there[n - 1].removed:
                self.hide(who, name, n)
            else:
                self.adopt(who, name, n, localize)
                break
        self.look()

    @rule(who=whos, every=strategies.booleans())
    def pull_everything(self, who: int, every: bool) -> None:
        self.clients[who].pull(all_versions=every)
        for name, there in self.remote.items():
            live = [n for n, version in enumerate(there, start=1) if not version.removed]
            for n in range(1, len(there) + 1):
                if n not in live:
                    self.hide(who, name, n)
            for n in live if every else live[-1:]:
                self.adopt(who, name, n, localize=False)
        self.look()

    @rule(who=whos, name=names, moment=strategies.none() | moments)
    def remove(self, who: int, name: str, moment: int | None) -> None:
        latest = self.latest(who, name)
        if latest is not None:
            known = f"{name}@{latest.id}"

            def act() -> None:
                with contextlib.suppress(BundleNotFound):
                    self.clients[who].rm(known)

            self.killed_first(moment, act)
            act()
            del self.held[who][latest.id]
            self.look()

    @rule(who=whos, name=names, moment=strategies.none() | moments)
    def remove_everywhere(self, who: int, name: str, moment: int | None) -> None:
        latest = self.latest(who, name)
        if latest is not None:
            known = f"{name}@{latest.id}"

            def act() -> None:
                with contextlib.suppress(BundleNotFound):
                    self.clients[who].rm(known, remote=True)

            self.killed_first(moment, act)
            act()
            del self.held[who][latest.id]
            if latest.version is not None:
                self.remote[name][latest.version - 1].removed = True
            self.look()

    @rule(who=whos, moment=strategies.none() | moments)
    def gc(self, who: int, moment: int | None) -> None:
        def act() -> None:
            self.clients[who].gc(delete=True, grace_s=0.0)

        self.killed_first(moment, act)
        act()
        assert self.clients[who].gc(grace_s=0.0).swept == ()
        self.look()

    @precondition(lambda self: any(self.remote.values()))
    @rule(who=whos, moment=strategies.none() | moments)
    def gc_of_the_remote(self, who: int, moment: int | None) -> None:
        workspace = self.clients[who]
        url = workspace.scope.context().remote_url or ""
        near = workspace.scope.remote(workspace.scope.context())
        workspace.scope._remotes[url] = Later(near, DAYS)
        try:
            self.killed_first(moment, lambda: workspace.gc(remote=True, delete=True))
            workspace.gc(remote=True, delete=True)
        finally:
            workspace.scope._remotes[url] = near
        self.look()
        self.look_from_afar()

    @rule(who=whos)
    def fsck(self, who: int) -> None:
        for proof in (self.clients[who].fsck(), self.clients[who].fsck(remote=True)):
            assert proof.whole, proof.findings

    def killed_first(self, moment: int | None, act: Callable[[], object]) -> None:
        """At times the verb is begun by a process that dies at this of its writes."""
        if moment is not None:
            ending = killed_at(act, moment)
            assert not ending.error, ending.error

    def adopt(self, who: int, name: str, n: int, localize: bool) -> None:
        """The machine has version ``n`` of ``name`` now."""
        version = self.remote[name][n - 1]
        held = self.held[who].get(version.id)
        if held is None:
            self.count += 1
            held = Held(version.id, name, version.number, self.count, here=False)
            self.held[who][version.id] = held
        held.version = n
        held.tags = {**held.tags, **version.tags, **held.pending}
        held.here = held.here or localize

    def hide(self, who: int, name: str, n: int) -> None:
        """The machine has learned that version ``n`` of ``name`` was removed."""
        gone = [h.id for h in self.held[who].values() if (h.name, h.version) == (name, n)]
        for id in gone:
            del self.held[who][id]

    def latest(self, who: int, name: str) -> Held | None:
        """What a machine means by ``name``."""
        mine = [h for h in self.held[who].values() if h.name == name]
        best = max((h for h in mine if h.rank), key=lambda h: h.rank or (0, 0), default=None)
        open_ones = [h for h in mine if not h.rank and h.seq > (best.seq if best else 0)]
        return max(open_ones, key=lambda h: h.seq, default=best)

    def look(self) -> None:
        """Both machines and the remote are as the model says."""
        for who, workspace in enumerate(self.clients):
            found = {
                e.id: (e.name, e.committed, e.version, dict(e.tags))
                for e in workspace.ls(all_versions=True)
            }
            assert found == {
                h.id: (h.name, h.rank is not None, h.version, h.tags)
                for h in self.held[who].values()
            }
            for name in ("a", "b"):
                latest = self.latest(who, name)
                entry = workspace.scope.store.catalog.find(workspace.scope.context(), name)
                assert (entry and entry.bundle.id) == (latest and latest.id)
            for held in self.held[who].values():
                if held.here:
                    bundle = workspace.scope.entry(f"{held.name}@{held.id}").bundle
                    assert workspace.scope.store.value(bundle) == value_of(held.number)
        there = list(version_infos(self.real_remote()))
        assert {(s.name, s.n, s.removed) for s in there} == {
            (name, n, version.removed)
            for name, versions in self.remote.items()
            for n, version in enumerate(versions, start=1)
        }

    def look_from_afar(self) -> None:
        """A machine that has nothing gets every version that was not removed, whole."""
        remote = self.real_remote()
        self.count += 1
        store = Store.open(self.folder / f"reader-{self.count}")
        context = bind(store, store.contexts.create("work"), remote)
        entries = pull_all(Binding.of(store, context, remote), all_versions=True)
        localise(store, remote, [entry.bundle for entry in entries])
        found = {
            (e.bundle.name, e.version): (e.bundle.id, dict(e.bundle.tags), store.value(e.bundle))
            for e in entries
        }
        store.close()
        shutil.rmtree(store.path)
        assert found == {
            (name, n): (version.id, version.tags, value_of(version.number))
            for name, versions in self.remote.items()
            for n, version in enumerate(versions, start=1)
            if not version.removed
        }


TestMachines = Machines.TestCase
TestMachines.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    # Not made smaller: a run has little time, and its steps are printed as they are.
    phases=[Phase.generate],
)
