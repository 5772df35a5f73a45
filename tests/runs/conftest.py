"""Runs on real engines: a small pipeline, and the places where it can run."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun import registry
from bundlerun.sandbox.contents import QUEUE, furnish
from tests.runs.scripted import Scripted, Stage
from tests.services import S3Server

PIPES = """
import sys
import time

import luigi

import bundlerun as br
from jobs import numbers


class Double(br.Pipe):
    times = luigi.IntParameter(default=2)

    def pipe_run(self, pipeline_input):
        print("doubling", pipeline_input)
        print("to stderr", file=sys.stderr)
        return [numbers.multiplied(value, self.times) for value in pipeline_input]


class Summed(br.Pipe):
    times = luigi.IntParameter(default=2)

    def requires(self):
        return {"doubled": Double(times=self.times)}

    def pipe_run(self, pipeline_input, doubled):
        path = self.scratch / "sum.txt"
        path.write_text(str(sum(doubled)))
        return {"sum": sum(doubled), "file": br.File(path)}


class Raises(br.Pipe):
    def requires(self):
        return {"doubled": Double()}

    def pipe_run(self, pipeline_input, doubled):
        raise ValueError("the pipe has had enough")


class Sleeps(br.Pipe):
    seconds = luigi.IntParameter(default=600)

    def pipe_run(self, pipeline_input):
        print("going to sleep", flush=True)
        time.sleep(self.seconds)
        return self.seconds


class Nothing(br.Pipe):
    def pipe_run(self, pipeline_input):
        return None


class Eats(br.Pipe):
    def pipe_run(self, pipeline_input):
        eaten = []
        while True:
            eaten.append(bytearray(8 << 20))


class Who(br.Pipe):
    def pipe_run(self, pipeline_input):
        import os

        home = os.environ.get("HOME", "")
        return {"uid": os.getuid(), "home_writable": os.access(home, os.W_OK)}


class WritesElsewhere(br.Pipe):
    bucket = luigi.Parameter()

    def pipe_run(self, pipeline_input):
        import boto3

        boto3.client("s3").put_object(Bucket=self.bucket, Key="elsewhere/x", Body=b"x")


class Noise(br.Pipe):
    def pipe_run(self, pipeline_input):
        import os

        return os.urandom(8)


class Noisy(br.Pipe):
    def requires(self):
        return {"noise": Noise(), "doubled": Double()}

    def pipe_run(self, pipeline_input, noise, doubled):
        return {"noise": noise, "doubled": doubled}


class Leaves(br.Pipe):
    def pipe_run(self, pipeline_input):
        import os

        os._exit(0)
"""

NUMBERS = """
def multiplied(value, times):
    return value * times
"""


@dataclass(frozen=True)
class Place:
    """Where a run runs, as whom, and with what options."""

    name: str
    workspace: br.Workspace
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, input: str | None, output: str, pipe: str, **options: Any) -> Any:
        """A run of ``jobs.pipes.<pipe>`` that is waited for."""
        return self.workspace.run(input, output, f"jobs.pipes.{pipe}", **self.options | options)

    def submit(self, input: str | None, output: str, pipe: str, **options: Any) -> Any:
        """A run of ``jobs.pipes.<pipe>`` that is not waited for."""
        return self.workspace.submit(input, output, f"jobs.pipes.{pipe}", **self.options | options)

    def plan(self, input: str | None, output: str, pipe: str, **options: Any) -> Any:
        """What a run of ``jobs.pipes.<pipe>`` would do."""
        return self.workspace.plan(input, output, f"jobs.pipes.{pipe}", **self.options | options)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the small pipeline stands."""
    root = tmp_path_factory.mktemp("project")
    package = root / "jobs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "pipes.py").write_text(PIPES)
    (package / "numbers.py").write_text(textwrap.dedent(NUMBERS))
    return root


@pytest.fixture
def dockerized(
    project: Path, base_image: str, monkeypatch: pytest.MonkeyPatch, isolated_environment: None
) -> Path:
    """The project, its image made and noted in this test's store."""
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    br.dockerize(project, "jobs.pipes.Double")
    return project


@pytest.fixture
def local_file(dockerized: Path, tmp_path: Path) -> Iterator[Place]:
    """The local engine, a folder as the remote."""
    remote = tmp_path / "remote"
    remote.mkdir()
    workspace = br.open(remote=f"file://{remote}", context="work")
    yield Place("local_file", workspace)
    cancel_all(workspace)


@pytest.fixture
def local_s3(dockerized: Path, s3_env: dict[str, str], s3_bucket: str) -> Iterator[Place]:
    """The local engine, a real S3 server as the remote."""
    workspace = br.open(remote=f"s3://{s3_bucket}/data", context="work")
    yield Place("local_s3", workspace)
    cancel_all(workspace)


@pytest.fixture
def batch_s3(
    dockerized: Path,
    s3_env: dict[str, str],
    s3_server: S3Server,
    s3_bucket: str,
    moto_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    """AWS Batch (the sandbox's, with real containers), a real S3 server as the remote; the job
    gets credentials that are narrowed to the remote's prefix."""
    furnish(moto_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    monkeypatch.setenv("BUNDLERUN_AWS_BATCH_QUEUE", QUEUE)
    monkeypatch.setenv("BUNDLERUN_SESSION_ROLE_ARN", s3_server.role_arn)
    workspace = br.open(remote=f"s3://{s3_bucket}/data", context="work")
    yield Place("batch_s3", workspace, {"backend": "AWSBatch", "session_seconds": 3600})
    cancel_all(workspace)


@pytest.fixture(params=["local_file", "local_s3", "batch_s3"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each place in turn."""
    found: Place = request.getfixturevalue(request.param)
    return found


def cancel_all(workspace: br.Workspace) -> None:
    """Leave no container behind."""
    for record in workspace.jobs():
        if not record.settled:
            workspace.cancel(record.run_id)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A workspace whose jobs are scripts: neither an engine nor an image is needed."""
    monkeypatch.setitem(
        registry.BACKENDS,  # type: ignore[arg-type]
        "Local",
        registry.Row("tests.runs.scripted:Scripted"),
    )
    (tmp_path / "remote").mkdir()
    workspace = br.open(remote=f"file://{tmp_path}/remote", context="work")
    return Stage(workspace, Scripted(workspace.scope.settings))
