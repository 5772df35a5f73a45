"""The sandbox serves the Batch that AWS serves, asked through boto3; its jobs are calls here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from bundlerun.sandbox.batch_attempt import NOT_STARTED, Attempt, Exit, in_process
from tests.sandbox.fates import Fate
from tests.sandbox.scene import CONTAINER, Scene, Script, scene

pytestmark = pytest.mark.heavy

HOST_GONE = Exit(None, "", "Host EC2 (instance i-0d1f2a3b4c5d6e7f8) terminated.")
RULES = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onStatusReason": "Task failed to start*", "action": "retry"},
    {"onReason": "*", "action": "EXIT"},
]


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Scene, list[Script]]]:
    """One AWS for all tests, whose jobs are those of the newest script."""
    scripts: list[Script] = []
    with scene(lambda attempt: scripts[-1].run(attempt), least_timeout_s=1) as made:
        yield made, scripts


@pytest.fixture
def script(stage: tuple[Scene, list[Script]]) -> Iterator[Script]:
    """Jobs that succeed at once, unless the test says otherwise."""
    stage[1].append(found := Script())
    yield found
    found.go.set()


@pytest.fixture
def aws(stage: tuple[Scene, list[Script]], script: Script) -> Scene:
    """An AWS whose jobs are those calls, with a queue of the test's own."""
    aws, _ = stage
    return replace(aws, queue=aws.new_queue(4))


def refused(error: pytest.ExceptionInfo[ClientError]) -> str:
    """The message of AWS's ClientException."""
    answer = error.value.response
    assert answer["Error"]["Code"] == "ClientException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(answer["Error"]["Message"])


class TestArrays:
    """Arrays: guide, "Array jobs"."""

    def test_each_child_has_its_index_and_id(self, aws: Scene, script: Script) -> None:
        """The variables that AWS Batch sets, in every child."""
        array = aws.submit(3)
        aws.until(array)
        seen = [
            {name: text for name, text in attempt.environment.items() if "BATCH" in name}
            for attempt in script.attempts
        ]
        assert sorted(seen, key=lambda own: own["AWS_BATCH_JOB_ID"]) == [
            {
                "AWS_BATCH_CE_NAME": aws.queue,
                "AWS_BATCH_JQ_NAME": aws.queue,
                "AWS_BATCH_JOB_ID": f"{array}:{index}",
                "AWS_BATCH_JOB_ATTEMPT": "1",
                "AWS_BATCH_JOB_ARRAY_INDEX": str(index),
                "AWS_BATCH_JOB_ARRAY_SIZE": "3",
            }
            for index in range(3)
        ]

    def test_a_plain_job_has_its_attempt_and_no_index(self, aws: Scene, script: Script) -> None:
        """AWS_BATCH_JOB_ARRAY_INDEX is set in children alone."""
        job = aws.submit()
        aws.until(job)
        own = script.attempts[0].environment
        assert (own["AWS_BATCH_JOB_ID"], own["AWS_BATCH_JOB_ATTEMPT"]) == (job, "1")
        assert "AWS_BATCH_JOB_ARRAY_INDEX" not in own

    def test_children_run_as_many_at_a_time_as_there_are_vcpus(
        self, aws: Scene, script: Script
    ) -> None:
        """Four vCPUs: four children of one vCPU, or two of two."""
        aws.until(aws.submit(20))
        assert script.most_at_once <= 4
        two = {"resourceRequirements": [{"type": "VCPU", "value": "2"}]}
        script.most_at_once = 0
        script.go.clear()
        array = aws.submit(6, containerOverrides=two)
        summary = aws.until_running(array, 2)["arrayProperties"]["statusSummary"]
        assert summary["RUNNABLE"] == 4
        script.go.set()
        aws.until(array)
        assert script.most_at_once <= 2

    def test_a_parent_is_pending_while_its_children_run(self, aws: Scene, script: Script) -> None:
        """Its summary counts them; it is never RUNNING itself."""
        script.go.clear()
        array = aws.submit(6)
        parent = aws.until_running(array, 4)
        counted = {s: n for s, n in parent["arrayProperties"]["statusSummary"].items() if n}
        assert (parent["status"], counted) == ("PENDING", {"RUNNING": 4, "RUNNABLE": 2})
        assert parent["arrayProperties"]["size"] == 6
        assert aws.job(f"{array}:3")["arrayProperties"] == {"index": 3}

    def test_a_parent_succeeds_though_nobody_looks(self, aws: Scene) -> None:
        """A job that depends on it begins by itself."""
        array = aws.submit(3)
        after = aws.submit(dependsOn=[{"jobId": array}])
        assert aws.until(after)["status"] == "SUCCEEDED"
        assert aws.job(array)["status"] == "SUCCEEDED"

    def test_a_parent_fails_when_a_child_failed(self, aws: Scene, script: Script) -> None:
        """After the last child, with AWS's words; what depends on it fails."""
        script.exits = (0, 3)
        script.go.clear()
        array = aws.submit(5)
        after = aws.submit(dependsOn=[{"jobId": array}])
        assert aws.until(after, "PENDING")
        script.go.set()
        parent = aws.until(array)
        assert (parent["status"], parent["statusReason"]) == ("FAILED", "Array Child Job failed")
        tally = parent["arrayProperties"]["statusSummary"]
        assert (tally["SUCCEEDED"], tally["FAILED"]) == (4, 1)
        assert aws.until(after)["statusReason"] == "Dependent Job failed"

    def test_ten_thousand_children_are_taken_and_run(self) -> None:
        """The most that an array has, as calls in this process."""
        done: list[int | None] = []
        with scene(in_process(lambda attempt: done.append(attempt.index))) as aws:
            array = aws.submit(10_000)
            assert aws.until(array)["status"] == "SUCCEEDED"
            assert sorted(done) == list(range(10_000))
            assert len(aws.listed(arrayJobId=array, jobStatus="SUCCEEDED")) == 10_000
            # 1,000 a page (API, ListJobs).
            assert aws.batch.calls("ListJobs") == 10


