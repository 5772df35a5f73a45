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


def array(arrays: Harness, program: str, size: int = 3, **changes: Any) -> JobSpec:
    """An array of jobs that run ``program``, in which INDEX is each one's own."""
    name = arrays.backend().traits.tells.index
    return arrays.spec(
        f"import os; INDEX = int(os.environ[{name!r}])\n{program}", **changes, array=size
    )


def counted(arrays: Harness, handle: JobHandle) -> dict[JobState, int]:
    """The tally, with the cancelled among the failed where the backend does not tell them apart."""
    tally = dict(arrays.backend().poll([handle])[handle.id].tally or {})
    if arrays.counts_cancelled:
        return tally
    lost = tally.pop(JobState.CANCELLED, 0) + tally.pop(JobState.FAILED, 0)
    return {**tally, JobState.FAILED: lost} if lost else tally


def until_running(arrays: Harness, handle: JobHandle, count: int) -> JobStatus:
    """The first look by which so many jobs of the array run."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        status = arrays.backend().poll([handle])[handle.id]
        if (status.tally or {}).get(JobState.RUNNING, 0) >= count:
            return status
        assert not status.state.final, status
        time.sleep(0.1)
    pytest.fail(f"{count} jobs of the array never ran at once: {status}")


def test_each_job_of_an_array_is_told_its_index(arrays: Harness) -> None:
    """From 0; each has a log of its own, and all of them in the order of the indices one."""
    handle = arrays.submit(array(arrays, "print('I am', INDEX)"))
    status = arrays.end(handle)
    assert (status.state, status.failure) == (JobState.SUCCEEDED, None)
    assert counted(arrays, handle) == {JobState.SUCCEEDED: 3}
    backend = arrays.backend()
    said = [list(backend.logs(handle, index=index)) for index in range(3)]
    assert said == [["I am 0"], ["I am 1"], ["I am 2"]]
    assert list(backend.logs(handle)) == ["I am 0", "I am 1", "I am 2"]
    assert backend.failed(handle) == {}


def test_one_job_alone_is_told_no_index(arrays: Harness) -> None:
    """An array of one is a plain job, whose index is 0 for those who ask for it."""
    name = arrays.backend().traits.tells.index
    handle = arrays.submit(arrays.spec(f"import os; print(os.environ.get({name!r}))"))
    status = arrays.end(handle)
    assert (status.state, status.tally, handle.array) == (JobState.SUCCEEDED, None, 1)
    assert list(arrays.backend().logs(handle, index=0)) == ["None"]
    assert arrays.backend().failed(handle) == {}


def test_a_failed_job_of_an_array_is_named_with_its_reason(arrays: Harness) -> None:
    """The others succeed, the array fails, and which job failed, and how, is told."""
    handle = arrays.submit(array(arrays, "raise SystemExit(7 if INDEX == 1 else 0)"))
    status = arrays.end(handle)
    assert status.state is JobState.FAILED
    assert counted(arrays, handle) == {JobState.SUCCEEDED: 2, JobState.FAILED: 1}
    failed = arrays.backend().failed(handle)
    assert list(failed) == [1]
    assert failed[1].state is JobState.FAILED
    assert (failed[1].failure, failed[1].exit_code) == (Failure.USER_ERROR, 7)


def test_a_failed_single_job_is_the_one_at_0(arrays: Harness) -> None:
    """Whoever asks for the failed need not know whether it was an array."""
    handle = arrays.submit(arrays.spec("raise SystemExit(7)"))
    status = arrays.end(handle)
    assert arrays.backend().failed(handle) == {0: status}


def test_the_time_limit_of_an_array_is_that_of_each_job(arrays: Harness) -> None:
    """One that runs longer is ended, the others are not."""
    program = "import time; time.sleep(50 if INDEX == 2 else 0)"
    handle = arrays.submit(array(arrays, program, timeout_s=3))
    assert arrays.end(handle).state is JobState.FAILED
    failed = arrays.backend().failed(handle)
    assert {index: status.failure for index, status in failed.items()} == {2: Failure.TIMED_OUT}


def test_one_job_of_an_array_is_cancelled_alone(arrays: Harness) -> None:
    """The others go on to their end."""
    program = "import time\nprint('on', flush=True)\ntime.sleep(50 if INDEX == 0 else 4)"
    handle = arrays.submit(array(arrays, program, 2))
    until_running(arrays, handle, 2)
    arrays.backend().cancel(handle, "no longer needed", index=0)
    status = arrays.end(handle)
    assert status.state in (JobState.CANCELLED, JobState.FAILED)
    lost = JobState.CANCELLED if arrays.counts_cancelled else JobState.FAILED
    assert counted(arrays, handle) == {JobState.SUCCEEDED: 1, lost: 1}
    failed = arrays.backend().failed(handle)
    assert {n: one.failure for n, one in failed.items()} == {0: Failure.CANCELLED}


def test_a_whole_array_is_cancelled_by_one_call(arrays: Harness) -> None:
    """All of its jobs end soon, and say why."""
    handle = arrays.submit(array(arrays, SLEEPS))
    until_running(arrays, handle, 1)
    began_s = time.monotonic()
    arrays.backend().cancel(handle, "no longer needed")
    status = arrays.end(handle)
    assert (status.state, status.failure) == (JobState.CANCELLED, Failure.CANCELLED)
    failed = arrays.backend().failed(handle)
    assert {n: one.state for n, one in failed.items()} == dict.fromkeys(
        range(3), JobState.CANCELLED
    )
    assert time.monotonic() - began_s < 40
    arrays.backend().cancel(handle, "too late")
    assert arrays.end(handle) == status


def test_the_log_of_one_job_is_followed_to_its_end(arrays: Harness) -> None:
    """Whatever the others do."""
    program = "import time\nfor n in range(3): print(INDEX, n); time.sleep(0.3)"
    handle = arrays.submit(array(arrays, program, 2))
    said = list(arrays.backend().logs(handle, index=1, follow=True))
    assert said == ["1 0", "1 1", "1 2"]
    assert arrays.end(handle).state is JobState.SUCCEEDED


def test_an_index_that_an_array_does_not_have_is_refused(arrays: Harness) -> None:
    """Neither another job's log nor no word."""
    handle = arrays.submit(array(arrays, "", 2))
    for at in (-1, 2):
        with pytest.raises(UsageError, match="jobs 0 to 1"):
            list(arrays.backend().logs(handle, index=at))
        with pytest.raises(UsageError, match="jobs 0 to 1"):
            arrays.backend().cancel(handle, "", index=at)


