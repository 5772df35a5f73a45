"""Which S3 client library does the work of a remote best: boto3, boto3 with awscrt, or obstore.

    .venv/bin/python benchmarks/s3_clients.py [--scale 0.1] [--endpoint URL]

Each client does each work in a process of its own, from a virtual environment of its own in the
development cache: ``small``, objects of 300 KB; ``packs``, objects of 16 MiB, which is what
bundlerun sends of small files; ``large``, one file. The clients take turns, round by round, and
the table shows the medians; CPU is user and system time of the client's process. All have the same
number of requests under way, but awscrt chooses its own.

``boto3`` sends Content-MD5 with each object; ``signed`` is boto3 without it: the signature then
covers the body's SHA-256, over https too. obstore signs likewise; awscrt hashes nothing here.
"""

# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore"

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

from gateway import Gateway, run_script, started_gateway

AT_ONCE = 8
PART_BYTES = 16 << 20
CLIENTS = ("boto3", "signed", "awscrt", "obstore")
NEEDS = ("boto3[crt]", "obstore")
WORKS = {"small": (5_000, 300_000), "packs": (100, 16 << 20), "large": (1, 1 << 30)}
"""Objects and their size in bytes."""


class Boto3:
    """boto3 as bundlerun drives it: its own threads and parts, Content-MD5, no transfer manager."""

    def __init__(self, bucket: str) -> None:
        import boto3
        from botocore.config import Config

        config = Config(
            max_pool_connections=2 * AT_ONCE,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        )
        self.client = boto3.client("s3", config=config)
        self.bucket = bucket

    def put(self, key: str, data: bytes) -> None:
        """Store one object."""
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data, ContentMD5=md5)

    def get(self, key: str) -> bytes:
        """Read one object."""
        found: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def put_file(self, key: str, source: Path) -> None:
        """Store a file in parts."""
        self.client.upload_file(str(source), self.bucket, key, Config=self._config())

    def get_file(self, key: str, target: Path) -> None:
        """Read an object into a file."""
        self.client.download_file(self.bucket, key, str(target), Config=self._config())

    def _config(self) -> Any:
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(
            max_concurrency=AT_ONCE,
            multipart_chunksize=PART_BYTES,
            preferred_transfer_client="classic",
        )


class Boto3Signed(Boto3):
    """boto3 without Content-MD5: the signature covers the body's SHA-256, which servers enforce."""

    def put(self, key: str, data: bytes) -> None:
        """Store one object."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)


class AwsCrt:
    """awscrt's own S3 client, in parts of its own choice below ``PART_BYTES``.

    Not through boto3, which wires it up so that it always speaks TLS and always sends its checksum
    as a trailer: Ceph's gateway of the tests takes neither.
    """

    def __init__(self, bucket: str) -> None:
        from awscrt import auth, io, s3

        region, self.host = os.environ["AWS_DEFAULT_REGION"], _host()
        loop = io.EventLoopGroup()
        keys = auth.AwsCredentialsProvider.new_static(
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        )
        self.client = s3.S3Client(
            bootstrap=io.ClientBootstrap(loop, io.DefaultHostResolver(loop)),
            region=region,
            signing_config=s3.create_default_s3_signing_config(
                region=region, credential_provider=keys
            ),
            tls_mode=s3.S3RequestTlsMode.DISABLED,
            part_size=PART_BYTES,
            throughput_target_gbps=10,
        )
        self.bucket = bucket

    def put(self, key: str, data: bytes) -> None:
        """Store one object."""
        self._ask("PUT", key, len(data), BytesIO(data))

    def get(self, key: str) -> bytes:
        """Read one object."""
        pieces: dict[int, bytes] = {}

        def keep(chunk: bytes, offset: int, **_: object) -> None:
            pieces[offset] = chunk

        self._ask("GET", key, on_body=keep)
        return b"".join(pieces[offset] for offset in sorted(pieces))

    def put_file(self, key: str, source: Path) -> None:
        """Store a file in parts."""
        self._ask("PUT", key, source.stat().st_size, send_filepath=str(source))

    def get_file(self, key: str, target: Path) -> None:
        """Read an object into a file."""
        self._ask("GET", key, recv_filepath=str(target))

    def _ask(
        self, method: str, key: str, size: int = 0, body: BytesIO | None = None, **options: Any
    ) -> None:
        from awscrt import http, s3

        headers = http.HttpHeaders([("host", self.host)])
        if method == "PUT":
            headers.set("content-length", str(size))
        request = http.HttpRequest(method, f"/{self.bucket}/{key}", headers, body)
        kind = s3.S3RequestType.PUT_OBJECT if method == "PUT" else s3.S3RequestType.GET_OBJECT
        self.client.make_request(type=kind, request=request, **options).finished_future.result()


def _host() -> str:
    return os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://").rstrip("/")


class Obstore:
    """obstore, the Rust object_store; its blocking calls from our threads."""

    def __init__(self, bucket: str) -> None:
        from obstore.store import S3Store

        self.store = S3Store(
            bucket,
            endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
            access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            region=os.environ["AWS_DEFAULT_REGION"],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "600s"},
        )

    def put(self, key: str, data: bytes) -> None:
        """Store one object."""
        import obstore

        obstore.put(self.store, key, data, use_multipart=False)

    def get(self, key: str) -> bytes:
        """Read one object."""
        import obstore

        return bytes(obstore.get(self.store, key).bytes())

    def put_file(self, key: str, source: Path) -> None:
        """Store a file in parts."""
        import obstore

        obstore.put(
            self.store, key, source, use_multipart=True, chunk_size=PART_BYTES,
            max_concurrency=AT_ONCE,
        )  # fmt: skip

    def get_file(self, key: str, target: Path) -> None:
        """Read an object into a file by ranges: it has no transfer manager of its own."""
        import obstore

        size = int(obstore.head(self.store, key)["size"])
        handle = os.open(target, os.O_WRONLY | os.O_CREAT)

        def bring(start: int) -> None:
            length = min(PART_BYTES, size - start)
            data = obstore.get_range(self.store, key, start=start, length=length)
            os.pwrite(handle, data, start)

        os.ftruncate(handle, size)
        _at_once(bring, range(0, size, PART_BYTES))
        os.close(handle)


MADE: dict[str, Callable[[str], Any]] = {
    "boto3": Boto3,
    "signed": Boto3Signed,
    "awscrt": AwsCrt,
    "obstore": Obstore,
}


def _at_once(act: Callable[..., object], items: Iterable[object]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(act, items):
            pass


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _timed(act: Callable[[], object]) -> dict[str, float]:
    begin, cpu = time.perf_counter(), _cpu_s()
    act()
    return {"wall": time.perf_counter() - begin, "cpu": _cpu_s() - cpu}


def child(given: argparse.Namespace) -> dict[str, Any]:
    """One work by one client: push and pull, seconds of wall and CPU, peak memory in MB."""
    client = MADE[given.client](given.bucket)
    # The first request resolves endpoints and credentials: not what is measured.
    client.put("first", b"first")
    client.get("first")
    if given.work == "large":
        with tempfile.TemporaryDirectory(prefix="bench-clients-") as name:
            target = Path(name, "target")
            push = _timed(lambda: client.put_file("large", given.file))
            pull = _timed(lambda: client.get_file("large", target))
            right = target.stat().st_size == given.size
    else:
        blob = os.urandom(given.size)
        keys = [f"{given.work}{number}" for number in range(given.count)]
        lengths: set[int] = set()
        push = _timed(lambda: _at_once(lambda key: client.put(key, blob), keys))
        pull = _timed(lambda: _at_once(lambda key: lengths.add(len(client.get(key))), keys))
        right = lengths == {given.size} and client.get(keys[-1]) == blob
    if not right:
        raise RuntimeError("other bytes came back than were sent")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"push": push, "pull": pull, "peak_mb": peak}


def environment() -> Path:
    """The Python of the clients' virtual environment, made when it is not there."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "bundlerun-dev")
    venv = Path(os.environ.get("BUNDLERUN_DEV_CACHE", home)) / "s3-clients-venv"
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDS], check=True)
    return python