class TestLists:
    """ListJobs (API reference)."""

    def test_without_a_status_it_lists_what_runs(self, aws: Scene, script: Script) -> None:
        """RUNNING alone; parents of arrays are PENDING, and children are not listed by queue."""
        script.go.clear()
        array, plain = aws.submit(2), aws.submit()
        aws.until(plain, "RUNNING")
        aws.until_running(array, 2)
        assert aws.listed(jobQueue=aws.queue) == [plain]
        assert aws.listed(jobQueue=aws.queue, jobStatus="PENDING") == [array]
        assert sorted(aws.listed(arrayJobId=array)) == [f"{array}:0", f"{array}:1"]

    def test_children_are_listed_by_state_with_their_exit_code(
        self, aws: Scene, script: Script
    ) -> None:
        """Why each failed: its reason and exit code, without describing it."""
        script.exits = (Exit(137, "OutOfMemoryError: Container killed due to memory usage"),)
        array = aws.submit(3)
        aws.until(array)
        rows = aws.client.list_jobs(arrayJobId=array, jobStatus="FAILED")["jobSummaryList"]
        (row,) = rows
        assert row["container"] == {"exitCode": 137, "reason": script.exits[0].reason}
        assert row["statusReason"] == "Essential container in task exited"
        assert row["jobId"] == f"{array}:{row['arrayProperties']['index']}"

    def test_a_name_is_found_in_whatever_state_newest_first(self, aws: Scene) -> None:
        """Upper and lower case are the same, a star stands for any end."""
        ids = [aws.submit(jobName=name) for name in ("Alpha", "alpha", "alphabet", "beta")]
        for job_id in ids:
            aws.until(job_id)

        def named(value: str) -> list[str]:
            return aws.listed(jobQueue=aws.queue, filters=[{"name": "JOB_NAME", "values": [value]}])

        assert named("ALPHA") == [ids[1], ids[0]]
        assert named("alpha*") == [ids[2], ids[1], ids[0]]
        assert named("none") == []

    def test_pages_are_as_long_as_asked(self, aws: Scene) -> None:
        """maxResults bounds a page, and nextToken leads on; filters have 100 a page."""
        ids = [aws.submit() for _ in range(5)]
        for job_id in ids:
            aws.until(job_id)
        page = aws.client.list_jobs(jobQueue=aws.queue, jobStatus="SUCCEEDED", maxResults=2)
        assert [row["jobId"] for row in page["jobSummaryList"]] == [ids[4], ids[3]]
        rest = aws.client.list_jobs(
            jobQueue=aws.queue, jobStatus="SUCCEEDED", nextToken=page["nextToken"]
        )
        assert [row["jobId"] for row in rest["jobSummaryList"]] == [ids[2], ids[1], ids[0]]
        assert "nextToken" not in rest


