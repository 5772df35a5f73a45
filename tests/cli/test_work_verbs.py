"""The verbs on work, as far as they need no engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bundlerun as br
from tests.cli.conftest import Said

Cli = Callable[..., Said]

PIPE = """
import bundlerun as br
import luigi

class Scaled(br.Pipe):
    by = luigi.IntParameter(default=2)
    def pipe_run(self, pipeline_input):
        return None if pipeline_input is None else len(pipeline_input.read_text()) * self.by

class Broken(br.Pipe):
    def pipe_run(self, pipeline_input):
        raise ValueError("out of paper")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline module and two versions of its input; one, as a process has one
    module of a name."""
    tmp_path = tmp_path_factory.mktemp("project")
    (tmp_path / "clipipes").mkdir()
    (tmp_path / "clipipes" / "__init__.py").write_text("")
    (tmp_path / "clipipes" / "scale.py").write_text(PIPE)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "bbb.txt").write_text("bbb")
    return tmp_path


def test_apply_selects_input_by_tag_labels_the_output_and_commits(ok: Cli, project: Path) -> None:
    """-it, -ot, --commit, and the pipe's own parameters after its class."""
    ok("add", "text", project / "bbb.txt", "-t", "kind:long")
    ok("add", "text", project / "a.txt", "-t", "kind:short")
    arguments = ["--pipe-root", project, "-it", "kind:long", "-ot", "by:three", "--commit"]
    ok("apply", *arguments, "text", "out", "clipipes.scale.Scaled", "--by", "3")
    (bundle,) = br.ls("out")
    assert br.get("out") == 9
    assert bundle.committed
    assert bundle.tags == {"by": "three"}
    assert ok("lineage", "out", "--json").json["pipe"] == "clipipes.scale.Scaled"


def test_no_input_is_none(ok: Cli, project: Path) -> None:
    """``-`` as IN."""
    ok("apply", "--pipe-root", project, "-", "out", "clipipes.scale.Scaled")
    assert br.get("out") is None


def test_a_pipe_that_raises_shows_its_traceback_and_code_11(bundlerun: Cli, project: Path) -> None:
    """From the user's own frames on."""
    said = bundlerun("apply", "--pipe-root", project, "-", "out", "clipipes.scale.Broken")
    assert said.code == 11
    assert "ValueError: out of paper" in said.err
    assert "luigi" not in said.err
    assert br.ls("out") == []


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (["clipipes.scale.Scald"], "Scaled"),
        (["clipipes.scael.Scaled"], "scael.py"),
        (["clipipes.scale.Scaled", "--buy", "3"], "by"),
        (["clipipes.scale.Scaled", "--by", "much"], "by"),
        (["clipipes.scale.Scaled", "--force"], "before IN"),
    ],
)
def test_what_is_mistyped_is_named(
    bundlerun: Cli, project: Path, tail: list[str], words: str
) -> None:
    """The class, the module, a parameter, its value, an option in the wrong place."""
    said = bundlerun("apply", "--pipe-root", project, "-", "out", *tail)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_no_build_writes_the_context_of_the_image(
    ok: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``dockerize --no-build``: what would be sent, in a folder, with no engine."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    out = ok("dockerize", "--no-build", ".", "clipipes.scale.Scaled").out.strip()
    assert out == "bundlerun-clipipes-scale/Dockerfile"
    assert Path(out).is_file()
    assert (Path(out).parent / "code/clipipes/scale.py").is_file()


def test_a_misspelt_class_is_told_before_anything_is_built(
    bundlerun: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without an engine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    said = bundlerun("dockerize", project, "clipipes.scale.Scald")
    assert said.code == 2
    assert "Scaled" in said.err


def test_no_engine_is_code_8_with_a_cure(
    bundlerun: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    said = bundlerun("dockerize", project, "clipipes.scale.Scaled")
    assert said.code == 8
    assert "DOCKER_HOST" in said.err
    assert "Traceback" not in said.err


def test_local_refuses_retries_that_it_would_not_do(bundlerun: Cli, project: Path) -> None:
    """Before anything is done, and without an engine."""
    said = bundlerun("run", "--retries", 2, "-", "out", "clipipes.scale.Scaled")
    assert said.code == 2
    assert "Local repeats no job after a lost machine" in said.err
