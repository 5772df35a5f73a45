"""The calls to Batch and CloudWatch Logs, on moto's server."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from bundlerun.aws import batch
from bundlerun.aws.logs import LogStream
from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.errors import CloudError, RemoteUnreachable
from bundlerun.sandbox.contents import QUEUE, REGION, furnish

DEFINITION = {
    "type": "container",
    "containerProperties": {
        "image": "bundlerun-x:latest",
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "2048"},
        ],
    },
}


@pytest.fixture
def aws(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An identity of moto's AWS, in which a queue stands."""
    furnish(moto_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return Aws()


@pytest.fixture
def client(aws: Aws) -> Any:
    """A Batch client."""
    return aws.client("batch")


@pytest.fixture
def name() -> str:
    """A job definition's name that is this test's own."""
    return f"bundlerun-{uuid.uuid4()}-job-definition"


def test_definition_is_found_by_its_content(client: Any, name: str) -> None:
    """The service adds fields to what it describes; the tag still tells equal from other."""
    content = batch.content_digest(DEFINITION)
    assert batch.find_definition(client, name, content) is None
    arn = batch.register_definition(client, name, DEFINITION, content)
    assert batch.find_definition(client, name, content) == arn
    described = client.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"][0]
    assert described["containerProperties"] != DEFINITION["containerProperties"]


def test_newest_of_equal_definitions_is_taken(client: Any, name: str) -> None:
    """Two clients may register the same at once; both use the newest that is active."""
    content = batch.content_digest(DEFINITION)
    older = batch.register_definition(client, name, DEFINITION, content)
    newest = batch.register_definition(client, name, DEFINITION, content)
    other = {**DEFINITION, "containerProperties": {"image": "y", "memory": 512, "vcpus": 1}}
    batch.register_definition(client, name, other, batch.content_digest(other))
    assert batch.find_definition(client, name, content) == newest
    client.deregister_job_definition(jobDefinition=newest)
    assert batch.find_definition(client, name, content) == older


def test_content_digest_tells_definitions_apart() -> None:
    """Equal content has one digest, and any change another."""
    assert batch.content_digest(dict(DEFINITION)) == batch.content_digest(DEFINITION)
    assert batch.content_digest({**DEFINITION, "type": "multinode"}) != batch.content_digest(
        DEFINITION
    )


def test_unknown_queue_is_refused_by_name(client: Any, name: str) -> None:
    """The error names the queue and has the service's words."""
    arn = batch.register_definition(client, name, DEFINITION, "c")
    request = {"jobName": "j", "jobQueue": "no-such-queue", "jobDefinition": arn}
    with pytest.raises(CloudError, match=r"no-such-queue.*SubmitJob was refused"):
        batch.submit_job(client, request)


def test_queue_that_cannot_start_jobs_says_why(client: Any) -> None:
    """A missing or disabled queue is a problem in words; a healthy one is none."""
    assert batch.queue_problem(client, QUEUE) is None
    assert batch.queue_problem(client, "no-such-queue") == "there is no job queue no-such-queue"
    client.update_job_queue(jobQueue=QUEUE, state="DISABLED")
    try:
        problem = batch.queue_problem(client, QUEUE)
    finally:
        client.update_job_queue(jobQueue=QUEUE, state="ENABLED")
    assert problem == f"the job queue {QUEUE} is DISABLED and VALID"


def test_unknown_jobs_are_absent(client: Any) -> None:
    """No error for an id that the service does not know, and no request for none."""
    assert batch.describe_jobs(client, ["0000-none"]) == {}
    assert batch.describe_jobs(client, []) == {}


def test_service_that_is_away_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, moto_server: str
) -> None:
    """No answer is RemoteUnreachable, not a traceback of the SDK."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with pytest.raises(RemoteUnreachable):
        batch.describe_jobs(Aws(patience=Patience(cap_s=0.0)).client("batch"), ["x"])


class TestLogStream:
    """Reading a log stream forward."""

    @pytest.fixture
    def logs(self, aws: Aws) -> Any:
        """A CloudWatch Logs client."""
        return aws.client("logs")

    @pytest.fixture
    def stream(self, logs: Any) -> tuple[str, str]:
        """A group and the name of a stream that is not made yet."""
        group = f"/test/{uuid.uuid4()}"
        logs.create_log_group(logGroupName=group)
        return group, "stream"

    def put(self, logs: Any, stream: tuple[str, str], lines: list[str]) -> None:
        """Append lines; the stream is made with the first."""
        group, name = stream
        if not logs.describe_log_streams(logGroupName=group)["logStreams"]:
            logs.create_log_stream(logGroupName=group, logStreamName=name)
        now_ms = int(time.time() * 1000)
        events = [{"timestamp": now_ms, "message": line} for line in lines]
        logs.put_log_events(logGroupName=group, logStreamName=name, logEvents=events)

    def test_stream_that_is_not_there_has_no_lines(
        self, logs: Any, stream: tuple[str, str]
    ) -> None:
        """A job that has not started has no stream; the same reader finds it later."""
        reader = LogStream(logs, *stream)
        assert list(reader.new_lines()) == []
        self.put(logs, stream, ["first\n", "second"])
        assert list(reader.new_lines()) == ["first", "second"]

    def test_each_line_comes_once(self, logs: Any, stream: tuple[str, str]) -> None:
        """A second reading gives only what came since, also of equal lines."""
        reader = LogStream(logs, *stream)
        self.put(logs, stream, ["same", "same"])
        assert list(reader.new_lines()) == ["same", "same"]
        assert list(reader.new_lines()) == []
        self.put(logs, stream, ["same"])
        assert list(reader.new_lines()) == ["same"]

    def test_more_lines_than_a_page_holds(self, logs: Any, stream: tuple[str, str]) -> None:
        """12,000 lines are two pages (10,000 events a page): all, in order."""
        lines = [f"line {number}" for number in range(12000)]
        for start in range(0, len(lines), 4000):
            self.put(logs, stream, lines[start : start + 4000])
        assert list(LogStream(logs, *stream).new_lines()) == lines

    def test_empty_page_is_not_the_end(self, stream: tuple[str, str]) -> None:
        """CloudWatch may answer an empty page in the middle; the end is a token that repeats."""
        pages = [
            ([], "f/1"),
            (["a"], "f/2"),
            ([], "f/3"),
            (["b"], "f/4"),
            ([], "f/4"),
            (["c"], "f/5"),
            ([], "f/5"),
        ]

        class RecordedLogs:
            """CloudWatch's answers, and what it was asked with."""

            class exceptions:
                class ResourceNotFoundException(Exception):
                    """Never raised here."""

            def __init__(self) -> None:
                self.tokens: list[str | None] = []

            def get_log_events(self, **asked: Any) -> dict[str, Any]:
                """The next page."""
                self.tokens.append(asked.get("nextToken"))
                lines, token = pages.pop(0)
                events = [{"message": line} for line in lines]
                return {"events": events, "nextForwardToken": token}

        logs = RecordedLogs()
        reader = LogStream(logs, *stream)
        assert list(reader.new_lines()) == ["a", "b"]
        assert list(reader.new_lines()) == ["c"]
        assert logs.tokens == [None, "f/1", "f/2", "f/3", "f/4", "f/4", "f/5"]
