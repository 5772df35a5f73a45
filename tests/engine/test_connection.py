"""Finding the engine as the docker command does."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bundlerun.engine.connection import engine as connected
from bundlerun.errors import EngineError, SettingsError


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
