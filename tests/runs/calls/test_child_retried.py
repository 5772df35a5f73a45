"""A job of a call that was ended in the middle is retried: no item is lost, and none that was told
is done again."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bundlerun.futures.item_packs import packed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.runs.calls.parts import repeat_of
from bundlerun.runs.claim import claim
from bundlerun.runs.keys import Written, place_of
from tests.runs.calls.scene import Scene, is_alive, kill, mark

pytestmark = pytest.mark.heavy


def waits(number: int) -> int:
    """Note the begin; the fourth item waits for the file ``go``."""
    mark(number)
    here = Path(os.environ["HERE"])
    while number == 3 and not (here / "go").exists():
        time.sleep(0.02)
    return number * 2


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Six items, the fourth of which waits."""
    return Scene(tmp_path / "scene", waits, range(6))


def test_a_job_that_is_asked_to_end_tells_what_is_done(scene: Scene) -> None:
    """SIGTERM ends the item under way, which is told as not done; a retry does it and the rest."""
    worker = scene.child()
    scene.until(lambda: "3" in scene.begun(), worker)
    worker.terminate()
    worker.communicate(timeout=60)
    assert worker.returncode == 143
    assert [(w.first, w.items, w.failed, w.attempt) for w in scene.written()] == [(0, 3, 0, 1)]
    (scene.folder / "go").touch()
    code, _, stderr = scene.carried_out(attempt=2)
    assert code == 0, stderr
    assert scene.values() == [0, 2, 4, 6, 8, 10]
    assert [end.attempt for end in scene.ends()] == [1, 1, 1, 2, 2, 2]
    assert Counter(scene.begun()) == Counter("012345" + "3")


def test_a_job_that_is_killed_is_begun_again(scene: Scene) -> None:
    """kill -9 of the supervisor: its process ends with it, and what was not told is done again."""
    worker = scene.child()
    scene.until(lambda: "3" in scene.begun(), worker)
    kill(worker)
    assert scene.written() == []
    (scene.folder / "go").touch()
    code, _, stderr = scene.carried_out(attempt=2)
    assert code == 0, stderr
    assert scene.values() == [0, 2, 4, 6, 8, 10]
    assert Counter(scene.begun()) == Counter("0123" + "012345")


def pid_then_wait(number: int) -> int:
    """Tell the id of the process, and wait."""
    mark(os.getpid())
    time.sleep(600)
    return number


def test_nothing_goes_on_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    """The process of the items is ended by the kernel."""
    scene = Scene(tmp_path / "scene", pid_then_wait, range(2))
    worker = scene.child()
    scene.until(lambda: scene.begun() != [], worker)
    kill(worker)
    pid = int(scene.begun()[0])
    until = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_failed_for_good_is_not_done_again(tmp_path: Path) -> None:
    """An exception of the item's own is its end; a failure of the machine's is not."""
    scene = Scene(tmp_path / "scene", fails, range(4))
    told = [
        Outcome(0, 1, failure="UserError", reason="it ended its process, with exit code 1"),
        Outcome(1, 1, failure="TimedOut", reason="late"),
        Outcome(2, 1, failure="InfraError", reason="the remote did not answer"),
    ]
    leave(scene, told, scene.seal)
    code, _, stderr = retried(scene)
    assert code == 0, stderr
    assert Counter(scene.begun()) == Counter("23")
    found = scene.outcomes()
    assert [len(found[index]) for index in range(4)] == [1, 1, 2, 1]


def fails(number: int) -> int:
    """Note the begin."""
    mark(number)
    return number


def leave(
    scene: Scene, told: list[Outcome], seal: Seal, part: int = 0, places: tuple[int, ...] = ()
) -> None:
    """Write outcomes as another attempt of the job, or somebody else, does: those of other places
    where these are given."""
    failed = sum(not each.ok for each in told)
    written = Written(told[0].index, told[0].attempt, part, len(told), failed)
    entries = [seal.sealed(Sealed.OUTCOME, each.index, each.to_bytes()) for each in told]
    entries = [entries[place] for place in places] or entries
    scene.remote.put(written.key(scene.run), packed(entries))


def retried(scene: Scene) -> tuple[int, str, str]:
    """The second attempt of a job of which the first took its place, and ended."""
    claim(scene.remote, scene.run, place_of(0, 0), "job-0-None")
    return scene.carried_out(attempt=2)


