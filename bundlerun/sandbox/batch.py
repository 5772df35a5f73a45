"""AWS Batch's calls about jobs, in front of moto's application.

moto's own Batch carries out neither arrays nor retries, tells no exit code, and has no limits. Here
a job is kept and carried out by ``batch_jobs``; queues, compute environments and job definitions
are moto's, as is the rest of AWS. Each rule names where AWS states it: "guide" is the AWS Batch
user guide, "API" its API reference.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Response

from bundlerun.sandbox.batch_attempt import Runner
from bundlerun.sandbox.batch_describe import arn_of, described, summary
from bundlerun.sandbox.batch_jobs import STATES, Job, Jobs, now_ms
from bundlerun.sandbox.batch_retry import like
from bundlerun.sandbox.batch_submit import (
    LEAST_TIMEOUT_S,
    check_definition,
    check_submit,
    request_of,
)
from bundlerun.sandbox.refused import Refused
from bundlerun.sandbox.upstream import Upstream, Wsgi

Json = dict[str, Any]

MOST_DESCRIBED = 100
MOST_ENDED = 50
MOST_REASON = 1024
PAGE, FILTERED_PAGE = 1000, 100
FRONT = 100
STOP_GRACE_S = 30.0
"""The limits of calls that describe, list and end jobs.

