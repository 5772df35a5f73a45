"""A map is settled soon after its last result, by whoever looks, and its jobs are released."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

import bundlerun as br
from bundlerun.remotes.folder import FileRemote
from tests.crash.calls import counted, killed_at
from tests.crash.staging import spread
from tests.runs.calls.conftest import Lab
from tests.runs.calls.test_shelved import Scene, scene_of, submitted

pytestmark = pytest.mark.heavy

LONG_S = 60


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    """One store."""
    made = scene_of(lab, "one")
    yield made
    made.workspace.close()


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_follower_settles_within_three_looks(scene: Scene, lab: Lab, chunk: int) -> None:
    """Of those that follow the end of the jobs; then nothing is asked any more."""
    run = scene.map(6, chunksize=chunk)
    concurrent.futures.wait([run[0]], 0.3)
    scene.shelf.work(run.run_id, FileRemote(f"file://{lab.remote}"))
    assert list(run.results(LONG_S)) == list(range(6))
    before = len(scene.shelf.asked("poll"))
    while not scene.shelf.asked("release"):
        concurrent.futures.wait([run[0]], 0.01)
        assert len(scene.shelf.asked("poll")) - before <= 3
    concurrent.futures.wait(run, LONG_S)
    (record,) = scene.workspace.jobs(run.run_id)
    assert (record.state.value, dict(record.tally)) == ("succeeded", {"succeeded": 6})


def test_one_look_at_the_runs_settles_what_a_program_left_behind_its_results(
    scene: Scene, lab: Lab
) -> None:
    """It ended right behind its last result: the jobs are released by `jobs` alone."""
    scene.workspace.close()

    def program() -> None:
        inner = scene_of(lab, "one")
        run = inner.map(4, chunksize=2)
        inner.shelf.work(run.run_id, FileRemote(f"file://{lab.remote}"))
        assert list(run.results(LONG_S)) == list(range(4))
        os._exit(0)

    assert counted(program)
    (record,) = scene.workspace.jobs()
    assert (record.state.value, record.settled) == ("succeeded", True)
    assert scene.shelf.asked("release") == [f"{record.run_id}.0"]


def test_a_look_that_is_killed_at_each_write_is_ended_by_the_next(scene: Scene, lab: Lab) -> None:
    """`jobs` settles what `jobs` began to settle, and releases its job."""
    remote = FileRemote(f"file://{lab.remote}")

    def ended() -> str:
        run_id = submitted(lab, 3, chunksize=2, output="made")
        scene.shelf.work(run_id, remote)
        return run_id

    def look() -> None:
        inner = scene_of(lab, "one")
        inner.workspace.jobs()
        inner.workspace.close()

    scene.workspace.close()
    ended()
    total = counted(look)
    for number in spread(total, 12):
        run_id = ended()
        ending = killed_at(look, number)
        assert not ending.error, ending.error
        (record,) = scene.workspace.jobs(run_id)
        assert (record.state.value, record.settled) == ("succeeded", True)
        assert f"{run_id}.0" in scene.shelf.asked("release")
        output = scene.workspace.wait(run_id).output
        assert output is not None
        assert output.value == [0, 1, 2]
        scene.workspace.close()


def test_a_program_that_ends_behind_its_results_has_settled_its_run(lab: Lab) -> None:
    """Where jobs leave something on this machine: no look at the runs comes after it."""
    program = """
    import bundlerun as br
    from lab import model

    print(list(br.map(model.double, range(4), backend="Processes").results(60)))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LONG_S)
    assert done.stdout == "[0, 2, 4, 6]\n", done
    scope = br.open(None, None, "work").scope
    assert scope.store.journal.unsettled(scope.context()) == []
