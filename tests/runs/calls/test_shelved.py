"""Maps whose jobs a test carries out itself: counts, crashes, stores that meet, hostile bytes."""

from __future__ import annotations

import concurrent.futures
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.futures.future import MapRun
from bundlerun.futures.outcome import raised_by
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.keys import gathered_key, outcomes_prefix, part_key, plan_key
from bundlerun.settings import read_settings
from tests.crash.calls import counted, killed_at
from tests.crash.staging import spread
from tests.remotes.watched import Counting
from tests.runs.calls.conftest import Lab
from tests.runs.calls.shelf import Shelf


@dataclass
class Scene:
    """A workspace whose remote is counted, and the shelf of its jobs."""

    workspace: br.Workspace
    remote: Counting
    shelf: Shelf

    def map(self, count: int, **options: Any) -> MapRun[int]:
        """A map over the numbers up to ``count``."""
        return self.workspace.map(lambda x: x, range(count), **{"backend": "Shelf", **options})

    def requests(self, *kinds: str) -> int:
        """How many requests of these kinds came since they were forgotten."""
        return sum(kind in kinds for kind, _ in self.remote.requests)


def scene_of(lab: Lab, store: str) -> Scene:
    """A store of its own, bound to the one remote, which looks like a bucket to it."""
    workspace = br.open(lab.path / store, remote=f"file://{lab.remote}", context="work")
    url = workspace.scope.context().remote_url
    assert url is not None
    remote = Counting(FileRemote(url))
    workspace.scope._remotes[url] = remote
    return Scene(workspace, remote, Shelf(read_settings()))


@pytest.fixture
def scene(lab: Lab) -> Iterator[Scene]:
    """One store."""
    made = scene_of(lab, "one")
    yield made
    made.workspace.close()


def test_a_submit_of_few_and_of_many_costs_as_many_requests(scene: Scene) -> None:
    """Twelve requests at most, whether there are 12 items or 10,001 in two arrays."""
    before = "none"
    for count, arrays in ((12, 1), (10_001, 2)):
        scene.remote.forget()
        run = scene.map(count)
        assert len(scene.shelf.jobs(run.run_id)) == arrays
        # The run before this one may be settled meanwhile.
        asked = [key for _, key in scene.remote.requests if before not in key]
        assert len(asked) <= 12, asked
        run.cancel()
        before = run.run_id


def submitted(lab: Lab, count: int, **options: Any) -> str:
    """The run of a map that a process submitted which has ended since."""

    def submit() -> None:
        scene = scene_of(lab, "one")
        scene.map(count, **options)
        scene.workspace.close()

    counted(submit)
    workspace = br.open(lab.path / "one", context="work")
    run_id = workspace.jobs()[0].run_id
    workspace.close()
    return run_id


@pytest.mark.slow
@pytest.mark.parametrize(("chunk", "most"), [(1, 10_010), (100, 101)])
def test_ten_thousand_results_are_gathered_by_few_requests(
    scene: Scene, lab: Lab, chunk: int, most: int
) -> None:
    """One an object, and one for a thousand of their keys; who attaches later needs five."""
    run_id = submitted(lab, 10_000, chunksize=chunk)
    scene.shelf.work(run_id, FileRemote(f"file://{lab.remote}"))
    scene.remote.forget()
    run = scene.workspace.attach(run_id)
    assert sum(run.results(300)) == sum(range(10_000))
    gathered = [key for _, key in scene.remote.requests if f"{run_id}/e/" in key]
    assert len(gathered) == most
    assert run.output is None
    later = scene_of(lab, "two")
    again = later.workspace.attach(run_id)
    assert sum(again.results(300)) == sum(range(10_000))
    asked = [key for _, key in later.remote.requests if key.startswith(("runs/", "r/"))]
    assert len(asked) <= 5, asked
    later.workspace.close()


@pytest.mark.heavy
def test_a_submit_is_killed_at_each_write(scene: Scene, lab: Lab) -> None:
    """Whoever attaches to what the journal knows goes on; each item is done once, by one job."""
    scene.workspace.close()

    def submit() -> None:
        inner = scene_of(lab, "one")
        inner.workspace.map(lambda x: x, range(7), backend="Shelf", chunksize=2)
        inner.workspace.close()

    total = counted(submit)
    states: set[tuple[bool, bool]] = set()
    begun = {record.run_id for record in scene.workspace.jobs()}
    scene.workspace.close()
    for number in spread(total, 24):
        ending = killed_at(submit, number)
        assert not ending.error, ending.error
        new = [r for r in scene.workspace.jobs() if r.run_id not in begun]
        assert len(new) <= 1
        for record in new:
            begun.add(record.run_id)
            states.add((record.unsent is None, bool(scene.shelf.jobs(record.run_id))))
            run = scene.workspace.attach(record.run_id)
            assert scene.shelf.jobs(record.run_id) == [0]
            scene.shelf.work(record.run_id, FileRemote(f"file://{lab.remote}"))
            assert list(run.results(60)) == list(range(7))
        scene.workspace.close()
    # Before the jobs and after them; what lies between is a moment that not each spread meets.
    assert len(states) >= 2, states


