"""A settling that is killed at any of its writes is taken up by whoever looks next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import bundlerun as br
from bundlerun.backends.job import Failure, JobState, JobStatus
from bundlerun.runs.record import RunRecord
from tests.crash.calls import counted, killed_at
from tests.crash.staging import spread
from tests.runs.conftest import stage as stage  # a fixture
from tests.runs.scripted import Stage

KILLS = 40

KILLED = JobStatus(JobState.FAILED, Failure.OUT_OF_MEMORY, "at its limit")


def settling(run_id: str) -> Callable[[], None]:
    """One look at the run, for a child: it opens the store itself."""

    def act() -> None:
        workspace = br.open(context="work")
        workspace.jobs(run_id)
        workspace.close()

    return act


def succeeds(stage: Stage, record: RunRecord) -> None:
    """The job does what it promised."""
    stage.succeed(record, record.output)


def dies(stage: Stage, record: RunRecord) -> None:
    """The job is killed from outside, and leaves nothing: the backend alone knows why."""
    stage.backend.script(record.run_id, KILLED)


@pytest.mark.parametrize("end", [succeeds, dies])
def test_a_settling_is_killed_at_each_write(
    stage: Stage, end: Callable[[Stage, RunRecord], None]
) -> None:
    """What became of the run is told as if nothing had happened, also where the engine has
    forgotten the job by then; and nothing of it is left."""
    workspace = stage.workspace

    def ended(output: str) -> RunRecord:
        record = stage.submit(output)
        end(stage, record)
        workspace.close()
        return record

    total = counted(settling(ended("counted").run_id))
    for number in spread(total, KILLS):
        record = ended(f"out{number}")
        ending = killed_at(settling(record.run_id), number)
        assert not ending.error, ending.error
        workspace.jobs(record.run_id)
        kept = workspace.jobs(record.run_id)[0]
        assert kept.settled, (number, kept)
        if end is succeeds:
            assert workspace.get(workspace.wait(record.run_id).output) == record.output
        assert kept.failure == (None if end is succeeds else "OutOfMemory"), (number, kept)
        assert stage.backend.find(record.run_id, "") is None
        assert not (workspace.scope.store.path / "staging" / record.run_id).exists()
