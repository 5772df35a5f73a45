"""AWS's failures: which of them pass, and what each is in bundlerun's words.

One table, CODES, says both of every error code, so that what is sent again is also reported as
what it was.

The codes are those of the S3 error list, of the common errors of AWS's APIs, and of the failures
that AWS's own clients send again:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/awssupport/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bundlerun.aws import sandbox_env
from bundlerun.errors import (
    AccessDenied,
    BundlerunError,
    CloudError,
    NoCredentials,
    RemoteGone,
    RemoteUnreachable,
    SettingsError,
)

INCOMPLETE = "IncompleteAnswer"
"""The error code that is given to an answer which broke off."""

FOREIGN = "NoAnswerOfS3"
"""The error code given to an answer of something else, such as a login page."""


class Trouble(enum.Enum):
    """A kind of failure that passes; its value is the first pause in seconds."""

    THROTTLED = 0.25
    LIMITED = 0.3
    BROKEN = 0.1
    SILENT = 0.5
    SLOW = 0.2


class TooSlow(TimeoutError):
    """A connection that moves fewer bytes than it must, though never silent for long."""


@dataclass(frozen=True)
class Failure:
    """A kind of failure: the error's class, its meaning in short, the next command.

    ``trouble`` is that for which the request is sent again (None: it would fail again).
    """

    error: type[BundlerunError]
    meaning: str
    hint: str | None
    trouble: Trouble | None = None


_LOGIN = "aws configure, or export AWS_PROFILE=NAME"
_RENEW = "aws sso login, or export new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
_WRONG_KEYS = "aws sts get-caller-identity"
_REGION = "export AWS_DEFAULT_REGION=REGION"
_AGAIN = "the same command again, later"

_EXPIRED = Failure(NoCredentials, "the credentials have expired", _RENEW)
_UNKNOWN = Failure(NoCredentials, "AWS does not know these credentials", _WRONG_KEYS)
_DENIED = Failure(AccessDenied, "these credentials do not allow it", _WRONG_KEYS)
_ELSEWHERE = Failure(RemoteUnreachable, "the bucket is in another region", _REGION)
_NO_BUCKET = Failure(RemoteGone, "there is no such bucket", "aws s3 mb s3://BUCKET")
_THROTTLED = Failure(
    RemoteUnreachable, "the service does not keep up", _AGAIN, trouble=Trouble.THROTTLED
)
# Some services say so of a rate, others of what an account may have: it is not waited for long.
_LIMITED = Failure(
    RemoteUnreachable,
    "the service does not keep up, or a limit of the account is reached",
    _AGAIN,
    trouble=Trouble.LIMITED,
)
_FAILED = Failure(RemoteUnreachable, "the service failed", _AGAIN, trouble=Trouble.BROKEN)
_CHANGED = Failure(
    RemoteUnreachable, "it was cut or changed on its way", _AGAIN, trouble=Trouble.BROKEN
)
_FOREIGN = Failure(
    RemoteUnreachable,
    "what answers there is no such service",
    "env | grep -E 'AWS_ENDPOINT|_proxy='",
)
_CLOCK = Failure(AccessDenied, "this machine's clock is wrong", "timedatectl set-ntp true")


def _rows(failure: Failure, *codes: str) -> dict[str, Failure]:
    return dict.fromkeys(codes, failure)


CODES: Mapping[str, Failure] = {
    **_rows(_EXPIRED, "ExpiredToken", "ExpiredTokenException", "RequestExpired"),
    **_rows(_EXPIRED, "TokenRefreshRequired", "IDPCommunicationError"),
    **_rows(_UNKNOWN, "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken"),
    **_rows(_UNKNOWN, "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken"),
    **_rows(_UNKNOWN, "UnrecognizedClientException", "AuthFailure", "NotSignedUp"),
    **_rows(_UNKNOWN, "OptInRequired"),
    **_rows(_DENIED, "403", "AccessDenied", "AccessDeniedException", "AccountProblem"),
    **_rows(_DENIED, "AllAccessDisabled", "Forbidden", "InvalidPayer"),
    **_rows(_DENIED, "UnauthorizedAccess", "UnauthorizedOperation"),
    **_rows(_ELSEWHERE, "301", "AuthorizationHeaderMalformed"),
    **_rows(_ELSEWHERE, "IllegalLocationConstraintException", "PermanentRedirect"),
    **_rows(_ELSEWHERE, "Redirect", "TemporaryRedirect"),
    "NoSuchBucket": _NO_BUCKET,
    FOREIGN: _FOREIGN,
    **_rows(_THROTTLED, "BandwidthLimitExceeded", "EC2ThrottledException"),
    **_rows(_THROTTLED, "PriorRequestNotComplete", "ProvisionedThroughputExceededException"),
    **_rows(_THROTTLED, "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException"),
    **_rows(_THROTTLED, "SlowDown", "Throttling", "ThrottledException", "ThrottlingException"),
    **_rows(_THROTTLED, "TooManyRequests", "TooManyRequestsException"),
    **_rows(_THROTTLED, "TransactionInProgressException"),
    "LimitExceededException": _LIMITED,
    # What was changed or cut on its way up is refused by its digest or its length.
    **_rows(_CHANGED, "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", INCOMPLETE),
    # The last two: another write of this key was under way; S3 asks for the same again.
    **_rows(_FAILED, "InternalError", "InternalFailure", "ServiceUnavailable"),
    **_rows(_FAILED, "RequestTimeout", "RequestTimeoutException"),
    **_rows(_FAILED, "ConditionalRequestConflict", "OperationAborted"),
    **_rows(_CLOCK, "RequestTimeTooSkewed", "RequestInTheFuture"),
}
"""The meaning of each known error code.

