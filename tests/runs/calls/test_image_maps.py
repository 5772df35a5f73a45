"""Maps in an image: a function's or a script's, in containers of the local engine."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sortedcontainers import SortedList

import bundlerun as br
from bundlerun.errors import ScriptFailed, UsageError
from tests.engine.relay import relaying
from tests.images.conftest import remove_images
from tests.images.projects import write
from tests.runs.calls.conftest import Lab

SCRIPT = """\
import sys

from numbers_of import doubled

if sys.argv[1] == "bad":
    sys.exit("no number: " + sys.argv[1])
print(doubled(int(sys.argv[1])), *sys.argv[2:])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script, and a module that it imports."""
    doubled = "def doubled(number):\n    return 2 * number\n"
    return write(tmp_path / "lab", {"fit.py": SCRIPT, "numbers_of.py": doubled}) / "fit.py"


@pytest.fixture
def images(engine: Any, base_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The prefix of this test's images, which are removed at its end."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("BUNDLERUN_REPOSITORY_PREFIX", prefix)
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    yield prefix
    remove_images(engine, prefix)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[br.Workspace]:
    """A workspace with a folder as its remote."""
    (tmp_path / "remote").mkdir()
    with br.open(tmp_path / "store", f"file://{tmp_path}/remote", "work") as workspace:
        yield workspace


def test_what_is_mapped_in_its_image_takes_no_other(workspace: br.Workspace, script: Path) -> None:
    """Nor what an image is made of."""
    image = br.DockerImage(script_path=script)
    with pytest.raises(UsageError, match="another image"):
        workspace.map(image, [["1"]], image="lab:1")
    with pytest.raises(UsageError, match="requirements would change nothing"):
        workspace.map(image, [["1"]], requirements=["six"])
    with pytest.raises(UsageError, match="cannot be called so"):
        workspace.map(image, [["1"]], kwargs={"a": 1})
    with pytest.raises(UsageError, match="name or a DockerImage"):
        workspace.map(abs, [1], image=3)
    with pytest.raises(UsageError, match="2 iterables"):
        workspace.map(image, [["1"]], [["2"]])


def test_a_script_is_mapped_over_its_argument_lists(
    images: str, workspace: br.Workspace, script: Path
) -> None:
    """The result is what it writes; a failure has its exit code and what it said."""
    image = br.DockerImage(script_path=script, requirements=[])
    run = workspace.map(image, [["1"], (2, "x"), ["bad"]])
    found = list(run.results(200, return_exceptions=True))
    assert found[:2] == ["2\n", "4 x\n"]
    failed = found[2]
    assert isinstance(failed, ScriptFailed)
    assert (failed.status, failed.evidence) == (1, "no number: bad\n")
    assert run[2].stderr == "no number: bad\n"
    assert [each.pipe for each in workspace.jobs()] == ["fit.py"]
    ran = len(workspace.jobs())
    for wrong in ("3", 3, [None]):
        with pytest.raises(UsageError, match="argument"):
            workspace.map(image, [["1"], wrong])
    assert len(workspace.jobs()) == ran, "what is no list of arguments submits nothing"
    stars = workspace.starmap(image, [(5, "y")])
    assert list(stars.results(200)) == ["10 y\n"]


def test_an_edited_function_is_mapped_without_a_build(
    engine: Any,
    images: str,
    workspace: br.Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its code travels with the run: the engine is asked for containers, and for nothing of an
    image but one look."""
    offset = 1
    image = br.DockerImage(lambda x: x, requirements=[])
    first = workspace.map(lambda x: x + offset, [1, 2], image=image)
    assert list(first.results(200)) == [2, 3]
    with relaying(tmp_path / "engine.sock") as relay:
        monkeypatch.setenv("DOCKER_HOST", relay.url)
        second = workspace.map(lambda x: x * 10 + offset, [1, 2], image=image)
        assert list(second.results(200)) == [11, 21]
    about = [line for line in relay.asked if "/images/" in line or "/build" in line]
    assert about, "it was looked for"
    assert not [line for line in about if not line.startswith("GET ")]


def test_what_the_items_alone_need_is_installed_too(images: str, workspace: br.Workspace) -> None:
    """The function imports nothing of it."""
    run = workspace.map(len, [SortedList([3, 1]), [2]])
    assert list(run.results(300)) == [2, 1]


def test_the_pages_words_on_images_are_true(
    images: str, workspace: br.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/map.md: its script is mapped as it says, in the folder that it stands in."""
    page = (Path(__file__).parents[3] / "docs/map.md").read_text(encoding="utf-8")
    script, program = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BUNDLERUN_CONTEXT", "work")
    (tmp_path / "fit.py").write_text(script)
    exec(compile(program, "docs/map.md", "exec"), {"__name__": "page"})
    assert (tmp_path / "context/Dockerfile").is_file()


def test_jobs_without_an_image_are_not_given_one(lab: Lab) -> None:
    """It would not be what they run in."""
    with pytest.raises(UsageError, match="runs without an image"):
        br.map(len, [[1]], image=br.DockerImage(len), backend="Processes")
    assert br.jobs() == []
