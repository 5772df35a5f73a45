"""What AWS Batch says, word for word: against answers as AWS words them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.aws_batch_state import job_status, log_streams
from bundlerun.backends.job import (
    Failure,
    JobHandle,
    JobSpec,
    JobState,
    JobStatus,
    RemoteAccess,
    Resources,
)
from bundlerun.backends.poll import Pace, looks
from bundlerun.errors import Conflict, RemoteUnreachable, SettingsError, UsageError
from bundlerun.futures.followed import Ended, OpenItems
from tests.backends.harness import batch_settings, point_at
from tests.backends.recorded_batch import (
    ENVIRONMENT_INVALID,
    JOBS,
    QUEUE_INVALID,
    RecordedBatch,
    serving,
)
from tests.futures.scripted import Script, Timetable, followed

SPEC = JobSpec(
    run_id="0197-run",
    name="bundlerun-pkg-module",
    image="registry.example/bundlerun-pkg-module@sha256:" + "a" * 64,
    command=("worker", "0197-run"),
    access=RemoteAccess("s3://bucket/prefix", variables={"AWS_REGION": "us-east-1"}),
)


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
    return AWSBatch(batch_settings(tmp_path, "team"))


def handle(name: str) -> JobHandle:
    """The handle of a recorded job."""
    return JobHandle("AWSBatch", name, "run")


@pytest.mark.parametrize(
    ("name", "state", "failure", "said"),
    [
        ("raised", JobState.FAILED, Failure.USER_ERROR, "Essential container"),
        ("out-of-memory", JobState.FAILED, Failure.OUT_OF_MEMORY, "OutOfMemoryError"),
        ("spot", JobState.FAILED, Failure.SPOT_RECLAIMED, "Host EC2"),
        ("pull", JobState.FAILED, Failure.IMAGE_PULL, "pull access denied"),
        ("pull-ecr", JobState.FAILED, Failure.IMAGE_PULL, "manifest"),
        ("timeout", JobState.FAILED, Failure.TIMED_OUT, "exceeded timeout"),
        ("terminated", JobState.CANCELLED, Failure.CANCELLED, "wrong input"),
        ("cancelled-queued", JobState.CANCELLED, Failure.CANCELLED, "wrong input"),
        ("agent", JobState.FAILED, Failure.INFRA_ERROR, "DockerTimeoutError"),
        ("misconfigured", JobState.QUEUED, None, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX"),
        ("no-capacity", JobState.QUEUED, None, "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"),
        ("second-attempt", JobState.RUNNING, None, ""),
    ],
)
def test_what_aws_says_has_a_name(
    aws: RecordedBatch,
    backend: AWSBatch,
    name: str,
    state: JobState,
    failure: Failure | None,
    said: str,
) -> None:
    """Each of AWS's answers is one state and one failure, and its words are kept."""
    aws.jobs.update(JOBS)
    status = backend.poll([handle(name)])[name]
    assert (status.state, status.failure) == (state, failure)
    assert said in status.reason


def test_exit_code_is_the_containers(aws: RecordedBatch, backend: AWSBatch) -> None:
    """The exit code and the times come along, in Unix seconds."""
    aws.jobs.update(JOBS)
    status = backend.poll([handle("raised")])["raised"]
    assert (status.exit_code, status.started_s) == (1, 1763636405.0)
    assert status.finished_s == 1763636465.0


def test_every_attempt_has_its_log() -> None:
    """A job that was started again has a log stream an attempt, in their order."""
    assert log_streams(JOBS["second-attempt"]) == [
        "bundlerun/default/0a1b",
        "bundlerun/default/2c3d",
    ]


def test_unexplained_end_at_the_deadline_is_a_timeout() -> None:
    """Without a reason and a code, a job that ran for its whole timeout is timed out."""
    job = {
        "status": "FAILED",
        "startedAt": 1000,
        "stoppedAt": 61000,
        "timeout": {"attemptDurationSeconds": 60},
    }
    assert job_status(job).failure is Failure.TIMED_OUT
    assert job_status({**job, "stoppedAt": 2000}).failure is Failure.INFRA_ERROR


