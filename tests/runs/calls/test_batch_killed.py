"""A client that is killed while it submits to AWS Batch: whoever attaches goes on, and each item is
done once, by one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.base import Pace
from bundlerun.runs.calls.attach import gone_on, opened
from bundlerun.runs.listing import run_called
from tests.crash.calls import Call, killed_at, watched
from tests.crash.staging import spread
from tests.runs.calls.conftest import Lab
from tests.runs.calls.queued import Queued, queued

pytestmark = pytest.mark.heavy

ITEMS, ARRAYS = 4, 2
EACH = 5
"""Kills between two submissions."""

LONG_S = 60


@pytest.fixture
def queue(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    """A queue whose arrays have two jobs at most, as AWS's have 10,000."""
    short = replace(AWSBatch.traits, largest_array=2, pace=Pace(first_s=0.05, most_s=0.5))
    monkeypatch.setattr(AWSBatch, "traits", short)
    with queued(lab.path, monkeypatch) as found:
        yield found


def moments(queue: Queued, submit: Callable[[], None]) -> list[int]:
    """The writes of ``submit`` at which it is killed: some before its first SubmitJob, and some
    behind each."""
    phases: list[int] = []
    before = queue.aws.batch.calls("SubmitJob")

    def may(call: Call) -> bool:
        phases.append(queue.aws.batch.calls("SubmitJob") - before)
        return True

    ending = watched(submit, may)
    assert not ending.error, ending.error
    assert set(phases) == set(range(ARRAYS + 1))
    found = []
    for phase in range(ARRAYS + 1):
        numbers = [number for number, at in enumerate(phases, 1) if at == phase]
        found += [numbers[place - 1] for place in spread(len(numbers), EACH)]
    return found


def taken_up(run_id: str, workspace: br.Workspace) -> bool:
    """Whether a store without the run's journal could submit the rest, once its client is taken for
    dead; if it cannot, it says whose turn it is."""
    scope = workspace.scope.runs()
    try:
        call = opened(run_called(run_id, scope), scope)
    except errors.RunNotFound:
        return False
    if call.seal is not None:
        return all(part.handle for part in gone_on(call).parts)
    with pytest.raises(errors.Conflict, match="its key"):
        workspace.attach(run_id)
    return False


def test_a_submit_to_a_queue_is_killed_at_each_write(queue: Queued) -> None:
    """The store that submitted goes on, and another one does that was told nothing: no item is
    lost, none is begun twice, and no array is submitted a second time."""

    def submit() -> None:
        workspace = queue.workspace()
        queue.map(workspace, ITEMS)
        workspace.close()

    for store in ("one", "two"):
        queue.workspace(store).close()
    numbers = moments(queue, submit)
    workspace = queue.workspace()
    known = {record.run_id for record in workspace.jobs()}
    workspace.close()
    taken, seen = 0, set()
    for place, number in enumerate(numbers):
        queue.until_idle()
        ending = killed_at(submit, number)
        assert not ending.error, ending.error
        workspace = queue.workspace()
        for record in [r for r in workspace.jobs() if r.run_id not in known]:
            run_id = record.run_id
            known.add(run_id)
            seen.add(len(queue.jobs(run_id)))
            if place % 2:
                other = queue.workspace("two")
                if taken_up(run_id, other):
                    taken += 1
                    assert list(other.attach(run_id).results(LONG_S)) == list(range(ITEMS))
                    other.wait(run_id)
                other.close()
            assert list(workspace.attach(run_id).results(LONG_S)) == list(range(ITEMS))
            workspace.wait(run_id)
            assert len(queue.jobs(run_id)) == ARRAYS, (number, queue.jobs(run_id))
            assert {queue.machines.begun[run_id, index] for index in range(ITEMS)} == {1}
        workspace.close()
    assert queue.machines.idle == 0
    assert {run_id for run_id, _ in queue.machines.begun} == known
    assert seen == set(range(ARRAYS + 1))
    assert taken >= EACH // 2, taken