class TestRetries:
    """Guide, "Automated job retries"; API, EvaluateOnExit."""

    def retried(self, aws: Scene, script: Script, *exits: Exit | int, **retry: Any) -> list[str]:
        """The reasons of a job's attempts, one that ends so; ``retry`` has its strategy."""
        script.exits = exits
        job = aws.until(aws.submit(retryStrategy=retry))
        numbers = [each.environment["AWS_BATCH_JOB_ATTEMPT"] for each in script.attempts]
        assert numbers == [str(n + 1) for n in range(len(job["attempts"]))]
        return [job["status"], *(each["statusReason"] for each in job["attempts"])]

    def test_a_failure_is_tried_again(self, aws: Scene, script: Script) -> None:
        """As often as attempts says; each attempt counts, with its exit code."""
        script.exits = (1, 2)
        job = aws.until(aws.submit(retryStrategy={"attempts": 3}))
        codes = [each["container"]["exitCode"] for each in job["attempts"]]
        assert (job["status"], codes, job["container"]["exitCode"]) == ("SUCCEEDED", [1, 2, 0], 0)

    def test_without_a_strategy_nothing_is_tried_again(self, aws: Scene, script: Script) -> None:
        """One attempt is the default; the definition's own strategy counts where there is one."""
        assert self.retried(aws, script, 1) == ["FAILED", "Essential container in task exited"]
        aws.definition = aws.define(retryStrategy={"attempts": 2})
        script.attempts.clear()
        script.exits = (1,)
        assert len(aws.until(aws.submit())["attempts"]) == 2

    def test_a_lost_machine_is_tried_again(self, aws: Scene, script: Script) -> None:
        """By its words; the attempt has no exit code."""
        rules = {"attempts": 3, "evaluateOnExit": RULES}
        assert self.retried(aws, script, HOST_GONE, **rules) == [
            "SUCCEEDED",
            HOST_GONE.status_reason,
            "Essential container in task exited",
        ]

    def test_a_rule_that_exits_ends_the_job(self, aws: Scene, script: Script) -> None:
        """The first rule whose conditions all hold decides."""
        rules = {"attempts": 3, "evaluateOnExit": RULES}
        assert self.retried(aws, script, 1, **rules)[0] == "FAILED"

    def test_what_no_rule_is_about_is_tried_again(self, aws: Scene, script: Script) -> None:
        """Exit code 2 is no code of these rules."""
        rules = [{"onExitCode": "1*", "action": "EXIT"}]
        strategy = {"attempts": 3, "evaluateOnExit": rules}
        assert len(self.retried(aws, script, 2, 12, **strategy)) == 3

    def test_a_start_that_failed_has_its_words(self, aws: Scene, script: Script) -> None:
        """ "Task failed to start", the container's reason beside it."""
        pull = Exit(None, "CannotPullContainerError: pull access denied", NOT_STARTED)
        script.exits = (pull, pull)
        job = aws.until(aws.submit(retryStrategy={"attempts": 2, "evaluateOnExit": RULES}))
        assert [each["container"]["reason"] for each in job["attempts"]] == [pull.reason] * 2
        assert job["statusReason"] == NOT_STARTED

    def test_a_spot_reclaim_ends_an_attempt(self, aws: Scene, script: Script) -> None:
        """The running child loses its machine, and runs again."""
        script.go.clear()
        array = aws.submit(2, retryStrategy={"attempts": 2, "evaluateOnExit": RULES})
        aws.until(f"{array}:1", "RUNNING")
        aws.batch.jobs.reclaim(f"{array}:1")
        while not aws.job(f"{array}:1")["attempts"]:
            time.sleep(0.01)
        script.go.set()
        assert aws.until(array)["status"] == "SUCCEEDED"
        first, second = aws.job(f"{array}:1")["attempts"]
        assert first["statusReason"].startswith("Host EC2 (instance i-")
        assert "exitCode" not in first["container"]
        assert second["container"]["exitCode"] == 0


