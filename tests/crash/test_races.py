"""Real processes that want different things of one store or one remote at the same moment."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.value.files import File
from bundlerun.errors import BundleNotFound, Conflict
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.fsck import prove
from bundlerun.remotes.gc.sweep import collect
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.pull import pull_all, pull_latest
from bundlerun.remotes.push import push
from bundlerun.store.fsck import fsck
from bundlerun.store.gc.sweep import sweep
from bundlerun.store.store import Store
from tests.remotes.conftest import remote_at
from tests.remotes.conftest import url as url  # a fixture
from tests.remotes.withdraw import withdraw

WINDOW_S = 0.25
LONG_S = 4.0
"""So long they get in each other's way at least."""

LIMIT_S = 120.0

Work = tuple[Callable[..., None], tuple[Any, ...]]


def side_by_side(*works: Work) -> None:
    """Carry all out, each in a process of its own; none may fail."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=act, args=given) for act, given in works]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(LIMIT_S)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()


def new_context(path: Path, number: int, ready: Any, made: Any) -> None:
    """Create the context "new" when all are ready; who did it says so."""
    store = Store.open(path)
    ready.wait(LIMIT_S)
    try:
        store.contexts.create("new")
        made.put(number)
    except Conflict:
        pass
    store.add(store.contexts.get("new"), "x", number, commit=True)


def test_eight_processes_that_create_one_context_make_one(tmp_path: Path) -> None:
    """In a store that is there: one makes it, and all work in it."""
    store = Store.open(tmp_path / "store")
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager:
        ready, made = manager.Barrier(8), manager.Queue()
        side_by_side(*((new_context, (store.path, n, ready, made)) for n in range(8)))
        assert made.qsize() == 1
    assert [context.name for context in store.contexts.list()] == ["new"]
    found = store.catalog.search(store.contexts.get("new"))
    assert sorted(store.value(entry.bundle) for entry in found) == list(range(8))  # type: ignore[type-var]


KINDS = 12


def value_of(number: int, folder: Path) -> dict[str, Any]:
    """One of twelve values, each with a file of its own."""
    kind = number % KINDS
    path = folder / f"file-{kind}"
    return {"n": kind, "file": File(path), "same": "s" * 3000, "own": str(kind) * 2000}


def write_files(folder: Path) -> None:
    """What ``value_of`` names."""
    for kind in range(KINDS):
        (folder / f"file-{kind}").write_bytes(bytes([kind]) * 300_000)


def add_and_remove(path: Path, folder: Path, who: int) -> None:
    """A value instead of the one before, so that most of the twelve are dead at any moment and
    live again the next."""
    store = Store.open(path)
    context = store.contexts.get("work")
    number, last = 4 * who, None
    while not (folder / "done").exists():
        entry = store.add(context, f"name-{who}", value_of(number, folder), commit=True)
        assert store.value(entry.bundle) == value_of(number, folder)
        if last is not None:
            store.catalog.remove(context, [last])
        number, last = number + 1, entry.bundle.id


def sweep_all_the_time(path: Path, folder: Path) -> None:
    """Clean-ups that spare nothing for its youth, until one met something."""
    store = Store.open(path)
    end_s = time.monotonic() + LONG_S
    swept = 0
    while time.monotonic() < end_s or not swept:
        swept += sweep(store, grace_s=0.0, delete=True).count
    (folder / "done").touch()


def test_adding_and_a_sweep_at_the_same_moment_lose_nothing(tmp_path: Path) -> None:
    """What a bundle uses stays, though it was dead a moment before."""
    write_files(tmp_path)
    store = Store.open(tmp_path / "store")
    context = store.contexts.create("work")
    adders = [(add_and_remove, (store.path, tmp_path, who)) for who in range(3)]
    side_by_side(*adders, (sweep_all_the_time, (store.path, tmp_path)))
    found = store.catalog.search(context)
    assert len(found) == 3
    for entry in found:
        value = store.value(entry.bundle)
        assert isinstance(value, dict)
        assert value == value_of(value["n"], tmp_path)
    assert fsck(store).whole


def push_and_withdraw(url: str, path: Path, folder: Path, who: int) -> None:
    """Versions with values that others push and give up too."""
    store = Store.open(path)
    context = store.contexts.get("work")
    remote = remote_at(url)
    number = who
    while not (folder / "done").exists():
        entry = store.add(context, "x", value_of(number, folder), commit=True)
        push(Binding.of(store, context, remote), [entry])
        if number % 3:
            now = store.catalog.by_id(context, entry.bundle.id)
            assert now is not None
            withdraw(store, context, remote, now)
        number += 1
    # Without it the last ones might all be given up.
    push(
        Binding.of(store, context, remote),
        [store.add(context, "x", value_of(number, folder), commit=True)],
    )


def collect_all_the_time(url: str, folder: Path) -> None:
    """Clean-ups that spare nothing for its youth, until one deleted something; the windows are the
    remote's."""
    remote = remote_at(url)
    uuid = found_uuid(remote) or ""
    end_s = time.monotonic() + LONG_S
    deleted = 0
    while time.monotonic() < end_s or not deleted:
        deleted += collect(remote, uuid, grace_s=0.0, delete=True).count
    (folder / "done").touch()


