"""Arrays of AWSBatch against AWS Batch as the sandbox serves it; the jobs are calls here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.aws_batch_request import MOST_OVERRIDES_CHARS
from bundlerun.backends.base import Pace
from bundlerun.backends.job import Failure, JobHandle, JobSpec, JobState, JobStatus
from bundlerun.backends.poll import looks
from bundlerun.errors import UsageError
from bundlerun.sandbox.batch_attempt import NOT_STARTED, Exit
from tests.backends.harness import batch_settings, point_at
from tests.backends.test_recorded_batch import SPEC as PLAIN
from tests.sandbox.fates import Fate
from tests.sandbox.scene import Scene, Script, scene

pytestmark = pytest.mark.heavy

SPEC = replace(PLAIN, array=3, retries=2, image="any")
MACHINE_GONE = Exit(None, "", "Host EC2 (instance i-0d1f2a3b4c5d6e7f8) terminated.")
NO_IMAGE = Exit(None, "CannotPullContainerError: pull access denied", NOT_STARTED)
FAST = Pace(first_s=0.05, most_s=0.2)


@pytest.fixture
def script() -> Iterator[Script]:
    """Jobs that succeed at once, unless the test says otherwise."""
    found = Script()
    yield found
    found.go.set()


@pytest.fixture
def aws(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """An AWS whose jobs are those calls, four at a time."""
    with scene(script.run) as made:
        point_at(monkeypatch, made.endpoint)
        yield made


@pytest.fixture
def backend(aws: Scene, tmp_path: Path) -> AWSBatch:
    """AWSBatch, as another process would open it."""
    hasty = Aws(patience=Patience(cap_s=0.0))
    return AWSBatch(batch_settings(tmp_path, aws.queue), hasty, sleep=lambda s: None)


def end(backend: AWSBatch, handle: JobHandle) -> JobStatus:
    """The last look at the array."""
    for status in looks(backend, handle, pace=FAST, timeout_s=60):
        if status.state.final:
            return status
    raise AssertionError


@pytest.mark.parametrize("once", [MACHINE_GONE, NO_IMAGE], ids=["machine", "start"])
def test_a_job_whose_machine_is_lost_or_does_not_start_it_runs_again(
    aws: Scene, backend: AWSBatch, script: Script, once: Exit
) -> None:
    """By Batch itself: the array succeeds."""
    script.exits = (once,)
    status = end(backend, backend.submit(SPEC))
    assert (status.state, status.tally) == (JobState.SUCCEEDED, {JobState.SUCCEEDED: 3})
    assert len(script.attempts) == 4


@pytest.mark.parametrize(
    ("exits", "failure"),
    [
        ((7,), Failure.USER_ERROR),
        ((Exit(137, "OutOfMemoryError: Container killed"),), Failure.OUT_OF_MEMORY),
        ((MACHINE_GONE, 0, 0, 5), Failure.USER_ERROR),
    ],
    ids=["raises", "memory", "raises the second time"],
)
def test_what_the_code_itself_does_is_not_tried_again(
    aws: Scene,
    backend: AWSBatch,
    script: Script,
    exits: tuple[Exit | int, ...],
    failure: Failure,
) -> None:
    """It would do it once more."""
    script.exits = exits
    handle = backend.submit(SPEC)
    assert end(backend, handle).state is JobState.FAILED
    (failed,) = backend.failed(handle).values()
    assert failed.failure is failure
    assert len(script.attempts) == max(3, len(exits))


def test_every_answer_may_be_lost_or_throttled(
    aws: Scene, backend: AWSBatch, script: Script
) -> None:
    """One array all the same, told whole."""
    script.exits = (7,)
    for operation in ("DescribeJobs", "ListJobs", "SubmitJob", "TerminateJob"):
        aws.batch.befall(operation, Fate.THROTTLED, Fate.FAILED_AFTER)
    handle = backend.submit(SPEC)
    status = end(backend, handle)
    assert status.tally == {JobState.SUCCEEDED: 2, JobState.FAILED: 1}
    assert len(backend.failed(handle)) == 1
    assert aws.batch.calls("SubmitJob") == 2
    assert backend.find(SPEC.run_id, SPEC.name) == handle


def test_of_thousands_of_jobs_few_requests_tell(
    aws: Scene, backend: AWSBatch, script: Script
) -> None:
    """A look is one request, the failed of 2,500 three, and the end of all of them two."""
    script.go.clear()
    handle = backend.submit(replace(SPEC, array=2500))
    count = aws.batch.calls
    before = {name: count(name) for name in ("DescribeJobs", "ListJobs", "TerminateJob")}
    backend.poll([handle])
    assert count("DescribeJobs") - before["DescribeJobs"] == 1
    backend.cancel(handle, "enough")
    assert count("TerminateJob") - before["TerminateJob"] == 1
    status = end(backend, handle)
    assert (status.state, sum((status.tally or {}).values())) == (JobState.CANCELLED, 2500)
    failed = backend.failed(handle)
    assert count("ListJobs") - before["ListJobs"] == 3
    assert list(failed) == list(range(2500))
    assert {one.failure for one in failed.values()} == {Failure.CANCELLED}


def test_the_most_variables_that_we_send_are_taken_and_no_more(
    aws: Scene, backend: AWSBatch
) -> None:
    """Batch's own variables are counted with a job's, long after its submit."""
    spec = replace(SPEC, array=10_000, env={"LONG": ""})
    least = overrides(spec)
    most = replace(spec, array=2, env={"LONG": "x" * (MOST_OVERRIDES_CHARS - least)})
    assert end(backend, backend.submit(most)).state is JobState.SUCCEEDED
    submits = aws.batch.calls("SubmitJob")
    with pytest.raises(UsageError, match="characters of command and environment"):
        backend.submit(replace(most, part=1, env={"LONG": most.env["LONG"] + "x"}))
    assert aws.batch.calls("SubmitJob") == submits


def overrides(spec: JobSpec) -> int:
    """The characters of command and variables, as JSON."""
    told = [{"name": name, "value": text} for name, text in spec.environment.items()]
    return len(json.dumps({"command": spec.argv(), "environment": told}))


def test_an_array_that_can_never_start_is_stuck(aws: Scene, backend: AWSBatch) -> None:
    """Larger than its compute environment: said at the first looks, with AWS's word for it."""
    big = replace(SPEC, resources=replace(SPEC.resources, vcpus=64))
    handle = backend.submit(big)
    until_s = time.monotonic() + 30
    while not (status := backend.poll([handle])[handle.id]).stuck:
        assert time.monotonic() < until_s, status
        time.sleep(0.05)
    assert status.reason.startswith("MISCONFIGURATION")
    assert status.tally == {JobState.QUEUED: 3}
    backend.cancel(handle, "never")
    assert end(backend, handle).state is JobState.CANCELLED