def test_a_handle_of_an_array_survives_as_json(arrays: Harness) -> None:
    """Size and part included."""
    handle = arrays.submit(array(arrays, "print(INDEX)", 2, part=4))
    again = JobHandle.from_json(json.loads(json.dumps(handle.to_json())))
    assert again == handle
    assert (again.array, again.part) == (2, 4)
    assert arrays.end(again).state is JobState.SUCCEEDED


def test_the_parts_of_a_run_are_found_again_by_their_numbers(arrays: Harness) -> None:
    """Each is a job or an array of its own; what was not submitted is not found."""
    first = array(arrays, "print('first', INDEX)", 2)
    second = replace(arrays.spec("print('second')"), run_id=first.run_id, part=1)
    handles = [arrays.submit(first), arrays.submit(second)]
    backend = arrays.backend()
    for part, handle in enumerate(handles):
        assert backend.find(first.run_id, first.name, part) == handle
        assert arrays.end(handle).state is JobState.SUCCEEDED
    assert backend.find(first.run_id, first.name, 2) is None
    assert list(backend.logs(handles[0])) == ["first 0", "first 1"]
    assert list(backend.logs(handles[1])) == ["second"]
    backend.release(handles[0])
    assert list(backend.logs(handles[1])) == ["second"]


def test_an_array_whose_client_died_is_submitted_again_and_goes_on(arrays: Harness) -> None:
    """What runs already is not started a second time."""
    spec = array(arrays, "import time; print('job', INDEX); time.sleep(1)")
    arrays.submit_half(spec)
    handle = arrays.backend().find(spec.run_id, spec.name) or arrays.submit(spec)
    arrays.handles.append(handle)
    assert arrays.end(handle).state is JobState.SUCCEEDED
    assert list(arrays.backend().logs(handle)) == ["job 0", "job 1", "job 2"]


def test_one_look_tells_of_jobs_and_arrays(arrays: Harness) -> None:
    """Each by its own handle."""
    handles = [arrays.submit(array(arrays, "", 2)), arrays.submit(arrays.spec(""))]
    handles.append(arrays.submit(array(arrays, "raise SystemExit(INDEX)", 2)))
    for handle in handles:
        arrays.end(handle)
    looks = arrays.backend().poll(handles)
    S, F = JobState.SUCCEEDED, JobState.FAILED
    assert [looks[handle.id].state for handle in handles] == [S, S, F]
    assert [looks[handle.id].tally for handle in handles] == [{S: 2}, None, {S: 1, F: 1}]


def test_a_released_array_leaves_nothing_to_look_at(arrays: Harness) -> None:
    """Twice is no error."""
    handle = arrays.submit(array(arrays, "", 2))
    ended = arrays.end(handle)
    backend = arrays.backend()
    backend.release(handle)
    backend.release(handle)
    looked = backend.poll([handle])[handle.id]
    assert looked == ended or looked.state is JobState.LOST


def test_a_variable_of_a_job_is_read_from_its_own_record(arrays: Harness) -> None:
    """Of a job and of an array; what is not there is None, of a job that is gone as well."""
    backend = arrays.backend()
    for spec in (arrays.spec("", env={"KEY": "a=b"}), array(arrays, "", 2, env={"KEY": "a=b"})):
        handle = arrays.submit(spec)
        assert (backend.variable(handle, "KEY"), backend.variable(handle, "NONE")) == ("a=b", None)
        arrays.end(handle)
    assert backend.variable(JobHandle(arrays.name, "0123456789ab" * 5, "gone"), "KEY") is None


def test_room_is_at_least_one_job_or_a_queue_decides(arrays: Harness) -> None:
    """A job that is larger than what there is runs all the same, alone."""
    backend = arrays.backend()
    small, large = arrays.spec("").resources, replace(arrays.spec("").resources, vcpus=4096)
    room = backend.room(small)
    if room is not None:
        assert room >= 1
        assert backend.room(large) in (1, backend.traits.slots)
