"""A job in the words of DescribeJobs and ListJobs.

API reference, JobDetail and JobSummary.
"""

from __future__ import annotations

from typing import Any

from bundlerun.sandbox.batch_jobs import STATES, Job

Json = dict[str, Any]


def arn_of(job: Job) -> str:
    """Its ARN."""
    return job.request.queue.arn.partition(":job-queue/")[0] + f":job/{job.id}"


def summary(job: Job) -> Json:
    """One row of ListJobs."""
    row: Json = {
        "jobArn": arn_of(job),
        "jobId": job.id,
        "jobName": job.request.name,
        "createdAt": job.created_ms,
        "status": job.status,
        "jobDefinition": job.request.definition,
    }
    if job.reason:
        row["statusReason"] = job.reason
    if job.started_ms is not None:
        row["startedAt"] = job.started_ms
    if job.stopped_ms is not None:
        row["stoppedAt"] = job.stopped_ms
    if job.attempts and job.live is None:
        ended = job.attempts[-1]["container"]
        row["container"] = {name: ended[name] for name in ("exitCode", "reason") if name in ended}
    if job.children:
        row["arrayProperties"] = {
            "size": len(job.children),
            "statusSummary": {state: job.tally[state] for state in STATES},
        }
    elif job.index is not None:
        row["arrayProperties"] = {"index": job.index}
    # Present where true alone (API, JobSummary).
    row.update({"isCancelled": True} if job.cancelled else {})
    row.update({"isTerminated": True} if job.terminated else {})
    return row


def described(job: Job) -> Json:
    """One entry of DescribeJobs."""
    request = job.request
    container: Json = {"volumes": [], "mountPoints": [], "ulimits": [], **request.container}
    if job.live is not None:
        container.update(job.live.shown())
    elif job.attempts:
        container.update(job.attempts[-1]["container"])
    row: Json = {
        **summary(job),
        "jobQueue": request.queue.arn,
        "attempts": list(job.attempts),
        "container": {**container, "networkInterfaces": []},
        "dependsOn": [{"jobId": other} for other in request.depends_on],
        "parameters": dict(request.parameters),
        "retryStrategy": {"attempts": 1, **request.retry},
        "tags": dict(request.tags),
        "platformCapabilities": ["EC2"],
        "isCancelled": job.cancelled,
        "isTerminated": job.terminated,
    }
    if request.timeout_s is not None:
        row["timeout"] = {"attemptDurationSeconds": request.timeout_s}
    return row
