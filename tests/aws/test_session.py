"""One AWS identity: found by boto3's chain, used from threads, narrowed for a job."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.errors import (
    AccessDenied,
    BundlerunError,
    NoCredentials,
    RemoteUnreachable,
    SettingsError,
)
from bundlerun.progress import Silent
from bundlerun.remotes.s3 import S3Remote
from bundlerun.settings import AwsSettings
from tests.services import S3Server


def test_importing_and_constructing_leave_boto3_alone() -> None:
    """0.4 s that `--help` does not pay."""
    code = (
        "import sys; from bundlerun.aws.session import Aws; from bundlerun.aws import s3, failures;"
        "Aws(); sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_client_is_made_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen threads that ask at once share one client and its connections."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    aws = Aws()
    with ThreadPoolExecutor(16) as pool:
        clients = set(pool.map(lambda _: id(aws.client("s3")), range(64)))
    assert len(clients) == 1
    assert aws.client("s3").meta.config.max_pool_connections == 16
    assert aws.region == "eu-central-1"
    assert aws.partition == "aws"


def test_without_credentials_the_command_is_named() -> None:
    """Both for a container's environment and for a request."""
    aws = Aws(AwsSettings(region="us-east-1"))
    with pytest.raises(NoCredentials, match=r"aws configure.*AWS_PROFILE"):
        aws.credentials_env()
    with pytest.raises(NoCredentials, match=r"aws configure.*AWS_PROFILE"):
        S3Remote("s3://some-bucket/x", aws).get("meta/remote")


def test_an_unknown_profile_is_named() -> None:
    """In the words of the settings, before any request."""
    with pytest.raises(NoCredentials, match="nobody"):
        Aws(AwsSettings(profile="nobody")).client("s3")


def test_without_a_region_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 can do without, Batch cannot."""
    with pytest.raises(SettingsError) as raised:
        Aws().client("batch")
    assert raised.value.hint == "export AWS_DEFAULT_REGION=REGION"
    with pytest.raises(SettingsError) as raised:
        _ = Aws().region
    assert raised.value.hint == "export AWS_DEFAULT_REGION=REGION"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert Aws().region == "eu-west-1", "the hint leads on: boto3 reads no AWS_REGION"


def test_a_profile_is_read_from_awss_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials, region and endpoint of a profile go into a container's environment."""
    (tmp_path / "credentials").write_text(
        "[team]\naws_access_key_id = KEY\naws_secret_access_key = SECRET\n"
    )
    (tmp_path / "config").write_text(
        "[profile team]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:8")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/somewhere/ca.pem")
    assert Aws(AwsSettings(profile="team")).credentials_env() == {
        "AWS_ACCESS_KEY_ID": "KEY",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:8",
    }


def test_nobody_at_the_endpoint_is_said_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few attempts, not after minutes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    remote = S3Remote("s3://some-bucket/x", Aws(patience=Patience(silent_attempts=2)))
    with pytest.raises(RemoteUnreachable, match=r"s3://some-bucket/x.*127\.0\.0\.1:9"):
        remote.get("meta/remote")


class Heard(Silent):
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_wrong_keys_fail_at_once(
    s3_env: dict[str, str], s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not tried again; Ceph calls both kinds AccessDenied, AWS tells them apart."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    heard = Heard()
    with pytest.raises((NoCredentials, AccessDenied), match="get-caller-identity"):
        S3Remote(f"s3://{s3_bucket}/x", Aws(progress=heard)).put("a", b"")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODYSKEY")
    with pytest.raises((NoCredentials, AccessDenied), match=s3_bucket):
        S3Remote(f"s3://{s3_bucket}/x", Aws(progress=heard)).get("a")
    assert heard.lines == [], "no word of a wait"


def test_narrowed_credentials_reach_their_prefix_alone(
    s3_env: dict[str, str],
    s3_bucket: str,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read, write, list and upload below the prefix; all else is denied by the server itself."""
    mine = S3Remote(f"s3://{s3_bucket}/team/data", Aws())
    mine.put("b/before", b"written by the user")
    S3Remote(f"s3://{s3_bucket}/team/secret", Aws()).put("key", b"secret")
    env = Aws().narrowed(s3_server.role_arn, 3600, mine.session_policy())
    assert env["AWS_ENDPOINT_URL_S3"] == s3_server.endpoint_url
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    job = S3Remote(f"s3://{s3_bucket}/team/data", Aws())
    assert job.get("b/before") == b"written by the user"
    assert job.get("b/missing") is None
    assert job.put_new("b/new", b"x")
    assert not job.put_new("b/new", b"y")
    assert [entry.key for entry in job.list("b/")] == ["b/before", "b/new"]

    for prefix in ("team/secret", "team", ""):
        outside = S3Remote(f"s3://{s3_bucket}/{prefix}", Aws())
        for act in (
            lambda remote=outside: remote.put("key", b"changed"),
            lambda remote=outside: remote.put_new("other", b"new"),
            lambda remote=outside: list(remote.list("")),
        ):
            with pytest.raises(AccessDenied):
                act()
    with pytest.raises(AccessDenied):
        S3Remote(f"s3://{s3_bucket}/team/secret", Aws()).get("key")
    with pytest.raises(AccessDenied):
        job.delete(["b/before"])


def test_narrowing_to_a_role_that_is_not_there_names_it(
    s3_env: dict[str, str], s3_bucket: str
) -> None:
    """The error says which role."""
    policy = Aws().prefix_policy(s3_bucket, "x")
    with pytest.raises(BundlerunError, match="no-such-role"):
        Aws().narrowed("arn:aws:iam:::role/no-such-role", 3600, policy)


def test_an_endpoint_that_is_none_is_a_wrong_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore says it by a ValueError."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "nonsense")
    with pytest.raises(SettingsError, match="nonsense") as caught:
        Aws(AwsSettings(region="us-east-1")).client("s3")
    assert caught.value.hint == "env | grep ^AWS_"


def test_the_credentials_file_of_the_settings_is_read(tmp_path: Path) -> None:
    """Its default profile is who we are; where it is not there, nobody else is asked."""
    path = tmp_path / "team"
    path.write_text("[default]\naws_access_key_id = theirs\naws_secret_access_key = x\n")
    found = Aws(AwsSettings(region="us-east-1", credentials_file=str(path))).credentials_env()
    assert found["AWS_ACCESS_KEY_ID"] == "theirs"
    path.unlink()
    with pytest.raises(SettingsError, match="credentials_file"):
        Aws(AwsSettings(region="us-east-1", credentials_file=str(path))).credentials_env()
