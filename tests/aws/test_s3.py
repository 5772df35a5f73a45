"""The S3 calls over a connection that breaks, to a real server behind it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bundlerun.aws.retries import Patience
from bundlerun.aws.session import Aws
from bundlerun.errors import RemoteUnreachable
from bundlerun.remotes.s3 import S3Remote
from tests.services import S3Server

HASTY = Patience(attempts=5, cap_s=0.01)
"""Pauses of milliseconds, and few of them."""


class CuttingProxy:
    """Hands bytes on to a server; the answers of its first ``cuts`` connections break off."""

    def __init__(self, target: str, after_bytes: int, cuts: int) -> None:
        self.target = (urlsplit(target).hostname or "", urlsplit(target).port or 80)
        self.after_bytes = after_bytes
        self.cuts = self.flips = cuts
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.cuts -= 1
                limit = self.after_bytes if self.cuts >= 0 else None
                threading.Thread(target=self.pass_on, args=(near, limit), daemon=True).start()

    def pass_on(self, near: socket.socket, limit: int | None) -> None:
        """One connection, cut once ``limit`` bytes came back."""
        with closing(near), closing(socket.create_connection(self.target)) as far:
            threading.Thread(target=self.copy, args=(near, far, None), daemon=True).start()
            self.copy(far, near, limit)

    def copy(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        """Bytes until the end or the limit."""
        done = 0
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data if limit is None else data[: limit - done])
                done += len(data)
                if limit is not None and done >= limit:
                    break
            target.shutdown(socket.SHUT_RDWR)


class FlippingProxy(CuttingProxy):
    """Changes a bit of what is sent, ``cuts`` times, each ``after_bytes`` after the one before."""

    def pass_on(self, near: socket.socket, limit: int | None) -> None:
        """One connection."""
        with closing(near), closing(socket.create_connection(self.target)) as far:
            threading.Thread(target=self.flip, args=(near, far), daemon=True).start()
            self.copy(far, near, None)

    def flip(self, source: socket.socket, target: socket.socket) -> None:
        """Bytes until the end; of bodies alone, for a changed head is another request."""
        since = 0
        with suppress(OSError):
            while data := bytearray(source.recv(65536)):
                since += len(data)
                is_body = len(data) > 10_000 and b"HTTP/1.1" not in data
                if self.flips > 0 and since >= self.after_bytes and is_body:
                    data[len(data) // 2] ^= 4
                    self.flips -= 1
                    since = 0
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(
    server: S3Server, after_bytes: int, cuts: int, kind: type[CuttingProxy] = CuttingProxy
) -> Iterator[CuttingProxy]:
    """A proxy that serves while the block runs."""
    made = kind(server.endpoint_url, after_bytes, cuts)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    yield made
    made.listener.close()


def test_downloads_go_on_where_they_broke_off(
    s3_env: dict[str, str],
    s3_bucket: str,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two answers end in the middle; the bytes are whole all the same."""
    data = os.urandom(3 << 20)
    S3Remote(f"s3://{s3_bucket}/x", Aws()).put("packs/p", data)
    for read in ("file", "bytes"):
        with proxy(s3_server, 1 << 20, 2) as cutting:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", cutting.url)
            remote = S3Remote(f"s3://{s3_bucket}/x", Aws())
            if read == "file":
                assert remote.get_file("packs/p", tmp_path / "p")
                assert (tmp_path / "p").read_bytes() == data
            else:
                assert remote.get("packs/p") == data
            assert cutting.cuts < 0


def test_a_connection_that_always_breaks_is_an_error(
    s3_env: dict[str, str],
    s3_bucket: str,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Named, and after a bounded number of attempts."""
    S3Remote(f"s3://{s3_bucket}/x", Aws()).put("packs/p", os.urandom(1 << 20))
    with proxy(s3_server, 100_000, 1000) as cutting:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", cutting.url)
        with pytest.raises(RemoteUnreachable, match="packs/p"):
            S3Remote(f"s3://{s3_bucket}/x", Aws(patience=HASTY)).get("packs/p")


def put(remote: S3Remote, data: bytes) -> None:
    """A key that may be written again."""
    remote.put("packs/p", data)


def put_new(remote: S3Remote, data: bytes) -> None:
    """A key that is created."""
    assert remote.put_new("packs/p", data)


def put_part(remote: S3Remote, data: bytes) -> None:
    """An upload in parts, of one."""
    upload = remote.begin("packs/p", 8 << 20)
    assert upload is not None
    remote.complete(upload, {1: remote.put_part(upload, 1, data)})


@pytest.mark.parametrize("signing", ["true", "false"])
@pytest.mark.parametrize("write", [put, put_new, put_part])
def test_what_is_changed_on_its_way_up_is_refused_and_sent_again(
    s3_env: dict[str, str],
    s3_bucket: str,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    write: Callable[[S3Remote, bytes], None],
    signing: str,
) -> None:
    """By the server, whatever is signed; twice, and the third time it arrives. What never arrives
    is not there."""
    config = tmp_path / "config"
    config.write_text(f"[default]\ns3 =\n  payload_signing_enabled = {signing}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    data = os.urandom(1 << 20)
    plain = S3Remote(f"s3://{s3_bucket}/x", Aws())
    with proxy(s3_server, 700_000, 1_000_000, FlippingProxy) as flipping:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", flipping.url)
        with pytest.raises(RemoteUnreachable):
            write(S3Remote(f"s3://{s3_bucket}/x", Aws(patience=HASTY)), data)
    assert plain.get("packs/p") is None
    with proxy(s3_server, 700_000, 2, FlippingProxy) as flipping:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", flipping.url)
        write(S3Remote(f"s3://{s3_bucket}/x", Aws()), data)
        assert flipping.flips == 0
    assert plain.get("packs/p") == data


def test_a_failed_upload_leaves_no_parts(
    s3_env: dict[str, str], s3_bucket: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """A file that shrinks while it is sent: an error, and nothing that goes on costing money."""
    source = tmp_path / "source"
    source.write_bytes(bytes(40 << 20))
    remote = S3Remote(f"s3://{s3_bucket}/x", Aws())
    real = remote._bucket.put_part

    def shrinking(key: str, upload: str, number: int, data: bytes, digest: str | None) -> str:
        if number == 2:
            raise OSError("the disk failed")
        return real(key, upload, number, data, digest)

    remote._bucket.put_part = shrinking  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk failed"):
        remote.put_file("packs/p", source)
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=s3_bucket)
    assert remote.get("packs/p") is None
