"""Finding the engine as the docker command does."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bundlerun.errors import EngineError
from bundlerun.images.build import find_image
from bundlerun.images.builders import buildkit_command

CLIENT = """\
#!/bin/sh
case "$*" in
"buildx version") exit {buildx} ;;
"build --help") echo "      --secret stringArray"; exit {build} ;;
esac
exit 9
"""


def context(home: Path, name: str, host: str) -> None:
    """What ``docker context create`` writes."""
    folder = home / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))


def without_choice(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, and no DOCKER_HOST or DOCKER_CONTEXT."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return Path(os.environ["HOME"])


def test_an_engine_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that looks further."""
    without_choice(monkeypatch)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(EngineError, match=r"tcp://127\.0\.0\.1:9.*bundlerun doctor") as caught:
        find_image("bundlerun-a-b")
    assert "\n" not in str(caught.value)


def test_the_chosen_docker_context_is_used(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the configuration file, or from DOCKER_CONTEXT, which wins."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    home = without_choice(monkeypatch)
    context(home, "right", host)
    context(home, "wrong", "unix:///nowhere/docker.sock")
    (home / ".docker/config.json").write_text(json.dumps({"currentContext": "wrong"}))
    with pytest.raises(EngineError, match="'wrong'"):
        find_image("bundlerun-a-b")
    monkeypatch.setenv("DOCKER_CONTEXT", "right")
    assert find_image("no-such/bundlerun-image") is None


def test_a_context_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that goes back to the usual one."""
    without_choice(monkeypatch)
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    with pytest.raises(EngineError, match=r"'gone'.*docker context use default"):
        find_image("bundlerun-a-b")


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({"buildx": 0, "build": 0}, {"buildx": 0, "build": 0}, ("one/docker", "buildx")),
        ({"buildx": 1, "build": 1}, {"buildx": 0, "build": 0}, ("two/docker", "buildx")),
        ({"buildx": 1, "build": 1}, {"buildx": 1, "build": 0}, ("two/docker", "build")),
        ({"buildx": 1, "build": 1}, {"buildx": 1, "build": 1}, None),
    ],
)
def test_buildkit_is_looked_for_in_every_docker_on_path(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, int],
    second: dict[str, int],
    found: tuple[str, str] | None,
) -> None:
    """The first client may lack the buildx that a later one has, or does not need."""
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    for name, answers in (("one", first), ("two", second)):
        client = tmp_path / name / "docker"
        client.parent.mkdir()
        client.write_text(CLIENT.format(**answers))
        client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/none:{tmp_path}/one:{tmp_path}/two")
    command = buildkit_command()
    if found is None:
        assert command is None
        return
    assert command is not None
    assert (command[0], command[1]) == (str(tmp_path / found[0]), found[1])
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    assert buildkit_command() is None
