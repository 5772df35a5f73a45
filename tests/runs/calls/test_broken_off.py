"""Submissions of a map that break off in the middle: each item ends, and none is done twice."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import pytest

from bundlerun import errors
from bundlerun.remotes.folder import FileRemote
from tests.runs.calls.conftest import Lab
from tests.runs.calls.test_shelved import Scene, scene_of

pytestmark = pytest.mark.heavy

LONG_S = 60


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    """One store."""
    made = scene_of(lab, "one")
    yield made
    made.workspace.close()


def hungry(memory_mib: int, value: bytes) -> dict[str, Any]:
    """The outcome of an item that needs 2,000 MiB."""
    return {"value": value} if memory_mib >= 2000 else {"failure": "OutOfMemory"}


@pytest.mark.parametrize("fates", [("before", "before"), ("after",), ("after", "before")])
def test_a_repeat_whose_submit_stumbles_is_submitted_later(
    scene: Scene, lab: Lab, fates: tuple[str, ...]
) -> None:
    """A job that is there although the answer was lost is found and not submitted again."""
    remote = FileRemote(f"file://{lab.remote}")
    run = scene.map(3, memory_mib=1000, memory_factor=2)
    scene.shelf.stumble(*fates)
    scene.shelf.work(run.run_id, remote, failing={1: hungry})
    for _ in range(10 * LONG_S):
        concurrent.futures.wait([run[1]], 0.1)
        if len(scene.workspace.jobs(run.run_id)[0].handles) == 2:
            break
    scene.shelf.work(run.run_id, remote, failing={1: hungry})
    assert list(run.results(LONG_S)) == [0, 1, 2]
    asked = scene.shelf.asked("submit").count(f"{run.run_id}.1")
    assert asked == 1 + fates.count("before") - (fates == ("after", "before"))


def test_a_map_that_is_cancelled_half_submitted_comes_to_its_end(scene: Scene, lab: Lab) -> None:
    """For who attaches, for `wait` and for `jobs`; its second array is never submitted."""
    scene.shelf.stumble("", "before")
    with pytest.raises(errors.EngineError, match="too busy"):
        scene.map(10_001)
    (record,) = scene.workspace.jobs()
    scene.workspace.cancel(record.run_id)
    run = scene.workspace.attach(record.run_id)
    for index in (0, 10_000):
        with pytest.raises(concurrent.futures.CancelledError):
            run[index].result(LONG_S)
    with pytest.raises(errors.Cancelled, match="10001 of 10001 items"):
        scene.workspace.wait(record.run_id)
    assert scene.shelf.jobs(record.run_id) == [0]
    (record,) = scene.workspace.jobs(record.run_id)
    assert record.settled
