"""Configuration, variables and secrets of a run: in the plan, the key and the container."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.errors import BadParameter, SettingsError, UsageError, UserError

PIPES = """
import os

import luigi

import bundlerun as br

class Depths(luigi.Config):
    depth = luigi.IntParameter(default=3)

AT_IMPORT = Depths().depth

class Deep(br.Pipe):
    step = luigi.IntParameter(default=1)
    def pipe_run(self, pipeline_input):
        print("the password is", os.environ.get("PW"), flush=True)
        return [Depths().depth, AT_IMPORT, self.step, os.environ.get("GIVEN")]

class Tells(br.Pipe):
    def pipe_run(self, pipeline_input):
        raise ValueError("cannot log in with " + os.environ["PW"])
"""


@pytest.fixture
def diving(tmp_path: Path, base_image: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pipe root of a package with a configuration class; the working directory."""
    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    package = tmp_path / "project" / "diving"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "pipes.py").write_text(PIPES)
    monkeypatch.chdir(package.parent)
    return package.parent


@pytest.fixture
def shop(tmp_path: Path, diving: Path) -> Iterator[br.Workspace]:
    """A context with a folder as its remote, and the image made."""
    remote = tmp_path / "remote"
    remote.mkdir()
    workspace = br.open(remote=f"file://{remote}", context="work")
    workspace.dockerize(diving, "diving.pipes.Deep")
    yield workspace
    workspace.close()


def test_a_run_has_what_was_set_as_an_apply_has(shop: br.Workspace, diving: Path) -> None:
    """In the plan, in the key and in the container; a file is refused with the cure."""
    given = {"Depths.depth": "07", "diving.pipes.Deep.step": 2}
    pipe = "diving.pipes.Deep"
    first = shop.run(None, "out", pipe, config=given, env={"GIVEN": "x"})
    assert shop.get(first.output) == [7, 7, 2, "x"]
    assert first.plan["task"]["config"] == {"Depths.depth": "7", "diving.pipes.Deep.step": "2"}
    assert shop.run(None, "out", pipe, config=given, env={"GIVEN": "x"}).reused
    assert shop.plan(None, "out", pipe, config=given, env={"GIVEN": "y"}).found is None
    (diving / "luigi.cfg").write_text("[core]\nlog_level=INFO\n[Depths]\ndepth=7\n")
    with pytest.raises(SettingsError, match=r"luigi\.cfg sets Depths\.depth.*--set Depths.depth=7"):
        shop.run(None, "out", pipe)
    assert shop.run(None, "out", pipe, config=given, env={"GIVEN": "x"}).reused
    with pytest.raises(BadParameter, match=r"Depths\.depth"):
        shop.run(None, "out", pipe, config={"Depth.depth": 1})


def test_a_secret_reaches_the_container_and_stands_nowhere(
    shop: br.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the remote, not in the store, not in the log nor in the traceback of a failure."""
    monkeypatch.setenv("PW", "hunter22")
    result = shop.run(None, "out", "diving.pipes.Deep", secrets=["PW"])
    assert "the password is ***" in "\n".join(shop.logs(result.record.run_id))
    with pytest.raises(UserError) as failed:
        shop.run(None, "told", "diving.pipes.Tells", secrets=["PW"])
    assert "cannot log in with ***" in str(failed.value)
    places = [tmp_path / "remote", shop.scope.store.path]
    found = subprocess.run(["grep", "-rla", "hunter22", *places], capture_output=True, text=True)
    assert found.stdout == ""


def test_a_secret_that_is_too_short_to_be_masked_is_named(
    shop: br.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log, by its name: the mask of three letters would hit any text."""
    monkeypatch.setenv("PW", "abc")
    result = shop.run(None, "out", "diving.pipes.Deep", secrets=["PW"])
    assert "the secret PW is too short to be masked" in "\n".join(shop.logs(result.record.run_id))


ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pw"


@pytest.mark.parametrize(
    ("backend", "secret", "role", "cure"),
    [
        ("Local", "PW", None, "export PW"),
        ("Local", f"PW={ARN}", None, "--secret PW"),
        ("AWSBatch", "PW", "arn:role", "--secret PW=arn:aws:secretsmanager"),
        ("AWSBatch", "PW=hunter22", "arn:role", "--secret PW=arn:aws:secretsmanager"),
        ("AWSBatch", f"PW={ARN}", None, "BUNDLERUN_EXECUTION_ROLE_ARN"),
        ("AWSBatch", f"GIVEN={ARN}", "arn:role", "--secret GIVEN alone"),
    ],
)
def test_a_secret_that_cannot_reach_its_job_is_refused_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    backend: str,
    secret: str,
    role: str | None,
    cure: str,
) -> None:
    """A variable that is not set, an ARN for a local engine, a value for AWS Batch, which is not
    shown, no role."""
    monkeypatch.delenv("PW", raising=False)
    with pytest.raises((UsageError, SettingsError)) as refused:
        br.open(tmp_path / "store", context="c").run(
            None,
            "out",
            "m.Pipe",
            backend=backend,
            env={"GIVEN": "x"},
            secrets=[secret],
            job_options={} if role is None else {"execution_role_arn": role},
        )
    assert "hunter22" not in str(refused.value)
    assert cure in (refused.value.hint or "")
