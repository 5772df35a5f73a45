"""When the power goes, what was not synced is lost: SIGKILL alone never tests an fsync.

A verb is recorded call by call, with the bytes. For each moment between two calls, and several ways
to lose what was not synced by then (tests.crash.disk says what survives), the folder is rebuilt and
looked over as after a kill. What the verb has done when it returns has to survive every way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundlerun.errors import BundlerunError
from bundlerun.store import database
from tests.crash.calls import Call, counted, watched
from tests.crash.disk import Disk, Step, fingerprint, policies, written
from tests.crash.recording import Recording
from tests.crash.scene import World
from tests.crash.staging import Stage, spread
from tests.crash.verbs import LOCAL, REMOTE, Verb

MOST = 40
HEAVY = {"add-much": 8, "push-huge": 12}
"""At most so many states of the disk a verb; those in between are left out evenly."""


def nothing() -> None:
    """What spoils nothing."""


def recorded(
    stage: Stage, world: World, *, until: int | None = None, spoil: Callable[[], None] = nothing
) -> list[Step]:
    """The steps of the verb on ``world``: those before its ``until``-th, where it is killed, or all
    up to its return. ``spoil`` is called before it in the child."""
    recording = Recording(world.folder)
    act = stage.act(world, close=False)
    seen = 0

    def may(call: Call) -> bool:
        nonlocal seen
        seen += 1
        return seen != until and recording.noted(call)

    def spoilt() -> None:
        spoil()
        act()

    ending = watched(spoilt, may)
    assert not ending.error, ending.error
    return recording.steps


def states(start: World, steps: list[Step], most: int) -> Iterator[tuple[int, str]]:
    """Different states that a loss may leave at ``most`` moments: after how many steps, and how."""
    disk = Disk(start.folder)
    chosen = set(spread(len(steps) + 1, most))
    seen = set()
    for number in range(len(steps) + 1):
        for name, names, content in policies(number) if number + 1 in chosen else ():
            mark = fingerprint(disk.left(names, content))
            if mark not in seen:
                seen.add(mark)
                yield number, name
        if number < len(steps):
            disk.do(steps[number])


@contextlib.contextmanager
def rebuilt(start: World, steps: list[Step], name: str, folder: Path) -> Iterator[World]:
    """The world that is left after ``steps`` and a loss of the kind ``name``."""
    disk = Disk(start.folder)
    for step in steps:
        disk.do(step)
    (left,) = (disk.left(n, b) for found, n, b in policies(len(steps)) if found == name)
    written(left, folder)
    yield World(folder)
    shutil.rmtree(folder)


def test_the_model_of_the_disk_tells_the_truth(
    stage: Callable[[Verb], Stage], scratch: Path
) -> None:
    """Where nothing is lost, what it rebuilds is the folder that the verb left."""
    (verb,) = (verb for verb in REMOTE if verb.name == "localize")
    staged = stage(verb)
    world = staged.start.copy(scratch / "recorded")
    disk = Disk(staged.start.folder)
    for step in recorded(staged, world):
        disk.do(step)
    written(disk.left(lambda _, f: f.now, lambda _, f: bytes(f.now)), scratch / "left")
    assert contents(scratch / "left") == contents(world.folder)


def contents(root: Path) -> dict[str, bytes | None]:
    """Every path below ``root`` with its bytes, a folder with None; without shared memory and the
    spare file, which hold nothing."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if not path.name.endswith("-shm") and path.name != "spare"
    }


@pytest.mark.slow
@pytest.mark.parametrize("verb", [*LOCAL, *REMOTE], ids=lambda verb: verb.name)
def test_a_verb_whose_power_goes_leaves_whole_bundles(
    stage: Callable[[Verb], Stage], verb: Verb, scratch: Path
) -> None:
    """At any moment: whole bundles and versions only, and the verb can be repeated. What it did
    when it returned is there to stay."""
    staged = stage(verb)
    world = staged.start.copy(scratch / "recorded")
    steps = recorded(staged, world)
    most = HEAVY.get(verb.name, MOST)
    found = list(states(staged.start, steps, most))
    assert len(found) >= 8
    for number, name in found[:: len(found) // most + 1]:
        with rebuilt(staged.start, steps[:number], name, scratch / "left") as left:
            staged.check_between(left)
            staged.check_done(left)
    for name, _, _ in policies(0):
        with rebuilt(staged.start, steps, name, scratch / "left") as left:
            staged.check_kept(left)


@pytest.mark.slow
@pytest.mark.parametrize("verb", [*LOCAL[:2], REMOTE[0], REMOTE[-1]], ids=lambda verb: verb.name)
def test_what_a_killed_process_left_unsynced_is_synced_by_the_next(
    stage: Callable[[Verb], Stage], verb: Verb, scratch: Path
) -> None:
    """A kill, then the same verb to its end, then a power loss: a folder that the first one made
    and did not live to sync holds what the second one promised."""
    staged = stage(verb)
    total = counted(staged.act(staged.start.copy(scratch / "counted"), close=False))
    for until in spread(total, 20):
        world = staged.start.copy(scratch / "killed")
        steps = recorded(staged, world, until=until)
        steps += recorded(staged, world)
        shutil.rmtree(world.folder)
        with rebuilt(staged.start, steps, "all is lost", scratch / "left") as left:
            if verb.name == "push":
                # SQLite shows the second one what the first one wrote and did not sync, so it has
                # nothing to write. That the store forgets what it pushed costs one more push.
                staged.check_between(left)
                assert left.versions() == staged.versions[1]
                staged.check_done(left)
            else:
                staged.check_kept(left)


def sync_no_file() -> None:
    """A store whose own files are never synced."""
    os.fsync = lambda handle: None  # type: ignore[assignment]


def sync_no_row() -> None:
    """A store whose SQLite file is never synced."""
    connect = database._connect

    def careless(path: Path, how: str, *, alone: bool = False) -> sqlite3.Connection:
        connection = connect(path, how, alone=alone)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    database._connect = careless


@pytest.mark.parametrize("spoil", [sync_no_file, sync_no_row])
def test_a_store_that_does_not_sync_is_found_out(
    stage: Callable[[Verb], Stage], scratch: Path, spoil: Callable[[], None]
) -> None:
    """The replay notices what it is there to notice."""
    (verb,) = (verb for verb in LOCAL if verb.name == "add-and-commit")
    staged = stage(verb)
    world = staged.start.copy(scratch / "recorded")
    steps = recorded(staged, world, spoil=spoil)
    with (
        rebuilt(staged.start, steps, "all is lost", scratch / "left") as left,
        pytest.raises((AssertionError, BundlerunError)),
    ):
        staged.check_kept(left)