class TestEnds:
    """CancelJob, TerminateJob (API reference); guide, "Job timeouts"."""

    def test_a_terminated_parent_ends_all_children(self, aws: Scene, script: Script) -> None:
        """Running and queued ones, with the reason; nothing is tried again."""
        script.go.clear()
        array = aws.submit(6, retryStrategy={"attempts": 3})
        aws.until(f"{array}:0", "RUNNING")
        aws.client.terminate_job(jobId=array, reason="enough")
        parent = aws.until(array)
        tally = parent["arrayProperties"]["statusSummary"]
        assert (parent["statusReason"], parent["isTerminated"]) == ("enough", True)
        assert tally["FAILED"] == 6
        child = aws.job(f"{array}:5")
        assert (child["statusReason"], child["attempts"]) == ("enough", [])

    def test_a_terminated_child_leaves_its_siblings(self, aws: Scene, script: Script) -> None:
        """They go on; the parent fails with it."""
        script.go.clear()
        array = aws.submit(3)
        aws.until(f"{array}:2", "RUNNING")
        aws.client.terminate_job(jobId=f"{array}:1", reason="enough")
        assert aws.until(f"{array}:1")["statusReason"] == "enough"
        script.go.set()
        parent = aws.until(array)
        assert parent["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 2
        assert parent["status"] == "FAILED"

    def test_a_cancel_leaves_what_runs(self, aws: Scene, script: Script) -> None:
        """Of an array the queued children end, the running ones do not."""
        script.go.clear()
        array = aws.submit(6)
        aws.until_running(array, 4)
        aws.client.cancel_job(jobId=array, reason="enough")
        tally = aws.job(array)["arrayProperties"]["statusSummary"]
        assert (tally["RUNNING"], tally["FAILED"]) == (4, 2)
        script.go.set()
        parent = aws.until(array)
        assert (parent["status"], parent["isCancelled"]) == ("FAILED", True)
        assert parent["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 4

    def test_a_time_limit_is_each_childs_and_is_not_retried(
        self, aws: Scene, script: Script
    ) -> None:
        """From its own start; the words and the exit code are Batch's."""
        script.go.clear()
        limit = {"attemptDurationSeconds": 1}
        array = aws.submit(2, timeout=limit, retryStrategy={"attempts": 5})
        child = aws.until(f"{array}:0")
        assert child["statusReason"] == "Job attempt duration exceeded timeout"
        assert len(child["attempts"]) == 1
        assert child["stoppedAt"] - child["startedAt"] >= 1000
        assert aws.until(array)["status"] == "FAILED"

    def test_ending_what_has_ended_or_is_not_there_is_no_error(self, aws: Scene) -> None:
        """Nothing changes."""
        job = aws.submit()
        before = aws.until(job)
        aws.client.terminate_job(jobId=job, reason="late")
        aws.client.cancel_job(jobId="nobody", reason="late")
        del before["isTerminated"]
        assert before.items() <= aws.job(job).items()

    def test_a_disabled_environment_begins_nothing(self, aws: Scene, script: Script) -> None:
        """Jobs wait as RUNNABLE until it takes them again (API, UpdateComputeEnvironment)."""
        aws.client.update_compute_environment(computeEnvironment=aws.queue, state="DISABLED")
        job = aws.submit()
        assert aws.job(job)["status"] == "RUNNABLE"
        aws.client.update_compute_environment(computeEnvironment=aws.queue, state="ENABLED")
        assert aws.until(job)["status"] == "SUCCEEDED"

    def test_what_never_fits_waits_with_its_reason(self, aws: Scene) -> None:
        """In nobody's way (API, JobDetail, statusReason)."""
        large = {"resourceRequirements": [{"type": "VCPU", "value": "64"}]}
        stuck = aws.submit(containerOverrides=large)
        assert aws.until(aws.submit())["status"] == "SUCCEEDED"
        job = aws.job(stuck)
        assert job["status"] == "RUNNABLE"
        assert job["statusReason"].startswith("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE")


class TestLimits:
    """What AWS Batch refuses, in its own error."""

    def test_describe_takes_a_hundred(self, aws: Scene) -> None:
        """And says so of one more; ids that it does not know are absent."""
        assert aws.client.describe_jobs(jobs=["nobody"] * 100)["jobs"] == []
        with pytest.raises(ClientError) as error:
            aws.client.describe_jobs(jobs=["nobody"] * 101)
        assert "100" in refused(error)

    @pytest.mark.parametrize("size", [0, 1, 10_001])
    def test_arrays_have_two_to_ten_thousand_children(self, aws: Scene, size: int) -> None:
        """No array of one, none of none, none of more."""
        with pytest.raises(ClientError) as error:
            aws.submit(size)
        assert "between 2 and 10000" in refused(error)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"jobName": "-x"}, "Job name"),
            ({"jobName": "x" * 129}, "Job name"),
            ({"jobName": "a b"}, "Job name"),
            ({"jobQueue": "nowhere"}, "Job queue nowhere does not exist"),
            ({"jobDefinition": "nothing"}, "Job definition nothing does not exist"),
            ({"retryStrategy": {"attempts": 11}}, "attempts"),
            ({"retryStrategy": {"attempts": 2, "evaluateOnExit": RULES * 2}}, "evaluateOnExit"),
            ({"timeout": {"attemptDurationSeconds": 0}}, "60 seconds"),
            ({"parameters": {"long": "x" * 31_000}}, "30 KiB"),
            ({"dependsOn": [{"jobId": "nobody"}]}, "nobody does not exist"),
            ({"dependsOn": [{"type": "SEQUENTIAL"}]}, "SEQUENTIAL"),
            (
                {"containerOverrides": {"environment": [{"name": "AWS_BATCH_X", "value": "1"}]}},
                "AWS_BATCH",
            ),
        ],
    )
    def test_what_is_no_job_is_refused(self, aws: Scene, given: dict[str, Any], words: str) -> None:
        """Before anything is made."""
        with pytest.raises(ClientError) as error:
            aws.submit(**given)
        assert words in refused(error)
        assert aws.listed(jobQueue=aws.queue, jobStatus="SUCCEEDED") == []

    def test_a_minute_is_the_least_time_limit(self) -> None:
        """Unless a test says otherwise."""
        with scene(Script().run) as aws:
            aws.until(aws.submit(timeout={"attemptDurationSeconds": 60}))
            with pytest.raises(ClientError) as error:
                aws.submit(timeout={"attemptDurationSeconds": 59})
        assert "60 seconds" in refused(error)

    def test_overrides_that_are_too_long_fail_after_the_submit(
        self, aws: Scene, script: Script
    ) -> None:
        """SubmitJob says yes; the job fails, is not retried, and never runs."""
        long = {"environment": [{"name": "LONG", "value": "x" * 8000}]}
        job = aws.until(aws.submit(containerOverrides=long, retryStrategy={"attempts": 3}))
        assert job["statusReason"] == "Container Overrides length must be at most 8192"
        assert (job["attempts"], script.attempts) == ([], [])
        short = {"environment": [{"name": "LONG", "value": "x" * 7000}]}
        assert aws.until(aws.submit(containerOverrides=short))["status"] == "SUCCEEDED"

    def test_definitions_have_their_own_limits(self, aws: Scene) -> None:
        """24 KiB, and no variable of Batch's own."""
        for variable, words in (
            ({"name": "LONG", "value": "x" * 25_000}, "24 KiB"),
            ({"name": "AWS_BATCH_X", "value": ""}, "AWS_BATCH"),
        ):
            with pytest.raises(ClientError) as error:
                aws.define(containerProperties={**CONTAINER, "environment": [variable]})
            assert words in refused(error)


