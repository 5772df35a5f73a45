"""Requests that failed for the moment are sent again: which, how often, after how long; visibly.

botocore's own rules are switched off: they say nothing of what they wait for, hold back retries
once a few hundred were needed, and take an answer for whole that broke off. What AWS asks clients
to do: https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html

A request that makes something new each time it is carried out is sent again here only where it
was certainly not carried out; where that is unknown, its caller looks for what it made first.
"""

from __future__ import annotations

import enum
import io
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

ATTEMPTS = 8
"""Attempts a request, the first included: some 20 s of waiting in all."""

SILENT_ATTEMPTS = 3
"""Attempts where nobody answers, each of which may take as long as the timeouts let it."""

CAP_S = 10.0
"""The longest pause between two attempts."""

INCOMPLETE = "IncompleteAnswer"
"""The error code that is given to an answer which broke off."""

FOREIGN = "NoAnswerOfS3"
"""The error code that is given to an answer of something else, such as a login page."""

ONCE = frozenset({"RegisterJobDefinition", "SubmitJob"})
"""Operations that make something new each time (a job, a revision). Of the others that we use, all
either write what is there already, or are told apart by their caller (CreateRepository: "exists"),
or leave nothing but litter that a clean-up removes (CreateMultipartUpload)."""

_THROTTLED = frozenset(
    (
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
    )
)
# What was changed or cut on its way up is refused by its digest or its length.
_BROKEN = frozenset(
    (
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "InternalFailure",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "XAmzContentSHA256Mismatch",
        INCOMPLETE,
    )
)
_THROTTLED_STATUSES = (429, 509)
_BROKEN_STATUSES = (408, 500, 502, 503, 504)
_ROOTS = {
    "CompleteMultipartUpload": b"CompleteMultipartUploadResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
    "DeleteObjects": b"DeleteResult",
    "ListMultipartUploads": b"ListMultipartUploadsResult",
    "ListObjectsV2": b"ListBucketResult",
    "ListParts": b"ListPartsResult",
}
"""What the answers of these operations are called; botocore reads any other as an empty one."""

_PIECE_BYTES = 64 << 10
_GIVEN_UP = "_bundlerun_given_up"

_logger = logging.getLogger("bundlerun.aws")


class Trouble(enum.Enum):
    """A kind of failure that passes; its value is the first pause in seconds."""

    THROTTLED = 0.25
    BROKEN = 0.1
    SILENT = 0.5


def install(client: Any) -> None:
    """Let a boto3 client repeat what fails for the moment, by these rules."""
    client.meta.events.register("before-send.s3", _send_in_pieces)
    client.meta.events.register("before-parse.s3", _check_answer)
    client.meta.events.register("needs-retry", _needs_retry)


def pause_s(trouble: Trouble, attempt: int) -> float | None:
    """Seconds to wait after failed attempt ``attempt`` (from 1); None: give up.

    Doubling up to CAP_S, with jitter, so that clients that were turned away together come apart.
    """
    if attempt >= (SILENT_ATTEMPTS if trouble is Trouble.SILENT else ATTEMPTS):
        return None
    longest: float = min(CAP_S, trouble.value * 2 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)


def waited(what: str, why: str, trouble: Trouble, attempt: int) -> bool:
    """Say that attempt ``attempt`` at ``what`` failed, and wait; False, at once, to give up."""
    pause = pause_s(trouble, attempt)
    if pause is None:
        return False
    _say(what, why, attempt, pause)
    time.sleep(pause)
    return True


def trouble_of(error: BaseException) -> Trouble | None:
    """The trouble that an exception of botocore's stands for; None: it would come again, or has
    come after every attempt already."""
    from botocore.exceptions import (
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
        IncompleteReadError,
        ProxyConnectionError,
        ReadTimeoutError,
        ResponseStreamingError,
        SSLError,
    )

    silent = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, ReadTimeoutError)
    if getattr(error, _GIVEN_UP, False):
        return None
    if isinstance(error, silent):
        return Trouble.SILENT
    if isinstance(error, SSLError):
        return None if "CERTIFICATE" in str(error) else Trouble.BROKEN
    if isinstance(error, (HTTPClientError, IncompleteReadError, ResponseStreamingError)):
        return Trouble.BROKEN
    return None


