"""A job: its description for any backend, its handle, its states, loss included.

The description does not say where the job runs; the handle finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from bundlerun import errors

SIZES = frozenset({"vcpus", "memory_mib", "gpus"})
"""The fields of ``Resources``."""

MOST_JOBS = 10_000
"""The most jobs in one array, and the most submissions of one run.

No service takes larger arrays (AWS Batch user guide, "Service quotas").
"""


@dataclass(frozen=True)
class Resources:
    """The resources that a job may use.

    ``memory_mib`` is in MiB (2**20 bytes).
    """

    vcpus: float = 1
    memory_mib: int = 2048
    gpus: int = 0


@dataclass(frozen=True)
class RemoteAccess:
    """The access of a job to its remote.

    A backend makes mounts, network and roles of it. ``url`` is as the client has it. Where the
    remote is a folder of the client's machine, the job reads ``folder`` and writes to ``staging``
    alone. ``variables`` reach this job alone; those named in ``secret`` are shown nowhere.
    """

    url: str
    folder: Path | None = None
    staging: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: frozenset[str] = frozenset()

    def options(self, folder: Path | None = None, staging: Path | None = None) -> tuple[str, ...]:
        """The worker's options that name the remote.

        They are for a job that sees the two folders as these; None: where they are.
        """
        if self.folder is None or self.staging is None:
            return ("--remote", self.url)
        url = (folder or self.folder).as_uri()
        return ("--remote", url, "--staging", str(staging or self.staging))


@dataclass(frozen=True)
class JobSpec:
    """One job, as every backend understands it.

    ``name`` is the job definition's base name (``bundlerun-pkg-module``); ``image`` is empty for
    a backend that takes none; ``command`` lacks what ``argv`` adds; ``env`` reaches this job alone;
    variables in ``secret`` are shown nowhere; ``timeout_s`` is each job's, None: no limit.
    ``array`` is how many jobs this is: where they are several, each is told its index from 0 by
    the variable ``Traits.tells.index``; one alone is told none. ``part`` is the number of this
    submission among those of its run. ``secrets`` are variables that the service itself fills in,
    by its own name for each; ``options`` are those of the backend's own that were given for this
    job.
    """

    run_id: str
    name: str
    image: str
    command: tuple[str, ...]
    access: RemoteAccess | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: frozenset[str] = frozenset()
    resources: Resources = field(default_factory=Resources)
    timeout_s: int | None = None
    retries: int = 0
    array: int = 1
    part: int = 0
    secrets: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    def argv(self, folder: Path | None = None, staging: Path | None = None) -> tuple[str, ...]:
        """The whole command of the job.

        It is for a job that sees the folders of its ``access`` as these; None: where they are.
        """
        return self.command + (self.access.options(folder, staging) if self.access else ())

    @property
    def environment(self) -> dict[str, str]:
        """All variables of the job: ``env``, and those of ``access``."""
        return {**self.env, **(self.access.variables if self.access else {})}


@dataclass(frozen=True)
class JobHandle:
    """A submitted job, or array of jobs: its backend, and its id there.

    Survives in the journal as JSON. ``part`` and ``array`` are those of its JobSpec.
    """

    backend: str
    id: str
    run_id: str
    extra: Mapping[str, str] = field(default_factory=dict)
    part: int = 0
    array: int = 1

    def indices(self, index: int | None = None) -> range:
        """The places of the jobs that are meant: the one at ``index``, None: all.

        Raises UsageError where there is no job at ``index``.
        """
        if index is None:
            return range(self.array)
        if not 0 <= index < self.array:
            run = self.run_id[:13]
            raise errors.UsageError(
                f"part {self.part} of run {run} has the jobs 0 to {self.array - 1}, not {index}",
                hint=f"bundlerun jobs {run}",
            )
        return range(index, index + 1)

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "backend": self.backend,
            "id": self.id,
            "run_id": self.run_id,
            "extra": dict(self.extra),
            "part": self.part,
            "array": self.array,
        }

    @staticmethod
    def from_json(found: Mapping[str, object]) -> JobHandle:
        """The inverse of ``to_json``."""
        extra = found.get("extra")
        return JobHandle(
            backend=str(found["backend"]),
            id=str(found["id"]),
            run_id=str(found["run_id"]),
            extra={str(k): str(v) for k, v in extra.items()} if isinstance(extra, dict) else {},
            part=_count(found, "part", 0),
            array=_count(found, "array", 1),
        )


def _count(found: Mapping[str, object], name: str, least: int) -> int:
    """The number ``name`` of a handle, which may come from a remote.

    Raises ValueError.
    """
    number = found.get(name, least)
    if type(number) is not int or not least <= number <= MOST_JOBS:
        raise ValueError(f"a handle with {name} {number!r:.20}")
    return number


class JobState(Enum):
    """The state of a job.

    The last four are final; of a job that is ELSEWHERE, on a machine that this one cannot ask,
    nobody here can tell.
    """

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
    """The reason why a job failed, as far as the backend can tell."""

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
    """The status of a job, as its backend knows it now.

    ``reason`` is the service's own words (also why a job still waits); ``exit_code`` None where
    none is known; times are Unix seconds; ``attempt`` is the number, from 1, of the attempt that
    this is about, None where nobody counts them; ``stuck``: it waits for what never comes.

    ``tally``: how many jobs of an array are in which state, those alone that are in any; None for a
    single job. A service may count the cancelled among the failed, and tell it some moments late:
    the state of an array is final only when those of all its jobs are. Why an array has no success
    ``Backend.failed`` tells: its own ``failure`` is CANCELLED or None.
    """

    state: JobState
    failure: Failure | None = None
    reason: str = ""
    exit_code: int | None = None
    started_s: float | None = None
    finished_s: float | None = None
    attempt: int | None = None
    stuck: bool = False
    tally: Mapping[JobState, int] | None = field(default=None, hash=False)


def state_of_array(tally: Mapping[JobState, int]) -> JobState:
    """The state of an array from those of its jobs.

    It runs from the first that begins to the last that ends. One that ended is LOST where all jobs
    are, and CANCELLED where some were and none failed or was lost.
    """
    there = {state for state, count in tally.items() if count}
    if not all(state.final for state in there):
        begun = there - {JobState.QUEUED, JobState.STARTING}
        starts = JobState.STARTING if JobState.STARTING in there else JobState.QUEUED
        return JobState.RUNNING if begun else starts
    if there == {JobState.LOST}:
        return JobState.LOST
    if there & {JobState.FAILED, JobState.LOST}:
        return JobState.FAILED
    return JobState.CANCELLED if JobState.CANCELLED in there else JobState.SUCCEEDED


def reason_of_array(tally: Mapping[JobState, int]) -> str:
    """The reason of an array that has ended, empty where all of its jobs succeeded."""
    without = {state: count for state, count in tally.items() if state is not JobState.SUCCEEDED}
    said = [f"{count} {state.value}" for state, count in without.items() if count]
    return f"of {sum(tally.values())} jobs: {', '.join(said)}" if said else ""
