"""Submissions of a map that break off in the middle: each item ends, and none is done twice."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.calls.attach import ABANDONED_S, gone_on, opened
from bundlerun.runs.keys import part_key
from bundlerun.runs.listing import run_called
from tests.crash.calls import counted
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


def test_a_repeat_that_is_refused_for_good_fails_its_items_alone(scene: Scene, lab: Lab) -> None:
    """With both reasons; the run ends, also for who attaches and asks again."""
    remote = FileRemote(f"file://{lab.remote}")
    run = scene.map(3, memory_mib=1000, memory_factor=2)
    scene.shelf.stumble(*["refused"] * 9)
    scene.shelf.work(run.run_id, remote, failing={1: hungry})
    runs = [run, scene.workspace.attach(run.run_id)]
    for each in runs:
        first, error, third = each.results(LONG_S, return_exceptions=True)
        assert (first, third) == (0, 2)
        assert isinstance(error, errors.OutOfMemory)
        assert "2000 MiB" in error.message
        assert "takes no job of that size" in error.message
    with pytest.raises(errors.OutOfMemory):
        scene.workspace.wait(run.run_id)
    (record,) = scene.workspace.jobs(run.run_id)
    assert (record.settled, dict(record.tally)) == (True, {"failed": 1, "succeeded": 2})


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


def broken_off(lab: Lab, count: int) -> str:
    """The run of a map in another store, whose process died before its second array."""

    def submit() -> None:
        inner = scene_of(lab, "other")
        inner.shelf.stumble("", "die")
        inner.map(count)

    assert counted(submit)
    workspace = br.open(lab.path / "other", context="work")
    run_id = workspace.jobs()[0].run_id
    workspace.close()
    return run_id


def test_who_attaches_to_a_young_submit_of_another_store_learns_when_to_go_on(
    scene: Scene, lab: Lab
) -> None:
    """Its client may be submitting it still; the message has the time from which on it is not."""
    scene.workspace.close()
    run_id = broken_off(lab, 10_001)
    with pytest.raises(errors.Conflict, match="still be submitting") as raised:
        scene.workspace.attach(run_id)
    until = time.localtime(int(run_id.replace("-", "")[:12], 16) / 1000 + ABANDONED_S + 60)
    assert f"from {time.strftime('%H:%M', until)}" in (raised.value.hint or "")
    assert f"bundlerun cancel {run_id[:13]}" in (raised.value.hint or "")


def test_another_store_submits_what_a_dead_client_noted_nowhere(scene: Scene, lab: Lab) -> None:
    """Once it has waited long enough: the plan tells of the arrays that the remote lacks."""
    scene.workspace.close()
    run_id = broken_off(lab, 10_001)
    FileRemote(f"file://{lab.remote}").delete([part_key(run_id, 1)])
    scope = scene.workspace.scope.runs()
    call = gone_on(opened(run_called(run_id, scope), scope))
    assert scene.shelf.jobs(run_id) == [0, 1]
    assert sum(part.count for part in call.parts) == 10_001
    assert all(part.handle for part in call.parts)