def perhaps_done(error: BaseException | None) -> bool:
    """Whether a request that failed with ``error``, an exception of botocore's, may have been
    carried out: an answer that was lost or broke off, or a server's own failure."""
    from botocore.exceptions import (
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
        ProxyConnectionError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = str(error.response.get("Error", {}).get("Code", ""))
        # A gateway's page is no answer of the service: it may have been carried out behind it.
        broken = code in _BROKEN or status in _BROKEN_STATUSES or (status or 0) >= 500
        return broken and code not in _THROTTLED
    if isinstance(error, (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)):
        return False  # No connection, so nothing was sent.
    if isinstance(error, (HTTPClientError, ResponseParserError)):
        return True
    return error is not None and trouble_of(error) is not None


def _needs_retry(
    response: tuple[Any, Mapping[str, Any]] | None,
    attempts: int,
    caught_exception: Exception | None,
    request_dict: Mapping[str, Any],
    operation: Any = None,
    **_: Any,
) -> float | None:
    """botocore's question after each attempt; seconds to wait, or None to be content with it."""
    if response is not None:
        trouble, why = _trouble_of_answer(*response)
    elif caught_exception is not None:
        trouble, why = trouble_of(caught_exception), f"{caught_exception!s:.200}"
    else:
        return None
    once = getattr(operation, "name", "") in ONCE
    if (once and trouble is Trouble.BROKEN) or (once and perhaps_done(caught_exception)):
        trouble = None
    pause = None if trouble is None else pause_s(trouble, attempts)
    if pause is None and caught_exception is not None:
        setattr(caught_exception, _GIVEN_UP, True)
    if pause is not None:
        what = f"{request_dict.get('method')} {request_dict.get('url_path')}"
        _say(what, why, attempts, pause)
    return pause


def _trouble_of_answer(http: Any, parsed: Mapping[str, Any]) -> tuple[Trouble | None, str]:
    error = parsed.get("Error")
    code = str(error.get("Code", "")) if isinstance(error, Mapping) else ""
    if code in (INCOMPLETE, FOREIGN):
        # Its status was that of a whole answer; without this botocore would believe it.
        http.status_code = 500
    if code == FOREIGN:
        return None, code
    why = f"{http.status_code} {code}".rstrip()
    if code in _THROTTLED or http.status_code in _THROTTLED_STATUSES:
        return Trouble.THROTTLED, why
    if code in _BROKEN or http.status_code in _BROKEN_STATUSES:
        return Trouble.BROKEN, why
    return None, why


def _send_in_pieces(request: Any, **_: Any) -> None:
    """Give a body in pieces: bytes in one go are given the connect timeout to go out, all of them,
    which on a slow line is never (socket.sendall)."""
    if isinstance(request.body, bytes) and len(request.body) > _PIECE_BYTES:
        request.body = io.BytesIO(request.body)


def _check_answer(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Turn an answer that is shorter than it says, or is something else, into an error: botocore
    reads what there is of it, and of a listing without its body that there are no keys."""
    body = response_dict["body"]
    if not isinstance(body, bytes) or operation_model.http.get("method") == "HEAD":
        return
    told = str(response_dict["headers"].get("content-length", ""))
    root = _ROOTS.get(operation_model.name)
    if (told.isdecimal() and len(body) < int(told)) or (root and not body):
        code, said = INCOMPLETE, f"{len(body)} of {told or 'some'} bytes of the answer came"
    elif root and response_dict["status_code"] < 300 and root not in body and b"<Error" not in body:
        code, said = FOREIGN, "a page, not a list of keys"
    else:
        return
    response_dict["status_code"] = 500
    response_dict["body"] = f"<Error><Code>{code}</Code><Message>{said}</Message></Error>".encode()


def _say(what: str, why: str, attempt: int, pause: float) -> None:
    _logger.info("%s: %s; attempt %d failed, the next in %.2f s", what, why, attempt, pause)