@pytest.mark.parametrize("how", ["another key", "garbage", "another item", "another part"])
def test_only_what_the_run_told_counts_as_done(tmp_path: Path, how: str) -> None:
    """A key proves nothing, nor does an outcome of another item or of another part."""
    scene = Scene(tmp_path / "scene", fails, range(2))
    told = [Outcome(0, 1, value=b"v"), Outcome(1, 1, value=b"v")]
    if how == "another key":
        leave(scene, told, Seal.new())
    elif how == "garbage":
        scene.remote.put(Written(0, 1, 0, 2, 0).key(scene.run), b"garbage")
    elif how == "another item":
        leave(scene, told, scene.seal, places=(1, 0))
    else:
        leave(scene, told, scene.seal, part=7)
    code, _, stderr = retried(scene)
    assert code == 0, stderr
    assert Counter(scene.begun()) == Counter("01")


def test_another_job_does_nothing(scene: Scene) -> None:
    """The place is taken: it says whose it is, and no item begins twice."""
    worker = scene.child()
    scene.until(lambda: "3" in scene.begun(), worker)
    code, _, stderr = scene.carried_out(JOB="another")
    assert code == 5
    assert "the job job-0-None carries out run" in stderr
    (scene.folder / "go").touch()
    assert worker.wait(60) == 0
    worker.communicate()
    assert len(scene.begun()) == 6


def test_a_repeat_does_its_items_alone(tmp_path: Path) -> None:
    """A further part names them; their outcomes say that it is a further attempt."""
    scene = Scene(tmp_path / "scene", fails, range(5))
    scene.part(repeat_of(scene.run, 1, [1, 4], attempt=2, memory_mib=200))
    for index in (0, 1):
        code, _, stderr = scene.carried_out(index, part=1)
        assert code == 0, stderr
    assert [(w.first, w.attempt, w.part, w.items) for w in scene.written()] == [
        (1, 2, 1, 1),
        (4, 2, 1, 1),
    ]
    assert scene.begun() == ["1", "4"]


def patient(number: int) -> Any:
    """It does not end when it is asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mark(number)
    time.sleep(600)


def test_an_item_that_will_not_end_is_ended(tmp_path: Path) -> None:
    """The job ends within seconds, whatever the item does with signals."""
    scene = Scene(tmp_path / "scene", patient, range(1))
    worker = scene.child()
    scene.until(lambda: scene.begun() != [], worker)
    worker.terminate()
    worker.communicate(timeout=30)
    assert worker.returncode == 143
    assert scene.written() == []


def second_waits(number: int) -> int:
    """The second item waits for the file ``go``."""
    while number == 1 and not (Path(os.environ["HERE"]) / "go").exists():
        time.sleep(0.1)
    return number


@pytest.mark.slow
def test_an_outcome_does_not_wait_for_a_long_item(tmp_path: Path) -> None:
    """What is done is on the remote long before the job ends, each outcome once."""
    scene = Scene(tmp_path / "scene", second_waits, range(3))
    worker = scene.child()
    deadline = time.monotonic() + 180
    while not scene.written():
        assert worker.poll() is None, worker.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert [(w.first, w.items) for w in scene.written()] == [(0, 1)]
    (scene.folder / "go").touch()
    worker.communicate(timeout=60)
    assert scene.values() == [0, 1, 2]
    assert [(w.first, w.items) for w in scene.written()] == [(0, 1), (1, 2)]


def test_a_process_that_is_replaced_leaves_no_files(tmp_path: Path) -> None:
    """A thousand items may each end one."""
    scene = Scene(tmp_path / "scene", ends_process, range(4))
    (tmp_path / "tmp").mkdir()
    code, _, stderr = scene.carried_out(TMPDIR=str(tmp_path / "tmp"))
    assert code == 11, stderr
    folders = [len(line.split(",")) for line in scene.begun()]
    assert folders == [1, 1, 1, 1]
    assert list((tmp_path / "tmp").iterdir()) == []


def ends_process(number: int) -> None:
    """Note which folders there are for processes of items, and end this one."""
    (job,) = Path(os.environ["TMPDIR"]).glob("bundlerun-*")
    mark(",".join(path.name for path in job.iterdir()))
    os._exit(1)
