"""What every backend promises, shown by containers that really run."""

from __future__ import annotations

import json
import time

import pytest

from bundlerun.backends.base import ImageAt
from bundlerun.backends.job import Failure, JobHandle, JobState
from bundlerun.errors import ImagePull, UsageError
from tests.backends.harness import Harness

pytestmark = pytest.mark.xdist_group("engine")


def test_job_that_ends_well_has_succeeded(harness: Harness) -> None:
    """Exit code 0 is SUCCEEDED, with times that make sense."""
    before_s = time.time()
    status = harness.end(harness.submit(harness.spec("print('done')")))
    assert (status.state, status.failure, status.exit_code) == (JobState.SUCCEEDED, None, 0)
    assert status.started_s is not None
    assert status.finished_s is not None
    assert before_s - 2 <= status.started_s <= status.finished_s <= time.time() + 2


def test_job_that_raises_has_failed(harness: Harness) -> None:
    """A non-zero exit code is FAILED, told as the pipe's own."""
    status = harness.end(harness.submit(harness.spec("raise SystemExit(3)")))
    assert status.state is JobState.FAILED
    assert (status.failure, status.exit_code) == (Failure.USER_ERROR, 3)


def test_job_gets_its_environment(harness: Harness) -> None:
    """Variables reach the job as they were given."""
    spec = harness.spec("import os; print(os.environ['GREETING'])", env={"GREETING": "a b=ü 'c'"})
    handle = harness.submit(spec)
    assert harness.end(handle).state is JobState.SUCCEEDED
    assert list(harness.backend().logs(handle)) == ["a b=ü 'c'"]


def test_command_passes_no_shell(harness: Harness) -> None:
    """Arguments arrive as they are: nothing expands or splits them."""
    spec = harness.spec("", command=("python3", "-c", "import sys; print(sys.argv[1:])", "$HOME *"))
    handle = harness.submit(spec)
    assert harness.end(handle).state is JobState.SUCCEEDED
    assert list(harness.backend().logs(handle)) == ["['$HOME *']"]


def test_job_over_its_time_is_timed_out(harness: Harness) -> None:
    """A job that runs longer than timeout_s is ended, and says why."""
    handle = harness.submit(harness.spec("import time; time.sleep(50)", timeout_s=2))
    began_s = time.monotonic()
    status = harness.end(handle)
    assert (status.state, status.failure) == (JobState.FAILED, Failure.TIMED_OUT)
    assert time.monotonic() - began_s < 30


def test_job_within_its_time_succeeds(harness: Harness) -> None:
    """A deadline changes nothing for a job that keeps it."""
    status = harness.end(harness.submit(harness.spec("print(1)", timeout_s=60)))
    assert status.state is JobState.SUCCEEDED


def test_running_job_can_be_cancelled(harness: Harness) -> None:
    """Cancelling ends the container soon, and the job says that it was cancelled."""
    handle = harness.submit(harness.spec("import time; time.sleep(50)"))
    harness.until(handle, JobState.RUNNING)
    harness.backend().cancel(handle, "no longer needed")
    began_s = time.monotonic()
    status = harness.end(handle)
    assert (status.state, status.failure) == (JobState.CANCELLED, Failure.CANCELLED)
    assert time.monotonic() - began_s < 20


def test_queued_job_can_be_cancelled(harness: Harness) -> None:
    """A job that has not started is cancelled too."""
    with harness.submit_queued(harness.spec("import time; time.sleep(50)")) as handle:
        status = harness.backend().poll([handle])[handle.id]
        assert status.state is JobState.QUEUED
        harness.backend().cancel(handle, "no longer needed")
    status = harness.end(handle)
    assert (status.state, status.failure) == (JobState.CANCELLED, Failure.CANCELLED)


def test_cancelling_an_ended_job_changes_nothing(harness: Harness) -> None:
    """Cancelling twice, or after the end, is no error and leaves the state."""
    handle = harness.submit(harness.spec("print(1)"))
    before = harness.end(handle)
    harness.backend().cancel(handle, "too late")
    harness.backend().cancel(handle, "too late")
    assert harness.end(handle) == before


