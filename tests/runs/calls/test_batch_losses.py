"""Maps on AWS Batch that lose their journal, their jobs or their queue: what is written counts."""

from __future__ import annotations

import concurrent.futures
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bundlerun import errors
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.base import Pace
from tests.crash.calls import counted
from tests.runs.calls.conftest import Lab
from tests.runs.calls.queued import Queued, queued

pytestmark = pytest.mark.heavy

LONG_S = 60


@pytest.fixture
def queue(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    """A queue that is looked at often, whose arrays have ten jobs at most."""
    often = replace(AWSBatch.traits, largest_array=10, pace=Pace(first_s=0.05, most_s=0.5))
    monkeypatch.setattr(AWSBatch, "traits", often)
    with queued(lab.path, monkeypatch) as found:
        yield found


def ended(queue: Queued, count: int) -> str:
    """The run of a map whose jobs have ended, and whose program before them."""

    told = queue.path / "run"

    def submit() -> None:
        workspace = queue.workspace()
        told.write_text(queue.map(workspace, count).run_id)
        workspace.close()

    queue.workspace().close()
    counted(submit)
    queue.until_idle()
    return told.read_text()


def test_a_run_outlives_its_journal_and_its_jobs(queue: Queued) -> None:
    """Without the journal a job tells the key; without both the results come all the same, and of
    a job that left none nobody knows why."""
    queue.machines.failing = {1: None}
    run_id = ended(queue, 3)
    shutil.rmtree(queue.path / "one")
    first, second = queue.workspace("one"), queue.workspace("two")
    found = list(first.attach(run_id).results(LONG_S, return_exceptions=True))
    assert (found[0], type(found[1]), found[2]) == (0, errors.UserError, 2)
    (handle,) = first.jobs(run_id)[0].handles
    queue.aws.batch.jobs.forget(handle.id)
    found = list(second.attach(run_id).results(LONG_S, return_exceptions=True))
    assert (found[0], type(found[1]), found[2]) == (0, errors.UserError, 2)
    first.close()
    second.close()


@pytest.mark.parametrize("store", ["one", "two"])
def test_a_run_whose_jobs_are_forgotten_is_attached_to(queue: Queued, store: str) -> None:
    """By the store that submitted it and by another one: what was written counts, and the rest is
    lost."""
    queue.machines.failing = {1: None}
    run_id = ended(queue, 3)
    for job in queue.aws.batch.jobs.among(lambda job: job.parent is None):
        queue.aws.batch.jobs.forget(job.id)
    workspace = queue.workspace(store)
    run = workspace.attach(run_id)
    found = list(run.results(LONG_S, return_exceptions=True))
    assert (found[0], type(found[1]), found[2]) == (0, errors.InfraError, 2)
    assert "does not know the job any more" in str(found[1])
    with pytest.raises(errors.InfraError, match="1 of 3"):
        workspace.wait(run_id)
    workspace.close()


def test_a_queue_is_deleted_while_a_map_runs(queue: Queued) -> None:
    """What was done is kept, the rest is over and says why, and the next map is told at once."""
    queue.machines.go.clear()
    queue.machines.held = frozenset({1})
    workspace = queue.workspace()
    run = queue.map(workspace, 4, chunksize=2)
    assert [run[0].result(LONG_S), run[1].result(LONG_S)] == [0, 1]
    client, name = queue.aws.client, queue.aws.queue
    client.update_job_queue(jobQueue=name, state="DISABLED")
    client.delete_job_queue(jobQueue=name)
    for future in (run[2], run[3]):
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(LONG_S)
    with pytest.raises(errors.Cancelled, match="2 of 4 items"):
        workspace.wait(run.run_id)
    assert any("was deleted" in line for line in workspace.logs(f"{run.run_id}:2"))
    again = queue.workspace("two")
    assert list(again.attach(run.run_id).results(LONG_S, return_exceptions=True))[:2] == [0, 1]
    again.close()
    with pytest.raises(errors.CloudError, match=f"Job queue {name} does not exist"):
        queue.map(workspace, 2)
    workspace.close()


def test_a_generator_that_raises_in_the_middle_submits_nothing(queue: Queued) -> None:
    """And leaves nothing in the bucket."""

    def items() -> Iterator[int]:
        yield from range(5)
        raise LookupError("no more")

    workspace = queue.workspace()
    before = len(list(queue.machines.remote.list("")))
    with pytest.raises(LookupError):
        workspace.map(abs, items(), backend="AWSBatch", image="any")
    assert (workspace.jobs(), queue.aws.batch.calls("SubmitJob")) == ([], 0)
    assert len(list(queue.machines.remote.list(""))) == before
    workspace.close()


@pytest.mark.parametrize("count", [0, 1, 2, 101, 10_001])
def test_any_number_of_items_comes_home(queue: Queued, count: int) -> None:
    """None, a plain job, one array, two arrays; ten thousand are dealt over their jobs."""
    workspace = queue.workspace()
    run = queue.map(workspace, count, chunksize=max(1, count // 10))
    assert list(run.results(LONG_S)) == list(range(count))
    assert len(queue.jobs(run.run_id)) == (0 if not count else 1 if count < 101 else 2)
    assert set(queue.machines.begun.values()) <= {1}
    workspace.close()
