"""Images without any function's code, made on a real engine."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bundlerun.errors import BuildFailed
from bundlerun.images.build import KEPT_ENVIRONMENTS, build, find_image
from bundlerun.images.recipe import EnvironmentOptions, Recipe, plan_environment
from bundlerun.images.requirements import given_requirements
from bundlerun.settings import ImageSettings
from tests.images.projects import write

PACKAGE = {
    "pyproject.toml": (
        '[build-system]\nrequires=["setuptools"]\nbuild-backend="setuptools.build_meta"\n'
        '[project]\nname="fromgit"\nversion="7.1"\n[tool.setuptools]\npy-modules=["fromgit"]\n'
    ),
    "fromgit.py": "ANSWER = 42\n",
}


class Quiet(SimpleHTTPRequestHandler):
    """Files, without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is written."""


@pytest.fixture
def repository(engine: Any, tmp_path: Path) -> Iterator[str]:
    """A git repository with a package, at an address that a build can reach; a plain web server is
    one of git's own ways ("dumb http")."""
    work = write(tmp_path / "work", dict(PACKAGE))
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@h.example", "-C", str(work)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    bare = tmp_path / "served/fromgit.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    host = bridge.get("Gateway") or bridge["Subnet"].rsplit(".", 1)[0] + ".1"
    handler = functools.partial(Quiet, directory=str(bare.parent))
    with ThreadingHTTPServer((host, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}/fromgit.git"
        server.shutdown()


def planned(settings: ImageSettings, *lines: str, **options: Any) -> Recipe:
    """The recipe of an environment with these requirements."""
    found = given_requirements(list(lines), {})
    return plan_environment(found, settings, EnvironmentOptions(**options))


def inside(engine: Any, image: str, *command: str) -> str:
    """What ``command`` prints in a container of ``image``."""
    output: bytes = engine.containers.run(image, list(command), remove=True)
    return output.decode()


def test_a_requirement_of_a_repository_is_built_and_git_does_not_stay(
    engine: Any, settings: ImageSettings, repository: str
) -> None:
    """The base has no git: it is there in the build alone, with all that came with it."""
    host = repository.split("/")[2].partition(":")[0]
    environ = {**os.environ, "NO_PROXY": host, "no_proxy": host}
    ref = build(planned(settings, f"fromgit @ git+{repository}"), environ=environ)
    ask = "import fromgit, importlib.metadata as m; print(fromgit.ANSWER, m.version('fromgit'))"
    assert inside(engine, ref.pullable, "python", "-c", ask) == "42 7.1\n"
    assert inside(engine, ref.pullable, "sh", "-c", "command -v git || echo none") == "none\n"
    packages = ("dpkg-query", "-W", "-f", "${binary:Package}\n")
    assert settings.base_image is not None
    assert inside(engine, ref.pullable, *packages) == inside(engine, settings.base_image, *packages)


def test_a_base_of_another_python_ends_the_build_at_once(settings: ImageSettings) -> None:
    """Where its name did not tell it, the first step does, with the cure."""
    recipe = planned(settings)
    other = dataclasses.replace(recipe.ingredients, python="3.9")
    with pytest.raises(BuildFailed, match=r"the base image has Python 3\.\d+, not 3\.9") as caught:
        build(dataclasses.replace(recipe, ingredients=other))
    assert "python:X.Y-slim" in (caught.value.hint or "")
    assert find_image(f"{recipe.name}:{recipe.tag}") is None


def test_the_images_of_several_projects_stay_and_not_for_ever(
    engine: Any, settings: ImageSettings, tmp_path: Path
) -> None:
    """They share a name: the newest contents are kept, and what has a tag of the user's."""
    from bundlerun.images.build import tag_image
    from bundlerun.images.recipe import Script

    made = []
    for number in range(KEPT_ENVIRONMENTS + 2):
        script = write(tmp_path / str(number), {"say.sh": f"#!/bin/sh\necho {number}\n"})
        made.append(build(planned(settings, script=Script(script / "say.sh"))))
        if number == 0:
            tag_image(made[0], ["mine"])
    there = [find_image(f"{ref.name}:{ref.tag}") is not None for ref in made]
    assert there == [True, False] + [True] * KEPT_ENVIRONMENTS
    assert find_image(f"{made[0].name}:mine") is not None