@pytest.mark.heavy
def test_waiting_for_ten_thousand_children_asks_seldom(scene: Scene) -> None:
    """As long as nothing changes, the remote is asked once, and the backend once a look."""
    run = scene.map(10_001)
    while len(scene.shelf.asked("poll")) < 10:
        concurrent.futures.wait([run[0]], 0.1)
    listed = [key for kind, key in scene.remote.requests if kind == "list" and "/e/" in key]
    assert len(listed) == 1
    polls = scene.shelf.asked("poll")
    assert all(len(poll.split()) == 2 for poll in polls)
    run.cancel()
    assert len(scene.shelf.asked("cancel")) == 2


RAISED = {"raised": raised_by(LookupError("x"))}
"""An outcome that comes as a pickle."""


@pytest.mark.heavy
def test_another_store_has_the_key_from_a_job_while_its_backend_knows_it(
    scene: Scene, lab: Lab
) -> None:
    """Pickles are opened, since their seals are right, and it settles the run."""
    run_id = submitted(lab, 2)
    other = scene_of(lab, "two")
    run = other.workspace.attach(run_id)
    scene.shelf.work(run_id, FileRemote(f"file://{lab.remote}"), failing={1: RAISED})
    found = list(run.results(60, return_exceptions=True))
    assert (found[0], type(found[1])) == (0, LookupError)
    with pytest.raises(errors.Conflict):
        _ = run.output
    with pytest.raises(errors.UserError, match="1 of 2 items failed"):
        other.workspace.wait(run_id)
    (record,) = other.workspace.jobs(run_id)
    assert (record.adopted, record.settled) == (True, True)
    other.workspace.close()


@pytest.mark.heavy
def test_where_nobody_knows_the_key_values_come_and_pickles_do_not(scene: Scene, lab: Lab) -> None:
    """They raise Untrusted; who trusts the remote says so."""
    run_id = submitted(lab, 2)
    scene.shelf.work(run_id, FileRemote(f"file://{lab.remote}"), failing={1: RAISED})
    scene.shelf.forget(run_id)
    shutil.rmtree(lab.path / "one")
    other = scene_of(lab, "two")
    found = list(other.workspace.attach(run_id).results(60, return_exceptions=True))
    assert (found[0], type(found[1])) == (0, errors.Untrusted)
    trusted = other.workspace.attach(run_id, trust=True)
    assert isinstance(trusted[1].exception(60), LookupError)
    other.workspace.close()


@pytest.mark.heavy
def test_hostile_bytes_are_opened_nowhere(scene: Scene, lab: Lab) -> None:
    """A result in another's place, another run's, nonsense at each key: the items say so, and
    nothing that the run did not write is unpickled."""
    remote = FileRemote(f"file://{lab.remote}")
    run_id, theirs = submitted(lab, 4, chunksize=1), submitted(lab, 4, chunksize=1)
    for each in (run_id, theirs):
        scene.shelf.work(each, remote, failing=dict.fromkeys(range(4), RAISED))
    mine = [entry.key for entry in remote.list(outcomes_prefix(run_id))]
    others = [entry.key for entry in remote.list(outcomes_prefix(theirs))]
    remote.put(mine[0], remote.get(mine[1]) or b"")
    remote.put(mine[1], remote.get(others[1]) or b"")
    remote.put(mine[2], b"BRP1nonsense")
    remote.put(f"{outcomes_prefix(run_id)}999999999.1.0.1.0", remote.get(mine[3]) or b"")
    remote.put(f"{outcomes_prefix(run_id)}nonsense", b"x")
    run = scene.workspace.attach(run_id)
    found = [future.exception(60) for future in run]
    assert [type(each) for each in found[:3]] == [errors.IntegrityError] * 3
    assert isinstance(found[3], LookupError)
    assert "seal" in str(found[0])


