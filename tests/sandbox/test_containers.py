"""The sandbox's Batch jobs as real containers of the Docker engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bundlerun.sandbox.batch_attempt import NOT_STARTED
from bundlerun.sandbox.containers import Containers
from tests.sandbox.scene import CONTAINER, Scene, scene

pytestmark = [pytest.mark.service, pytest.mark.batch]


@pytest.fixture(scope="module")
def stage(engine: Any) -> Iterator[Scene]:
    """An AWS whose jobs are containers."""
    with scene(Containers(), least_timeout_s=1) as made:
        yield made


@pytest.fixture
def aws(stage: Scene, base_image: str) -> Scene:
    """The same, with a definition of the base image's."""
    container = {**CONTAINER, "image": base_image}
    container["linuxParameters"] = {"initProcessEnabled": True}
    return replace(stage, definition=stage.define(containerProperties=container))


def python(program: str) -> dict[str, Any]:
    """The overrides of a job that runs a program."""
    return {"command": ["python3", "-u", "-c", program]}


def test_children_print_their_index(aws: Scene) -> None:
    """Each in a log stream of its own; a failed one has its exit code."""
    program = (
        "import os, sys; n = os.environ['AWS_BATCH_JOB_ARRAY_INDEX']; print(n); sys.exit(n=='1')"
    )
    array = aws.submit(3, containerOverrides=python(program))
    assert aws.until(array)["status"] == "FAILED"
    children = [aws.job(f"{array}:{index}") for index in range(3)]
    assert [child["container"]["exitCode"] for child in children] == [0, 1, 0]
    logs = [aws.logged(child["container"]["logStreamName"]) for child in children]
    assert logs == [["0"], ["1"], ["2"]]


def test_too_much_memory_is_told(aws: Scene) -> None:
    """The hard limit of the job, with the words of ECS."""
    job = aws.until(aws.submit(containerOverrides=python("x = bytearray(10**9)")))
    container = job["container"]
    assert (job["status"], container["exitCode"]) == ("FAILED", 137)
    assert container["reason"] == "OutOfMemoryError: Container killed due to memory usage"


@pytest.mark.parametrize("how", ["terminated", "timed out"])
def test_a_job_that_is_stopped_gets_sigterm_first(aws: Scene, how: str) -> None:
    """It may still say something, and its exit code is its own; it has failed all the same."""
    program = (
        "import signal, sys, time\n"
        "def leave(*_): print('leaving'); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "print('up')\n"
        "time.sleep(60)"
    )
    timed = {"timeout": {"attemptDurationSeconds": 4}} if how == "timed out" else {}
    job_id = aws.submit(containerOverrides=python(program), **timed)
    stream = aws.until(job_id, "RUNNING")["container"]["logStreamName"]
    while not aws.logged(stream):
        pass
    if how == "terminated":
        aws.client.terminate_job(jobId=job_id, reason="enough")
    job = aws.until(job_id)
    assert aws.logged(stream) == ["up", "leaving"]
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 7)
    words = "enough" if how == "terminated" else "Job attempt duration exceeded timeout"
    assert job["statusReason"] == words


def test_an_image_that_is_nowhere_is_no_start(aws: Scene) -> None:
    """Each attempt says so, and Batch may try again."""
    missing = {**CONTAINER, "image": "bundlerun-no-such-image:latest"}
    nowhere = replace(aws, definition=aws.define(containerProperties=missing))
    job = nowhere.until(nowhere.submit(retryStrategy={"attempts": 2}))
    assert [each["statusReason"] for each in job["attempts"]] == [NOT_STARTED] * 2
    assert job["container"]["reason"].startswith("CannotPullContainerError")


def test_no_container_is_left(engine: Any, base_image: str) -> None:
    """Those of ended jobs are removed, and at the end of the server those that run."""
    with scene(Containers()) as aws:
        container = {**CONTAINER, "image": base_image, "command": ["sleep", "60"]}
        own = replace(aws, definition=aws.define(containerProperties=container))
        job = own.submit(jobName="left-by-nobody")
        own.until(job, "RUNNING")
        filters = {"name": f"left-by-nobody-{job}"}
        assert len(engine.containers.list(filters=filters)) == 1
    assert engine.containers.list(all=True, filters=filters) == []