API, DescribeJobs, TerminateJobs, CancelJob, ListJobs (``maxResults``), GetJobQueueSnapshot; guide,
"Job timeouts" (from SIGTERM to SIGKILL).
"""


class Batch:
    """A WSGI application: AWS Batch's jobs, and ``moto`` for all else.

    ``run`` carries out the attempts. AWS takes no timeout under a minute; a test may, with another
    ``least_timeout_s``.
    """

    def __init__(
        self,
        moto: Wsgi,
        run: Runner,
        *,
        least_timeout_s: int = LEAST_TIMEOUT_S,
        grace_s: float = STOP_GRACE_S,
    ) -> None:
        self._upstream = Upstream(moto)
        self._least_timeout_s = least_timeout_s
        self.jobs = Jobs(run, self._upstream.put_log, grace_s)
        self._operations: dict[str, Callable[[Json, int], Json]] = {
            "submitjob": self._submit,
            "describejobs": self._describe,
            "listjobs": self._list,
            "getjobqueuesnapshot": self._front,
            "canceljob": self._cancel,
            "terminatejob": self._terminate,
            "canceljobs": self._cancel_many,
            "terminatejobs": self._terminate_many,
        }

    def __call__(self, wsgi: Json, start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if "/batch/aws4_request" not in wsgi.get("HTTP_AUTHORIZATION", ""):
            return self._upstream.application(wsgi, start_response)
        operation = str(wsgi["PATH_INFO"]).rpartition("/")[2]
        data = wsgi["wsgi.input"].read(int(wsgi.get("CONTENT_LENGTH") or 0))
        wsgi["wsgi.input"] = io.BytesIO(data)
        try:
            response = self._answer(operation, wsgi, data)
        except Refused as refused:
            response = refused.response
        return response(wsgi, start_response)

    def _answer(self, operation: str, wsgi: Json, data: bytes) -> Response:
        carry_out = self._operations.get(operation)
        if carry_out is not None:
            answer = carry_out(json.loads(data or b"{}"), len(data))
            return Response(json.dumps(answer), content_type="application/json")
        if operation == "registerjobdefinition":
            check_definition(json.loads(data), len(data))
        response = self._upstream.answer(wsgi)
        if operation == "deletejobqueue" and response.status_code == 200:
            self._end_all(str(json.loads(data)["jobQueue"]))
        if operation.startswith("update"):
            # A compute environment may take jobs again.
            for queue in list(self._upstream.queues.values()):
                self._upstream.refresh(queue)
                self.jobs.start(queue)
        return response

    def _end_all(self, queue: str) -> None:
        """End the jobs of a queue that was deleted (API, DeleteJobQueue).

        AWS does not write down the reason that they are given.
        """
        name = queue.rpartition("/")[2]
        for job in self.jobs.among(lambda j: j.parent is None and j.request.queue.name == name):
            self.jobs.terminate(job, f"Job queue {name} was deleted")

    def _submit(self, body: Json, size: int) -> Json:
        check_submit(body, size)
        queue = self._upstream.queue(str(body.get("jobQueue")))
        definition = self._upstream.definition(str(body.get("jobDefinition")))
        request = request_of(body, queue, definition, self._least_timeout_s)
        for other in request.depends_on:
            if self.jobs.find(other) is None:
                raise Refused(f"Job {other} does not exist")
        job = self.jobs.submit(request)
        return {"jobArn": arn_of(job), "jobName": request.name, "jobId": job.id}

    def _describe(self, body: Json, size: int) -> Json:
        ids = body.get("jobs") or []
        if len(ids) > MOST_DESCRIBED:
            raise Refused("Member must have length less than or equal to 100")
        found = [self.jobs.find(str(job_id)) for job_id in ids]
        return {"jobs": [described(job) for job in found if job is not None]}

    def _list(self, body: Json, size: int) -> Json:
        filters, state = body.get("filters") or (), body.get("jobStatus")
        if state not in (None, *STATES):
            raise Refused(f"Job status is not one of {' | '.join(STATES)}")
        if "arrayJobId" in body:
            array = self.jobs.find(str(body["arrayJobId"]))
            found = [] if array is None else list(array.children)
        else:
            name = str(body.get("jobQueue")).rpartition("/")[2]
            if not self._upstream.has_queue(name):
                raise Refused(f"Job queue {name} does not exist")
            # Newest first.
            found = self.jobs.among(lambda j: j.parent is None and j.request.queue.name == name)
            found.reverse()
        if filters and "arrayJobId" not in body:
            # A filter takes jobs in whatever state (API, ListJobs).
            found = [job for job in found if all(_passes(job, row) for row in filters)]
        else:
            found = [job for job in found if job.status == (state or "RUNNING")]
        most = FILTERED_PAGE if filters else PAGE
        start = int(body.get("nextToken") or 0)
        end = start + min(int(body.get("maxResults") or most), most)
        page: Json = {"jobSummaryList": [summary(job) for job in found[start:end]]}
        return {**page, "nextToken": str(end)} if end < len(found) else page

    def _front(self, body: Json, size: int) -> Json:
        """The jobs that begin next, children of arrays too (API, GetJobQueueSnapshot)."""
        name = str(body.get("jobQueue")).rpartition("/")[2]
        if not self._upstream.has_queue(name):
            raise Refused(f"Job queue {name} does not exist")
        found = self.jobs.among(lambda j: j.status == "RUNNABLE" and j.request.queue.name == name)
        rows = [
            {"jobArn": arn_of(job), "earliestTimeAtPosition": job.created_ms}
            for job in found[:FRONT]
        ]
        return {"frontOfQueue": {"jobs": rows, "lastUpdatedAt": now_ms()}}

    def _cancel(self, body: Json, size: int) -> Json:
        self._end(self.jobs.cancel, body, [body.get("jobId")])
        return {}

    def _terminate(self, body: Json, size: int) -> Json:
        self._end(self.jobs.terminate, body, [body.get("jobId")])
        return {}

    def _cancel_many(self, body: Json, size: int) -> Json:
        return self._end(self.jobs.cancel, body, body.get("jobs") or [])

    def _terminate_many(self, body: Json, size: int) -> Json:
        return self._end(self.jobs.terminate, body, body.get("jobs") or [])

    def _end(self, end: Callable[[Job, str], None], body: Json, ids: list[Any]) -> Json:
        """An unknown job is not an error (API, TerminateJobs)."""
        reason = body.get("reason")
        if not reason or len(reason) > MOST_REASON:
            raise Refused("reason must have 1 to 1024 characters")
        if len(ids) > MOST_ENDED or not all(ids):
            raise Refused("1 to 50 job ids must be given")
        for job_id in ids:
            if (job := self.jobs.find(str(job_id))) is not None:
                end(job, reason)
        return {"successful": ids, "errors": []}


def _passes(job: Job, row: Json) -> bool:
    """Whether a filter takes the job (API, ListJobs, ``filters``)."""
    values, kind = [str(value) for value in row.get("values") or ()], row.get("name")
    if kind == "JOB_NAME":
        name = job.request.name.lower()
        return any(like(name, value.lower()) for value in values)
    if kind == "JOB_DEFINITION":
        arn = job.request.definition
        name = arn.rpartition("/")[2].partition(":")[0]
        return any(value == arn or like(name, value) for value in values)
    if kind == "BEFORE_CREATED_AT":
        return any(job.created_ms < int(value) for value in values)
    if kind == "AFTER_CREATED_AT":
        return any(job.created_ms > int(value) for value in values)
    raise Refused(f"this sandbox serves no filter {kind}")