An unknown one goes by its status, else becomes a CloudError that names it.
"""

STATUSES: Mapping[int, Failure] = {
    **dict.fromkeys((408, 500, 502, 503, 504), _FAILED),
    **dict.fromkeys((429, 509), _THROTTLED),
}
"""The meaning of an HTTP status where CODES lacks the code.

Others of 505 and up: _FAILED.
"""

_MISSING = Failure(NoCredentials, "there are no AWS credentials", _LOGIN)
_NO_ANSWER = Failure(RemoteUnreachable, "no answer", None)
_SILENT = Failure(RemoteUnreachable, "no answer", None, trouble=Trouble.SILENT)
_BROKEN = Failure(RemoteUnreachable, "no answer", None, trouble=Trouble.BROKEN)
_SLOW = Failure(RemoteUnreachable, "the connection is too slow", _AGAIN, trouble=Trouble.SLOW)
_CERTIFICATE = Failure(
    RemoteUnreachable,
    "its certificate is not one that this machine trusts",
    "export AWS_CA_BUNDLE=FILE",
)
_NO_REGION = Failure(SettingsError, "no AWS region is configured", _REGION)
_CONFIG = Failure(SettingsError, "AWS's configuration is wrong", "aws configure list")

EXCEPTIONS: Mapping[str, Failure] = {
    **_rows(_MISSING, "NoCredentialsError", "PartialCredentialsError"),
    **_rows(_MISSING, "CredentialRetrievalError", "MetadataRetrievalError"),
    **_rows(_MISSING, "NoAuthTokenError", "InvalidIMDSEndpointError", "LoginError"),
    **_rows(_EXPIRED, "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOError"),
    "ProfileNotFound": Failure(
        NoCredentials, "there is no such AWS profile", "aws configure list-profiles"
    ),
    "ConnectionError": _NO_ANSWER,
    **_rows(_SILENT, "ConnectTimeoutError", "EndpointConnectionError"),
    **_rows(_SILENT, "ProxyConnectionError", "ReadTimeoutError"),
    **_rows(_BROKEN, "ConnectionClosedError", "HTTPClientError", "SSLError"),
    **_rows(_BROKEN, "IncompleteReadError", "ResponseStreamingError"),
    "NoRegionError": _NO_REGION,
    **_rows(_CONFIG, "ConfigParseError", "ConfigNotFound", "InvalidConfigError"),
    **_rows(_CONFIG, "InvalidRegionError", "UnknownEndpointError"),
    **_rows(_CONFIG, "InvalidEndpointDiscoveryConfigurationError"),
}
"""The meaning of botocore's own exceptions, by class name.

