"""Every failure of AWS that we know has a class of ours, a meaning and a next command."""

from __future__ import annotations

import botocore.exceptions
import pytest

from bundlerun.aws.failures import CODES, EXCEPTIONS, Trouble, translated
from bundlerun.errors import (
    AccessDenied,
    BundlerunError,
    CloudError,
    NoCredentials,
    RemoteGone,
    RemoteUnreachable,
    SettingsError,
)

EXPECTED = {
    "ExpiredToken": NoCredentials,
    "InvalidAccessKeyId": NoCredentials,
    "SignatureDoesNotMatch": NoCredentials,
    "UnrecognizedClientException": NoCredentials,
    "AccessDenied": AccessDenied,
    "AccessDeniedException": AccessDenied,
    "403": AccessDenied,
    "RequestTimeTooSkewed": AccessDenied,
    "NoSuchBucket": RemoteGone,
    "PermanentRedirect": RemoteUnreachable,
    "SlowDown": RemoteUnreachable,
    "ThrottlingException": RemoteUnreachable,
    "InternalError": RemoteUnreachable,
}


def client_error(code: str, status: int = 400) -> botocore.exceptions.ClientError:
    """What botocore raises for an answer with this code."""
    answer = {
        "Error": {"Code": code, "Message": "said the service"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return botocore.exceptions.ClientError(answer, "PutObject")  # type: ignore[arg-type]


def raised(error: Exception) -> BundlerunError:
    """What leaves the door when ``error`` is raised inside."""
    with pytest.raises(BundlerunError) as caught, translated("writing v/a/1", "s3://bucket/x"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize("code", sorted(CODES))
def test_each_code_names_place_meaning_and_cure(code: str) -> None:
    """The message has what was tried, where, the code and the service's words; a hint follows."""
    error = raised(client_error(code))
    assert str(error).startswith("writing v/a/1 at s3://bucket/x: ")
    assert f"({code}: said the service)" in error.message
    assert error.hint


@pytest.mark.parametrize(("code", "kind"), sorted(EXPECTED.items(), key=str))
def test_well_known_codes_have_their_class(code: str, kind: type[BundlerunError]) -> None:
    """So that callers can tell credentials from permissions from a place that is not there."""
    assert type(raised(client_error(code))) is kind


def test_unknown_codes_are_named_with_their_operation() -> None:
    """What we do not know is passed on in full, not guessed; a server's own failure is one."""
    error = raised(client_error("QuiteNewProblem"))
    assert type(error) is CloudError
    assert "PutObject was refused (QuiteNewProblem: said the service)" in error.message
    assert type(raised(client_error("QuiteNewProblem", 503))) is RemoteUnreachable
    assert "(404: " in raised(client_error("", 404)).message


@pytest.mark.parametrize("code", [code for code in sorted(CODES) if CODES[code].trouble])
def test_what_is_sent_again_is_reported_as_a_service_that_does_not_do(code: str) -> None:
    """Whatever is retried is RemoteUnreachable where it never passes: one table says both."""
    assert type(raised(client_error(code))) is RemoteUnreachable
    if CODES[code].trouble is Trouble.THROTTLED:
        assert "does not keep up" in raised(client_error(code)).message


@pytest.mark.parametrize(
    "code",
    [
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestTimeoutException",
        "ThrottledException",
    ],
)
def test_codes_that_are_sent_again_are_no_refusal(code: str) -> None:
    """Each was retried as throttling once, and then reported as a refusal."""
    error = raised(client_error(code))
    assert error.exit_code == RemoteUnreachable.exit_code
    assert "refused" not in error.message


def test_a_bucket_elsewhere_is_named_with_its_region() -> None:
    """Where the answer says it; else with the place for it."""
    error = client_error("PermanentRedirect", 301)
    assert raised(error).hint == "export AWS_DEFAULT_REGION=REGION"
    error.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-bucket-region": "eu-west-1"}
    assert raised(error).hint == "export AWS_DEFAULT_REGION=eu-west-1"
    error = client_error("AuthorizationHeaderMalformed")
    error.response["Error"]["Region"] = "ap-south-1"  # type: ignore[typeddict-unknown-key]
    assert raised(error).hint == "export AWS_DEFAULT_REGION=ap-south-1"


def all_exceptions() -> list[type[Exception]]:
    """Every class that botocore may raise of its own."""
    found = []
    pending = [botocore.exceptions.BotoCoreError]
    while pending:
        cls = pending.pop()
        found.append(cls)
        pending += cls.__subclasses__()
    return sorted(set(found), key=lambda cls: cls.__name__)


def instance(cls: type[Exception]) -> Exception:
    """One of them; what its message wants is whatever."""
    error = cls.__new__(cls)
    Exception.__init__(error, "details")
    return error


@pytest.mark.parametrize("cls", all_exceptions(), ids=lambda cls: cls.__name__)
def test_no_exception_of_botocore_leaves_untranslated(cls: type[Exception]) -> None:
    """Known ones by their meaning, the others as a CloudError that names them."""
    error = raised(instance(cls))
    known = any(ancestor.__name__ in EXCEPTIONS for ancestor in cls.__mro__)
    assert (type(error) is CloudError) != known
    if not known:
        assert cls.__name__ in error.message


def test_every_exception_that_we_name_is_one_of_botocores() -> None:
    """A name that botocore gave up would silently never match."""
    missing = {name for name in EXCEPTIONS if not hasattr(botocore.exceptions, name)}
    # The oldest botocore of ours does not have this one yet.
    is_old = tuple(map(int, botocore.__version__.split(".")[:2])) < (1, 41)
    assert missing - ({"LoginError"} if is_old else set()) == set()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.exceptions.NoCredentialsError(), NoCredentials),
        (botocore.exceptions.ProfileNotFound(profile="x"), NoCredentials),
        (botocore.exceptions.NoRegionError(), SettingsError),
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
            RemoteUnreachable,
        ),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://h"), RemoteUnreachable),
        (botocore.exceptions.SSLError(endpoint_url="https://h", error="bad"), RemoteUnreachable),
    ],
)
def test_botocores_own_errors_have_their_class(
    error: Exception, kind: type[BundlerunError]
) -> None:
    """And keep what they say: the endpoint, the profile."""
    ours = raised(error)
    assert type(ours) is kind
    assert str(error)[:40] in ours.message


def test_other_errors_pass_as_they_are() -> None:
    """A mistake of our own is none of AWS's failures."""
    with pytest.raises(ZeroDivisionError), translated("x", "y"):
        _ = 1 / 0
