"""What the conformance suite needs of each backend: a job spec that fits it, and its oddities."""

from __future__ import annotations

import contextlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundlerun.aws.session import Aws
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.base import Backend, Pace
from bundlerun.backends.job import JobHandle, JobSpec, JobState, JobStatus, Resources
from bundlerun.backends.local_docker import LocalDocker
from bundlerun.backends.open import backend_type, open_backend
from bundlerun.backends.poll import looks
from bundlerun.connections import Connections
from bundlerun.runs.settle import is_over
from bundlerun.sandbox.contents import COMPUTE, QUEUE, REGION, furnish
from bundlerun.settings import Settings

QUICK = Pace(first_s=0.1, most_s=0.5)
LIMIT_S = 60.0


class Died(BaseException):
    """A client dies here: nothing of it is carried out any more."""


class Harness(ABC):
    """One backend under test; every job it submits is ended and forgotten at the end."""

    name: str
    pulls_at_submit: bool
    counts_cancelled: bool = True
    """Whether a tally tells the cancelled jobs of an array from the failed."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.handles: list[JobHandle] = []

    @abstractmethod
    def backend(self) -> Backend:
        """A new backend object, as another process would make it."""

    @abstractmethod
    def submit_queued(self, spec: JobSpec) -> contextlib.AbstractContextManager[JobHandle]:
        """Submit ``spec`` so that it stays queued for the time of the block."""

    def submit_half(self, spec: JobSpec) -> None:
        """Submit the array ``spec`` by a client that dies after it has started one job. A service
        that takes an array by one request has all of it or nothing."""
        self.submit(spec)

    def spec(self, program: str, **changes: Any) -> JobSpec:
        """A job that runs ``program`` with the base image's Python."""
        run_id = str(uuid.uuid4())
        spec = JobSpec(
            run_id=run_id,
            name="bundlerun-test-conformance",
            image=self.image,
            command=("python3", "-u", "-c", program),
            resources=Resources(vcpus=1, memory_mib=256),
        )
        return replace(spec, **changes)

    def submit(self, spec: JobSpec) -> JobHandle:
        """Submit ``spec`` by a backend object of its own."""
        handle = self.backend().submit(spec)
        self.handles.append(handle)
        return handle

    def end(self, handle: JobHandle) -> JobStatus:
        """The final status."""
        return self.looked(self.backend(), handle)[-1]

    def until(self, handle: JobHandle, state: JobState) -> JobStatus:
        """Wait until the job is in ``state``; fails when it goes past it."""
        seen = self.looked(self.backend(), handle, state)
        assert seen[-1].state is state, seen
        return seen[-1]

    @staticmethod
    def looked(
        backend: Backend, handle: JobHandle, until: JobState | None = None
    ) -> list[JobStatus]:
        """All looks at the job up to its end, or to its first in the state ``until``."""
        seen: list[JobStatus] = []
        for status in looks(backend, handle, timeout_s=LIMIT_S, pace=QUICK):
            seen.append(status)
            if status.state is until or is_over(seen):
                break
        return seen

    def clean(self) -> None:
        """End and forget every job."""
        backend = self.backend()
        for handle in self.handles:
            backend.cancel(handle, "the test is over")
        for handle in self.handles:
            self.looked(backend, handle)
            backend.release(handle)


class LocalHarness(Harness):
    """The real engine."""

    name = "Local"
    pulls_at_submit = True

    def __init__(self, image: str, folder: Path) -> None:
        super().__init__(image)
        self.settings = Settings(home=folder, store=folder / "store")
        self.user: str | None = None

    def backend(self) -> LocalDocker:
        """A new backend object."""
        return LocalDocker(self.settings, user=self.user)

    @contextlib.contextmanager
    def submit_queued(self, spec: JobSpec) -> Iterator[JobHandle]:
        """A container that was created by a client that died before it started it."""

        class DiedBeforeStart(LocalDocker):
            def _start(self, client: Any, id: str, run_id: str) -> list[str]:
                """Death."""
                return []

        handle = DiedBeforeStart(self.settings).submit(spec)
        self.handles.append(handle)
        yield handle

    def submit_half(self, spec: JobSpec) -> None:
        """All containers are there, and one was started."""
        starts = iter(range(2))

        class DiesAtTheSecond(LocalDocker):
            def _start(self, client: Any, id: str, run_id: str) -> list[str]:
                if next(starts):
                    raise Died
                return super()._start(client, id, run_id)

        with contextlib.suppress(Died):
            DiesAtTheSecond(self.settings).submit(spec)


class MotoBatchHarness(Harness):
    """The sandbox's Batch, which starts real containers.

    AWS takes no timeout under 60 s; the tests' server takes any, so the suite lowers ours as well.
    """

    name = "AWSBatch"
    counts_cancelled = False
    pulls_at_submit = False

    def __init__(
        self, image: str, folder: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        super().__init__(image)
        self.endpoint = endpoint
        furnish(endpoint)
        point_at(monkeypatch, endpoint)
        short = replace(AWSBatch.traits, least_timeout_s=1)
        monkeypatch.setattr(AWSBatch, "traits", short)
        self.settings = batch_settings(folder)

    def backend(self) -> AWSBatch:
        """A new backend object."""
        return AWSBatch(self.settings)

    @contextlib.contextmanager
    def submit_queued(self, spec: JobSpec) -> Iterator[JobHandle]:
        """A compute environment that is disabled begins no job."""
        client = Aws().client("batch")
        client.update_compute_environment(computeEnvironment=COMPUTE, state="DISABLED")
        try:
            yield self.submit(spec)
        finally:
            client.update_compute_environment(computeEnvironment=COMPUTE, state="ENABLED")


class ProcessesHarness(Harness):
    """The backend of another distribution, opened by its name alone."""

    name = "Processes"
    pulls_at_submit = False

    def __init__(self, image: str, folder: Path) -> None:
        super().__init__(image)
        self.settings = Settings(home=folder, store=folder / "store")

    def backend(self) -> Backend:
        """A new backend object."""
        return open_backend(self.name, Connections(self.settings))

    @contextlib.contextmanager
    def submit_queued(self, spec: JobSpec) -> Iterator[JobHandle]:
        """A job whose client died before it started it."""

        class DiedBeforeStart(backend_type(self.name)):  # type: ignore[misc]
            def _start(self, job: Path) -> None:
                """Death."""

        handle = DiedBeforeStart(self.settings).submit(spec)
        self.handles.append(handle)
        yield handle

    def submit_half(self, spec: JobSpec) -> None:
        """One job was started."""
        starts = iter(range(2))

        class DiesAtTheSecond(backend_type(self.name)):  # type: ignore[misc]
            def _start(self, job: Path) -> None:
                if next(starts):
                    raise Died
                super()._start(job)

        with contextlib.suppress(Died):
            DiesAtTheSecond(self.settings).submit(spec)


def bring(site: Path, *entry_points: str) -> None:
    """Let ``site``, a folder on the path, have a distribution with these entry points."""
    metadata = site / "others_backends-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: others-backends\nVersion: 1\n")
    rows = "\n".join(entry_points)
    (metadata / "entry_points.txt").write_text(f"[bundlerun.backends]\n{rows}\n")


def batch_settings(folder: Path, queue: str | None = QUEUE) -> Settings:
    """Settings with a Batch queue."""
    return Settings(
        home=folder,
        store=folder / "store",
        backends={} if queue is None else {"AWSBatch": {"queue": queue}},
    )


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let AWS clients talk to the server at ``endpoint``."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
