"""AWS Batch's calls, one function each; what they mean is for backends/aws_batch to say.

Answers are Batch's own JSON. Every function raises CloudError, NoCredentials, AccessDenied or
RemoteUnreachable (aws/failures).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundlerun.aws.failures import translated
from bundlerun.bundles.digest import canonical_json

CONTENT_TAG = "bundlerun:content"
DESCRIBE_AT_MOST = 100
"""Ids that one DescribeJobs takes (AWS Batch API reference, DescribeJobs, ``jobs``)."""

Json = Mapping[str, Any]


def content_digest(definition: Json) -> str:
    """SHA-256 (hex) of a job definition's content: AWS adds fields to what it describes, and gives
    equal content a new revision, so equality is told by this tag."""
    return hashlib.sha256(canonical_json(dict(definition))).hexdigest()


def find_definition(client: Any, name: str, content: str) -> str | None:
    """The ARN of the newest active revision of ``name`` that carries ``content``."""
    best: tuple[int, str] | None = None
    for found in _definitions(client, name):
        if (found.get("tags") or {}).get(CONTENT_TAG) == content:
            row = (int(found["revision"]), str(found["jobDefinitionArn"]))
            best = max(best, row) if best else row
    return best[1] if best else None


def _definitions(client: Any, name: str) -> Iterator[Json]:
    with translated("looking for the job definition", name):
        pages = client.get_paginator("describe_job_definitions").paginate(
            jobDefinitionName=name, status="ACTIVE"
        )
        for page in pages:
            yield from page["jobDefinitions"]


def register_definition(client: Any, name: str, definition: Json, content: str) -> str:
    """A new revision of ``name``; its ARN."""
    with translated("registering the job definition", name):
        answer = client.register_job_definition(
            jobDefinitionName=name, tags={CONTENT_TAG: content}, **definition
        )
    return str(answer["jobDefinitionArn"])


def submit_job(client: Any, request: Json) -> str:
    """The new job's id."""
    with translated("submitting the job", str(request["jobQueue"])):
        return str(client.submit_job(**request)["jobId"])


def find_job(client: Any, queue: str, name: str) -> str | None:
    """The id of the newest job in ``queue`` that is called ``name``, in whatever state, or None."""
    with translated("looking for the job", name):
        pages = client.get_paginator("list_jobs").paginate(
            jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
        )
        found = [job for page in pages for job in page["jobSummaryList"]]
    newest = max(found, key=lambda job: int(job.get("createdAt", 0)), default=None)
    return None if newest is None else str(newest["jobId"])


def describe_jobs(client: Any, ids: Sequence[str]) -> dict[str, Json]:
    """What Batch knows of each id; ids that it does not know are absent. A request a hundred."""
    found: dict[str, Json] = {}
    for start in range(0, len(ids), DESCRIBE_AT_MOST):
        some = list(ids[start : start + DESCRIBE_AT_MOST])
        with translated("asking for the job", some[0]):
            answer = client.describe_jobs(jobs=some)
        found.update({str(job["jobId"]): job for job in answer["jobs"]})
    return found


def terminate_job(client: Any, job_id: str, reason: str) -> None:
    """End a job: one that has not started is cancelled by this call as well."""
    with translated("ending the job", job_id):
        client.terminate_job(jobId=job_id, reason=reason[:1024])


def queue_problem(client: Any, queue: str) -> str | None:
    """Why ``queue`` can start nothing, in Batch's words; None when nothing is wrong with it."""
    with translated("asking for the job queue", queue):
        queues = client.describe_job_queues(jobQueues=[queue])["jobQueues"]
    if not queues:
        return f"there is no job queue {queue}"
    found = queues[0]
    if found.get("state") != "ENABLED" or found.get("status") != "VALID":
        return _standing("job queue", queue, found)
    names = [row["computeEnvironment"] for row in found.get("computeEnvironmentOrder", ())]
    if not names:
        return f"the job queue {queue} has no compute environment"
    with translated("asking for the compute environments", queue):
        environments = client.describe_compute_environments(computeEnvironments=names)[
            "computeEnvironments"
        ]
    broken = [
        _standing("compute environment", row["computeEnvironmentName"], row)
        for row in environments
        if row.get("state") != "ENABLED" or row.get("status") != "VALID"
    ]
    # One that works is enough for the queue.
    return "; ".join(broken) if broken and len(broken) == len(environments) else None


def _standing(what: str, name: str, found: Json) -> str:
    reason = found.get("statusReason")
    words = f"the {what} {name} is {found.get('state')} and {found.get('status')}"
    return f"{words}: {reason}" if reason else words
