"""The account's registry, on moto's ECR."""

from __future__ import annotations

import pytest

from bundlerun.aws.ecr import ecr_repository
from bundlerun.aws.session import Aws
from bundlerun.errors import BundlerunError, NoCredentials
from bundlerun.sandbox.batch_attempt import in_process
from bundlerun.settings import AwsSettings
from tests.backends.harness import point_at
from tests.sandbox.fates import Fate
from tests.services import aws_in_process


@pytest.fixture
def aws(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """An identity on moto's AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    return Aws(AwsSettings(region="eu-central-1"))


def test_a_missing_repository_is_made_once(aws: Aws) -> None:
    """Scanned on push, tags movable; the second time it is found."""
    first = ecr_repository(aws, "team/bundlerun-a-b")
    assert ecr_repository(aws, "team/bundlerun-a-b") == first
    assert first.name == "team/bundlerun-a-b"
    assert first.address.endswith(".dkr.ecr.eu-central-1.amazonaws.com")
    (made,) = aws.client("ecr").describe_repositories(repositoryNames=[first.name])["repositories"]
    assert made["imageTagMutability"] == "MUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}


@pytest.mark.heavy
@pytest.mark.parametrize("fate", Fate)
def test_the_first_call_of_each_kind_may_stumble(
    monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    """There is one repository, and a login to it."""
    with aws_in_process(in_process(lambda _: 0)) as (calls, endpoint):
        point_at(monkeypatch, endpoint)
        calls.befall_first(fate)
        found = ecr_repository(Aws(), f"bundlerun-{fate.name.lower()}")
        assert found.password
        assert calls.had >= {"DescribeRepositories", "CreateRepository", "GetAuthorizationToken"}
        assert ecr_repository(Aws(), found.name) == found


def test_the_login_is_aws_s_and_not_shown(aws: Aws) -> None:
    """A password that is printed ends up in a log."""
    found = ecr_repository(aws, "bundlerun-a-c")
    assert found.username == "AWS"
    assert found.password
    assert found.password not in repr(found)


def test_a_name_that_ecr_refuses_is_our_error(aws: Aws) -> None:
    """With ECR's own words."""
    with pytest.raises(BundlerunError, match="the repository a"):
        ecr_repository(aws, "a")


def test_without_credentials_it_says_so(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server)
    with pytest.raises(NoCredentials):
        ecr_repository(Aws(AwsSettings(region="eu-central-1")), "bundlerun-a-d")