def test_log_has_every_line_once(harness: Harness) -> None:
    """200 lines of two streams, one without a newline at its end: each once, in order."""
    program = (
        "import sys\n"
        "for n in range(100): print(f'out {n}')\n"
        "for n in range(99): print(f'err {n} é', file=sys.stderr)\n"
        "sys.stderr.write('the end')"
    )
    handle = harness.submit(harness.spec(program))
    assert harness.end(handle).state is JobState.SUCCEEDED
    lines = list(harness.backend().logs(handle))
    assert [line for line in lines if line.startswith("out")] == [f"out {n}" for n in range(100)]
    assert [line for line in lines if line.startswith("err")] == [f"err {n} é" for n in range(99)]
    assert sorted(lines)[-1] == "the end"
    assert len(lines) == 200


def test_followed_log_ends_with_the_job(harness: Harness) -> None:
    """Following from the start gives every line once and stops by itself."""
    program = "import time\nfor n in range(5): print(f'line {n}'); time.sleep(0.3)"
    handle = harness.submit(harness.spec(program))
    assert list(harness.backend().logs(handle, follow=True)) == [f"line {n}" for n in range(5)]
    assert harness.end(handle).state is JobState.SUCCEEDED


def test_unknown_job_is_lost(harness: Harness) -> None:
    """A handle that nobody knows is LOST, has no log, and can be cancelled and released."""
    handle = JobHandle(harness.name, "0123456789ab" * 5, "gone")
    backend = harness.backend()
    assert backend.poll([handle])[handle.id].state is JobState.LOST
    assert list(backend.logs(handle)) == []
    assert list(backend.logs(handle, follow=True)) == []
    backend.cancel(handle, "nobody there")
    backend.release(handle)


def test_three_jobs_at_once_keep_apart(harness: Harness) -> None:
    """Three jobs run beside each other; one poll tells of all; each has its own log."""
    program = "import os, time; time.sleep(1); print(os.environ['ME'])"
    handles = [harness.submit(harness.spec(program, env={"ME": f"job {n}"})) for n in range(3)]
    for handle in handles:
        assert harness.end(handle).state is JobState.SUCCEEDED
    states = harness.backend().poll(handles)
    assert {status.state for status in states.values()} == {JobState.SUCCEEDED}
    assert set(states) == {handle.id for handle in handles}
    for number, handle in enumerate(handles):
        assert list(harness.backend().logs(handle)) == [f"job {number}"]


def test_missing_image_is_no_silent_wait(harness: Harness) -> None:
    """An image that is not there is ImagePull at once, or a job that failed; who takes none says
    so."""
    spec = harness.spec("print(1)", image="bundlerun-no-such-image:latest")
    if harness.backend().traits.image is ImageAt.NONE:
        with pytest.raises(UsageError, match="without an image"):
            harness.submit(spec)
    elif harness.pulls_at_submit:
        with pytest.raises(
            ImagePull, match=r"docker pull bundlerun-no-such-image:latest.*bundlerun dockerize"
        ):
            harness.submit(spec)
    else:
        assert harness.end(harness.submit(spec)).state is JobState.FAILED


def test_job_is_found_again_by_its_written_handle(harness: Harness) -> None:
    """A handle that went through JSON finds the job from another backend object."""
    handle = harness.submit(harness.spec("print('still here')"))
    again = JobHandle.from_json(json.loads(json.dumps(handle.to_json())))
    assert again == handle
    assert harness.end(again).state is JobState.SUCCEEDED
    assert list(harness.backend().logs(again)) == ["still here"]


def test_release_twice_is_no_error(harness: Harness) -> None:
    """Releasing forgets the job; once more changes nothing."""
    handle = harness.submit(harness.spec("print(1)"))
    harness.end(handle)
    harness.backend().release(handle)
    harness.backend().release(handle)
    assert harness.backend().poll([handle])[handle.id].state in {
        JobState.LOST,
        JobState.SUCCEEDED,
    }


def test_an_array_over_the_largest_is_refused(harness: Harness) -> None:
    """By submit itself: never a part of it, and never one job in place of many."""
    array = harness.backend().traits.largest_array + 1
    with pytest.raises(UsageError, match="a submission"):
        harness.submit(harness.spec("", array=array))
