"""Each service does what the other tests rely on."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.services import MACHINE_ENV, S3Server, start


def test_a_service_that_is_not_here_fails_the_test_that_asks_for_it() -> None:
    """It is not skipped: what was not run is not green."""
    with pytest.raises(pytest.fail.Exception, match=r'\.ci/engine: .*; -m "not service" leaves'):
        start("engine", "no such command")


def test_container_of_the_base_image_runs_python(engine: Any, base_image: str) -> None:
    """A container prints what its Python computed."""
    output = engine.containers.run(base_image, ["python", "-c", "print(6 * 7)"], remove=True)
    assert output == b"42\n"


def test_container_of_the_base_image_installs_packages(engine: Any, base_image: str) -> None:
    """pip works in a container on the engine's own network."""
    command = "pip install -qq six 2>/dev/null && python -c 'import six; print(six.__name__)'"
    output = engine.containers.run(base_image, ["sh", "-c", command], remove=True)
    assert output.strip() == b"six"


def test_create_only_put_has_exactly_one_winner(s3_server: S3Server, s3_bucket: str) -> None:
    """Of 16 writers that race for a key, one wins, 15 are told, and the winner's bytes stand."""
    client = s3_server.client()

    def put(writer: int) -> int:
        try:
            answer = client.put_object(
                Bucket=s3_bucket, Key="contested", Body=b"%d" % writer, IfNoneMatch="*"
            )
        except client.exceptions.ClientError as error:
            answer = error.response
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    with ThreadPoolExecutor(16) as pool:
        statuses = [*pool.map(put, range(16))]
    winners = [writer for writer, status in enumerate(statuses) if status == 200]
    assert len(winners) == 1
    assert set(statuses) <= {200, 409, 412}
    stored = client.get_object(Bucket=s3_bucket, Key="contested")["Body"].read()
    assert stored == b"%d" % winners[0]


def test_session_policy_denies_a_put_outside_its_prefix(
    s3_server: S3Server, s3_bucket: str
) -> None:
    """Credentials narrowed to a prefix write there and nowhere else."""
    statement = {
        "Effect": "Allow",
        "Action": ["s3:PutObject"],
        "Resource": [f"arn:aws:s3:::{s3_bucket}/mine/*"],
    }
    # The server's parser takes no spaces.
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
    session = s3_server.client("sts").assume_role(
        RoleArn=s3_server.role_arn, RoleSessionName="narrowed", Policy=policy
    )["Credentials"]
    narrowed = s3_server.client(
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    narrowed.put_object(Bucket=s3_bucket, Key="mine/a", Body=b"")
    with pytest.raises(narrowed.exceptions.ClientError, match="AccessDenied"):
        narrowed.put_object(Bucket=s3_bucket, Key="others/a", Body=b"")


def test_s3_environment_points_any_client_at_the_server(
    s3_env: dict[str, str], s3_bucket: str
) -> None:
    """A client made from the environment alone finds the test's bucket."""
    import boto3

    found = boto3.client("s3").list_buckets()["Buckets"]
    assert s3_bucket in {bucket["Name"] for bucket in found}


def test_registry_takes_a_push_and_gives_a_digest(
    engine: Any, base_image: str, registry: str, tmp_path: Path
) -> None:
    """A pushed image is known by a digest, and can be pulled by it."""
    name = f"{registry}/test-{uuid.uuid4().hex[:8]}"
    (tmp_path / "a").write_text("a")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    engine.images.build(path=str(tmp_path), tag=f"{name}:1", rm=True)
    events = [*engine.images.push(name, tag="1", stream=True, decode=True)]
    assert [event["error"] for event in events if "error" in event] == []
    [digest] = [event["aux"]["Digest"] for event in events if "aux" in event]
    engine.images.remove(f"{name}:1")
    pulled = engine.images.pull(f"{name}@{digest}")
    assert f"{name}@{digest}" in pulled.attrs["RepoDigests"]
    engine.images.remove(pulled.id, force=True)


def test_moto_serves_batch_ecr_and_managed_policies(moto_server: str) -> None:
    """The AWS in a box answers the services that a run on Batch uses."""
    import boto3

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=moto_server,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    assert isinstance(client("batch").describe_job_queues()["jobQueues"], list)
    repository = client("ecr").create_repository(repositoryName="some")["repository"]
    assert repository["repositoryUri"].endswith("/some")
    managed = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    assert client("iam").get_policy(PolicyArn=managed)["Policy"]["IsAttachable"]


def test_each_test_has_an_environment_of_its_own() -> None:
    """Neither the home folder nor AWS or bundlerun settings of the caller are seen."""
    assert Path.home() != Path(MACHINE_ENV.get("HOME", "/"))
    assert [*Path.home().iterdir()] == []
    inherited = [name for name in os.environ if name.startswith(("AWS_", "BUNDLERUN_"))]
    assert sorted(inherited) == ["AWS_EC2_METADATA_DISABLED", "BUNDLERUN_HOME"]


@pytest.mark.parametrize("script", ["engine", "s3", "registry", "services"])
def test_service_scripts_refuse_an_unknown_action(script: str) -> None:
    """A mistyped action is told and does nothing."""
    done = subprocess.run(
        [Path(__file__).parent.parent / ".ci" / script, "sideways"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"usage: .ci/{script} up|down|status" in done.stderr


@pytest.fixture
def through_moto(moto_server: str) -> str:
    """A fixture that needs a service."""
    return moto_server


@pytest.fixture(params=["through_moto"])
def place(request: pytest.FixtureRequest) -> str:
    """A conformance suite's fixture: its parameter names another."""
    return str(request.getfixturevalue(request.param))


def test_a_service_behind_a_parametrised_fixture_marks_the_test(
    place: str, request: pytest.FixtureRequest
) -> None:
    """`-m "not service"` leaves out the tests whose fixtures ask for a service by name."""
    assert place.startswith("http://127.0.0.1:")
    assert {mark.name for mark in request.node.iter_markers()} >= {"service", "batch"}
