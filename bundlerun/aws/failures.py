"""AWS's failures, said in bundlerun's words: the one door where botocore's errors are translated.

The codes are those of the S3 error list and of the common errors of AWS's APIs:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/awssupport/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bundlerun.aws import sandbox_env
from bundlerun.errors import (
    AccessDenied,
    BundlerunError,
    CloudError,
    NoCredentials,
    RemoteUnreachable,
    SettingsError,
)

Kind = tuple[type[BundlerunError], str, str | None]
"""The class of the error, what it means in a few words, and the next command."""

_LOGIN = "aws configure, or export AWS_PROFILE=NAME"
_RENEW = "aws sso login, or export new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
_WRONG_KEYS = "aws sts get-caller-identity"
_REGION = "export AWS_REGION=REGION"

_EXPIRED: Kind = (NoCredentials, "the credentials have expired", _RENEW)
_UNKNOWN: Kind = (NoCredentials, "AWS does not know these credentials", _WRONG_KEYS)
_DENIED: Kind = (AccessDenied, "these credentials do not allow it", _WRONG_KEYS)
_ELSEWHERE: Kind = (RemoteUnreachable, "the bucket is in another region", _REGION)
_NO_BUCKET: Kind = (RemoteUnreachable, "there is no such bucket", "aws s3 mb s3://BUCKET")
_BUSY: Kind = (RemoteUnreachable, "the service does not keep up, or failed", "the same again later")
_FOREIGN: Kind = (
    RemoteUnreachable,
    "what answers there is no such service",
    "env | grep -E 'AWS_ENDPOINT|_proxy='",
)
_CLOCK: Kind = (AccessDenied, "this machine's clock is wrong", "timedatectl set-ntp true")

CODES: Mapping[str, Kind] = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("TokenRefreshRequired", "IDPCommunicationError"), _EXPIRED),
    **dict.fromkeys(
        (
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidToken",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "MissingAuthenticationToken",
            "UnrecognizedClientException",
            "AuthFailure",
            "NotSignedUp",
            "OptInRequired",
        ),
        _UNKNOWN,
    ),
    **dict.fromkeys(
        (
            "403",
            "AccessDenied",
            "AccessDeniedException",
            "AccountProblem",
            "AllAccessDisabled",
            "Forbidden",
            "InvalidPayer",
            "UnauthorizedAccess",
            "UnauthorizedOperation",
        ),
        _DENIED,
    ),
    **dict.fromkeys(
        (
            "301",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "PermanentRedirect",
            "Redirect",
            "TemporaryRedirect",
        ),
        _ELSEWHERE,
    ),
    "NoSuchBucket": _NO_BUCKET,
    "NoAnswerOfS3": _FOREIGN,
    **dict.fromkeys(
        (
            "429",
            "500",
            "502",
            "503",
            "504",
            "BadDigest",
            "BandwidthLimitExceeded",
            "ConditionalRequestConflict",
            "IncompleteAnswer",
            "IncompleteBody",
            "InternalError",
            "InternalFailure",
            "OperationAborted",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestTimeout",
            "ServiceUnavailable",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            "XAmzContentSHA256Mismatch",
        ),
        _BUSY,
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), _CLOCK),
}
"""What each known error code means. An unknown one becomes a CloudError that names it."""

_MISSING: Kind = (NoCredentials, "there are no AWS credentials", _LOGIN)
_NO_ANSWER: Kind = (RemoteUnreachable, "no answer", None)
_NO_REGION: Kind = (SettingsError, "no AWS region is configured", _REGION)
_CONFIG: Kind = (SettingsError, "AWS's configuration is wrong", "aws configure list")

EXCEPTIONS: Mapping[str, Kind] = {
    **dict.fromkeys(("NoCredentialsError", "PartialCredentialsError"), _MISSING),
    **dict.fromkeys(("CredentialRetrievalError", "MetadataRetrievalError"), _MISSING),
    **dict.fromkeys(("NoAuthTokenError", "InvalidIMDSEndpointError", "LoginError"), _MISSING),
    **dict.fromkeys(("TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOError"), _EXPIRED),
    "ProfileNotFound": (
        NoCredentials,
        "there is no such AWS profile",
        "aws configure list-profiles",
    ),
    **dict.fromkeys(("ConnectionError", "HTTPClientError"), _NO_ANSWER),
    **dict.fromkeys(("ConnectionClosedError", "ReadTimeoutError", "SSLError"), _NO_ANSWER),
    **dict.fromkeys(("ResponseStreamingError", "IncompleteReadError"), _NO_ANSWER),
    "NoRegionError": _NO_REGION,
    **dict.fromkeys(("ConfigParseError", "ConfigNotFound", "InvalidConfigError"), _CONFIG),
    **dict.fromkeys(("InvalidRegionError", "UnknownEndpointError"), _CONFIG),
    **dict.fromkeys(("InvalidEndpointDiscoveryConfigurationError",), _CONFIG),
}
"""botocore's own exceptions by class name; a subclass goes by its nearest ancestor named here."""


@contextmanager
def translated(what: str, where: str) -> Iterator[None]:
    """What botocore raises inside leaves as one of ours: "WHAT at WHERE: meaning (code: message)".

    ``what`` is the attempted thing ("reading v/a"), ``where`` the place (a remote's URL, a queue).
    Raises NoCredentials, AccessDenied, RemoteUnreachable, SettingsError, else CloudError.
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
        cls, meaning, hint = _FOREIGN
        raise cls(f"{what} at {where}: {meaning}", hint=hint) from error


def code_of(error: Any) -> str:
    """The error code of a ClientError, or the HTTP status as text where there is none."""
    found = error.response.get("Error", {}).get("Code")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return str(found or status or "?")


def _of_client_error(error: Any, place: str) -> BundlerunError:
    code = code_of(error)
    said = str(error.response.get("Error", {}).get("Message") or "no message")
    kind = CODES.get(code)
    if kind is None:
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        kind = _BUSY if status.startswith("5") or status == "429" else None
    if kind is None:
        operation = getattr(error, "operation_name", "?")
        return CloudError(f"{place}: {operation} was refused ({code}: {said:.500})")
    cls, meaning, hint = kind
    return cls(f"{place}: {meaning} ({code}: {said:.300})", hint=hint)


def _of_exception(error: Exception, place: str) -> BundlerunError:
    down = _sandbox_that_is_down(error, place)
    if down is not None:
        return down
    for cls in type(error).__mro__:
        kind = EXCEPTIONS.get(cls.__name__)
        if kind is not None:
            ours, meaning, hint = kind
            return ours(f"{place}: {meaning} ({error!s:.300})", hint=hint)
    return CloudError(f"{place}: {type(error).__name__}: {error!s:.500}")


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
