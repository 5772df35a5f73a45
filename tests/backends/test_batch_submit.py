"""A submit whose answer is lost makes one job, and a wait asks for its job once a look."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundlerun.aws.batch import SENDS
from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.aws_batch_request import job_name
from bundlerun.backends.job import JobHandle, JobState
from bundlerun.backends.poll import Pace, looks
from bundlerun.errors import CloudError, RemoteUnreachable, SubmitUnknown
from bundlerun.sandbox.contents import QUEUE
from tests.backends.harness import MotoBatchHarness, batch_settings, point_at
from tests.backends.recorded_batch import (
    FAILED_AFTER,
    LOST_AFTER,
    LOST_BEFORE,
    THROTTLED,
    RecordedBatch,
    serving,
)
from tests.backends.test_recorded_batch import SPEC
from tests.faults.proxy import Fault, FaultProxy

HASTY = Patience(cap_s=0.0)
"""No pauses."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedBatch]:
    """A server that answers as AWS Batch."""
    recorded = RecordedBatch()
    with serving(recorded) as endpoint:
        point_at(monkeypatch, endpoint)
        yield recorded


@pytest.fixture
def slept() -> list[float]:
    """The pauses that the backend would have made."""
    return []


@pytest.fixture
def backend(aws: RecordedBatch, tmp_path: Path, slept: list[float]) -> AWSBatch:
    """AWSBatch, talking to that server."""
    return AWSBatch(batch_settings(tmp_path, "team"), Aws(patience=HASTY), sleep=slept.append)


@pytest.mark.parametrize("fate", [LOST_AFTER, FAILED_AFTER])
@pytest.mark.parametrize("unlisted", [0, 3])
@pytest.mark.heavy
def test_a_lost_answer_to_a_submit_makes_one_job(
    aws: RecordedBatch, backend: AWSBatch, fate: str, unlisted: int
) -> None:
    """The job is looked for by its exact name, until the listing shows it."""
    aws.lost["submitjob"] = [fate]
    aws.unlisted = unlisted
    handle = backend.submit(SPEC)
    assert list(aws.jobs) == [handle.id]
    assert aws.operations().count("submitjob") == 1
    assert aws.operations().count("listjobs") == unlisted + 1
    asked = next(body for name, body in aws.requests if name == "listjobs")
    name = job_name(SPEC.name, SPEC.run_id)
    assert asked["filters"] == [{"name": "JOB_NAME", "values": [name]}]


def test_a_submit_that_never_arrived_is_sent_again_after_looks(
    aws: RecordedBatch, backend: AWSBatch, slept: list[float]
) -> None:
    """Between the two requests the job was looked for, for some seconds."""
    aws.lost["submitjob"] = [LOST_BEFORE]
    assert backend.submit(SPEC).id == "job-0"
    assert len(aws.jobs) == 1
    sends = [n for n, name in enumerate(aws.operations()) if name == "submitjob"]
    between = aws.operations()[sends[0] + 1 : sends[1]]
    assert between == ["listjobs"] * len(between)
    assert sum(slept) > 5


def test_a_throttled_submit_is_sent_again_at_once(aws: RecordedBatch, backend: AWSBatch) -> None:
    """429 says that nothing was done: there is nothing to look for."""
    aws.lost["submitjob"] = [THROTTLED]
    backend.submit(SPEC)
    assert aws.operations()[-2:] == ["submitjob", "submitjob"]
    assert "listjobs" not in aws.operations()
    assert len(aws.jobs) == 1


def test_a_refused_submit_is_not_sent_again(aws: RecordedBatch, backend: AWSBatch) -> None:
    """What the service refuses it refuses again."""
    with pytest.raises(CloudError, match="ClientException"):
        # Three bytes to a letter on the wire, which our own limit does not count.
        backend.submit(replace(SPEC, env={"LONG": "\u20ac" * 7000}))
    assert aws.operations().count("submitjob") == 1