def test_250_jobs_are_asked_for_in_three_requests(aws: RecordedBatch, backend: AWSBatch) -> None:
    """AWS takes 100 ids at once; what it does not know any more is LOST."""
    aws.jobs.update({f"j{n}": {"status": "RUNNING"} for n in range(249)})
    states = backend.poll([handle(f"j{n}") for n in range(250)])
    assert [len(body["jobs"]) for _, body in aws.requests] == [100, 100, 50]
    assert len(states) == 250
    assert states["j248"].state is JobState.RUNNING
    assert states["j249"].state is JobState.LOST


def test_following_ten_thousand_jobs_for_20_s_is_nine_requests(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """10,001 items are two arrays, and both are in one DescribeJobs a look."""
    script = Script(backend)
    parts = [handle("part-0"), handle("part-1")]
    new = {"status": "PENDING", "createdAt": int(time.time() * 1000)}
    aws.jobs.update({part.id: new for part in parts})
    script.handles = lambda: [] if script.is_over else parts
    timetable = Timetable()

    def until_20_s(statuses: Mapping[str, JobStatus], open: OpenItems) -> list[Ended]:
        script.is_over = timetable.now_s > 20
        return []

    script.seen = until_20_s
    followed(script, timetable)
    assert timetable.pauses[-1] > 7
    assert aws.operations() == ["describejobs"] * len(aws.requests)
    assert [len(body["jobs"]) for _, body in aws.requests] == [2] * 10
    assert timetable.now_s - timetable.pauses[-1] < 20


def test_throttled_request_is_repeated(aws: RecordedBatch, backend: AWSBatch) -> None:
    """A 429 or two go by unnoticed."""
    aws.jobs["j"] = {"status": "RUNNING"}
    aws.throttle = 2
    assert backend.poll([handle("j")])["j"].state is JobState.RUNNING
    assert aws.operations() == ["describejobs"] * 3


def test_waiting_outlives_a_service_that_throttles_for_long(
    aws: RecordedBatch, tmp_path: Path
) -> None:
    """Looks that fail are repeated a few times; a service that never answers is an error."""
    hasty = Patience(throttled_attempts=4, cap_s=0.001)
    backend = AWSBatch(batch_settings(tmp_path, "team"), Aws(patience=hasty))
    aws.jobs["j"] = {"status": "SUCCEEDED"}
    aws.throttle = 12
    pace = Pace(first_s=0.01, most_s=0.01)
    assert next(looks(backend, handle("j"), pace=pace)).state is JobState.SUCCEEDED
    aws.throttle = 1000
    with pytest.raises(RemoteUnreachable, match="TooManyRequests"):
        next(looks(backend, handle("j"), pace=pace))


def test_long_wait_without_a_reason_asks_the_queue(aws: RecordedBatch, backend: AWSBatch) -> None:
    """A job that has been waiting for long shows what is wrong with its queue, asked once."""
    aws.jobs["waiting"] = dict(JOBS["waiting"])
    aws.queue = dict(QUEUE_INVALID)
    for _ in range(3):
        status = backend.poll([handle("waiting")])["waiting"]
        assert status.state is JobState.QUEUED
        assert "JobQueue has no valid compute environment" in status.reason
    assert aws.operations().count("describejobqueues") == 1


def test_compute_environment_that_is_invalid_is_the_queues_problem(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """A healthy queue over a broken compute environment says why it is broken."""
    assert backend.queue_problem() is None
    aws.environments = [dict(ENVIRONMENT_INVALID)]
    problem = backend.queue_problem()
    assert problem is not None
    assert "Not authorized to perform sts:AssumeRole" in problem


def test_equal_content_registers_no_second_definition(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """Runs that differ in size, command and time share a definition; a new image has its own."""
    backend.submit(SPEC)
    other = replace(
        SPEC, run_id="0198", command=("worker", "x"), timeout_s=90, resources=Resources(4, 8192, 1)
    )
    backend.submit(other)
    assert len(aws.definitions) == 1
    backend.submit(replace(SPEC, run_id="0199", image="registry.example/x:2"))
    backend.submit(replace(SPEC, run_id="0200", options={"job_role_arn": "arn:aws:iam::1:role/r"}))
    backend.submit(SPEC)
    assert len(aws.definitions) == 3
    names = {row["jobDefinitionName"] for row in aws.definitions}
    assert names == {"bundlerun-pkg-module-job-definition"}
    submitted = [body["jobDefinition"] for name, body in aws.requests if name == "submitjob"]
    arns = [row["jobDefinitionArn"] for row in aws.definitions]
    assert submitted == [arns[0], arns[0], arns[1], arns[2], arns[0]]


def test_what_is_of_one_job_is_its_override(aws: RecordedBatch, backend: AWSBatch) -> None:
    """Command, variables, sizes, deadline and retries go with the job, the image does not."""
    spec = replace(SPEC, timeout_s=90, retries=2, resources=Resources(4, 8192, 1))
    found = backend.submit(spec)
    body = next(body for name, body in aws.requests if name == "submitjob")
    assert body["containerOverrides"] == {
        "command": ["worker", "0197-run", "--remote", "s3://bucket/prefix"],
        "environment": [{"name": "AWS_REGION", "value": "us-east-1"}],
        "resourceRequirements": [
            {"type": "VCPU", "value": "4"},
            {"type": "MEMORY", "value": "8192"},
            {"type": "GPU", "value": "1"},
        ],
    }
    assert body["timeout"] == {"attemptDurationSeconds": 90}
    assert body["retryStrategy"] == {
        "attempts": 3,
        "evaluateOnExit": [
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onStatusReason": "Task failed to start*", "action": "RETRY"},
            {"onExitCode": "143", "action": "RETRY"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }
    assert (body["jobQueue"], body["tags"]) == ("team", {"bundlerun:run": "0197-run"})
    assert found.run_id == "0197-run"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"timeout_s": 59}, "--timeout-s 60"),
        ({"resources": Resources(vcpus=0.5)}, "--vcpus 1"),
        ({"resources": Resources(vcpus=1.5)}, "--vcpus 2"),
        ({"resources": Resources(memory_mib=3)}, "--memory-mib"),
        ({"retries": 10}, "--retries 9"),
        ({"env": {"LONG": "x" * 7400}}, "7492"),
        ({"access": RemoteAccess("file:///data", Path("/data"), Path("/s"))}, "s3://"),
    ],
)
def test_what_aws_would_refuse_is_refused_before_it_is_asked(
    aws: RecordedBatch, backend: AWSBatch, changes: dict[str, object], said: str
) -> None:
    """AWS's limits are told with what to type, and no request is made."""
    with pytest.raises(UsageError, match=said):
        backend.submit(replace(SPEC, **changes))  # type: ignore[arg-type]
    assert aws.requests == []


def test_largest_job_that_we_send_is_taken(aws: RecordedBatch, backend: AWSBatch) -> None:
    """What passes our own limit passes AWS's."""
    backend.submit(replace(SPEC, env={"LONG": "x" * 7200}))
    assert "submitjob" in aws.operations()


def test_without_a_queue_nothing_is_submitted(aws: RecordedBatch, tmp_path: Path) -> None:
    """The error says which setting is missing, and how to do without an account."""
    with pytest.raises(SettingsError, match=r"\[backends.AWSBatch\] queue.*sandbox up"):
        AWSBatch(batch_settings(tmp_path, None)).submit(SPEC)
    assert aws.requests == []


def test_cancel_tells_aws_why(aws: RecordedBatch, backend: AWSBatch) -> None:
    """One TerminateJob ends queued and running jobs alike; ended ones are left alone."""
    own = {"jobName": "bundlerun-pkg-module-run-0", "tags": {"bundlerun:run": "run"}}
    aws.jobs.update({name: {**job, **own} for name, job in JOBS.items()})
    aws.jobs["running"] = {"status": "RUNNING", **own}
    for name in ("running", "waiting", "raised", "unknown"):
        backend.cancel(handle(name), "wrong input")
    ended = [body for name, body in aws.requests if name == "terminatejob"]
    assert [body["jobId"] for body in ended] == ["running", "waiting"]
    assert ended[0]["reason"] == "cancelled by bundlerun: wrong input"


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"jobName": "payroll-run-0", "tags": {"bundlerun:run": "another"}},
        {"jobName": "payroll", "tags": {"bundlerun:run": "run"}},
        {"jobName": "payroll-rerun-0", "tags": {"bundlerun:run": "run"}},
        {"jobName": "payroll-run-1", "tags": {"bundlerun:run": "run"}},
        {"jobName": "bundlerun-pkg-module-run-0"},
    ],
)
def test_cancel_ends_no_job_of_another_run(
    aws: RecordedBatch, backend: AWSBatch, job: dict[str, object]
) -> None:
    """The handle may come from a remote that lies: the job's own name and tag decide."""
    aws.jobs["theirs"] = {"status": "RUNNING", **job}
    with pytest.raises(Conflict, match="nothing was done"):
        backend.cancel(handle("theirs"), "wrong input")
    assert "terminatejob" not in aws.operations()