class TestFaults:
    """What a test has happen to a call."""

    def test_a_throttled_call_does_nothing(self, aws: Scene) -> None:
        """429 TooManyRequestsException; the next one goes through."""
        calls = aws.batch.calls("SubmitJob")
        aws.batch.befall("SubmitJob", Fate.THROTTLED)
        with pytest.raises(ClientError) as error:
            aws.submit()
        assert error.value.response["Error"]["Code"] == "TooManyRequestsException"
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert aws.until(aws.submit())["status"] == "SUCCEEDED"
        assert len(aws.listed(jobQueue=aws.queue, jobStatus="SUCCEEDED")) == 1
        assert aws.batch.calls("SubmitJob") == calls + 2

    @pytest.mark.parametrize("fate", [Fate.LOST, Fate.FAILED_AFTER])
    def test_a_lost_answer_leaves_a_job(self, aws: Scene, fate: Fate) -> None:
        """The job is made; the client hears nothing, or a 500."""
        aws.batch.befall("SubmitJob", fate)
        with pytest.raises((ClientError, ConnectionClosedError, ReadTimeoutError)) as error:
            aws.submit(jobName="once")
        if fate is Fate.LOST:
            assert isinstance(error.value, ConnectionClosedError)
        named = [{"name": "JOB_NAME", "values": ["once"]}]
        (job,) = aws.listed(jobQueue=aws.queue, filters=named)
        assert aws.until(job)["status"] == "SUCCEEDED"

    def test_calls_that_moto_answers_have_fates_too(self, aws: Scene) -> None:
        """A registration whose answer is lost is one revision."""
        aws.batch.befall("RegisterJobDefinition", Fate.LOST)
        given = {"type": "container", "containerProperties": CONTAINER}
        with pytest.raises(ConnectionClosedError):
            aws.client.register_job_definition(jobDefinitionName="lost-one", **given)
        found = aws.client.describe_job_definitions(jobDefinitionName="lost-one")
        assert len(found["jobDefinitions"]) >= 1


