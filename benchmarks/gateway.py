"""The S3 server of the tests, as the benchmarks use it: a bucket for a while, and no litter."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CI = Path(__file__).resolve().parent.parent / ".ci"


class ScriptFailed(Exception):
    """A script or a child process did not exit 0; the text is the end of what it printed."""


def run_script(*command: object, env: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises ScriptFailed with its last words."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, env=env and dict(env))
    if done.returncode:
        raise ScriptFailed(f"{' '.join(words[:3])}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


@dataclass(frozen=True)
class Gateway:
    """A running server: its address, and the keys that it takes."""

    url: str
    access_key: str
    secret_key: str
    region: str

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Variables that lead a process to it, or to the proxy at ``url`` before it."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        return {**kept, **self.variables(url)}

    def variables(self, url: str | None = None) -> dict[str, str]:
        """The same, those of AWS alone."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": url or self.url,
            "AWS_ENDPOINT_URL": url or self.url,
        }

    def client(self) -> Any:
        """A boto3 client of it."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
        )

    @contextmanager
    def bucket(self) -> Iterator[str]:
        """A new bucket, which is removed with all that is in it, and its memory given back."""
        client = self.client()
        name = f"bundlerun-bench-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=name)
        try:
            yield name
        finally:
            self._empty(client, name)
            client.delete_bucket(Bucket=name)
            self._reclaim()

    def _empty(self, client: Any, bucket: str) -> None:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)

        def delete(page: Any) -> None:
            keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
            if keys:
                client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(delete, pages))
        for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            client.abort_multipart_upload(Bucket=bucket, **named)

    def _reclaim(self) -> None:
        """The gateway frees what is larger than 4 MiB in passes of its own, which the test server
        has switched off: without this its memory of 4 GB fills up."""
        conf = facts_file().parent / "s3" / "ceph.conf"
        if conf.exists():
            gc = ("gc", "process", "--include-all")
            run_script("radosgw-admin", "-c", conf, "-n", "client.rgw.a", *gc)


def facts_file() -> Path:
    """Where the server's script writes address and keys down: in the development cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "bundlerun-dev")
    return Path(os.environ.get("BUNDLERUN_DEV_CACHE") or cache) / "s3.json"


def started_gateway() -> Gateway:
    """The server, started if it is not running. Raises ScriptFailed."""
    facts = json.loads(run_script(CI / "s3", "up"))
    keys = (facts["access_key"], facts["secret_key"], facts["region"])
    return Gateway(facts["endpoint_url"], *keys)