def test_secrets_are_the_definition_s_by_arn_and_the_role_s_that_reads_them(
    aws: RecordedBatch, backend: AWSBatch
) -> None:
    """Batch fills the variables in; no request has a value of them."""
    arn = "arn:aws:secretsmanager:us-east-1:1:secret:pw"
    role = "arn:aws:iam::1:role/reads"
    backend.submit(replace(SPEC, secrets={"PW": arn}, options={"execution_role_arn": role}))
    (registered,) = [body for name, body in aws.requests if name == "registerjobdefinition"]
    assert registered["containerProperties"]["secrets"] == [{"name": "PW", "valueFrom": arn}]
    assert registered["containerProperties"]["executionRoleArn"] == role
    (submitted,) = [body for name, body in aws.requests if name == "submitjob"]
    named = [row["name"] for row in submitted["containerOverrides"]["environment"]]
    assert named == ["AWS_REGION"]


def test_a_role_may_be_named(aws: RecordedBatch, tmp_path: Path) -> None:
    """The account is asked for once, and an ARN asks nobody."""
    asked: list[str] = []

    class Known(Aws):
        def account(self) -> str:
            asked.append("account")
            return "123456789012"

    backend = AWSBatch(batch_settings(tmp_path, "team"), Known())
    backend.submit(replace(SPEC, options={"job_role_arn": "arn:aws:iam::1:role/r"}))
    assert asked == []
    for run, role in (("1", "lab/runner"), ("2", "other")):
        backend.submit(replace(SPEC, run_id=run, options={"job_role_arn": role}))
    roles = [row["containerProperties"]["jobRoleArn"] for row in aws.definitions]
    assert roles[1:] == [
        "arn:aws:iam::123456789012:role/lab/runner",
        "arn:aws:iam::123456789012:role/other",
    ]
    assert asked == ["account"]
    with pytest.raises(SettingsError, match="my role"):
        backend.submit(replace(SPEC, options={"job_role_arn": "my role"}))


def test_definition_and_log_group_are_those_of_the_settings(
    aws: RecordedBatch, tmp_path: Path
) -> None:
    """Jobs write there, and their log is read where the job says that it is."""
    rows = {"queue": "team", "job_definition_name": "team-jobs", "log_group": "/team/jobs"}
    settings = replace(batch_settings(tmp_path, "team"), backends={"AWSBatch": rows})
    backend = AWSBatch(settings)
    backend.submit(SPEC)
    (definition,) = aws.definitions
    assert definition["jobDefinitionName"] == "team-jobs"
    told = definition["containerProperties"]["logConfiguration"]
    assert told == {"logDriver": "awslogs", "options": {"awslogs-group": "/team/jobs"}}
    container = {"logStreamName": "s", "logConfiguration": told}
    aws.jobs["j"] = {"status": "SUCCEEDED", "container": container}
    aws.log["s"] = ["a line"]
    assert list(backend.logs(handle("j"))) == ["a line"]
    groups = [body["logGroupName"] for name, body in aws.requests if name == "getlogevents"]
    assert set(groups) == {"/team/jobs"}