@pytest.mark.slow
def test_pushes_and_a_clean_up_at_the_same_moment_lose_nothing(url: str, tmp_path: Path) -> None:
    """Every version that is not given up is whole, though its packs were dead a moment before."""
    write_files(tmp_path)
    remote = remote_at(url)
    for who in range(2):
        store = Store.open(tmp_path / f"store-{who}")
        bind(store, store.contexts.create("work"), remote, window_s=WINDOW_S)
        store.close()
    pushers = [
        (push_and_withdraw, (url, tmp_path / f"store-{who}", tmp_path, who)) for who in range(2)
    ]
    side_by_side(*pushers, (collect_all_the_time, (url, tmp_path)))
    reader = Store.open(tmp_path / "reader")
    context = bind(reader, reader.contexts.create("work"), remote)
    entries = pull_all(Binding.of(reader, context, remote), all_versions=True)
    assert len(entries) >= 2
    localise(reader, remote, [entry.bundle for entry in entries])
    for entry in entries:
        value = reader.value(entry.bundle)
        assert isinstance(value, dict)
        assert value == value_of(value["n"], tmp_path)
    proof = prove(Binding.of(reader, context, remote))
    assert proof.whole, proof.findings


VERSIONS = 20


def push_versions(url: str, path: Path, folder: Path) -> None:
    """Version n has the value n."""
    store = Store.open(path)
    remote = remote_at(url)
    context = store.contexts.get("work")
    for number in range(1, VERSIONS + 1):
        value = {**value_of(number, folder), "version": number}
        push(Binding.of(store, context, remote), [store.add(context, "x", value, commit=True)])


def pull_versions(url: str, path: Path, folder: Path) -> None:
    """See each new version whole, and none older than the one before, up to the last."""
    store = Store.open(path)
    remote = remote_at(url)
    context = store.contexts.get("work")
    last = 0
    while last < VERSIONS:
        try:
            entry = pull_latest(Binding.of(store, context, remote), "x")
        except BundleNotFound:
            assert last == 0
            continue
        localise(store, remote, [entry.bundle])
        version = entry.version or 0
        assert version >= last
        assert store.value(entry.bundle) == {**value_of(version, folder), "version": version}
        last = version
    assert len(pull_all(Binding.of(store, context, remote), "x", all_versions=True)) == VERSIONS


@pytest.mark.slow
def test_pulls_and_pushes_at_the_same_moment_see_whole_versions(url: str, tmp_path: Path) -> None:
    """Two machines read while one writes: a version is there whole or not at all."""
    write_files(tmp_path)
    remote = remote_at(url)
    for name in ("writer", "one", "two"):
        store = Store.open(tmp_path / name)
        bind(store, store.contexts.create("work"), remote)
        store.close()
    side_by_side(
        (push_versions, (url, tmp_path / "writer", tmp_path)),
        (pull_versions, (url, tmp_path / "one", tmp_path)),
        (pull_versions, (url, tmp_path / "two", tmp_path)),
    )
