"""What every backend promises of arrays, and of the submissions of one run, shown by jobs that
really run."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from bundlerun.backends.job import Failure, JobHandle, JobSpec, JobState, JobStatus
from bundlerun.errors import UsageError
from tests.backends.harness import Harness

pytestmark = pytest.mark.xdist_group("engine")

SLEEPS = "import time; print('on'); time.sleep(50)"


def array(harness: Harness, program: str, size: int = 3, **changes: Any) -> JobSpec:
    """An array of jobs that run ``program``, in which INDEX is each one's own."""
    name = harness.backend().traits.tells.index
    return harness.spec(
        f"import os; INDEX = int(os.environ[{name!r}])\n{program}", **changes, array=size
    )


def counted(harness: Harness, handle: JobHandle) -> dict[JobState, int]:
    """The tally, with the cancelled among the failed where the backend does not tell them apart."""
    tally = dict(harness.backend().poll([handle])[handle.id].tally or {})
    if harness.counts_cancelled:
        return tally
    lost = tally.pop(JobState.CANCELLED, 0) + tally.pop(JobState.FAILED, 0)
    return {**tally, JobState.FAILED: lost} if lost else tally


def until_running(harness: Harness, handle: JobHandle, count: int) -> JobStatus:
    """The first look by which so many jobs of the array run."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        status = harness.backend().poll([handle])[handle.id]
        if (status.tally or {}).get(JobState.RUNNING, 0) >= count:
            return status
        assert not status.state.final, status
        time.sleep(0.1)
    pytest.fail(f"{count} jobs of the array never ran at once: {status}")


def test_each_job_of_an_array_is_told_its_index(harness: Harness) -> None:
    """From 0; each has a log of its own, and all of them in the order of the indices one."""
    handle = harness.submit(array(harness, "print('I am', INDEX)"))
    status = harness.end(handle)
    assert (status.state, status.failure) == (JobState.SUCCEEDED, None)
    assert counted(harness, handle) == {JobState.SUCCEEDED: 3}
    backend = harness.backend()
    said = [list(backend.logs(handle, index=index)) for index in range(3)]
    assert said == [["I am 0"], ["I am 1"], ["I am 2"]]
    assert list(backend.logs(handle)) == ["I am 0", "I am 1", "I am 2"]
    assert backend.failed(handle) == {}


def test_one_job_alone_is_told_no_index(harness: Harness) -> None:
    """An array of one is a plain job, whose index is 0 for those who ask for it."""
    name = harness.backend().traits.tells.index
    handle = harness.submit(harness.spec(f"import os; print(os.environ.get({name!r}))"))
    status = harness.end(handle)
    assert (status.state, status.tally, handle.array) == (JobState.SUCCEEDED, None, 1)
    assert list(harness.backend().logs(handle, index=0)) == ["None"]
    assert harness.backend().failed(handle) == {}


def test_a_failed_job_of_an_array_is_named_with_its_reason(harness: Harness) -> None:
    """The others succeed, the array fails, and which job failed, and how, is told."""
    handle = harness.submit(array(harness, "raise SystemExit(7 if INDEX == 1 else 0)"))
    status = harness.end(handle)
    assert status.state is JobState.FAILED
    assert counted(harness, handle) == {JobState.SUCCEEDED: 2, JobState.FAILED: 1}
    failed = harness.backend().failed(handle)
    assert list(failed) == [1]
    assert failed[1].state is JobState.FAILED
    assert (failed[1].failure, failed[1].exit_code) == (Failure.USER_ERROR, 7)


def test_a_failed_single_job_is_the_one_at_0(harness: Harness) -> None:
    """Whoever asks for the failed need not know whether it was an array."""
    handle = harness.submit(harness.spec("raise SystemExit(7)"))
    status = harness.end(handle)
    assert harness.backend().failed(handle) == {0: status}


def test_the_time_limit_of_an_array_is_that_of_each_job(harness: Harness) -> None:
    """One that runs longer is ended, the others are not."""
    program = "import time; time.sleep(50 if INDEX == 2 else 0)"
    handle = harness.submit(array(harness, program, timeout_s=3))
    assert harness.end(handle).state is JobState.FAILED
    failed = harness.backend().failed(handle)
    assert {index: status.failure for index, status in failed.items()} == {2: Failure.TIMED_OUT}


def test_one_job_of_an_array_is_cancelled_alone(harness: Harness) -> None:
    """The others go on to their end."""
    program = "import time\nprint('on', flush=True)\ntime.sleep(50 if INDEX == 0 else 4)"
    handle = harness.submit(array(harness, program, 2))
    until_running(harness, handle, 2)
    harness.backend().cancel(handle, "no longer needed", index=0)
    status = harness.end(handle)
    assert status.state in (JobState.CANCELLED, JobState.FAILED)
    lost = JobState.CANCELLED if harness.counts_cancelled else JobState.FAILED
    assert counted(harness, handle) == {JobState.SUCCEEDED: 1, lost: 1}
    failed = harness.backend().failed(handle)
    assert {n: one.failure for n, one in failed.items()} == {0: Failure.CANCELLED}


def test_a_whole_array_is_cancelled_by_one_call(harness: Harness) -> None:
    """All of its jobs end soon, and say why."""
    handle = harness.submit(array(harness, SLEEPS))
    until_running(harness, handle, 1)
    began_s = time.monotonic()
    harness.backend().cancel(handle, "no longer needed")
    status = harness.end(handle)
    assert (status.state, status.failure) == (JobState.CANCELLED, Failure.CANCELLED)
    failed = harness.backend().failed(handle)
    assert {n: one.state for n, one in failed.items()} == dict.fromkeys(
        range(3), JobState.CANCELLED
    )
    assert time.monotonic() - began_s < 40
    harness.backend().cancel(handle, "too late")
    assert harness.end(handle) == status


def test_the_log_of_one_job_is_followed_to_its_end(harness: Harness) -> None:
    """Whatever the others do."""
    program = "import time\nfor n in range(3): print(INDEX, n); time.sleep(0.3)"
    handle = harness.submit(array(harness, program, 2))
    said = list(harness.backend().logs(handle, index=1, follow=True))
    assert said == ["1 0", "1 1", "1 2"]
    assert harness.end(handle).state is JobState.SUCCEEDED


def test_an_index_that_an_array_does_not_have_is_refused(harness: Harness) -> None:
    """Neither another job's log nor no word."""
    handle = harness.submit(array(harness, "", 2))
    for at in (-1, 2):
        with pytest.raises(UsageError, match="jobs 0 to 1"):
            list(harness.backend().logs(handle, index=at))
        with pytest.raises(UsageError, match="jobs 0 to 1"):
            harness.backend().cancel(handle, "", index=at)


