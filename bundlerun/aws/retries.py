"""Retries of requests that failed for the moment: how often, after how long.

Long waiting is told to the progress. botocore's own rules are switched off: they say nothing of
what they wait for, hold back retries once a few hundred were needed, and take an answer for whole
that broke off. Which failures pass is said in failures. What AWS asks clients to do:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html

A request that makes something new each time it is carried out is sent again here only where it was
certainly not carried out; where that is unknown, its caller looks for what it made first.
"""

from __future__ import annotations

import io
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.aws.failures import FOREIGN, INCOMPLETE, Trouble, failure_of, failure_of_answer
from bundlerun.aws.throughput import LEAST_RATE, LeastRate, watch
from bundlerun.progress import SILENT, Progress


@dataclass(frozen=True)
class Patience:
    """The limits of retries: how long to wait for a request, and how often to send it.

    The first sending counts. ``attempts``: where the service fails or the answer breaks off, some
    20 s of waiting in all. ``throttled_attempts``: where the service asks to slow down, some 4 min.
    ``silent_attempts``: where nobody answers, or the bytes drip; each may take as long as the
    timeouts and the least rate let it. ``cap_s``: the longest pause between two attempts. The read
    timeout is the longest silence; S3 sends blanks while it puts a large upload together.
    """

    attempts: int = 8
    throttled_attempts: int = 40
    silent_attempts: int = 3
    cap_s: float = 10.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    least: LeastRate = LEAST_RATE

    def attempts_at(self, trouble: Trouble) -> int:
        """The number of sendings of a request that fails so."""
        if trouble is Trouble.THROTTLED:
            return self.throttled_attempts
        dead = trouble in (Trouble.SILENT, Trouble.SLOW)
        return self.silent_attempts if dead else self.attempts

    def pause_s(self, trouble: Trouble, attempt: int) -> float | None:
        """Seconds to wait after the ``attempt``-th failure of this kind; None: give up.

        Doubling up to ``cap_s``, with jitter, so that clients that were turned away together come
        apart.
        """
        if attempt >= self.attempts_at(trouble):
            return None
        # No power is needed that the cap is below of, and a large one overflows.
        longest: float = min(self.cap_s, trouble.value * 2 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)


PATIENCE = Patience()

SHOWN_PAUSE_S = 1.0
"""A pause that is shorter is not worth a line."""

SHOWN_EVERY_S = 20.0
"""Many requests may be waiting at once: they say so together, so often at most."""

ONCE = frozenset({"RegisterJobDefinition", "SubmitJob"})
"""Operations that make something new each time (a job, a revision).

Of the others that we use, all either write what is there already, or are told apart by their caller
(CreateRepository: "exists"), or leave nothing but litter that a clean-up removes
(CreateMultipartUpload).
"""

_ROOTS = {
    "CompleteMultipartUpload": b"CompleteMultipartUploadResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
    "DeleteObjects": b"DeleteResult",
    "ListMultipartUploads": b"ListMultipartUploadsResult",
    "ListObjectsV2": b"ListBucketResult",
    "ListParts": b"ListPartsResult",
}
"""The root elements of these operations' answers.

botocore reads any other as an empty one.
"""

_PIECE_BYTES = 64 << 10
_GIVEN_UP = "_bundlerun_given_up"
_FAILED = "bundlerun_failed"

_logger = logging.getLogger("bundlerun.aws")

Failed = Counter[Trouble]
"""The failures of one request, counted by kind.

A service that asks to slow down thirty times may still break off once.
"""


