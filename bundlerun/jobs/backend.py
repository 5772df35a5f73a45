"""The contract of a backend: what each must do with a job, and what it may promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bundlerun.errors import UsageError
from bundlerun.jobs.spec import JobHandle, JobSpec
from bundlerun.jobs.state import JobStatus


class Backend(ABC):
    """Where jobs run. A handle is enough to find a job again from another process.

    Methods raise EngineError or CloudError when the engine or service does not answer.
    """

    name: str
    most_retries: int = 0
    """How often a job can be repeated here after the machine under it was taken away."""

    def check_retries(self, retries: int) -> None:
        """Raises UsageError where a job cannot be repeated ``retries`` times here."""
        if not 0 <= retries <= self.most_retries:
            can = f"0 to {self.most_retries} times" if self.most_retries else "no job"
            raise UsageError(
                f"{self.name} repeats {can} after a lost machine, not {retries} times",
                hint=f"--retries {self.most_retries}",
            )

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
        """Stop the job, wherever it stands; one that has ended is no error.

        A handle may come from a remote, and a remote may lie: raises Conflict, and does nothing,
        where the job's own record is not of the handle's run."""

    @abstractmethod
    def release(self, handle: JobHandle) -> None:
        """The result is safe: forget what the engine still keeps of the job (a stopped container).
        Calling it twice is no error. Raises Conflict as ``cancel`` does."""

    def folder(self, handle: JobHandle, inside: str) -> Path | None:
        """The folder of this machine that the job sees as ``inside``, by the engine's own record;
        None where there is none, or it is not known any more."""
        return None

    def other_job(self, handle: JobHandle, claiming: str) -> JobHandle | None:
        """The handle of the job that calls itself ``claiming`` inside, where that is another than
        the one of ``handle``; None where it is the same, or a run can have one job alone here."""
        return None
