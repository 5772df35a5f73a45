"""The calls to AWS Batch, one function each; backends/aws_batch interprets them.

Answers are Batch's own JSON. Every function raises CloudError, NoCredentials, AccessDenied or
RemoteUnreachable (aws/failures).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bundlerun.aws import retries
from bundlerun.aws.failures import translated
from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import BundlerunError, SubmitUnknown

LOG_GROUP = "/aws/batch/job"
"""The log group of AWS Batch's jobs, unless a definition says otherwise.

Source: AWS Batch user guide, "Using the awslogs log driver".
"""

CONTENT_TAG = "bundlerun:content"
DESCRIBE_AT_MOST = 100
"""The most ids of one DescribeJobs (AWS Batch API reference, ``jobs``)."""

LIST_AT_MOST = 1000
"""The most jobs of one ListJobs by status.

Source: AWS Batch API reference, ListJobs, ``maxResults``.
"""

SENDS = 3
"""The most sendings of a request whose answer is lost and whose work is not found."""

LOOKS_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The seconds before each look for the work of a request whose answer was lost.

Listings lag.
"""

Json = Mapping[str, Any]
Sleep = Callable[[float], None]


def content_digest(definition: Json) -> str:
    """The SHA-256 (hex) of a job definition's content.

    AWS adds fields to what it describes, and gives equal content a new revision, so equality is
    told by this tag.
    """
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


def register_definition(
    client: Any, name: str, definition: Json, content: str, *, sleep: Sleep = time.sleep
) -> str:
    """Register a new revision of the job definition ``name``; its ARN.

    Where the answer is lost, see ``submit_job``.
    """

    def send() -> str:
        with translated("registering the job definition", name):
            given = {**definition, "tags": {**definition.get("tags", {}), CONTENT_TAG: content}}
            answer = client.register_job_definition(jobDefinitionName=name, **given)
        return str(answer["jobDefinitionArn"])

    return _sent_once(send, lambda: find_definition(client, name, content), sleep)


def deregister_definitions(client: Any, name: str, tags: Mapping[str, str]) -> None:
    """Deregister the active revisions of a job definition that carry ``tags``.

    A request a hundred, and one a revision.
    """
    own = [
        str(found["jobDefinitionArn"])
        for found in _definitions(client, name)
        if tags.items() <= (found.get("tags") or {}).items()
    ]
    for arn in own:
        with translated("deregistering the job definition", arn):
            client.deregister_job_definition(jobDefinition=arn)


def submit_job(client: Any, request: Json, *, sleep: Sleep = time.sleep) -> str:
    """The new job's id; ``request["jobName"]`` must be this job's alone.

    Where the answer is lost, the job is looked for by its name, and submitted again only when it
    is not found. Raises SubmitUnknown when it is still not known whether there is a job.
    """
    queue, name = str(request["jobQueue"]), str(request["jobName"])

    def send() -> str:
        with translated("submitting the job", queue):
            return str(client.submit_job(**request)["jobId"])

    def look() -> str | None:
        found = find_job(client, queue, name)
        return None if found is None else str(found["jobId"])

    return _sent_once(send, look, sleep)


def _sent_once(send: Callable[[], str], look: Callable[[], str | None], sleep: Sleep) -> str:
    """The result of ``send``, or of ``look`` where the answer to ``send`` was lost."""
    for left in reversed(range(SENDS)):
        try:
            return send()
        except BundlerunError as error:
            if not retries.perhaps_done(error.__cause__):
                raise
            lost = error
        try:
            found = _looked_for(look, sleep)
        except BundlerunError as error:
            raise SubmitUnknown(
                f"whether AWS Batch did it is not known: {error.message}",
                hint="aws batch list-jobs --job-queue QUEUE",
            ) from lost
        if found is not None:
            return found
        if not left:
            raise SubmitUnknown(
                f"whether AWS Batch did it is not known: {lost.message}",
                hint="aws batch list-jobs --job-queue QUEUE",
            ) from lost
    raise AssertionError("SENDS is at least 1")


def _looked_for(look: Callable[[], str | None], sleep: Sleep) -> str | None:
    for pause_s in LOOKS_S:
        sleep(pause_s)
        found = look()
        if found is not None:
            return found
    return None


