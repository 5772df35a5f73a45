"""What is sent again, how often, how visibly; and what is final at once."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bundlerun.aws import retries
from bundlerun.aws.failures import TooSlow, Trouble
from bundlerun.aws.retries import PATIENCE, Patience
from bundlerun.aws.session import Aws
from bundlerun.aws.throughput import LeastRate, Meter
from bundlerun.errors import AccessDenied, BundlerunError, NoCredentials, RemoteUnreachable
from bundlerun.progress import SILENT, Progress, Silent
from bundlerun.remotes.s3 import S3Remote
from bundlerun.settings import AwsSettings
from tests.faults.conftest import Faulty
from tests.faults.proxy import (
    ANSWERS,
    CHOSEN,
    Fault,
    FaultProxy,
    always,
    first_of_each,
    seeded,
)
from tests.services import S3Server

PASSING = [fault for fault in CHOSEN if fault is not Fault.SLOW]


HASTY = Patience(cap_s=0.01)
"""Pauses of milliseconds."""


class Lines(Silent):
    """A Progress that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        """Remember it."""
        self.said.append(text)


def calls(remote: S3Remote, source: Path) -> list[Callable[[], object]]:
    """One of each call of a remote."""
    source.write_bytes(b"x")
    return [
        lambda: remote.get("b/x"),
        lambda: remote.get_file("b/x", source.with_name("target")),
        lambda: remote.put("b/x", b"x"),
        lambda: remote.put_file("b/x", source),
        lambda: remote.put_new("b/y", b"x"),
        lambda: list(remote.list("b/")),
        lambda: remote.delete(["b/x"]),
    ]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name.lower())
def test_what_never_gets_better_is_an_error_after_a_bounded_number_of_attempts(
    faulty: Faulty, tmp_path: Path, fault: Fault
) -> None:
    """Each call: a bounded number of requests, then RemoteUnreachable that names key and place."""
    good, _ = faulty(seeded(0, share=0))
    good.put("b/x", os.urandom(1 << 20))
    bad, proxy = faulty(always(fault), HASTY)
    throttled = fault in (Fault.SLOW_DOWN, Fault.TOO_MANY)
    most = HASTY.throttled_attempts if throttled else HASTY.attempts
    for call in calls(bad, tmp_path / "source"):
        proxy.asked.clear()
        with pytest.raises(RemoteUnreachable, match=good.bucket) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert 1 < len(proxy.asked) <= 2 * most


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.FAILED, Fault.RESET])
def test_each_retry_is_logged(
    faulty: Faulty, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """What failed, why, which attempt, and how long until the next."""
    caplog.set_level(logging.INFO, "bundlerun")
    bad, proxy = faulty(first_of_each(fault), HASTY)
    bad.put("b/x", b"x")
    assert [method for method, _ in proxy.asked] == ["PUT", "PUT"]
    (line,) = [r.getMessage() for r in caplog.records if r.name.startswith("bundlerun")]
    why = ANSWERS[fault][0].split()[0] if fault in ANSWERS else "onnection"
    assert "/some/prefix/b/x: " in line
    assert line.startswith("PUT ")
    assert why in line
    assert "attempt 1 failed, the next in 0.0" in line


def test_pauses_double_up_to_a_cap_and_come_apart() -> None:
    """A throttling service is left alone longer; two clients never wait alike."""
    for trouble in Trouble:
        most = PATIENCE.attempts_at(trouble)
        for number in range(1, most):
            longest = min(PATIENCE.cap_s, trouble.value * 2 ** (number - 1))
            pause = PATIENCE.pause_s(trouble, number)
            assert pause is not None
            assert longest / 2 <= pause <= longest
        assert PATIENCE.pause_s(trouble, most) is None
    assert len({PATIENCE.pause_s(Trouble.THROTTLED, 5) for _ in range(20)}) > 15
    assert Trouble.THROTTLED.value > Trouble.BROKEN.value


def test_a_service_that_asks_to_slow_down_is_waited_for_for_minutes(faulty: Faulty) -> None:
    """Two minutes and a half at the least, far over the 30 s that busy buckets ask for; a request
    that was turned away twenty times may still break off as often as any other."""
    pauses = [PATIENCE.pause_s(Trouble.THROTTLED, n) or 0 for n in range(1, 100)]
    assert 150 <= sum(pauses) <= 600
    faults = iter([Fault.SLOW_DOWN] * 20 + [Fault.RESET] * 7 + [Fault.TOO_MANY] * 15)
    lines = Lines()
    bad, proxy = faulty(lambda method, path: next(faults, Fault.NONE), HASTY, lines)
    bad.put("b/x", b"x")
    assert len(proxy.asked) == 43
    assert bad.get("b/x") == b"x"


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.TOO_MANY])
def test_whoever_waits_is_told_that_the_service_asks_to_slow_down(
    faulty: Faulty, fault: Fault
) -> None:
    """One line, however many requests wait at the same time."""
    lines = Lines()
    left = iter(range(60))
    bad, _ = faulty(lambda *_: fault if next(left, None) is not None else Fault.NONE, HASTY, lines)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bad.put(f"b/{n}", b"x"), range(8)))
    (line,) = lines.said
    assert "the service asks to slow down" in line
    assert ANSWERS[fault][0].split()[0] in line
    assert f"of {HASTY.throttled_attempts} failed" in line


