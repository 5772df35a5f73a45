"""Maps on AWS Batch as the sandbox serves it, whose jobs are carried out in the test's process."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.aws.session import Aws
from bundlerun.errors import Conflict
from bundlerun.futures.future import MapRun
from bundlerun.futures.sealing import KEY_VARIABLE
from bundlerun.remotes.s3 import S3Remote
from bundlerun.sandbox.batch_attempt import Attempt, Exit, in_process
from bundlerun.sandbox.contents import BUCKET
from tests.backends.harness import point_at
from tests.runs.calls.children import Children, Failing
from tests.sandbox.scene import Scene, scene

HELD_S = 60.0


class Machines:
    """What carries the jobs out: which items were begun, and how many jobs had nothing to do, since
    another one of the same place had begun. Without ``go`` they wait, of an array the jobs ``held``
    alone where some are named."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.go = threading.Event()
        self.go.set()
        self.held: frozenset[int] | None = None
        self.failing: Failing = {}
        self.begun: Counter[tuple[str, int]] = Counter()
        self.idle = 0
        self.url = ""

    @functools.cached_property
    def remote(self) -> S3Remote:
        """The remote, as the jobs have it."""
        return S3Remote(self.url, Aws())

    def work(self, attempt: Attempt) -> Exit | int:
        """One attempt of a job."""
        child = attempt.index or 0
        while (self.held is None or child in self.held) and not self.go.wait(0.02):
            if attempt.stopping.is_set():
                return Exit(143)
        words = list(attempt.container["command"])
        run_id, part = words[words.index("worker") + 1], int(words[words.index("--part") + 1])
        key = attempt.environment[KEY_VARIABLE]
        children = Children(self.remote, run_id, part, key, self.folder)
        try:
            children.claims(child, attempt.job_id)
        except Conflict:
            self.idle += 1
            return 1
        needs = attempt.container["resourceRequirements"]
        (memory_mib,) = (int(row["value"]) for row in needs if row["type"] == "MEMORY")

        def begins(index: int) -> None:
            self.begun[run_id, index] += 1

        return 0 if children.carry_out(child, self.failing, memory_mib, begins) else 9


@dataclass
class Queued:
    """A queue, its machines, and stores that are bound to one prefix of a bucket."""

    aws: Scene
    machines: Machines
    path: Path

    def workspace(self, store: str = "one") -> br.Workspace:
        """A store, opened by a process of its own as far as AWS can tell."""
        return br.open(self.path / store, self.machines.url, "work")

    def map(self, workspace: br.Workspace, count: int, **options: Any) -> MapRun[int]:
        """A map over the numbers up to ``count``."""
        options = {"backend": "AWSBatch", "image": "any", **options}
        return workspace.map(lambda x: x, range(count), **options)

    def jobs(self, run_id: str) -> list[str]:
        """The names of the jobs that Batch has of a run, an array being one."""
        found = self.aws.batch.jobs.among(lambda job: job.parent is None)
        return sorted(job.request.name for job in found if run_id in job.request.name)

    def until_idle(self) -> None:
        """Wait until no job is being carried out."""
        end_s = time.monotonic() + HELD_S
        while left := self.aws.batch.jobs.among(lambda job: not job.final):
            assert time.monotonic() < end_s, [(job.id, job.status, job.reason) for job in left]
            time.sleep(0.01)


@contextlib.contextmanager
def queued(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    """An AWS of the test's own."""
    machines = Machines(path / "codec")
    with scene(in_process(machines.work)) as aws:
        point_at(monkeypatch, aws.endpoint)
        monkeypatch.setenv("BUNDLERUN_AWS_BATCH_QUEUE", aws.queue)
        machines.url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        try:
            yield Queued(aws, machines, path)
        finally:
            machines.go.set()