def find_job(client: Any, queue: str, name: str) -> Json | None:
    """The summary of the newest job in ``queue`` called ``name``, or None.

    It may be in any state. The filter takes upper and lower case for the same (API reference,
    ListJobs, JOB_NAME).
    """
    with translated("looking for the job", name):
        pages = client.get_paginator("list_jobs").paginate(
            jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
        )
        found = [job for page in pages for job in page["jobSummaryList"] if job["jobName"] == name]
    return max(found, key=lambda job: int(job.get("createdAt", 0)), default=None)


def failed_children(client: Any, array: str) -> list[Json]:
    """The summaries of the failed jobs of an array, 1,000 a request."""
    with translated("asking for the failed jobs", array):
        pages = client.get_paginator("list_jobs").paginate(
            arrayJobId=array,
            jobStatus="FAILED",
            PaginationConfig={"PageSize": LIST_AT_MOST},
        )
        return [job for page in pages for job in page["jobSummaryList"]]


def describe_jobs(client: Any, ids: Sequence[str]) -> dict[str, Json]:
    """The descriptions of jobs by id; ids that Batch does not know are absent.

    A request a hundred.
    """
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


def open_jobs(client: Any, queue: str) -> list[str]:
    """The ids of the jobs of ``queue`` that have not ended; an array is one.

    A request a state, and more for each thousand.
    """
    found = []
    for state in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"):
        with translated("asking for the jobs of", queue):
            pages = client.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=state)
            found += [str(job["jobId"]) for page in pages for job in page["jobSummaryList"]]
    return found


def queue_problem(client: Any, queue: str) -> str | None:
    """The reason, in Batch's words, why ``queue`` can start nothing; None without one."""
    queues = describe_queues(client, [queue])
    if not queues:
        return f"there is no job queue {queue}"
    found = queues[0]
    if found.get("state") != "ENABLED" or found.get("status") != "VALID":
        return _standing("job queue", queue, found)
    names = [row["computeEnvironment"] for row in found.get("computeEnvironmentOrder", ())]
    if not names:
        return f"the job queue {queue} has no compute environment"
    environments = describe_environments(client, names)
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


def describe_queues(client: Any, names: Sequence[str]) -> list[Json]:
    """The job queues of these names or ARNs.

    Those that do not exist are absent. A request a hundred.
    """
    found: list[Json] = []
    for some in _hundreds(names):
        with translated("asking for the job queue", some[0]):
            found += client.describe_job_queues(jobQueues=some)["jobQueues"]
    return found


def describe_environments(client: Any, names: Sequence[str]) -> list[Json]:
    """The compute environments of these names or ARNs.

    Those that do not exist are absent. A request a hundred.
    """
    found: list[Json] = []
    for some in _hundreds(names):
        with translated("asking for the compute environment", some[0]):
            answer = client.describe_compute_environments(computeEnvironments=some)
        found += answer["computeEnvironments"]
    return found


def _hundreds(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), DESCRIBE_AT_MOST):
        yield list(names[start : start + DESCRIBE_AT_MOST])


def jobs_in(client: Any, queue: str, state: str) -> tuple[list[Json], bool]:
    """The newest 1,000 jobs of ``queue`` in a state; whether there are more.

    They are ListJobs' summaries. An array is one job, and PENDING until its last child has ended.
    """
    with translated("asking for the jobs of", queue):
        page = client.list_jobs(jobQueue=queue, jobStatus=state, maxResults=LIST_AT_MOST)
    return list(page["jobSummaryList"]), bool(page.get("nextToken"))


def front_of(client: Any, queue: str) -> list[str]:
    """The ids of the first RUNNABLE jobs of ``queue``, the next one to start first.

    At most 100, children of arrays among them (API reference, GetJobQueueSnapshot).
    """
    with translated("asking for the front of the queue", queue):
        answer = client.get_job_queue_snapshot(jobQueue=queue)
    rows = (answer.get("frontOfQueue") or {}).get("jobs") or ()
    return [str(row["jobArn"]).rpartition("/")[2] for row in rows]


def active_definitions(client: Any, arns: Sequence[str]) -> set[str]:
    """Those of the job definitions ``arns`` that are not deregistered.

    A request a hundred.
    """
    found: set[str] = set()
    for some in _hundreds(arns):
        with translated("asking for the job definitions", some[0]):
            answer = client.describe_job_definitions(jobDefinitions=some)
        found |= {
            str(row["jobDefinitionArn"])
            for row in answer["jobDefinitions"]
            if row.get("status") == "ACTIVE"
        }
    return found
