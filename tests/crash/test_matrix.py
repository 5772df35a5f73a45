"""A process that is killed at any of its writes leaves every bundle whole, or not there at all.

Each test forks a child that carries out one verb and kills it with SIGKILL before one of its
writing calls, one child for each call; the store, and the remote as a machine sees it that has
nothing, are looked over after each; then the same verb is carried out again and has to end as if
nothing had happened.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.remotes.base import Remote
from tests.crash.calls import counted, killed_at, watched
from tests.crash.scene import S3Place
from tests.crash.staging import Stage, spread
from tests.crash.verbs import LOCAL, REMOTE, Verb
from tests.remotes.watched import Counting

ON_FILE = 40
ON_S3 = 8
"""At most so many kills a verb; those in between are left out evenly."""

HEAVY = {"add-much": 24, "push-huge": 24}
"""Verbs with many megabytes: at most so many kills."""


ON_A_SERVER = pytest.param("s3", marks=[pytest.mark.service, pytest.mark.s3, pytest.mark.slow])


def kill_everywhere(stage: Stage, folder: Path, most: int, s3: S3Place | None = None) -> int:
    """Kill the verb at ``most`` of its calls, evenly; how many there were."""
    total = counted(stage.act(stage.start.copy(folder / "counted", s3)))
    done = 0
    for place, number in enumerate(spread(total, most)):
        world = stage.start.copy(folder / f"at-{number}", s3)
        ending = killed_at(stage.act(world), number)
        assert not ending.error, ending.error
        done += ending.killed
        stage.check_between(world)
        # On a server a whole proof takes its time.
        stage.check_done(world, prove_remote=s3 is None or place % 4 == 0)
        shutil.rmtree(world.folder)
    return done


@pytest.mark.parametrize("verb", LOCAL, ids=lambda verb: verb.name)
def test_a_verb_on_a_store_is_killed_at_each_write(
    stage: Callable[[Verb], Stage], verb: Verb, scratch: Path
) -> None:
    """The store is whole, and the verb can be repeated."""
    most = HEAVY.get(verb.name, ON_FILE)
    assert kill_everywhere(stage(verb), scratch, most) >= verb.kills


@pytest.mark.parametrize("verb", REMOTE, ids=lambda verb: verb.name)
def test_a_verb_with_a_folder_is_killed_at_each_write(
    stage: Callable[[Verb], Stage], verb: Verb, scratch: Path
) -> None:
    """Store and remote are whole, and the verb can be repeated."""
    most = HEAVY.get(verb.name, ON_FILE)
    assert kill_everywhere(stage(verb), scratch, most) >= verb.kills


@pytest.mark.slow
@pytest.mark.parametrize("verb", REMOTE, ids=lambda verb: verb.name)
def test_a_verb_with_s3_is_killed_at_each_write(
    stage: Callable[[Verb], Stage], verb: Verb, scratch: Path, s3_place: S3Place
) -> None:
    """What is sent counts as a write: a request is cut between its head and its body too."""
    # Threads meet in another order each time, so the last numbers may not be reached.
    assert kill_everywhere(stage(verb), scratch, ON_S3, s3_place) >= ON_S3 - 2


def test_the_kills_are_many() -> None:
    """At least 300, over stores, folders and S3; each test above asserts its share."""
    on_files = sum(verb.kills for verb in (*LOCAL, *REMOTE))
    assert on_files + len(REMOTE) * (ON_S3 - 2) >= 500


class Dying(Counting):
    """Kills its process once the remote has carried the ``number``-th write out."""

    def __init__(self, inner: Remote, number: int) -> None:
        super().__init__(inner)
        self.left = number

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in WRITES:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = found(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


WRITES = frozenset(
    {"put", "put_file", "put_new", "begin", "put_part", "complete", "abort", "delete", "discard"}
)


@pytest.mark.parametrize("name", ["push", "push-huge", "push-tags"])
@pytest.mark.parametrize("kind", ["file", ON_A_SERVER])
def test_a_push_dies_after_each_of_its_writes_was_carried_out(
    request: pytest.FixtureRequest,
    stage: Callable[[Verb], Stage],
    scratch: Path,
    kind: str,
    name: str,
) -> None:
    """The remote did it and nobody heard: the next push finds its own work."""
    s3 = request.getfixturevalue("s3_place") if kind == "s3" else None
    (verb,) = (verb for verb in REMOTE if verb.name == name)
    staged = stage(verb)
    number, alive = 0, True
    while alive or number == 0:
        number += 1
        world = staged.start.copy(scratch / f"after-{number}", s3)
        remote = Dying(world.remote(in_child=True), number)
        ending = watched(staged.act(world, remote), lambda call: True)
        alive = "status 9" in ending.error
        assert alive or not ending.error, ending.error
        staged.check_between(world)
        staged.check_done(world, prove_remote=s3 is None)
        shutil.rmtree(world.folder)
    assert number - 1 >= (1 if name == "push-tags" else 3)