def rounds(gateway: Gateway, given: argparse.Namespace) -> dict[tuple[str, str], list[Any]]:
    """What each client measured at each work, round by round, one after the other."""
    python = environment()
    found: dict[tuple[str, str], list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-clients-") as name:
        for work in given.only or WORKS:
            count, size = WORKS[work]
            count = max(1, int(count * given.scale))
            size = int(size * given.scale) if work == "large" else size
            file = Path(name, "large")
            if work == "large":
                with file.open("wb") as out:
                    for _ in range(size >> 20):
                        out.write(os.urandom(1 << 20))
                size = file.stat().st_size
            for turn in range(given.rounds):
                first = turn % len(given.clients)
                for client in (*given.clients[first:], *given.clients[:first]):
                    with gateway.bucket() as bucket:
                        options = {"client": client, "work": work, "bucket": bucket}
                        numbers = {"count": count, "size": size, "file": file}
                        words = [f"--{k}={v}" for k, v in {**options, **numbers}.items()]
                        text = run_script(python, __file__, *words, env=gateway.environment())
                    result = json.loads(text.splitlines()[-1])
                    print(client, work, json.dumps(result), file=sys.stderr, flush=True)
                    found.setdefault((work, client), []).append(result)
    return found


def table(found: dict[tuple[str, str], list[Any]]) -> str:
    """Medians: wall and CPU seconds of push and pull, and how many times better than boto3."""
    lines = ["| work | client | push wall | push CPU | pull wall | pull CPU | peak memory |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")

    def median(work: str, client: str, way: str, kind: str) -> float:
        return float(statistics.median(each[way][kind] for each in found[work, client]))

    for work, client in found:
        cells = []
        for way in ("push", "pull"):
            for kind in ("wall", "cpu"):
                value = median(work, client, way, kind)
                base = median(work, "boto3", way, kind) if (work, "boto3") in found else value
                cells.append(f"{value:.2f} s ({base / value:.1f}x)")
        peak = statistics.median(each["peak_mb"] for each in found[work, client])
        lines.append(f"| {work} | {client} | {' | '.join(cells)} | {peak:.0f} MB |")
    return "\n".join(lines)


def main() -> int:
    """Measure all, print the table."""
    parser = argparse.ArgumentParser(description="S3 client libraries at the same work.")
    parser.add_argument("--only", action="append", choices=sorted(WORKS))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts; of the file")
    parser.add_argument("--rounds", type=int, default=3)
    # What a child process is given.
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--bucket", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        print(json.dumps(child(given)))
        return 0
    gateway = started_gateway()
    # Through no proxy: one in Python would be the slowest part.
    before = os.getloadavg()[0]
    found = rounds(gateway, given)
    print(table(found))
    print(f"\n{os.cpu_count()} cores, load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
