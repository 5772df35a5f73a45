"""moto's application, asked from within.

AWS Batch's jobs need queues, job definitions and logs, which are moto's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Response

from bundlerun.sandbox.batch_jobs import Queue
from bundlerun.sandbox.refused import Refused

Json = dict[str, Any]
Wsgi = Callable[[Json, Any], Iterable[bytes]]


class Upstream:
    """An AWS in this process, as a WSGI application."""

    def __init__(self, application: Wsgi) -> None:
        self.application = application
        self.queues: dict[str, Queue] = {}

    def answer(self, wsgi: Json) -> Response:
        """Its answer to a request."""
        chunks, status, headers = run_wsgi_app(self.application, wsgi, buffered=True)
        return Response(chunks, status=status, headers=headers)

    def queue(self, wanted: str) -> Queue:
        """The queue of that name or ARN.

        Raises Refused where there is none, or it takes no job.
        """
        found = self._ask("describejobqueues", {"jobQueues": [wanted]}).get("jobQueues")
        if not found:
            raise Refused(f"Job queue {wanted} does not exist")
        if found[0]["state"] != "ENABLED":
            # API, UpdateJobQueue: a disabled queue finishes what it has.
            raise Refused(f"Job queue {wanted} is not ENABLED")
        arn = found[0]["jobQueueArn"]
        queue = self.queues.setdefault(arn, Queue(arn))
        self.refresh(queue)
        return queue

    def has_queue(self, wanted: str) -> bool:
        """Whether there is such a queue."""
        return bool(self._ask("describejobqueues", {"jobQueues": [wanted]}).get("jobQueues"))

    def refresh(self, queue: Queue) -> None:
        """Look at how many vCPUs the queue has.

        A disabled environment begins no job (API, UpdateComputeEnvironment).
        """
        found = self._ask("describejobqueues", {"jobQueues": [queue.arn]}).get("jobQueues") or [{}]
        order = found[0].get("computeEnvironmentOrder") or ()
        names = [row["computeEnvironment"] for row in order]
        asked = {"computeEnvironments": names}
        environments = self._ask("describecomputeenvironments", asked)["computeEnvironments"]
        vcpus = [
            (row["state"], int((row.get("computeResources") or {}).get("maxvCpus") or 0))
            for row in environments
        ]
        queue.environment = names[0].rpartition("/")[2] if names else ""
        queue.vcpus = sum(most for state, most in vcpus if state == "ENABLED")
        queue.most_vcpus = sum(most for _, most in vcpus)

    def definition(self, wanted: str) -> Json:
        """The active job definition of that name, revision or ARN.

        Raises Refused.
        """
        name, _, revision = wanted.rpartition("/")[2].partition(":")
        found = self._ask("describejobdefinitions", {"jobDefinitionName": name})
        active = [
            row
            for row in found.get("jobDefinitions") or ()
            if row["status"] == "ACTIVE" and revision in ("", str(row["revision"]))
        ]
        if not active:
            raise Refused(f"Job definition {wanted} does not exist")
        newest: Json = max(active, key=lambda row: int(row["revision"]))
        if "containerProperties" not in newest:
            raise Refused("this sandbox runs jobs of one container alone")
        return newest

    def put_log(self, group: str, stream: str, lines: list[str]) -> None:
        """Append lines to a log stream, which is made with the first."""
        now_ms = int(time.time() * 1000)
        where = {"logGroupName": group, "logStreamName": stream}
        events = [{"timestamp": now_ms, "message": line} for line in lines]
        if not self._log("PutLogEvents", {**where, "logEvents": events}):
            self._log("CreateLogGroup", {"logGroupName": group})
            self._log("CreateLogStream", where)
            self._log("PutLogEvents", {**where, "logEvents": events})

    def _log(self, action: str, body: Json) -> Json:
        return self._asked("/", "logs", body, {"X-Amz-Target": f"Logs_20140328.{action}"})

    def _ask(self, operation: str, body: Json) -> Json:
        return self._asked(f"/v1/{operation}", "batch", body, {})

    def _asked(self, path: str, service: str, body: Json, headers: dict[str, str]) -> Json:
        """The answer; {} to what is refused."""
        key = f"Credential=sandbox/20260101/us-east-1/{service}/aws4_request"
        builder = EnvironBuilder(
            path=path,
            method="POST",
            data=json.dumps(body),
            content_type="application/x-amz-json-1.1",
            headers=[("Authorization", f"AWS4-HMAC-SHA256 {key}"), *headers.items()],
        )
        response = self.answer(builder.get_environ())
        text = response.get_data()
        found: Json = json.loads(text) if response.status_code == 200 and text else {}
        return found