A subclass goes by its nearest ancestor named here.
"""


def failure_of_answer(code: str, status: int) -> Failure | None:
    """The failure meant by an answer's error code and HTTP status; None: unknown.

    ``code`` is "" for none.
    """
    found = CODES.get(code) or STATUSES.get(status)
    if found is None and status > 504:
        return _FAILED
    return found


def failure_of(error: BaseException) -> Failure | None:
    """The failure meant by an exception of botocore's; None: unknown.

    ClientError is not among them.
    """
    if too_slow(error) is not None:
        return _SLOW
    for cls in type(error).__mro__:
        found = EXCEPTIONS.get(cls.__name__)
        if found is not None:
            if cls.__name__ == "SSLError" and "CERTIFICATE" in str(error):
                return _CERTIFICATE
            return found
    return None


def too_slow(error: BaseException | None) -> TooSlow | None:
    """The TooSlow that an exception came of, through whatever libraries wrapped it in."""
    for _ in range(20):
        if error is None or isinstance(error, TooSlow):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def translated(what: str, where: str) -> Iterator[None]:
    """Translate what botocore raises inside into an error of ours.

    Its message is "WHAT at WHERE: meaning (code: message)". ``what`` is the attempted thing
    ("reading v/a"), ``where`` the place (a remote's URL, a queue). Raises NoCredentials,
    AccessDenied, RemoteUnreachable, SettingsError, else CloudError.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _of_client_error(error, f"{what} at {where}") from error
    except BotoCoreError as error:
        raise _of_exception(error, f"{what} at {where}") from error
    except ResponseParserError as error:
        # No BotoCoreError, and its text holds the whole answer.
        raise _FOREIGN.error(
            f"{what} at {where}: {_FOREIGN.meaning}", hint=_FOREIGN.hint
        ) from error


def code_of(error: Any) -> str:
    """The error code of a ClientError, or the HTTP status as text where there is none."""
    found = error.response.get("Error", {}).get("Code")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return str(found or status or "?")


def _of_client_error(error: Any, place: str) -> BundlerunError:
    code = code_of(error)
    said = str(error.response.get("Error", {}).get("Message") or "no message")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    failure = failure_of_answer(code, int(status))
    if failure is None:
        operation = getattr(error, "operation_name", "?")
        return CloudError(f"{place}: {operation} was refused ({code}: {said:.500})")
    hint = failure.hint
    if failure is _ELSEWHERE:
        hint = f"export AWS_DEFAULT_REGION={_region_in(error.response) or 'REGION'}"
    meaning = failure.meaning
    if failure is _DENIED:
        # What must be allowed is named by some services, and not by others.
        meaning = f"these credentials do not allow {getattr(error, 'operation_name', 'it')}"
    return failure.error(f"{place}: {meaning} ({code}: {said:.300})", hint=hint)


def _region_in(answer: Mapping[str, Any]) -> str | None:
    """The region that an answer says the bucket is in."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    found = headers.get("x-amz-bucket-region") or answer.get("Error", {}).get("Region")
    return str(found) if found else None


def _of_exception(error: Exception, place: str) -> BundlerunError:
    down = _sandbox_that_is_down(error, place)
    if down is not None:
        return down
    failure = failure_of(error)
    if failure is None:
        return CloudError(f"{place}: {type(error).__name__}: {error!s:.500}")
    said = too_slow(error) or error
    return failure.error(f"{place}: {failure.meaning} ({said!s:.300})", hint=failure.hint)


def _sandbox_that_is_down(error: Exception, place: str) -> BundlerunError | None:
    from botocore.exceptions import EndpointConnectionError

    if not isinstance(error, EndpointConnectionError):
        return None
    scheme, _, rest = str(getattr(error, "kwargs", {}).get("endpoint_url", "")).partition("://")
    endpoint = f"{scheme}://{rest.partition('/')[0]}"
    if not sandbox_env.leads_to(endpoint):
        return None
    return RemoteUnreachable(
        f"{place}: the sandbox at {endpoint} is down, and what it held is gone",
        hint=f"{sandbox_env.LEAVE} gives this shell its own AWS back;"
        ' eval "$(bundlerun sandbox up)" starts an empty sandbox',
    )


@contextmanager
def passing_over(codes: Collection[str]) -> Iterator[None]:
    """Let a ClientError of one of these codes pass, such as "it exists already"."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if code_of(error) not in codes:
            raise
