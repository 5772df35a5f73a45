"""Finding a client that speaks to BuildKit."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from bundlerun.images.builders import buildkit_command

CLIENT = """\
#!/bin/sh
case "$*" in
"buildx version") exit {buildx} ;;
"build --help") echo "      --secret stringArray"; exit {build} ;;
esac
exit 9
"""


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
    # What was found is remembered by PATH, and pytest may use a folder twice.
    folder = tmp_path / uuid.uuid4().hex
    for name, answers in (("one", first), ("two", second)):
        client = folder / name / "docker"
        client.parent.mkdir(parents=True)
        client.write_text(CLIENT.format(**answers))
        client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/none:{folder}/one:{folder}/two")
    command = buildkit_command()
    if found is None:
        assert command is None
        return
    assert command is not None
    assert (command[0], command[1]) == (str(folder / found[0]), found[1])
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    assert buildkit_command() is None
