"""Arrays on AWS Batch: the requests that they take, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.job import Failure, JobHandle, JobState
from bundlerun.errors import Conflict, UsageError
from tests.backends.harness import batch_settings, point_at
from tests.backends.recorded_batch import EXITED, JOBS, LOST_AFTER, RecordedBatch, serving
from tests.backends.test_recorded_batch import SPEC

OWN = {"jobName": "bundlerun-pkg-module-0197-run-0", "tags": {"bundlerun:run": "0197-run"}}
HANDLE = JobHandle("AWSBatch", "a", "0197-run", array=3)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedBatch]:
    """A server that answers as AWS Batch."""
    recorded = RecordedBatch()
    with serving(recorded) as endpoint:
        point_at(monkeypatch, endpoint)
        yield recorded


@pytest.fixture
def backend(aws: RecordedBatch, tmp_path: Path) -> AWSBatch:
    """AWSBatch, talking to that server."""
    hasty = Aws(patience=Patience(cap_s=0.0))
    return AWSBatch(batch_settings(tmp_path, "team"), hasty, sleep=lambda s: None)


def parent(status: str, **counts: int) -> dict[str, Any]:
    """The parent of an array of three jobs."""
    return {"status": status, "arrayProperties": {"size": 3, "statusSummary": counts}, **OWN}


def bodies(aws: RecordedBatch, operation: str) -> list[dict[str, Any]]:
    """What was asked of one operation."""
    return [body for name, body in aws.requests if name == operation]


def test_an_array_is_one_submit_of_its_size(aws: RecordedBatch, backend: AWSBatch) -> None:
    """Its name and its handle have the part; each job has the time limit and the retries."""
    found = backend.submit(replace(SPEC, array=10_000, part=7, timeout_s=90, retries=2))
    (body,) = bodies(aws, "submitjob")
    assert body["arrayProperties"] == {"size": 10_000}
    assert body["jobName"] == "bundlerun-pkg-module-0197-run-7"
    assert body["timeout"] == {"attemptDurationSeconds": 90}
    assert body["retryStrategy"]["attempts"] == 3
    assert (found.part, found.array) == (7, 10_000)


def test_an_array_of_one_is_a_plain_job(aws: RecordedBatch, backend: AWSBatch) -> None:
    """AWS Batch takes no array of fewer than two."""
    assert backend.submit(SPEC).array == 1
    assert "arrayProperties" not in bodies(aws, "submitjob")[0]


@pytest.mark.parametrize("changes", [{"array": 10_001}, {"array": 0}])
def test_an_array_of_another_size_is_refused_before_it_is_asked_for(
    aws: RecordedBatch, backend: AWSBatch, changes: dict[str, Any]
) -> None:
    """10,000 is AWS's limit."""
    with pytest.raises(UsageError, match="10000 jobs a submission"):
        backend.submit(replace(SPEC, **changes))
    assert aws.requests == []