def test_a_submit_that_is_never_found_is_unknown_not_failed(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """A service that loses every answer is asked a few times; the error says what is not known."""
    aws.lost["submitjob"] = [LOST_BEFORE] * 100
    with pytest.raises(SubmitUnknown, match="whether AWS Batch did it is not known"):
        backend.submit(SPEC)
    assert aws.operations().count("submitjob") == SENDS


def test_a_submit_that_cannot_be_looked_for_is_unknown(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """Where the listing fails as well, nothing is sent again."""
    aws.lost["submitjob"] = [LOST_AFTER]
    aws.lost["listjobs"] = [LOST_BEFORE] * 100
    with pytest.raises(SubmitUnknown):
        backend.submit(SPEC)
    assert aws.operations().count("submitjob") == 1
    assert len(aws.jobs) == 1


def test_a_service_that_is_away_got_no_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No connection, no job: nothing is unknown."""
    point_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(RemoteUnreachable):
        AWSBatch(batch_settings(tmp_path, "team"), Aws(patience=HASTY)).submit(SPEC)


@pytest.mark.parametrize("fate", [LOST_AFTER, FAILED_AFTER])
def test_a_lost_answer_to_a_registration_makes_one_revision(
    aws: RecordedBatch, backend: AWSBatch, fate: str
) -> None:
    """The definition is looked for by its content before it is registered again."""
    aws.lost["registerjobdefinition"] = [fate]
    backend.submit(SPEC)
    assert len(aws.definitions) == 1
    assert len(aws.jobs) == 1


def test_a_job_is_found_by_its_own_name_alone(aws: RecordedBatch, backend: AWSBatch) -> None:
    """AWS takes upper and lower case for the same; a long module's name never hides the run."""
    upper = replace(SPEC, run_id=SPEC.run_id.upper())
    other = backend.submit(upper)
    assert backend.find(SPEC.run_id, SPEC.name) is None
    assert backend.find(upper.run_id, SPEC.name) == other
    base = "bundlerun-" + "module-" * 30
    names = {job_name(base, f"0197-{n}") for n in range(3)}
    assert len(names) == 3
    assert {len(name) for name in names} == {128}


def test_a_wait_and_its_log_ask_for_the_job_in_one_loop(aws: RecordedBatch, tmp_path: Path) -> None:
    """Each DescribeJobs tells the waiter and the reader of the log: no more than looks."""
    waiting = [{"status": "SUBMITTED"}, {"status": "STARTING"}]
    running = {"status": "RUNNING", "container": {"logStreamName": "s"}, "startedAt": 1}
    aws.jobs["j"] = [*waiting, *[running] * 5, {**running, "status": "SUCCEEDED", "stoppedAt": 2}]
    aws.log["s"] = ["one", "two"]
    backend, handle = AWSBatch(batch_settings(tmp_path, "team")), JobHandle("AWSBatch", "j", "run")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(backend.logs(handle, follow=True)))

    pace = Pace(first_s=0.05, most_s=0.05)
    for status in looks(backend, handle, pace=pace):
        # After the first look, which serves the log as well.
        if reader.ident is None:
            reader.start()
        if status.state.final:
            break
    assert status.state is JobState.SUCCEEDED
    reader.join(timeout=30)
    assert lines == ["one", "two"]
    assert aws.operations().count("describejobs") == 8


@pytest.mark.parametrize("fault", [Fault.DROPPED, Fault.FAILED_AFTER])
def test_a_proxy_that_loses_the_answer_makes_one_job(
    moto_batch: MotoBatchHarness, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """The sandbox's Batch makes the job and starts its container; the client never hears of it."""
    lost: list[str] = []

    def choose(method: str, path: str) -> Fault:
        if not path.endswith("/submitjob") or lost:
            return Fault.NONE
        lost.append(path)
        return fault

    spec = moto_batch.spec("print('once')")
    with FaultProxy(moto_batch.endpoint, choose) as proxy:
        point_at(monkeypatch, proxy.url)
        handle = moto_batch.submit(spec)
        point_at(monkeypatch, moto_batch.endpoint)
    assert lost
    assert moto_batch.end(handle).state is JobState.SUCCEEDED
    named = [{"name": "JOB_NAME", "values": [job_name(spec.name, spec.run_id)]}]
    listed = Aws().client("batch").list_jobs(jobQueue=QUEUE, filters=named)["jobSummaryList"]
    assert [job["jobId"] for job in listed] == [handle.id]