def test_a_handle_of_an_array_survives_as_json(harness: Harness) -> None:
    """Size and part included."""
    handle = harness.submit(array(harness, "print(INDEX)", 2, part=4))
    again = JobHandle.from_json(json.loads(json.dumps(handle.to_json())))
    assert again == handle
    assert (again.array, again.part) == (2, 4)
    assert harness.end(again).state is JobState.SUCCEEDED


def test_the_parts_of_a_run_are_found_again_by_their_numbers(harness: Harness) -> None:
    """Each is a job or an array of its own; what was not submitted is not found."""
    first = array(harness, "print('first', INDEX)", 2)
    second = replace(harness.spec("print('second')"), run_id=first.run_id, part=1)
    handles = [harness.submit(first), harness.submit(second)]
    backend = harness.backend()
    for part, handle in enumerate(handles):
        assert backend.find(first.run_id, first.name, part) == handle
        assert harness.end(handle).state is JobState.SUCCEEDED
    assert backend.find(first.run_id, first.name, 2) is None
    assert list(backend.logs(handles[0])) == ["first 0", "first 1"]
    assert list(backend.logs(handles[1])) == ["second"]
    backend.release(handles[0])
    assert list(backend.logs(handles[1])) == ["second"]


def test_an_array_whose_client_died_is_submitted_again_and_goes_on(harness: Harness) -> None:
    """What runs already is not started a second time."""
    spec = array(harness, "import time; print('job', INDEX); time.sleep(1)")
    harness.submit_half(spec)
    handle = harness.backend().find(spec.run_id, spec.name) or harness.submit(spec)
    harness.handles.append(handle)
    assert harness.end(handle).state is JobState.SUCCEEDED
    assert list(harness.backend().logs(handle)) == ["job 0", "job 1", "job 2"]


def test_one_look_tells_of_jobs_and_arrays(harness: Harness) -> None:
    """Each by its own handle."""
    handles = [harness.submit(array(harness, "", 2)), harness.submit(harness.spec(""))]
    handles.append(harness.submit(array(harness, "raise SystemExit(INDEX)", 2)))
    for handle in handles:
        harness.end(handle)
    looks = harness.backend().poll(handles)
    S, F = JobState.SUCCEEDED, JobState.FAILED
    assert [looks[handle.id].state for handle in handles] == [S, S, F]
    assert [looks[handle.id].tally for handle in handles] == [{S: 2}, None, {S: 1, F: 1}]


def test_a_released_array_leaves_nothing_to_look_at(harness: Harness) -> None:
    """Twice is no error."""
    handle = harness.submit(array(harness, "", 2))
    ended = harness.end(handle)
    backend = harness.backend()
    backend.release(handle)
    backend.release(handle)
    looked = backend.poll([handle])[handle.id]
    assert looked == ended or looked.state is JobState.LOST


def test_a_variable_of_a_job_is_read_from_its_own_record(harness: Harness) -> None:
    """Of a job and of an array; what is not there is None, of a job that is gone as well."""
    backend = harness.backend()
    for spec in (harness.spec("", env={"KEY": "a=b"}), array(harness, "", 2, env={"KEY": "a=b"})):
        handle = harness.submit(spec)
        assert (backend.variable(handle, "KEY"), backend.variable(handle, "NONE")) == ("a=b", None)
        harness.end(handle)
    assert backend.variable(JobHandle(harness.name, "0123456789ab" * 5, "gone"), "KEY") is None


def test_room_is_at_least_one_job_or_a_queue_decides(harness: Harness) -> None:
    """A job that is larger than what there is runs all the same, alone."""
    backend = harness.backend()
    small, large = harness.spec("").resources, replace(harness.spec("").resources, vcpus=4096)
    room = backend.room(small)
    if room is not None:
        assert room >= 1
        assert backend.room(large) in (1, backend.traits.slots)
