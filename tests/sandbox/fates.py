"""An AWS of the sandbox whose calls stumble as a test wishes: turned away, or carried out and
never answered."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any
from urllib.parse import parse_qs

from werkzeug.wrappers import Response

from bundlerun.sandbox.batch import Batch
from bundlerun.sandbox.batch_jobs import Jobs


class Fate(Enum):
    """What happens to a call."""

    THROTTLED = "it is asked to slow down, and nothing is done"
    LOST = "it is done, and the connection breaks before the answer"
    FAILED_AFTER = "it is done, and answered with 500"


_SERVICE = re.compile(r"/([a-z0-9]+)/aws4_request")
_OF_RUNS = re.compile(r"runs/[^/]+/([a-z]+)?")
_SLOW_DOWN = {
    "batch": (429, "TooManyRequestsException"),
    "s3": (503, "SlowDown"),
    "ec2": (503, "RequestLimitExceeded"),
    "sts": (400, "Throttling"),
    "iam": (400, "Throttling"),
    "cloudformation": (400, "Throttling"),
}
"""How a service asks to slow down; others: 400 ThrottlingException.

API references of AWS Batch, Amazon S3 and Amazon EC2, "Error responses"; the common errors of the
others.
"""


class Fates:
    """A WSGI application: ``app``, and what a test has happen to its calls.

    A call is known by its operation as boto3 calls it ("SubmitJob"), one of S3 also by what of a
    remote it is about ("PutObject runs/plan", "GetObject packs").
    """

    def __init__(self, app: Batch) -> None:
        self._app = app
        self._calls: Counter[str] = Counter()
        self._fates: dict[str, deque[Fate]] = defaultdict(deque)
        self._first: Fate | None = None
        self._lock = threading.Lock()
        self.had: set[str] = set()
        self.heard: Callable[[str], object] = lambda operation: None

    @property
    def jobs(self) -> Jobs:
        """The jobs of its Batch."""
        return self._app.jobs

    def befall(self, operation: str, *fates: Fate) -> None:
        """Have these happen to the next calls of ``operation``."""
        self._fates[operation].extend(fates)

    def befall_first(self, fate: Fate | None) -> None:
        """Have ``fate`` happen to the first call of each kind from now on, to those too that a job
        makes; ``had`` are the kinds."""
        with self._lock:
            self._first = fate
            self.had = set()

    def calls(self, operation: str) -> int:
        """How often ``operation`` was called."""
        return self._calls[operation]

    def __call__(self, wsgi: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        data = b""
        if wsgi.get("CONTENT_LENGTH"):
            data = wsgi["wsgi.input"].read(int(wsgi["CONTENT_LENGTH"]))
            wsgi["wsgi.input"] = io.BytesIO(data)
        found = _SERVICE.search(wsgi.get("HTTP_AUTHORIZATION", ""))
        service = found.group(1) if found else "?"
        operation = _operation(service, wsgi, data)
        fate = self._fate_of(operation, f"{operation} {_about(wsgi)}".strip())
        self.heard(operation)
        if fate is Fate.THROTTLED:
            return _refused(service, *_SLOW_DOWN.get(service, (400, "ThrottlingException")))(
                wsgi, start_response
            )
        if fate is None:
            return self._app(wsgi, start_response)
        for _ in self._app(wsgi, lambda *_: lambda data: None):
            pass
        if fate is Fate.LOST:
            wsgi["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("a lost answer")
        return _refused(service, 500, "InternalFailure")(wsgi, start_response)

    def _fate_of(self, operation: str, kind: str) -> Fate | None:
        with self._lock:
            self._calls[operation] += 1
            queued = self._fates[operation]
            if queued:
                return queued.popleft()
            if self._first is None or kind in self.had:
                return None
            self.had.add(kind)
            return self._first


def _operation(service: str, wsgi: dict[str, Any], data: bytes) -> str:
    """The operation as boto3 calls it."""
    target = wsgi.get("HTTP_X_AMZ_TARGET")
    if target:
        return str(target).rpartition(".")[2]
    if service == "s3":
        return _of_s3(wsgi)
    if service == "batch":
        return _BATCH.get(str(wsgi["PATH_INFO"]).rpartition("/")[2], "?")
    return "".join(parse_qs(data.decode(errors="replace")).get("Action", ["?"]))


def _of_s3(wsgi: dict[str, Any]) -> str:
    method, query = wsgi["REQUEST_METHOD"], wsgi.get("QUERY_STRING", "")
    is_bucket = wsgi["PATH_INFO"].count("/") < 2
    for word, operation in _LISTINGS.items():
        if word in query:
            return operation
    if method == "POST":
        return "DeleteObjects" if "delete" in query else "Upload"
    if "uploadId" in query:
        return "UploadPart" if method == "PUT" else "AbortMultipartUpload"
    return f"{method.title()}{'Bucket' if is_bucket else 'Object'}"


def _about(wsgi: dict[str, Any]) -> str:
    """What of a remote a request of S3 is about: the first part of its key, of a run's also the
    next one."""
    asked = parse_qs(wsgi.get("QUERY_STRING", "")).get("prefix", [wsgi["PATH_INFO"]])[0]
    run = _OF_RUNS.search(asked)
    if run:
        return f"runs/{run.group(1) or 'claim'}"
    return ""


def _refused(service: str, status: int, code: str) -> Response:
    """An error in the service's own form."""
    if service in ("s3", "ec2", "sts", "iam", "cloudformation"):
        error = f"<Error><Code>{code}</Code><Message>by the test</Message></Error>"
        if service == "ec2":
            error = f"<Response><Errors>{error}</Errors></Response>"
        elif service != "s3":
            error = f"<ErrorResponse>{error}</ErrorResponse>"
        return Response(error, status=status, content_type="text/xml")
    return Response(
        json.dumps({"__type": code, "message": "by the test"}),
        status=status,
        headers={"x-amzn-ErrorType": code},
        content_type="application/json",
    )


_LISTINGS = {
    "list-type": "ListObjectsV2",
    "versions": "ListObjectVersions",
    "tagging": "GetBucketTagging",
}

_BATCH = {
    name.lower(): name
    for name in (
        *("SubmitJob", "DescribeJobs", "ListJobs", "CancelJob", "TerminateJob"),
        *("CancelJobs", "TerminateJobs", "RegisterJobDefinition", "DescribeJobDefinitions"),
        *("DeregisterJobDefinition", "DescribeJobQueues", "DescribeComputeEnvironments"),
        *("CreateComputeEnvironment", "UpdateComputeEnvironment", "DeleteComputeEnvironment"),
        *("CreateJobQueue", "UpdateJobQueue", "DeleteJobQueue", "TagResource"),
    )
}
