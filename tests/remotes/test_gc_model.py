"""Any order of the requests of pushers, of a publisher and of clean-ups leaves every version whole.

Thousands of random schedules over the real code and a real folder, with a clock that jumps; and the
same schedules with one rule left out, which lose data: so the schedules could have shown it.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundlerun.errors import BundleNotFound, BundlerunError, IntegrityError
from bundlerun.remotes import condemned
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.condemned import PushLease
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.gc import sweep
from bundlerun.remotes.gc.sweep import collect
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.pull import pull_latest
from bundlerun.remotes.push import push
from bundlerun.remotes.staging import OverlayRemote, publish
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store
from tests.remotes.interleaving import WINDOW_S, Inline, World, copied
from tests.remotes.withdraw import withdraw

SCHEDULES = int(os.environ.get("GC_SCHEDULES", "2000"))
"""GC_SCHEDULES=20000 takes some minutes."""
SHARES = 5
"""So many tests share them: one alone would outlast the time limit of a test on a busy machine."""

BLOCKS = [bytes([n]) * 1500 for n in range(4)]
VALUES = [{"a": BLOCKS[0]}, {"a": BLOCKS[0], "b": BLOCKS[1]}, {"b": BLOCKS[1], "c": BLOCKS[2]}]

Client = tuple[Store, Context]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A remote and three stores that are bound to it, in memory; two know of a version that was
    removed, so its pack is dead and they believe in it."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path_factory.mktemp("shm")
    folder = folder / f"gc-model-{random.SystemRandom().getrandbits(64):x}"
    remote = FileRemote(f"file://{folder}/template/remote")
    clients = []
    for name in ("one", "two", "three"):
        store = Store.open(folder / "template" / name)
        context = bind(store, store.contexts.create("work"), remote, window_s=WINDOW_S)
        clients.append((store, context))
    (one, work), *others = clients
    entries = [one.add(work, "x", VALUES[n], commit=True) for n in (0, 1)]
    push(Binding.of(one, work, remote), entries)
    for store, context in others:
        pull_latest(Binding.of(store, context, remote), "x")
    for entry in entries:
        withdraw(one, work, remote, one.catalog.by_id(work, entry.bundle.id) or entry)
    for store, _ in clients:
        store.close()
    yield folder / "template"
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of thread pools is done by whoever asks for it: an actor is one thread."""
    for module in list(sys.modules.values()):
        if module.__name__.startswith("bundlerun.") and hasattr(module, "ThreadPoolExecutor"):
            monkeypatch.setattr(module, "ThreadPoolExecutor", Inline)


class Schedule:
    """One world, run once."""

    def __init__(self, template: Path, seed: int) -> None:
        self.folder = copied(template, template.parent / f"world-{seed}")
        self.world = World(self.folder, seed)
        self.stores: list[Store] = []

    def play(self, monkeypatch: pytest.MonkeyPatch) -> World:
        """Two pushers, at times a publisher, and one or two who clean up."""
        world = self.world
        monkeypatch.setattr(condemned, "clocks", lambda: (world.now_s,))
        try:
            for name in ("one", "two"):
                world.actor(self.pusher(name, random.Random(world.random.random())))
            if world.random.random() < 0.3:
                world.actor(self.publisher)
            for _ in range(world.random.choice((1, 1, 2))):
                world.actor(self.collector)
            world.run()
            world.look()
            world.read_everything()
        finally:
            for store in self.stores:
                store.close()
            shutil.rmtree(self.folder)
        return world

    def opened(self, name: str) -> Client:
        store = Store.open(self.folder / name)
        self.stores.append(store)
        return store, store.contexts.get("work")

    def pusher(self, name: str, chance: random.Random) -> Callable[[Remote], None]:
        def act(remote: Remote) -> None:
            store, context = self.opened(name)
            mine = []
            for _ in range(chance.randint(1, 3)):
                what = chance.choice(("push", "push", "remove", "pull"))
                if what == "push":
                    entry = store.add(context, "x", chance.choice(VALUES), commit=True)
                    mine.append(entry.bundle.id)
                    push(Binding.of(store, context, remote), [entry])
                elif what == "remove" and mine:
                    entry = store.catalog.by_id(context, mine.pop())  # type: ignore[assignment]
                    withdraw(store, context, remote, entry)
                elif what == "pull":
                    # It may be removed, and gone, while it is looked at.
                    with contextlib.suppress(BundleNotFound, IntegrityError):
                        pull_latest(Binding.of(store, context, remote), "x")

        return act

    def publisher(self, remote: Remote) -> None:
        store, context = self.opened("three")
        staging = FileRemote(f"file://{self.folder}/staging/run")
        staging.root.mkdir(parents=True)
        entry = store.add(context, "y", VALUES[0], commit=True)
        push(Binding.of(store, context, OverlayRemote(remote, staging)), [entry])
        # It may have waited for so long that what it built on is gone: nothing of it is seen then.
        with contextlib.suppress(IntegrityError):
            publish(remote, staging)

    def collector(self, remote: Remote) -> None:
        uuid = found_uuid(self.world.inner)
        for _ in range(4):
            collect(remote, uuid or "", grace_s=0.0, delete=True)


def lost_in(template: Path, monkeypatch: pytest.MonkeyPatch, seeds: range) -> dict[int, list[str]]:
    """Which of the schedules left a version that is not whole, and what it lacked."""
    lost = {}
    for seed in seeds:
        world = Schedule(template, seed).play(monkeypatch)
        if world.lost:
            lost[seed] = world.lost
    return lost


@pytest.mark.parametrize("share", range(SHARES))
def test_no_schedule_loses_data(
    template: Path, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    """Two thousand of them, at every step of which each visible version is whole."""
    assert lost_in(template, monkeypatch, range(share, SCHEDULES, SHARES)) == {}


def without_the_window(patch: pytest.MonkeyPatch) -> None:
    """Records are written however long ago ``meta/`` was looked at."""
    patch.setattr(PushLease, "expired", False)
    patch.setattr(PushLease, "late", False)


def without_obeying(patch: pytest.MonkeyPatch) -> None:
    """Condemned packs are built upon."""
    patch.setattr(condemned, "read_condemned", lambda *given: None)


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """What was condemned is deleted at once."""
    original = sweep._Sweep.__init__

    def impatient(self: sweep._Sweep, *given: object) -> None:
        original(self, *given)  # type: ignore[arg-type]
        self._overlooked_s = -1.0

    patch.setattr(sweep._Sweep, "__init__", impatient)


@pytest.mark.parametrize("broken", [without_the_window, without_obeying, without_waiting])
def test_the_schedules_find_a_rule_left_out(
    broken: Callable[[pytest.MonkeyPatch], None], template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule is needed: without it the same schedules lose data soon."""
    broken(monkeypatch)
    for seed in range(SCHEDULES):
        try:
            if Schedule(template, seed).play(monkeypatch).lost:
                return
        except BundlerunError:
            continue
    pytest.fail("no schedule lost anything")
