"""The image of a function or a script, as a caller makes, keeps and removes it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.errors import BadModule, Conflict, SettingsError, UsageError
from bundlerun.images import image as names
from bundlerun.images.builders import buildkit_command
from tests.images.conftest import remove_images
from tests.images.projects import write

SCRIPT = """
import argparse

import six
import packaging
from lab import model

parser = argparse.ArgumentParser()
parser.add_argument("number", type=int)
print(model.doubled(parser.parse_args().number), six.PY3)
"""

LAB = {
    "fit.py": SCRIPT,
    "lab/__init__.py": "",
    "lab/model.py": "def doubled(number):\n    return 2 * number\n",
    "lab/other.csv": "1",
    "notes.md": "not needed",
}


def fit(number: int) -> int:
    """A function of a user's."""
    return number


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A project with a script."""
    return write(tmp_path / "lab-root", dict(LAB))


def test_what_an_image_gets_is_in_the_log_where_nobody_else_listens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that shows its log at INFO sees the requirements and where they come from."""
    caplog.set_level("INFO", logger="bundlerun")
    br.DockerImage(fit, requirements=["six==1.16.0"]).write(tmp_path / "context")
    assert "requirements of the image: six==1.16.0 (requirements)" in caplog.messages


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"func": fit, "script_path": "fit.py"},
        {"func": "fit.py"},
        {"script_path": "gone.py"},
        {"script_path": "notes.md"},
        {"func": fit, "requirements": "gone.txt"},
        {"func": fit, "requirements": ["-e ."]},
        {"func": fit, "system_packages": "git"},
        {"func": fit, "system_packages": ["a b"]},
        {"func": fit, "name": "Lab Env"},
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_said(
    lab: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    """Before anything is built, and without an engine."""
    monkeypatch.chdir(lab)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    with pytest.raises(UsageError):
        br.DockerImage(**arguments)


def test_a_registry_or_tag_that_cannot_be_meant_is_refused_before_a_build(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine is asked."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    image = br.DockerImage(script_path=lab / "fit.py")
    with pytest.raises(SettingsError, match="BUNDLERUN_REGISTRY"):
        image.push()
    with pytest.raises(SettingsError, match="not an address"):
        image.push("no registry/x")
    with pytest.raises(UsageError, match="not a repository"):
        image.push("localhost:5000")
    for tags in ("v1", ["a b"], [""], [3]):
        with pytest.raises(UsageError, match="tag"):
            image.build(tags=tags)  # type: ignore[arg-type]


def test_it_is_shown_on_one_line(lab: Path) -> None:
    """What it is of, and that it is not built."""
    shown = repr(br.DockerImage(script_path=lab / "fit.py", name="lab/fit"))
    assert shown == f"<DockerImage lab/fit of {lab / 'fit.py'}, not built>"
    assert "test_docker_image.fit, not built>" in repr(br.DockerImage(fit))


def test_what_a_script_imports_is_found_without_running_it(lab: Path) -> None:
    """Its project's modules go in, and what else it imports is resolved as it is installed here."""
    write(lab, {"lab/model.py": "def f():\n    import packaging.version\n    raise SystemExit\n"})
    image = br.DockerImage(script_path=lab / "fit.py")
    assert image.request.imports == ("argparse", "packaging", "six")
    context = image.write(lab.parent / "context").parent
    code = {path.relative_to(context).as_posix() for path in (context / "code").rglob("*.*")}
    assert code == {
        "code/fit.py",
        "code/lab/__init__.py",
        "code/lab/model.py",
        "code/lab/other.csv",
    }
    assert (context / "requirements/pipeline.txt").read_text().splitlines() == [
        f"packaging=={metadata.version('packaging')}",
        f"six=={metadata.version('six')}",
    ]
    write(lab, {"lab/model.py": "def f(:\n"})
    with pytest.raises(BadModule, match=r"model\.py, line 1"):
        image.write(lab.parent / "other")


def test_a_folder_that_holds_something_else_is_left_alone(lab: Path) -> None:
    """What ``write`` left is replaced when it is asked to; never what a user has there."""
    image = br.DockerImage(script_path=lab / "fit.py")
    folder = lab.parent / "context"
    place = image.write(folder)
    (lab / "lab/other.csv").unlink()
    with pytest.raises(UsageError, match="not empty"):
        image.write(folder)
    assert image.write(folder, overwrite=True) == place
    assert not (folder / "code/lab/other.csv").exists()
    write(folder, {"mine.txt": "x"})
    with pytest.raises(UsageError, match="not empty"):
        image.write(folder, overwrite=True)
    other = write(lab.parent / "own", {"Dockerfile": "FROM scratch\n", "code/mine.py": ""})
    with pytest.raises(UsageError, match="not empty"):
        image.write(other, overwrite=True)
    assert (other / "code/mine.py").exists()


@pytest.fixture
def prefix(engine: Any, base_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What stands before the names of this test's images, which are removed at its end."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("BUNDLERUN_REPOSITORY_PREFIX", prefix)
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    yield prefix
    remove_images(engine, prefix)


CALL = "from bundlerun.futures.script import run_script; print(run_script([21]), end='')"


def called(engine: Any, image: str, program: str = CALL) -> str:
    """What a Python program prints in a container of ``image``."""
    output: bytes = engine.containers.run(image, ["python", "-c", program], remove=True)
    return output.decode()


def test_a_script_runs_in_its_image_which_goes_without_a_rest(
    engine: Any, prefix: str, lab: Path
) -> None:
    """An item is its argument list, the result its output. The image has the tags that it was
    given; none of it is left in the end, also when it is removed twice or was never made."""
    image = br.DockerImage(script_path=lab / "fit.py")
    built = image.build(tags=("v1", "latest"))
    assert built.startswith(f"{prefix}/bundlerun-env:")
    assert called(engine, built) == "42 True\n"
    for tag in ("v1", "latest"):
        assert engine.images.get(f"{prefix}/bundlerun-env:{tag}").id == image.ref.id  # type: ignore[union-attr]
    assert built in repr(image)
    write(lab, {"lab/model.py": "def doubled(number):\n    return 3 * number\n"})
    edited = br.DockerImage(script_path=lab / "fit.py")
    assert called(engine, edited.build()) == "63 True\n"
    assert edited.clobber() == [f"{prefix}/bundlerun-env:{edited._recipe().tag}"]
    container = engine.api.create_container(built)["Id"]
    with pytest.raises(Conflict, match=f"docker rm {container[:12]}"):
        image.clobber()
    assert engine.images.get(f"{prefix}/bundlerun-env:v1").id == image.ref.id  # type: ignore[union-attr]
    engine.api.remove_container(container)
    below = str(engine.api.inspect_image(built)["Parent"])
    image.clobber()
    assert image.clobber() == []
    left = [row for row in engine.api.images(all=True) if prefix in str(row.get("RepoTags"))]
    assert left == []
    labelled = engine.api.images(filters={"label": f"{names.NAME}={prefix}/bundlerun-env"})
    assert labelled == []
    ids = {row["Id"] for row in engine.api.images(all=True)}
    assert below not in ids, "what the labels were put on"


def test_the_folder_is_built_by_docker_alone(
    engine: Any, prefix: str, lab: Path, tmp_path: Path
) -> None:
    """``docker build FOLDER``, without bundlerun."""
    write(lab, {"requirements.txt": "six\n"})
    folder = br.DockerImage(script_path=lab / "fit.py").write(tmp_path / "context").parent
    tag = f"{prefix}/plain:1"
    docker = (buildkit_command() or ("docker", "build"))[0]
    built = subprocess.run(
        [docker, "build", "-t", tag, str(folder)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert called(engine, tag) == "42 True\n"


def test_an_image_is_pushed_with_its_tags(
    engine: Any, registry: str, prefix: str, lab: Path
) -> None:
    """To the repository that is named, built first where it is not."""
    write(lab, {"requirements.txt": "six\n"})
    image = br.DockerImage(script_path=lab / "fit.py")
    image.build(tags=["v2"])
    pushed = image.push(f"{registry}/{prefix}/lab-fit")
    assert pushed.startswith(f"{registry}/{prefix}/lab-fit@sha256:")
    assert engine.images.pull(f"{registry}/{prefix}/lab-fit", tag="v2").id == image.ref.id  # type: ignore[union-attr]


def test_no_cache_builds_all_of_it_again(engine: Any, prefix: str, lab: Path) -> None:
    """Also where the same content is there."""
    script = write(lab, {"say.sh": "#!/bin/sh\necho $1\n"}) / "say.sh"
    image = br.DockerImage(script_path=script, requirements=[])
    name = image.build()
    first = engine.images.get(name).attrs["RootFS"]["Layers"]
    assert image.build() == name
    assert engine.images.get(name).attrs["RootFS"]["Layers"] == first
    image.build(no_cache=True)
    assert engine.images.get(name).attrs["RootFS"]["Layers"][-3:] != first[-3:]
    assert called(engine, name) == "21\n"


def test_the_command_line_makes_the_image_of_a_script(
    engine: Any, prefix: str, lab: Path, tmp_path: Path
) -> None:
    """``dockerize --script``: the name on a line, or JSON; with --no-build a folder alone."""
    write(lab, {"config/requirements.txt": "six\n", "config/deb.txt": "less\n"})
    command = [sys.executable, "-m", "bundlerun", "dockerize", "--script", str(lab / "fit.py")]
    command += ["--config-dir", str(lab / "config")]

    def said(*more: str) -> str:
        done = subprocess.run([*command, *more], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert said("--no-build") == "bundlerun-fit/Dockerfile"
    assert "less" in (tmp_path / "bundlerun-fit/Dockerfile").read_text()
    name = said()
    assert called(engine, name) == "42 True\n"
    found = json.loads(said("--json"))
    assert (found["pullable"], found["ref"]["id"]) == (name, engine.images.get(name).id)