def test_a_lost_answer_makes_one_array_which_is_found_by_its_part(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """Two parts of one run are two names."""
    aws.lost["submitjob"] = [LOST_AFTER]
    first = backend.submit(replace(SPEC, array=3))
    second = backend.submit(replace(SPEC, array=2, part=1))
    assert len(aws.jobs) == 2
    again = [backend.find(SPEC.run_id, SPEC.name, part) for part in range(3)]
    assert again == [first, second, None]


@pytest.mark.parametrize(
    ("job", "state", "tally"),
    [
        (parent("SUBMITTED"), JobState.QUEUED, {JobState.QUEUED: 3}),
        (parent("PENDING", PENDING=1, RUNNABLE=2), JobState.QUEUED, {JobState.QUEUED: 3}),
        (
            parent("PENDING", RUNNABLE=2, STARTING=1),
            JobState.STARTING,
            {JobState.QUEUED: 2, JobState.STARTING: 1},
        ),
        (
            parent("PENDING", RUNNABLE=2, SUCCEEDED=1),
            JobState.RUNNING,
            {JobState.QUEUED: 2, JobState.SUCCEEDED: 1},
        ),
        (
            parent("PENDING", RUNNING=1, FAILED=1, SUCCEEDED=1),
            JobState.RUNNING,
            {JobState.RUNNING: 1, JobState.FAILED: 1, JobState.SUCCEEDED: 1},
        ),
        # The parent ends some moments after its last job.
        (parent("PENDING", SUCCEEDED=3), JobState.RUNNING, {JobState.SUCCEEDED: 3}),
        (parent("SUCCEEDED", SUCCEEDED=3), JobState.SUCCEEDED, {JobState.SUCCEEDED: 3}),
        # Its summary lags behind it.
        (
            parent("FAILED", RUNNING=1, FAILED=1, SUCCEEDED=1),
            JobState.FAILED,
            {JobState.RUNNING: 1, JobState.FAILED: 1, JobState.SUCCEEDED: 1},
        ),
        (
            {**parent("FAILED", FAILED=3), "isTerminated": True},
            JobState.CANCELLED,
            {JobState.FAILED: 3},
        ),
    ],
)
def test_a_parent_tells_how_many_jobs_are_in_which_state(
    aws: RecordedBatch,
    backend: AWSBatch,
    job: dict[str, Any],
    state: JobState,
    tally: dict[JobState, int],
) -> None:
    """It runs from the first job that begins to the last that ends, by one request."""
    aws.jobs["a"] = job
    status = backend.poll([HANDLE])["a"]
    assert (status.state, status.tally) == (state, tally)
    assert status.failure is (Failure.CANCELLED if state is JobState.CANCELLED else None)
    assert aws.operations().count("describejobs") == 1


def test_an_array_that_can_never_start_says_so_as_its_jobs_do(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """Batch gives the reason to the jobs and not to the parent; it takes no request more."""
    aws.jobs["a"], aws.jobs["a:0"] = parent("PENDING", RUNNABLE=3), JOBS["misconfigured"]
    status = backend.poll([HANDLE])["a"]
    assert (status.state, status.stuck) == (JobState.QUEUED, True)
    assert status.reason.startswith("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX")
    assert aws.operations() == ["describejobs"]
    aws.jobs["a"] = parent("PENDING", RUNNABLE=2, RUNNING=1)
    for _ in range(2):
        assert backend.poll([HANDLE])["a"].reason == ""
    assert [body["jobs"] for body in bodies(aws, "describejobs")][-1] == ["a"]


def test_a_hundred_arrays_are_one_request(aws: RecordedBatch, backend: AWSBatch) -> None:
    """Their jobs are asked for where there is room alone."""
    handles = [replace(HANDLE, id=f"a{at}") for at in range(100)]
    aws.jobs.update({handle.id: parent("SUBMITTED") for handle in handles})
    backend.poll(handles)
    backend.poll(handles[:60])
    sizes = [len(body["jobs"]) for body in bodies(aws, "describejobs")]
    assert sizes == [100, 100]


def test_why_jobs_of_an_array_failed_is_asked_a_thousand_a_request(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """Each has its own reason and exit code; what was cancelled by us is told from what failed."""
    aws.children["a"] = [failed(at, EXITED, {"exitCode": at % 5 + 1}) for at in range(2500)]
    memory = {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"}
    aws.children["a"][7] = failed(7, EXITED, memory)
    aws.children["a"][8] = failed(8, "cancelled by bundlerun: enough", {"exitCode": 143})
    aws.children["a"][9] = failed(9, "Host EC2 (instance i-0d1f) terminated.", {})
    found = backend.failed(replace(HANDLE, array=2500))
    assert aws.operations() == ["listjobs"] * 3
    assert list(found) == list(range(2500))
    assert (found[3].failure, found[3].exit_code) == (Failure.USER_ERROR, 4)
    assert found[7].failure is Failure.OUT_OF_MEMORY
    assert (found[8].state, found[8].failure) == (JobState.CANCELLED, Failure.CANCELLED)
    assert (found[9].failure, found[9].exit_code) == (Failure.SPOT_RECLAIMED, None)


def failed(index: int, reason: str, container: dict[str, Any]) -> dict[str, Any]:
    """A row of ListJobs."""
    return {
        "jobId": f"a:{index}",
        "jobName": OWN["jobName"],
        "status": "FAILED",
        "statusReason": reason,
        "startedAt": 1,
        "stoppedAt": 2,
        "container": container,
        "arrayProperties": {"index": index},
    }


def test_one_job_of_an_array_is_ended_by_its_own_id(aws: RecordedBatch, backend: AWSBatch) -> None:
    """All of them by one request; one that has ended is left alone."""
    running = {"status": "RUNNING", "jobName": OWN["jobName"]}
    aws.jobs.update({"a": parent("PENDING", RUNNING=3), "a:1": running})
    aws.jobs["a:2"] = {**running, "status": "SUCCEEDED"}
    backend.cancel(HANDLE, "enough", index=1)
    backend.cancel(HANDLE, "enough", index=2)
    backend.cancel(HANDLE, "enough")
    assert [body["jobId"] for body in bodies(aws, "terminatejob")] == ["a:1", "a"]


def test_no_job_of_another_s_array_is_ended_or_read(aws: RecordedBatch, backend: AWSBatch) -> None:
    """The handle may come from a remote that lies: the parent's own name and tag decide."""
    container = {"environment": [{"name": "KEY", "value": "theirs"}]}
    theirs = {**parent("PENDING", RUNNING=3), "tags": {}, "container": container}
    aws.jobs.update({"a": theirs, "a:1": {"status": "RUNNING"}})
    for act in (
        lambda: backend.cancel(HANDLE, "a lie", index=1),
        lambda: backend.cancel(HANDLE, "a lie"),
        lambda: backend.variable(HANDLE, "KEY"),
    ):
        with pytest.raises(Conflict, match="nothing was done"):
            act()
    assert "terminatejob" not in aws.operations()


def test_a_variable_is_read_from_the_parent(aws: RecordedBatch, backend: AWSBatch) -> None:
    """Its overrides are those of every job."""
    container = {"environment": [{"name": "KEY", "value": "ours"}]}
    aws.jobs["a"] = {**parent("PENDING", RUNNING=3), "container": container}
    assert (backend.variable(HANDLE, "KEY"), backend.variable(HANDLE, "NONE")) == ("ours", None)
    assert backend.variable(replace(HANDLE, id="forgotten"), "KEY") is None


def test_logs_of_an_array_are_looked_for_a_hundred_a_request(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """One job after the other, by the order of their indices; and that of one job alone."""
    for at in range(250):
        # One in ten has written something.
        stream = {} if at % 10 else {"logStreamName": f"s{at}"}
        aws.jobs[f"a:{at}"] = {"status": "SUCCEEDED", "container": stream}
        aws.log[f"s{at}"] = [f"line of {at}"]
    handle = replace(HANDLE, array=250)
    assert list(backend.logs(handle)) == [f"line of {at}" for at in range(0, 250, 10)]
    assert aws.operations().count("describejobs") == 3
    assert list(backend.logs(handle, index=240)) == ["line of 240"]
    assert list(backend.logs(handle, index=70, follow=True)) == ["line of 70"]


def test_the_claim_of_a_job_of_the_array_is_the_array_s_own(backend: AWSBatch) -> None:
    """AWS_BATCH_JOB_ID is ``ID:INDEX`` in such a job; a second array is another."""
    assert backend.other_job(HANDLE, "a:2") is None
    assert backend.other_job(HANDLE, "b:2") == replace(HANDLE, id="b")
