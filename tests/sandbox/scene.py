"""An AWS in this process whose Batch jobs are calls, and what a test does with it."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bundlerun.sandbox.batch_attempt import Attempt, Exit, Runner, in_process
from bundlerun.sandbox.contents import COMPUTE, REGION, SECRETS
from tests.sandbox.fates import Fates
from tests.services import aws_in_process

WITHIN_S = 30.0

CONTAINER = {
    "image": "any",
    "command": ["true"],
    "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}],
}


@dataclass
class Scene:
    """A served AWS, and a client of its Batch that tries nothing twice."""

    batch: Fates
    endpoint: str
    client: Any
    definition: str = ""
    queue: str = ""

    def new_queue(self, vcpus: int) -> str:
        """A queue of that many vCPUs."""
        name = f"q-{uuid.uuid4().hex[:8]}"
        (like,) = self.client.describe_compute_environments(computeEnvironments=[COMPUTE])[
            "computeEnvironments"
        ]
        self.client.create_compute_environment(
            computeEnvironmentName=name,
            type="MANAGED",
            state="ENABLED",
            serviceRole=like["serviceRole"],
            computeResources={**like["computeResources"], "maxvCpus": vcpus},
        )
        order = [{"order": 1, "computeEnvironment": name}]
        self.client.create_job_queue(
            jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
        )
        return name

    def define(self, **more: Any) -> str:
        """A job definition's ARN."""
        given = {"type": "container", "containerProperties": CONTAINER, **more}
        answer = self.client.register_job_definition(
            jobDefinitionName=f"d-{uuid.uuid4().hex[:8]}", **given
        )
        return str(answer["jobDefinitionArn"])

    def submit(self, size: int | None = None, **more: Any) -> str:
        """A job's id."""
        given = {"jobName": "j", "jobQueue": self.queue, "jobDefinition": self.definition, **more}
        if size is not None:
            given["arrayProperties"] = {"size": size}
        return str(self.client.submit_job(**given)["jobId"])

    def job(self, job_id: str) -> dict[str, Any]:
        """What DescribeJobs says of it."""
        (found,) = self.client.describe_jobs(jobs=[job_id])["jobs"]
        return dict(found)

    def until(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job, once it is in one of these states; in its last one if none is named."""
        wanted = states or ("SUCCEEDED", "FAILED")
        end_s = time.monotonic() + WITHIN_S
        while (job := self.job(job_id))["status"] not in wanted:
            assert time.monotonic() < end_s, job
            time.sleep(0.01)
        return job

    def until_running(self, array: str, count: int) -> dict[str, Any]:
        """The array, once so many of its children run."""
        end_s = time.monotonic() + WITHIN_S
        while True:
            job = self.job(array)
            if job["arrayProperties"]["statusSummary"]["RUNNING"] == count:
                return job
            assert time.monotonic() < end_s, job
            time.sleep(0.01)

    def listed(self, **asked: Any) -> list[str]:
        """The ids that ListJobs lists, on all pages."""
        pages = self.client.get_paginator("list_jobs").paginate(**asked)
        return [row["jobId"] for page in pages for row in page["jobSummaryList"]]

    def logged(self, stream: str) -> list[str]:
        """The lines of a log stream so far; none where there is no such stream yet."""
        logs = client_of("logs", self.endpoint)
        where = {"logGroupName": "/aws/batch/job", "logStreamName": stream}
        try:
            return [row["message"] for row in logs.get_log_events(**where)["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []


@contextlib.contextmanager
def scene(run: Runner, **options: Any) -> Iterator[Scene]:
    """An AWS whose jobs ``run`` carries out."""
    with aws_in_process(run, **options) as (batch, endpoint):
        made = Scene(batch, endpoint, client_of("batch", endpoint))
        made.definition = made.define()
        made.queue = made.new_queue(4)
        yield made


@functools.cache
def _session() -> Any:
    import boto3

    # One for all: it reads the services' descriptions.
    return boto3.session.Session(
        SECRETS["AWS_ACCESS_KEY_ID"], SECRETS["AWS_SECRET_ACCESS_KEY"], region_name=REGION
    )


def client_of(service: str, endpoint: str) -> Any:
    """A client that tries nothing twice."""
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": 1}, read_timeout=20, proxies={})
    return _session().client(service, endpoint_url=endpoint, config=once)


class Script:
    """Jobs as calls, which wait to be let go: what is running is known, and how each ends."""

    def __init__(self) -> None:
        self.exits: Sequence[Exit | int] = ()
        self.attempts: list[Attempt] = []
        self.go = threading.Event()
        self.go.set()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    @property
    def run(self) -> Runner:
        """The runner."""
        return in_process(self._work)

    def _work(self, attempt: Attempt) -> Exit | int:
        with self._lock:
            number = len(self.attempts)
            self.attempts.append(attempt)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        while not self.go.wait(0.01) and not attempt.stopping.is_set():
            pass
        with self._lock:
            self._now -= 1
        if attempt.stopping.is_set():
            return Exit(143)
        return self.exits[number] if number < len(self.exits) else 0
