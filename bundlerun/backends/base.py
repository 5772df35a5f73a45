"""The contract of a backend: what each must do with a job, and what it may promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from bundlerun.jobs.spec import JobHandle, JobSpec
from bundlerun.jobs.state import JobStatus


class Backend(ABC):
    """Where jobs run. A handle is enough to find a job again from another process.

    Methods raise EngineError or CloudError when the engine or service does not answer.
    """

    name: str

    @abstractmethod
    def submit(self, spec: JobSpec) -> JobHandle:
        """Start ``spec`` and return at once. Submitting the same ``run_id`` twice gives one job
        where the engine can tell (the local one), else two jobs of which the output's
        create-only record keeps one result. Raises ImagePull when the image is not there."""

    @abstractmethod
    def find(self, run_id: str, name: str) -> JobHandle | None:
        """The job that was submitted for ``run_id`` under JobSpec.name ``name``, or None: for a
        client that died before it could note the handle."""

    @abstractmethod
    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The status of each handle, by handle id; LOST where nobody knows it any more. As few
        requests as the service allows (AWS Batch: 100 ids a DescribeJobs)."""

    @abstractmethod
    def logs(self, handle: JobHandle, *, follow: bool = False) -> Iterator[str]:
        """The lines the job wrote, without newlines; with ``follow`` until the job ends. No line
        twice; nothing when there is no log."""

    @abstractmethod
    def cancel(self, handle: JobHandle, reason: str) -> None:
        """Stop the job, wherever it stands; one that has ended is no error."""

    @abstractmethod
    def release(self, handle: JobHandle) -> None:
        """The result is safe: forget what the engine still keeps of the job (a stopped container).
        Calling it twice is no error."""