@pytest.mark.heavy
def test_a_plan_or_part_that_the_run_did_not_write_is_refused(scene: Scene, lab: Lab) -> None:
    """Also by who knows the key from a job alone."""
    remote = FileRemote(f"file://{lab.remote}")
    run_id = submitted(lab, 4)
    plan = remote.get(plan_key(run_id)) or b""
    remote.put(plan_key(run_id), plan.replace(b'"items":4', b'"items":3').replace(b"[4]", b"[3]"))
    with pytest.raises(errors.IntegrityError):
        scene.workspace.attach(run_id)
    remote.put(plan_key(run_id), plan)
    other = scene_of(lab, "two")
    remote.put(part_key(run_id, 0), b"x" * 200)
    with pytest.raises(errors.IntegrityError):
        other.workspace.attach(run_id)[0].result(10)
    other.workspace.close()


@pytest.mark.heavy
def test_what_ran_out_of_memory_goes_again_with_more(scene: Scene, lab: Lab) -> None:
    """As a new part, for who follows the run, and no more often than was asked for."""

    def hungry(memory_mib: int, value: bytes) -> dict[str, Any]:
        if memory_mib < 3000:
            return {"failure": "OutOfMemory", "reason": f"it had {memory_mib} MiB"}
        return {"value": value}

    remote = FileRemote(f"file://{lab.remote}")
    run = scene.map(4, memory_mib=1000, memory_factor=2, retries=2)
    for parts in ([0], [0, 1], [0, 1, 2]):
        while scene.shelf.jobs(run.run_id) != parts:
            concurrent.futures.wait([run[2]], 0.05)
        scene.shelf.work(run.run_id, remote, failing={2: hungry})
    assert list(run.results(60)) == [0, 1, 2, 3]
    assert run[2].attempts == 3
    (record,) = scene.workspace.jobs(run.run_id)
    shown = dict(record.facts())
    assert [part["memory_mib"] for part in record.parts] == [1000, 2000, 4000]
    assert "1 items, 4000 MiB, attempt 3 after OutOfMemory" in shown["part 2"]
    once = scene.map(1, memory_mib=100, memory_factor=2)
    for parts in ([0], [0, 1]):
        while scene.shelf.jobs(once.run_id) != parts:
            concurrent.futures.wait([once[0]], 0.05)
        scene.shelf.work(once.run_id, remote, failing={0: hungry})
    with pytest.raises(errors.OutOfMemory, match="it had 200 MiB"):
        once[0].result(60)


@pytest.mark.heavy
def test_what_ran_out_of_memory_goes_again_by_as_many_jobs_as_there_is_room_for(
    scene: Scene, lab: Lab
) -> None:
    """The rest of the items waits for them; more memory than there is, is not tried."""

    def hungry(memory_mib: int, value: bytes) -> dict[str, Any]:
        enough = {"value": value}
        return enough if memory_mib == 2000 else {"failure": "OutOfMemory", "reason": "all of it"}

    remote = FileRemote(f"file://{lab.remote}")
    (scene.shelf.folder / "room").write_text("2")
    run = scene.map(5, memory_mib=1000, memory_factor=2)
    for last in range(4):
        while scene.shelf.jobs(run.run_id) != list(range(last + 1)):
            concurrent.futures.wait([run[4]], 0.05)
        scene.shelf.work(run.run_id, remote, failing=dict.fromkeys(range(5), hungry))
    assert list(run.results(60)) == [0, 1, 2, 3, 4]
    assert [future.attempts for future in run] == [2] * 5
    (record,) = scene.workspace.jobs(run.run_id)
    assert [part["count"] for part in record.parts] == [5, 2, 2, 1]
    large = scene.map(1, memory_mib=6000, memory_factor=2)
    while scene.shelf.jobs(large.run_id) != [0]:
        concurrent.futures.wait([large[0]], 0.05)
    scene.shelf.work(large.run_id, remote, failing={0: hungry})
    with pytest.raises(errors.OutOfMemory):
        large[0].result(60)
    assert scene.shelf.jobs(large.run_id) == [0]


@pytest.mark.heavy
def test_a_child_that_wrote_nothing_fails_with_its_reason_and_last_lines(
    scene: Scene, lab: Lab
) -> None:
    """Its items alone; those of others have their results."""
    run = scene.map(3, chunksize=1)
    scene.shelf.work(run.run_id, FileRemote(f"file://{lab.remote}"), failing={1: None})
    with pytest.raises(errors.InfraError, match="Host EC2 terminated") as raised:
        run[1].result(60)
    assert "the last words of" in raised.value.evidence
    assert (run[0].result(60), run[2].result(60)) == (0, 2)


