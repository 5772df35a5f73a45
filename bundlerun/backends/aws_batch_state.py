"""The status of a job by AWS Batch's description: a pure function of its JSON.

The words are those that AWS Batch and ECS write (AWS Batch user guide, "Troubleshooting" and "Job
states"; ECS developer guide, "Stopped tasks error codes").
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bundlerun.aws.batch import LOG_GROUP
from bundlerun.backends.job import Failure, JobState, JobStatus, reason_of_array, state_of_array

CANCEL_MARK = "cancelled by bundlerun"
"""The beginning of the reason with which we end a job.

Batch shows it again as ``statusReason``.
"""

MISCONFIGURATION = "MISCONFIGURATION"
"""How the reason begins of a job that waits for what its queue can never give it."""

_STATES = {
    "SUBMITTED": JobState.QUEUED,
    "PENDING": JobState.QUEUED,
    "RUNNABLE": JobState.QUEUED,
    "STARTING": JobState.STARTING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
}

_EVIDENCE: tuple[tuple[str, Failure], ...] = (
    ("outofmemory", Failure.OUT_OF_MEMORY),
    ("attempt duration exceeded timeout", Failure.TIMED_OUT),
    ("host ec2", Failure.SPOT_RECLAIMED),
    ("spot interruption", Failure.SPOT_RECLAIMED),
    ("cannotpullcontainer", Failure.IMAGE_PULL),
    ("cannotpullimagemanifest", Failure.IMAGE_PULL),
    ("cannotpullecrcontainer", Failure.IMAGE_PULL),
)


def job_status(job: Mapping[str, Any]) -> JobStatus:
    """The status of a job from one entry of DescribeJobs' ``jobs``.

    A reason that Batch gives for a job that waits (``MISCONFIGURATION:...``, ``CAPACITY:...``) is
    the status's reason. Where Batch gives neither reason nor exit code, a job that ran for its
    whole timeout is taken for timed out, and any other for InfraError.
    """
    if (job.get("arrayProperties") or {}).get("size"):
        return _array_status(job)
    # Batch lists the attempts that have ended: of a job that is over, all.
    return dataclasses.replace(_status(job), attempt=len(job.get("attempts") or ()) or None)


def _array_status(job: Mapping[str, Any]) -> JobStatus:
    """The status of an array by its parent.

    The parent is PENDING until the last job has ended; its ``statusSummary`` lags some seconds
    behind the jobs, and counts the cancelled among the failed (user guide, "Array jobs").
    """
    properties, parent = job["arrayProperties"], _status(job)
    tally: Counter[JobState] = Counter()
    for name, count in (properties.get("statusSummary") or {}).items():
        tally[_STATES.get(name, JobState.QUEUED)] += int(count)
    tally[JobState.QUEUED] += max(0, int(properties["size"]) - tally.total())
    told = {state: count for state, count in tally.items() if count}
    if parent.state.final:
        return dataclasses.replace(
            parent,
            failure=parent.failure if parent.state is JobState.CANCELLED else None,
            reason=str(job.get("statusReason") or "") or reason_of_array(told),
            exit_code=None,
            tally=told,
        )
    state = state_of_array(tally)
    state = JobState.RUNNING if state.final else state
    return dataclasses.replace(parent, state=state, tally=told)


def _status(job: Mapping[str, Any]) -> JobStatus:
    state = _STATES.get(str(job.get("status")), JobState.QUEUED)
    started_s, stopped_s = _seconds(job.get("startedAt")), _seconds(job.get("stoppedAt"))
    reason, code = str(job.get("statusReason") or ""), _exit_code(job)
    if state is JobState.SUCCEEDED:
        return JobStatus(state, None, "", 0 if code is None else code, started_s, stopped_s)
    if state is not JobState.FAILED:
        stuck = reason.startswith(MISCONFIGURATION)
        return JobStatus(state, reason=reason, started_s=started_s, stuck=stuck)
    words = "; ".join(word for word in (reason, _container_reason(job)) if word)
    if job.get("isTerminated") or job.get("isCancelled") or reason.startswith(CANCEL_MARK):
        if failure := _named(words, only=(Failure.TIMED_OUT,)):
            return JobStatus(state, failure, words, code, started_s, stopped_s)
        return JobStatus(JobState.CANCELLED, Failure.CANCELLED, words, code, started_s, stopped_s)
    failure = _named(words)
    if failure is None and not words and code is None and _ran_out(job):
        failure, words = Failure.TIMED_OUT, "it ran for its whole timeout"
    if failure is None:
        failure = Failure.INFRA_ERROR if code in (None, 137, 143) else Failure.USER_ERROR
    return JobStatus(
        state, failure, words or "AWS Batch gives no reason", code, started_s, stopped_s
    )


def log_streams(job: Mapping[str, Any]) -> list[str]:
    """The names of the job's log streams, an attempt after the other."""
    containers = [attempt.get("container") or {} for attempt in job.get("attempts") or ()]
    containers.append(job.get("container") or {})
    names = [str(found["logStreamName"]) for found in containers if found.get("logStreamName")]
    return list(dict.fromkeys(names))


def log_group(job: Mapping[str, Any]) -> str:
    """The log group that a described job writes to."""
    said = ((job.get("container") or {}).get("logConfiguration") or {}).get("options") or {}
    return str(said.get("awslogs-group") or LOG_GROUP)


def _named(words: str, only: tuple[Failure, ...] | None = None) -> Failure | None:
    text = words.lower()
    for evidence, failure in _EVIDENCE:
        if evidence in text and (only is None or failure in only):
            return failure
    return None


def _last_container(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The containers that tell a job's end: its own, then its last attempt's."""
    attempts = job.get("attempts") or ()
    return [job.get("container") or {}, (attempts[-1].get("container") or {}) if attempts else {}]


def _exit_code(job: Mapping[str, Any]) -> int | None:
    for container in _last_container(job):
        if container.get("exitCode") is not None:
            return int(container["exitCode"])
    return None


def _container_reason(job: Mapping[str, Any]) -> str:
    for container in _last_container(job):
        if container.get("reason"):
            return str(container["reason"])
    return ""


def _ran_out(job: Mapping[str, Any]) -> bool:
    limit = (job.get("timeout") or {}).get("attemptDurationSeconds")
    started_s, stopped_s = _seconds(job.get("startedAt")), _seconds(job.get("stoppedAt"))
    if limit is None or not started_s or stopped_s is None:
        return False
    return stopped_s - started_s >= float(limit)


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, (int, float)) else None
