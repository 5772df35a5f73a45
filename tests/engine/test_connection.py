"""Finding the engine as the docker command does."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bundlerun.backends.job import JobHandle
from bundlerun.backends.local_docker import LocalDocker
from bundlerun.docker_engine import engine as connected
from bundlerun.errors import EngineError, SettingsError
from bundlerun.settings import read_settings


def context(home: Path, name: str, host: str) -> None:
    """What ``docker context create`` writes."""
    folder = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))


def ping() -> None:
    """Ask the engine that is found."""
    with connected() as client:
        client.ping()


def without_choice(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, and no DOCKER_HOST or DOCKER_CONTEXT."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return Path(os.environ["HOME"])


def test_an_engine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that looks further."""
    without_choice(monkeypatch)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(EngineError, match=r"tcp://127\.0\.0\.1:9.*DOCKER_HOST") as caught:
        ping()
    assert "\n" not in str(caught.value)


def test_the_chosen_docker_context_is_used(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the configuration file, or from DOCKER_CONTEXT, which wins."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    home = without_choice(monkeypatch)
    context(home, "right", host)
    context(home, "wrong", "unix:///nowhere/docker.sock")
    (home / ".docker/config.json").write_text(json.dumps({"currentContext": "wrong"}))
    with pytest.raises(EngineError, match="wrong"):
        ping()
    monkeypatch.setenv("DOCKER_CONTEXT", "right")
    ping()


def test_a_context_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that goes back to the usual one."""
    without_choice(monkeypatch)
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(SettingsError, match=r"'gone'.*docker context use default"):
        ping()


class BreakingEngine(BaseHTTPRequestHandler):
    """An engine that hangs up when it is asked for a container."""

    def do_GET(self) -> None:
        """What the SDK asks before that is answered."""
        if "/containers/" in self.path:
            self.close_connection = True
            return
        data = json.dumps({"ApiVersion": "1.41", "Version": "20.10"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def breaking_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The user's engine is one that hangs up; its address."""
    without_choice(monkeypatch)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BreakingEngine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"tcp://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("DOCKER_HOST", address)
    yield address
    server.shutdown()
    server.server_close()


def test_an_engine_that_hangs_up_is_told_of_alike_at_every_door(breaking_engine: str) -> None:
    """Whoever asks it, an image's builder or a backend, has the same words and the same cure."""
    with pytest.raises(EngineError) as first, connected() as client:
        client.containers.get("c")
    handle = JobHandle("Local", "c", "run")
    with pytest.raises(EngineError) as second:
        LocalDocker(read_settings()).poll([handle])
    assert str(first.value) == str(second.value)
    assert f"no Docker engine answers at {breaking_engine}" in str(first.value)