class Retries:
    """The rules for the clients of one identity.

    ``progress`` is told of long waiting.
    """

    def __init__(
        self,
        patience: Patience = PATIENCE,
        progress: Progress = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience = patience
        self._progress = progress
        self._clock = clock
        self._lock = threading.Lock()
        self._shown_s: float | None = None

    def install(self, client: Any) -> None:
        """Let a boto3 client repeat what fails for the moment, by these rules."""
        events = client.meta.events
        events.register("before-send.s3", _send_in_pieces)
        events.register("before-parse.s3", _check_answer)
        events.register_first("needs-retry.s3", _redirect_once)
        events.register("needs-retry", self._needs_retry)
        watch(client, self.patience.least)

    def waited(self, what: str, error: BaseException, failed: Failed) -> bool:
        """Say that an attempt at ``what`` failed with ``error``, and wait.

        False, at once, to give up. ``failed`` counts them.
        """
        trouble = trouble_of(error)
        if trouble is None:
            return False
        pause = self._pause_s(what, str(error), trouble, failed)
        if pause is None:
            return False
        time.sleep(pause)
        return True

    def _needs_retry(
        self,
        response: tuple[Any, Mapping[str, Any]] | None,
        caught_exception: Exception | None,
        request_dict: dict[str, Any],
        operation: Any = None,
        **_: Any,
    ) -> float | None:
        """botocore's question after each attempt; seconds to wait, or None to be content."""
        if response is not None:
            trouble, why = _trouble_of_answer(*response)
        elif caught_exception is not None:
            trouble, why = trouble_of(caught_exception), f"{caught_exception!s:.200}"
        else:
            return None
        once = getattr(operation, "name", "") in ONCE
        if (once and trouble is Trouble.BROKEN) or (once and perhaps_done(caught_exception)):
            trouble = None
        if trouble is None:
            pause = None
        else:
            failed = request_dict.setdefault("context", {}).setdefault(_FAILED, Failed())
            what = f"{request_dict.get('method')} {request_dict.get('url_path')}"
            pause = self._pause_s(what, why, trouble, failed)
        if pause is None and caught_exception is not None:
            setattr(caught_exception, _GIVEN_UP, True)
        return pause

    def _pause_s(self, what: str, why: str, trouble: Trouble, failed: Failed) -> float | None:
        failed[trouble] += 1
        pause = self.patience.pause_s(trouble, failed[trouble])
        if pause is not None:
            number = failed.total()
            _logger.info("%s: %s; attempt %d failed, the next in %.2f s", what, why, number, pause)
            self._show(why, trouble, failed[trouble], pause)
        return pause

    def _show(self, why: str, trouble: Trouble, number: int, pause: float) -> None:
        if trouble is Trouble.SLOW:
            said = "the connection is too slow: the request is sent again"
        elif trouble is Trouble.THROTTLED and pause >= min(SHOWN_PAUSE_S, self.patience.cap_s / 2):
            most = self.patience.throttled_attempts
            said = f"the service asks to slow down ({why}): attempt {number} of {most} failed"
        else:
            return
        now = self._clock()
        with self._lock:
            if self._shown_s is not None and now - self._shown_s < SHOWN_EVERY_S:
                return
            self._shown_s = now
        self._progress.line(f"{said}, the next in {pause:.0f} s")


def trouble_of(error: BaseException) -> Trouble | None:
    """The trouble that an exception of botocore's stands for.

    None: it would come again, or has come after every attempt already.
    """
    failure = None if getattr(error, _GIVEN_UP, False) else failure_of(error)
    return None if failure is None else failure.trouble


def perhaps_done(error: BaseException | None) -> bool:
    """Whether a request that failed with ``error`` may have been carried out.

    ``error`` is an exception of botocore's. The answer may have been lost or broken off, or the
    server itself may have failed.
    """
    from botocore.exceptions import (
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
        ProxyConnectionError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        failure = failure_of_answer(code, status)
        trouble = None if failure is None else failure.trouble
        # A gateway's page is not an answer of the service: it may have been carried out behind it.
        refused = trouble in (Trouble.THROTTLED, Trouble.LIMITED)
        return trouble is Trouble.BROKEN or (status >= 500 and not refused)
    if isinstance(error, (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)):
        return False  # No connection, so nothing was sent.
    if isinstance(error, (HTTPClientError, ResponseParserError)):
        return True
    return error is not None and trouble_of(error) is not None


def _trouble_of_answer(http: Any, parsed: Mapping[str, Any]) -> tuple[Trouble | None, str]:
    error = parsed.get("Error")
    code = str(error.get("Code", "")) if isinstance(error, Mapping) else ""
    if code in (INCOMPLETE, FOREIGN):
        # Its status was that of a whole answer; without this botocore would believe it.
        http.status_code = 500
    failure = failure_of_answer(code, http.status_code)
    why = f"{http.status_code} {code}".rstrip()
    return (None if failure is None else failure.trouble), why


def _redirect_once(request_dict: dict[str, Any], operation: Any, **_: Any) -> None:
    """Keep botocore from following a redirect of the request that looks for redirects.

    A server that sends all of them away would be asked until Python's stack is full.
    """
    if operation.name == "HeadBucket":
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def _send_in_pieces(request: Any, **_: Any) -> None:
    """Send a body in pieces.

    Bytes in one go are given the connect timeout to go out, all of them, which on a slow line is
    never (socket.sendall).
    """
    if isinstance(request.body, bytes) and len(request.body) > _PIECE_BYTES:
        request.body = io.BytesIO(request.body)


def _check_answer(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Turn an answer that is shorter than it says, or something else, into an error.

    botocore accepts a truncated body, and parses an empty listing as zero keys.
    """
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
