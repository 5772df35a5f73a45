"""Items that share a job are cancelled one by one: queued ones are skipped, others are ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.futures.sealing import Seal
from bundlerun.runs.calls.cancels import cancel_item
from tests.runs.calls.conftest import Lab
from tests.runs.calls.scene import Scene, mark

pytestmark = pytest.mark.heavy


def waits(number: int) -> int:
    """Note the begin; the second item waits for the file ``go``."""
    mark(number)
    while number == 1 and not (Path(os.environ["HERE"]) / "go").exists():
        time.sleep(0.02)
    return number


def test_what_was_cancelled_before_the_job_began_is_not_begun(tmp_path: Path) -> None:
    """The others are done; a job of which all else succeeded has succeeded."""
    scene = Scene(tmp_path / "scene", waits, [0, 2, 3, 4])
    for index in (0, 2):
        cancel_item(scene.remote, scene.run, index, scene.seal)
    code, _, stderr = scene.carried_out()
    assert code == 0, stderr
    assert [end.failure for end in scene.ends()] == ["Cancelled", None, "Cancelled", None]
    assert scene.begun() == ["2", "4"]
    assert scene.ends()[0].reason == "it was cancelled before it began"


def test_an_item_under_way_is_ended_alone(tmp_path: Path) -> None:
    """The job hears of it within seconds, and goes on with the next item."""
    scene = Scene(tmp_path / "scene", waits, range(4))
    worker = scene.child()
    scene.until(lambda: "1" in scene.begun(), worker)
    cancel_item(scene.remote, scene.run, 1, scene.seal)
    cancel_item(scene.remote, scene.run, 3, scene.seal)
    _, stderr = worker.communicate(timeout=120)
    assert worker.returncode == 0, stderr
    ends = scene.ends()
    assert [end.failure for end in ends] == [None, "Cancelled", None, "Cancelled"]
    assert ends[1].reason == "it was cancelled while it was under way"
    assert scene.begun() == ["0", "1", "2"]


def test_only_who_has_the_key_cancels(tmp_path: Path) -> None:
    """And what was said of one item does not cancel another."""
    scene = Scene(tmp_path / "scene", waits, [0, 2, 3])
    cancel_item(scene.remote, scene.run, 0, Seal.new())
    cancel_item(scene.remote, scene.run, 7, scene.seal)
    scene.remote.put(f"runs/{scene.run}/c/more", b"")
    data = scene.remote.get(f"runs/{scene.run}/c/000000007") or b""
    scene.remote.put(f"runs/{scene.run}/c/000000001", data)
    code, _, stderr = scene.carried_out()
    assert code == 0, stderr
    assert scene.values() == [0, 2, 3]


@pytest.mark.slow
def test_a_future_of_a_shared_job_is_cancelled(lab: Lab) -> None:
    """Under way or not begun: the job's other items are done."""
    from lab import model  # type: ignore[import-not-found]

    items = [600, 0, 600, 1]
    run = br.map(model.sleeps, items, backend="Processes", chunksize=len(items))
    assert run[2].cancel()
    assert run[0].cancel()
    assert [run[index].result(60) for index in (1, 3)] == [0, 1]
    assert [future.cancelled() for future in run] == [True, False, True, False]
    with pytest.raises(br.errors.Cancelled):
        br.wait(run.run_id)
    (record,) = br.jobs(run.run_id)
    assert dict(record.tally) == {"succeeded": 2, "cancelled": 2}