def test_what_a_job_prints_is_in_cloudwatch_while_it_runs() -> None:
    """In a stream of the attempt's own, named once it runs."""
    go_on = threading.Event()

    def work(attempt: Attempt) -> None:
        attempt.log("first")
        go_on.wait(20)
        attempt.log("last")

    with scene(in_process(work)) as aws:
        job = aws.submit()
        stream = aws.until(job, "RUNNING")["container"]["logStreamName"]
        until_s = time.monotonic() + 20
        while not aws.logged(stream) and time.monotonic() < until_s:
            time.sleep(0.02)
        assert aws.logged(stream) == ["first"]
        go_on.set()
        aws.until(job)
        assert aws.logged(stream) == ["first", "last"]


def test_a_call_that_raises_is_exit_code_1_with_its_traceback() -> None:
    """As a container's would be."""

    def work(attempt: Attempt) -> None:
        raise ValueError("broken")

    with scene(in_process(work)) as aws:
        job = aws.until(aws.submit())
        assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 1)
        assert aws.logged(job["container"]["logStreamName"])[-1] == "ValueError: broken"


def test_a_described_job_has_what_it_was_given(aws: Scene) -> None:
    """The definition's container with the job's overrides, tags, timeout and strategy; parameters
    stand in the command."""
    aws.definition = aws.define(
        containerProperties={
            **CONTAINER,
            "command": ["echo", "Ref::what"],
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        },
        parameters={"what": "default"},
    )
    job = aws.until(
        aws.submit(
            containerOverrides={
                "environment": [{"name": "B", "value": "2"}],
                "resourceRequirements": [{"type": "MEMORY", "value": "256"}],
            },
            parameters={"what": "this"},
            tags={"k": "v"},
            timeout={"attemptDurationSeconds": 90},
        )
    )
    container = job["container"]
    assert container["command"] == ["echo", "this"]
    assert {row["name"]: row["value"] for row in container["environment"]} == {"A": "1", "B": "2"}
    needs = {row["type"]: row["value"] for row in container["resourceRequirements"]}
    assert needs == {"VCPU": "1", "MEMORY": "256"}
    assert (job["tags"], job["timeout"]) == ({"k": "v"}, {"attemptDurationSeconds": 90})
    assert job["retryStrategy"]["attempts"] == 1
