"""RecordedBatch: a server that gives the answers of AWS Batch that a test wants, and runs nothing.

What AWS does:

- DescribeJobs takes at most 100 ids, and says ClientException to more (API reference).
- SubmitJob takes at most 30 KiB, and a timeout of 60 s or more (user guide, "Service quotas").
- A busy account is answered 429 TooManyRequestsException; the SDK tries again.
- An ended job carries ``statusReason``, its attempts' ``exitCode`` and ``reason``; a job that waits
  may carry a ``statusReason`` that begins with MISCONFIGURATION or CAPACITY.
- ListJobs shows a new job some moments late, and takes upper and lower case for the same.
- An answer may be lost after the work was done: a connection that is reset, a 500.
- ListJobs of an array's failed jobs has 1,000 a page; a job of an array is ``ID:INDEX``.
- A terminated job has ``isTerminated``, a cancelled one ``isCancelled``.

``JOBS`` are answers as AWS words them. botocore talks to it over HTTP as it does to AWS.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


def ended(reason: str, *, code: int | None = None, container_reason: str | None = None) -> Json:
    """A FAILED job with one attempt, in the shape of DescribeJobs."""
    container: Json = {"logStreamName": "bundlerun/default/0a1b", "networkInterfaces": []}
    if code is not None:
        container["exitCode"] = code
    if container_reason is not None:
        container["reason"] = container_reason
    times = {"startedAt": 1763636405000, "stoppedAt": 1763636465000}
    attempt = {"container": container, "statusReason": reason, **times}
    return {
        "status": "FAILED",
        "statusReason": reason,
        "attempts": [attempt],
        "container": dict(container),
        "isCancelled": False,
        "isTerminated": False,
        **times,
    }


EXITED = "Essential container in task exited"

JOBS: Mapping[str, Json] = {
    "raised": ended(EXITED, code=1),
    "out-of-memory": ended(
        EXITED, code=137, container_reason="OutOfMemoryError: Container killed due to memory usage"
    ),
    "spot": ended("Host EC2 (instance i-0d1f2a3b4c5d6e7f8) terminated."),
    "pull": ended(
        "Task failed to start",
        container_reason="CannotPullContainerError: Error response from daemon: pull access denied"
        " for bundlerun-x, repository does not exist or may require 'docker login'",
    ),
    "pull-ecr": ended(
        "Task failed to start",
        container_reason="CannotPullImageManifestError: Error response from daemon: manifest for"
        " 123456789012.dkr.ecr.us-east-1.amazonaws.com/x:latest not found",
    ),
    "timeout": ended("Job attempt duration exceeded timeout", code=137),
    "terminated": {**ended("wrong input", code=143), "isTerminated": True},
    "cancelled-queued": {
        **ended("cancelled by bundlerun: wrong input"),
        "attempts": [],
        "isCancelled": True,
    },
    "agent": ended("DockerTimeoutError: Could not transition to started; timed out"),
    "misconfigured": {
        "status": "RUNNABLE",
        "statusReason": "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CPU/MEMORY job's"
        " requirement is greater than the compute environment's max vCPU capacity",
    },
    "no-capacity": {
        "status": "RUNNABLE",
        "statusReason": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the"
        " capacity requested",
    },
    "waiting": {"status": "RUNNABLE"},
    "second-attempt": {
        "status": "RUNNING",
        "startedAt": 1763636505000,
        "attempts": ended("Host EC2 (instance i-0d1f2a3b4c5d6e7f8) terminated.")["attempts"],
        "container": {"logStreamName": "bundlerun/default/2c3d"},
    },
}

QUEUE_INVALID: Json = {
    "jobQueueName": "team",
    "state": "ENABLED",
    "status": "INVALID",
    "statusReason": "JobQueue has no valid compute environment",
    "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "team-ce"}],
}
QUEUE_VALID: Json = {**QUEUE_INVALID, "status": "VALID", "statusReason": "JobQueue Healthy"}
ENVIRONMENT_INVALID: Json = {
    "computeEnvironmentName": "team-ce",
    "state": "ENABLED",
    "status": "INVALID",
    "statusReason": "CLIENT_ERROR - Not authorized to perform sts:AssumeRole",
}


LOST_BEFORE, LOST_AFTER, FAILED_AFTER = "lost before", "lost after", "failed after"
THROTTLED = "throttled"


class RecordedBatch:
    """The server. ``requests`` are the operations with their bodies; ``throttle`` is how many of
    the next requests are answered 429.

    ``lost`` says of the next requests of an operation what becomes of each: LOST_BEFORE its work,
    or LOST_AFTER it, or FAILED_AFTER it, or THROTTLED. ``unlisted`` is how many of the next
    ListJobs show nothing yet. A job whose description is a list goes one step on with each
    DescribeJobs. ``log`` has the lines of the streams, ``children`` the failed ones of an array.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.queue: Json = dict(QUEUE_VALID)
        self.environments: list[Json] = [
            {"computeEnvironmentName": "team-ce", "state": "ENABLED", "status": "VALID"}
        ]
        self.definitions: list[Json] = []
        self.requests: list[tuple[str, Json]] = []
        self.throttle = 0
        self.lost: dict[str, list[str]] = {}
        self.unlisted = 0
        self.log: dict[str, list[str]] = {}
        self.children: dict[str, list[Json]] = {}

    def operations(self) -> list[str]:
        """The names of the operations so far."""
        return [name for name, _ in self.requests]

    def answer(self, operation: str, body: Json, size: int) -> tuple[int, str | None, Json]:
        """HTTP status, error type and body of the answer; status 0: none comes."""
        self.requests.append((operation, body))
        fate = self.lost.get(operation, [])
        become = fate.pop(0) if fate else ""
        if become == LOST_BEFORE:
            return 0, None, {}
        if become == THROTTLED:
            return 429, "TooManyRequestsException", {"message": "Too Many Requests"}
        answer = self._carried_out(operation, body, size)
        if become == FAILED_AFTER:
            return 500, "ServerException", {"message": "Internal Server Error"}
        return (0, None, {}) if become == LOST_AFTER else answer

    def _carried_out(self, operation: str, body: Json, size: int) -> tuple[int, str | None, Json]:
        if self.throttle > 0:
            self.throttle -= 1
            return 429, "TooManyRequestsException", {"message": "Too Many Requests"}
        if operation == "describejobs":
            return self._describe_jobs(body)
        if operation == "submitjob":
            return self._submit(body, size)
        if operation == "describejobdefinitions":
            return 200, None, {"jobDefinitions": self.definitions}
        if operation == "registerjobdefinition":
            return self._register(body)
        if operation == "listjobs":
            return self._list_jobs(body)
        if operation == "getlogevents":
            return self._log_events(body)
        if operation == "terminatejob":
            return 200, None, {}
        if operation == "describejobqueues":
            return 200, None, {"jobQueues": [self.queue]}
        if operation == "describecomputeenvironments":
            return 200, None, {"computeEnvironments": self.environments}
        return 404, "UnknownOperationException", {"message": operation}

    def _describe_jobs(self, body: Json) -> tuple[int, str | None, Json]:
        if len(body["jobs"]) > 100:
            return refused("Member must have length less than or equal to 100")
        known = [
            {"jobId": name, "createdAt": 1763636400000, **self._next(name)}
            for name in body["jobs"]
            if name in self.jobs
        ]
        return 200, None, {"jobs": known}

    def _next(self, name: str) -> Json:
        found = self.jobs[name]
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    def _list_jobs(self, body: Json) -> tuple[int, str | None, Json]:
        if self.unlisted > 0:
            self.unlisted -= 1
            return 200, None, {"jobSummaryList": []}
        if "arrayJobId" in body:
            return self._list_failed(body)
        (wanted,) = body["filters"][0]["values"]
        found = [
            {"createdAt": 1763636400000, **job, "jobId": id}
            for id, job in self.jobs.items()
            if str(job.get("jobName")).lower() == wanted.lower()
        ]
        return 200, None, {"jobSummaryList": found}

    def _list_failed(self, body: Json) -> tuple[int, str | None, Json]:
        """AWS lists 1,000 jobs by their status, and the running ones where none is named."""
        children = self.children[body["arrayJobId"]] if body.get("jobStatus") == "FAILED" else []
        most, start = min(1000, body.get("maxResults", 1000)), int(body.get("nextToken", "0"))
        answer: Json = {"jobSummaryList": children[start : start + most]}
        if start + most < len(children):
            answer["nextToken"] = str(start + most)
        return 200, None, answer

    def _log_events(self, body: Json) -> tuple[int, str | None, Json]:
        lines = self.log.get(body["logStreamName"])
        if lines is None:
            return 400, "ResourceNotFoundException", {"message": "no such stream"}
        start = int(body.get("nextToken", "0"))
        events = [{"message": line, "timestamp": 1} for line in lines[start:]]
        return 200, None, {"events": events, "nextForwardToken": str(len(lines))}

    def _submit(self, body: Json, size: int) -> tuple[int, str | None, Json]:
        if size > 30 * 1024:
            return refused("Job payload exceeds the maximum allowed size of 30 KiB")
        if body.get("timeout", {}).get("attemptDurationSeconds", 60) < 60:
            return refused("timeout.attemptDurationSeconds must be 60 seconds or more")
        job_id = f"job-{len(self.jobs)}"
        job = {"status": "SUBMITTED", "jobName": body["jobName"], "tags": body["tags"]}
        if "arrayProperties" in body:
            job["arrayProperties"] = {"size": body["arrayProperties"]["size"]}
        self.jobs[job_id] = job
        return 200, None, {"jobId": job_id, "jobName": body["jobName"]}

    def _register(self, body: Json) -> tuple[int, str | None, Json]:
        revision = len(self.definitions) + 1
        arn = f"arn:aws:batch:us-east-1:123456789012:job-definition/x:{revision}"
        # AWS adds fields of its own to what it describes.
        container = {"volumes": [], "ulimits": [], **body["containerProperties"]}
        row = {**body, "containerProperties": container, "status": "ACTIVE", "revision": revision}
        self.definitions.append({**row, "jobDefinitionArn": arn})
        return 200, None, {"jobDefinitionArn": arn, "revision": revision}


def refused(message: str) -> tuple[int, str | None, Json]:
    """AWS Batch's answer to what it does not take."""
    return 400, "ClientException", {"message": message}


@contextmanager
def serving(recorded: RecordedBatch) -> Iterator[str]:
    """Serve ``recorded`` on the loopback; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            # CloudWatch Logs name their operation in a header.
            target = self.headers.get("X-Amz-Target", "").rpartition(".")[2].lower()
            operation = target or self.path.rpartition("/")[2]
            status, error, answer = recorded.answer(operation, json.loads(data), len(data))
            if not status:
                self.close_connection = True
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            if error is not None:
                self.send_header("x-amzn-ErrorType", error)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
