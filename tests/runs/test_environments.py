"""Runs without an image: the module is described by the interpreter that will run it."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.bundles.digest import checked_digest
from bundlerun.errors import BadModule, BadParameter, IntegrityError, UsageError
from bundlerun.pipelines.environment import local_environment
from bundlerun.pipelines.source import source_digest
from bundlerun.runs.plan import RunPlan
from tests.backends.harness import bring

OURS = "Processes = tests.backends.processes:Processes"


@pytest.fixture
def here(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> br.Workspace:
    """A context with a folder as its remote, in the project's folder; its jobs are processes."""
    bring(tmp_path / "site", OURS)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(project)
    (tmp_path / "remote").mkdir()
    return br.open(remote=f"file://{tmp_path}/remote", context="work")


def planned(workspace: br.Workspace, pipe: str, **given: str) -> RunPlan:
    """The plan of a run of ``jobs.pipes.<pipe>`` as a process."""
    return workspace.plan(None, "out", f"jobs.pipes.{pipe}", given, backend="Processes")


@pytest.mark.heavy
def test_a_plan_needs_no_image_and_says_what_it_runs_on(here: br.Workspace, project: Path) -> None:
    """Schema and source are told as an image tells them; of the environment it is the interpreter,
    in words that no image's digest equals."""
    plan = planned(here, "Double", times="03")
    assert plan.image is None
    assert plan.environment == local_environment()
    with pytest.raises(IntegrityError):
        checked_digest(plan.environment)
    assert plan.task.params == {"times": "3"}
    assert plan.task.code.source == source_digest(project, "jobs.pipes")
    assert plan.task.request.parts["environment"] == plan.environment
    assert RunPlan.from_bytes(plan.to_bytes()).task == plan.task
    with pytest.raises(BadParameter, match="'time'"):
        planned(here, "Double", time="3")


@pytest.mark.heavy
def test_a_pipe_that_cannot_be_had_is_told_before_anything_is_sent(
    here: br.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such class; a module that does not import; nothing that could be built."""
    with pytest.raises(BadModule, match=r"no pipe jobs\.pipes\.Duble; it has: .*Double"):
        planned(here, "Duble")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "flawed.py").write_text("import bundlerun as br\n\nraise OSError('not today')\n")
    monkeypatch.chdir(broken)
    with pytest.raises(BadModule, match="not today"):
        here.plan(None, "out", "flawed.Pipe", backend="Processes")
    with pytest.raises(UsageError, match="nothing to build"):
        here.plan(None, "out", "flawed.Pipe", backend="Processes", build=True)
    assert list(here.scope.remote(here.scope.context()).list("runs/")) == []
