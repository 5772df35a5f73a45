"""What can become of a job, loss included."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bundlerun import errors


class JobState(Enum):
    """Where a job stands. The last four are final; of a job that is ELSEWHERE, on a machine that
    this one cannot ask, nobody here can tell."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.LOST,
        )


class Failure(Enum):
    """Why a job failed, as far as the backend can tell."""

    USER_ERROR = "UserError"
    OUT_OF_MEMORY = "OutOfMemory"
    TIMED_OUT = "TimedOut"
    SPOT_RECLAIMED = "SpotReclaimed"
    IMAGE_PULL = "ImagePull"
    CANCELLED = "Cancelled"
    INFRA_ERROR = "InfraError"
    MISSING_OUTPUT = "MissingOutput"

    @property
    def error(self) -> type[errors.RunFailed]:
        """The exception class of the same name."""
        return errors.named(self.value, errors.InfraError, errors.RunFailed)


@dataclass(frozen=True)
class JobStatus:
    """What a backend knows of a job now.

    ``reason`` is the service's own words (also why a job still waits); ``exit_code`` None where
    none is known; times are Unix seconds; ``attempt`` is the number, from 1, of the attempt that
    this is about, None where nobody counts them; ``stuck``: it waits for what never comes.
    """

    state: JobState
    failure: Failure | None = None
    reason: str = ""
    exit_code: int | None = None
    started_s: float | None = None
    finished_s: float | None = None
    attempt: int | None = None
    stuck: bool = False
