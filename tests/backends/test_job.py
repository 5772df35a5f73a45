"""A handle as it comes from elsewhere, and the state of an array by its jobs."""

from __future__ import annotations

import pytest

from bundlerun.backends.job import (
    JobHandle,
    JobState,
    JobStatus,
    reason_of_array,
    state_of_array,
)
from bundlerun.errors import UsageError

Q, B, R, S, F, C, L = (
    JobState.QUEUED,
    JobState.STARTING,
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.LOST,
)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ({Q: 3}, Q),
        ({Q: 2, B: 1}, B),
        ({Q: 2, R: 1}, R),
        ({Q: 2, S: 1}, R),
        ({B: 1, F: 2}, R),
        ({Q: 1, L: 2}, R),
        ({S: 3, Q: 0}, S),
        ({S: 2, F: 1}, F),
        ({S: 2, L: 1}, F),
        ({C: 1, F: 1, S: 1}, F),
        ({S: 2, C: 1}, C),
        ({L: 3}, L),
    ],
)
def test_an_array_runs_from_the_first_job_that_begins_to_the_last_that_ends(
    states: dict[JobState, int], state: JobState
) -> None:
    """Success is that of all; a loss of some is a failure of the whole."""
    assert state_of_array(states) is state


def test_an_array_without_success_says_how_many_jobs_had_none() -> None:
    """In the words of the states."""
    assert reason_of_array({S: 2, F: 1, L: 3}) == "of 6 jobs: 1 failed, 3 lost"
    assert reason_of_array({S: 2}) == ""


@pytest.mark.parametrize(
    "lie", [{"array": 10**9}, {"array": 0}, {"part": -1}, {"array": "3"}, {"part": True}]
)
def test_a_handle_with_impossible_numbers_is_not_believed(lie: dict[str, object]) -> None:
    """It may come from a remote: nobody counts to a thousand million for it."""
    with pytest.raises(ValueError, match="a handle with"):
        JobHandle.from_json({"backend": "b", "id": "i", "run_id": "r", **lie})


def test_the_jobs_that_are_meant_are_one_or_all() -> None:
    """One that is not there is refused."""
    handle = JobHandle("b", "i", "r", array=3)
    assert list(handle.indices()) == [0, 1, 2]
    assert list(handle.indices(2)) == [2]
    with pytest.raises(UsageError, match="0 to 2, not 3"):
        handle.indices(3)


def test_a_status_with_a_tally_is_compared_by_it_and_can_be_kept_in_a_set() -> None:
    """Two looks that differ by it alone are two."""
    looks = {JobStatus(R, tally={R: 1}), JobStatus(R, tally={R: 2}), JobStatus(R, tally={R: 1})}
    assert len(looks) == 2