@pytest.mark.heavy
def test_results_come_although_the_job_is_forgotten(scene: Scene, lab: Lab) -> None:
    """A service keeps jobs for days; what is on the remote is what counts."""
    run_id = submitted(lab, 3, chunksize=1)
    scene.shelf.work(run_id, FileRemote(f"file://{lab.remote}"), failing={1: None})
    scene.shelf.forget(run_id)
    found = list(scene.workspace.attach(run_id).results(60, return_exceptions=True))
    assert (found[0], type(found[1]), found[2]) == (0, errors.InfraError, 2)


@pytest.mark.heavy
def test_one_item_is_cancelled_alone(scene: Scene, lab: Lab) -> None:
    """Its job is told where it has one of its own; one that it shares finds a note of it."""
    run = scene.map(3, chunksize=1)
    assert run[1].cancel()
    scene.shelf.work(run.run_id, FileRemote(f"file://{lab.remote}"))
    assert (run[0].result(60), run[2].result(60), run[1].cancelled()) == (0, 2, True)
    shared = scene.map(2, chunksize=2)
    assert shared[0].cancel()
    assert (shared[0].cancelled(), shared[1].done()) == (True, False)
    shared.cancel()


@pytest.mark.heavy
def test_the_memory_of_a_map_is_bounded(scene: Scene, lab: Lab) -> None:
    """Items are sent as they come: packs of 16 MiB are all that is held."""
    held: list[int] = []

    def items() -> Iterator[bytes]:
        for number in range(1000):
            yield random.Random(number).randbytes(40_000)
            held.append(len(list((lab.remote / "runs").glob("*/i/*"))))

    run = scene.workspace.map(len, items(), backend="Shelf")
    assert held[-1] >= 1
    run.cancel()


@pytest.mark.heavy
def test_results_come_from_a_machine_that_cannot_be_asked(scene: Scene, lab: Lab) -> None:
    """The remote tells them; the run is settled where its jobs are known."""
    run_id = submitted(lab, 3, chunksize=1)
    (scene.shelf.folder / "elsewhere").touch()
    run = scene.workspace.attach(run_id)
    concurrent.futures.wait([run[0]], 0.2)
    scene.shelf.work(run_id, FileRemote(f"file://{lab.remote}"))
    assert list(run.results(60)) == [0, 1, 2]
    with pytest.raises(errors.EngineError, match="another machine"):
        scene.workspace.wait(run_id)
    (scene.shelf.folder / "elsewhere").unlink()
    assert scene.workspace.wait(run_id).record.settled  # type: ignore[union-attr]


@pytest.mark.heavy
def test_two_processes_that_follow_repeat_an_item_once(scene: Scene, lab: Lab) -> None:
    """Who comes second finds the part of the first."""

    def hungry(memory_mib: int, value: bytes) -> dict[str, Any]:
        return {"value": value} if memory_mib > 1000 else {"failure": "OutOfMemory"}

    run_id = submitted(lab, 2, memory_mib=1000, memory_factor=2)
    other = scene_of(lab, "one")
    runs = [scene.workspace.attach(run_id), other.workspace.attach(run_id)]
    remote = FileRemote(f"file://{lab.remote}")
    scene.shelf.work(run_id, remote, failing={1: hungry})
    while 1 not in scene.shelf.jobs(run_id):
        concurrent.futures.wait([runs[0][1]], 0.05)
    concurrent.futures.wait([runs[0][1]], 1.0)
    scene.shelf.work(run_id, remote, failing={1: hungry})
    assert [list(run.results(60)) for run in runs] == [[0, 1], [0, 1]]
    assert scene.shelf.jobs(run_id) == [0, 1]
    other.workspace.close()


@pytest.mark.slow
def test_a_settle_is_killed_at_each_write(scene: Scene, lab: Lab) -> None:
    """Who waits next ends it: one bundle, on the remote, and all outcomes together."""
    remote = FileRemote(f"file://{lab.remote}")
    made = 0

    def ended() -> str:
        run_id = submitted(lab, 3, chunksize=2, output="made")
        scene.shelf.work(run_id, remote)
        return run_id

    def waiting(run_id: str) -> Callable[[], None]:
        def wait() -> None:
            inner = scene_of(lab, "one")
            inner.workspace.wait(run_id)
            inner.workspace.close()

        return wait

    scene.workspace.close()
    total = counted(waiting(ended()))
    for number in spread(total, 25):
        run_id = ended()
        ending = killed_at(waiting(run_id), number)
        assert not ending.error, ending.error
        result = scene.workspace.wait(run_id)
        assert result.output is not None
        assert (result.output.value, result.output.pushed) == ([0, 1, 2], True)
        assert result.record is not None
        assert result.record.settled
        assert remote.get(gathered_key(run_id, 0)) is not None
        versions = scene.workspace.ls("made")
        assert len(versions) == (made := made + 1) + 1
        scene.workspace.close()