def test_a_bucket_elsewhere_is_one_clear_line(faulty: Faulty, tmp_path: Path) -> None:
    """A redirect that does not say where to, of each call and of what looks where it leads: the
    command that cures it, and a handful of requests."""
    bad, proxy = faulty(always(Fault.MOVED))
    for call in calls(bad, tmp_path / "source"):
        proxy.asked.clear()
        with pytest.raises(RemoteUnreachable, match="another region") as caught:
            call()
        assert caught.value.hint == "export AWS_DEFAULT_REGION=REGION"
        assert "\n" not in str(caught.value)
        assert len(proxy.asked) <= 4


def test_a_bucket_that_is_not_there_is_final(faulty: Faulty, tmp_path: Path) -> None:
    """One request a call, and the command that makes the bucket."""
    good, proxy = faulty(seeded(0, share=0))
    other = S3Remote("s3://no-bucket-of-ours/some/prefix", good._bucket.aws)
    for call in calls(other, tmp_path / "source"):
        proxy.asked.clear()
        with pytest.raises(RemoteUnreachable, match=r"no such bucket.*aws s3 mb"):
            call()
        assert len(proxy.asked) == 1


def test_what_is_forbidden_is_final(
    faulty: Faulty, s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One request a call (a read asks once more whether the key is merely missing), and the
    command that says who we are."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
    bad, proxy = faulty(seeded(0, share=0))
    for call in calls(bad, tmp_path / "source"):
        proxy.asked.clear()
        with pytest.raises((AccessDenied, NoCredentials), match="get-caller-identity"):
            call()
        reads = proxy.asked[0][0] == "GET" and "list-type" not in proxy.asked[0][1]
        assert len(proxy.asked) == (2 if reads else 1)


def test_without_credentials_nothing_is_asked(
    faulty: Faulty, s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """NoCredentials with the command that configures them, and no request."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    bad, proxy = faulty(seeded(0, share=0))
    for call in calls(bad, tmp_path / "source"):
        with pytest.raises(NoCredentials, match="aws configure"):
            call()
    assert proxy.asked == []


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that handles each connection with ``serve``, in a thread of its own
    as long as the block runs."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that nobody looks at."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")


def remote_of(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    patience: Patience = HASTY,
    progress: Progress = SILENT,
) -> S3Remote:
    """A remote at an endpoint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    aws = Aws(AwsSettings(region="us-east-1"), patience=patience, progress=progress)
    return S3Remote("s3://some-bucket/x", aws)


def test_a_server_that_accepts_and_never_answers_is_given_up(
    keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three silences, by name; and a silence lasts 15 s at most."""
    assert PATIENCE.silent_attempts * PATIENCE.read_timeout_s <= 45
    held: list[socket.socket] = []
    with (
        listening(held.append) as url,
        pytest.raises(RemoteUnreachable, match=r"s3://some-bucket/x: no answer.*127\.0\.0\.1"),
    ):
        remote_of(url, monkeypatch, Patience(read_timeout_s=0.3)).get("meta/remote")
    assert len(held) == PATIENCE.silent_attempts


@pytest.mark.parametrize("page", [b"<html><p>Log in</p></html>", b"<html><p>Log in<br></html>"])
def test_a_server_that_speaks_something_else_is_named(
    keys: None, monkeypatch: pytest.MonkeyPatch, page: bytes
) -> None:
    """A page of HTML, sound or not, where the listing should be: one line, never "no keys"."""

    def login(link: socket.socket) -> None:
        link.recv(65536)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
        link.close()

    with listening(login) as url, pytest.raises(RemoteUnreachable, match="service") as caught:
        list(remote_of(url, monkeypatch).list("meta/"))
    assert "\n" not in str(caught.value)


def test_a_slow_line_is_no_silence(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MiB that take longer than any timeout go out in one attempt as long as they move."""
    patience = Patience(cap_s=0.01, connect_timeout_s=0.5, read_timeout_s=0.5)
    data = os.urandom(16 << 20)
    received: list[int] = []

    def slowly(link: socket.socket) -> None:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        head = b""
        while b"\r\n\r\n" not in head:
            head += link.recv(65536)
        if b"100-continue" in head.lower():
            link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        count = len(head.partition(b"\r\n\r\n")[2])
        while count < len(data) and (some := link.recv(1 << 18)):
            count += len(some)
            time.sleep(0.02)
        received.append(count)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with listening(slowly) as url:
        started = time.monotonic()
        remote_of(url, monkeypatch, patience).put("packs/p", data)
        assert time.monotonic() - started > 1
    assert received == [len(data)]


def test_the_command_line_shows_retries_with_v(
    s3_server: S3Server, s3_env: dict[str, str], s3_url: str, tmp_path: Path
) -> None:
    """Each on a line of standard error with -v; none of it without."""
    proxy = FaultProxy(s3_server.endpoint_url, first_of_each(Fault.SLOW_DOWN))
    with proxy:
        home = {"BUNDLERUN_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
        environment = {**s3_env, **home, "AWS_ENDPOINT_URL_S3": proxy.url}

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [str(Path(sys.executable).with_name("bundlerun")), *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            return done.stderr

        run("context", "work")
        said = run("-v", "remote", "work", s3_url)
        assert "503 SlowDown; attempt 1 failed, the next in " in said
        proxy.choose = first_of_each(Fault.SLOW_DOWN)
        assert "SlowDown" not in run("remote", "work", s3_url)
        assert proxy.seen[Fault.SLOW_DOWN] >= 4


def test_errors_that_pass_are_told_from_those_that_stay() -> None:
    """botocore's exceptions, each by its kind."""
    import botocore.exceptions as raised

    url = {"endpoint_url": "http://h"}
    assert retries.trouble_of(raised.ReadTimeoutError(**url)) is Trouble.SILENT
    assert retries.trouble_of(raised.ConnectTimeoutError(**url)) is Trouble.SILENT
    assert retries.trouble_of(raised.EndpointConnectionError(**url)) is Trouble.SILENT
    assert retries.trouble_of(raised.ConnectionClosedError(**url)) is Trouble.BROKEN
    assert retries.trouble_of(raised.SSLError(**url, error="EOF occurred")) is Trouble.BROKEN
    wrong = raised.SSLError(**url, error="[SSL: CERTIFICATE_VERIFY_FAILED]")
    assert retries.trouble_of(wrong) is None
    assert retries.trouble_of(raised.NoCredentialsError()) is None
    assert retries.trouble_of(BundlerunError("x")) is None


BRISK = Patience(cap_s=0.01, least=LeastRate(bytes_s=20_000, over_s=0.3))
"""A least rate that a sound server here always has, and a third of a second to show it."""


@pytest.mark.parametrize("read", ["get", "get_file", "list"])
def test_an_answer_that_drips_is_given_up_and_asked_for_again(
    faulty: Faulty, tmp_path: Path, read: str
) -> None:
    """A byte now and then is no silence, so no timeout ends it: the least rate does."""
    data = os.urandom(5000)
    lines = Lines()
    bad, proxy = faulty(first_of_each(Fault.DRIPPING), BRISK, lines)
    good, _ = faulty(always(Fault.NONE))
    good.put("b/x", data)
    if read == "get":
        assert bad.get("b/x") == data
    elif read == "get_file":
        assert bad.get_file("b/x", tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == data
    else:
        assert [entry.key for entry in bad.list("b/")] == ["b/x"]
    assert len(proxy.asked) == 2
    assert any("too slow" in line for line in lines.said)


def test_a_remote_that_always_drips_is_given_up(faulty: Faulty) -> None:
    """After as many attempts as at one that is silent, by what it was."""
    bad, proxy = faulty(always(Fault.DRIPPING), BRISK)
    with pytest.raises(RemoteUnreachable, match=r"too slow.*bytes in .* a second"):
        list(bad.list("b/"))
    assert len(proxy.asked) == BRISK.silent_attempts


@pytest.mark.slow
def test_a_body_that_hardly_goes_up_is_given_up_and_sent_again(
    keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time the server takes a few bytes at a time, which no timeout sees."""
    data = os.urandom(16 << 20)
    received: list[int] = []

    def serve(link: socket.socket) -> None:
        received.append(0)
        first = len(received) == 1
        head = b""
        while b"\r\n\r\n" not in head:
            head += link.recv(65536)
        if b"100-continue" in head.lower():
            link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        count = len(head.partition(b"\r\n\r\n")[2])
        with suppress(OSError):
            while count < len(data) and (some := link.recv(20_000 if first else 1 << 20)):
                count += len(some)
                time.sleep(0.02 if first else 0)
            received[0 if first else -1] = count
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        link.close()

    lines = Lines()
    # A million bytes a second at the most, after the buffers of the two ends.
    patience = Patience(cap_s=0.01, least=LeastRate(bytes_s=3_000_000, over_s=1))
    with listening(serve) as url:
        remote_of(url, monkeypatch, patience, lines).put("packs/p", data)
    assert received[-1] == len(data)
    assert len(received) > 1
    assert any("too slow" in line for line in lines.said)


def test_only_waiting_for_the_line_counts() -> None:
    """What the reader does between two reads is no fault of the server's; a minute of little is
    one, whenever it comes; an upload that is put together may take ten."""
    now = [0.0]
    meter = Meter(LeastRate(bytes_s=1000, over_s=60), clock=lambda: now[0])

    def read(count: int, s: float) -> None:
        with meter.waiting():
            now[0] += s
        meter.moved(count)

    for _ in range(100):
        read(10_000, 5)
        now[0] += 1000
    meter.begin()
    for _ in range(5):
        read(1, 10)
    with pytest.raises(TooSlow, match="a second"):
        read(1, 10)
    meter.begin()
    for _ in range(5):
        read(1, 10)
    meter.begin(assembling=True)
    for _ in range(59):
        read(1, 10)
