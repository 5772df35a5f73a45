"""The real services that tests run against, had through the scripts in `.ci`.

A script starts its service when it is down (one process at a time: the scripts lock) and answers
at once when it is up. `make test` stops what it started; after a plain `pytest` the services stay,
and `make services-down` stops them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from bundlerun.sandbox.batch_attempt import Runner
    from tests.sandbox.fates import Fates

CI_DIR = Path(__file__).resolve().parent.parent / ".ci"

# The machine's own environment: each test sees another one.
MACHINE_ENV = dict(os.environ)

# Which marker a fixture puts on the tests that ask for it.
MARKER_OF_FIXTURE = {
    "engine": "engine",
    "base_image": "engine",
    "s3_server": "s3",
    "s3_bucket": "s3",
    "s3_env": "s3",
    "registry": "registry",
    "moto_server": "batch",
}


@dataclass(frozen=True)
class S3Server:
    """A production S3 server on this machine and its test user.

    `role_arn` names a role that the user may take; a session policy narrows it.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    region: str
    role_arn: str

    def client(self, service: str = "s3", **options: Any) -> Any:
        """A boto3 client of the test user; `options` override its arguments."""
        import boto3

        arguments = {
            "endpoint_url": self.endpoint_url,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": self.region,
        }
        return boto3.client(service, **{**arguments, **options})

    def environment(self) -> dict[str, str]:
        """What points an AWS client here, for S3 and STS alone: moto may serve the rest."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ENDPOINT_URL_STS": self.endpoint_url,
        }


def unavailable(reason: str) -> NoReturn:
    """Fail the test that asks for a service which is not here: what was not run is not green."""
    pytest.fail(f'{reason}; -m "not service" leaves such tests out', pytrace=False)


def start(script: str, *arguments: str) -> str:
    """What `.ci/<script>` printed; fails the test when it cannot offer its service."""
    done = subprocess.run(
        [str(CI_DIR / script), *arguments],
        env=MACHINE_ENV,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        unavailable(f".ci/{script}: {lines[-1]}")
    return done.stdout


def started_s3() -> S3Server:
    """The S3 server, started when it is down."""
    return S3Server(**json.loads(start("s3", "up")))


def docker_host() -> str | None:
    """Where the engine of the current docker context listens; None: at the usual socket.

    Tests have a home folder of their own, and contexts are kept in the real one.
    """
    asked = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
        env=MACHINE_ENV,
        capture_output=True,
        text=True,
        check=False,
    )
    host = asked.stdout.strip()
    return None if host in {"", "unix:///var/run/docker.sock"} else host


@contextlib.contextmanager
def running_moto(folder: Path) -> Iterator[str]:
    """The sandbox's server on a free port, with nothing in it: moto's AWS, and AWS Batch's jobs in
    containers; yields its address; its log is in `folder`. Its jobs may have any time limit."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        # A log line is on disk when it is needed.
        "PYTHONUNBUFFERED": "1",
    }
    log_path = folder / "moto.log"
    with log_path.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "bundlerun.sandbox.app", "-p", str(port), "--least-timeout-s=1"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for_moto(server, endpoint, log_path)
        yield endpoint
    finally:
        # It ends its jobs' containers.
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextlib.contextmanager
def aws_in_process(run: Runner, **options: Any) -> Iterator[tuple[Fates, str]]:
    """An AWS with the sandbox's contents, served by threads of this process, and its address: its
    Batch jobs are carried out by ``run``, and have only what this test submits. What moto knows of
    the rest is one for all tests of the process."""
    from bundlerun.sandbox.app import application, serving
    from bundlerun.sandbox.contents import furnish
    from tests.sandbox.fates import Fates

    furnished = "MOTO_IAM_LOAD_MANAGED_POLICIES" in os.environ
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    served = Fates(application(run, **options))
    with serving(served, served.jobs) as endpoint:
        if not furnished:
            furnish(endpoint)
        yield served, endpoint


def _wait_for_moto(
    server: subprocess.Popen[bytes], endpoint: str, log_path: Path, *, timeout_s: float = 60.0
) -> None:
    # The proxy settings of a machine are not for its own loopback address.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and server.poll() is None:
        try:
            direct.open(f"{endpoint}/moto-api/data.json", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    unavailable(f"moto's server does not start: {log_path.read_text()[-500:]}")


def empty_and_delete(client: Any, bucket: str) -> None:
    """Delete a bucket and all that is in it: the server keeps its objects in memory.

    What a test left to a thread of its own may still write to it: then once more.
    """
    for _ in range(10):
        _empty(client, bucket)
        try:
            client.delete_bucket(Bucket=bucket)
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "BucketNotEmpty":
                raise
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"the bucket {bucket} is written to without end")


def _empty(client: Any, bucket: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        keys = [{"Key": found["Key"]} for found in page.get("Contents", [])]
        if keys:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
