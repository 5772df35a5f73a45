"""Runs without an image: the module is described by the interpreter that will run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.bundles.digest import checked_digest
from bundlerun.bundles.lineage import CodeVersion
from bundlerun.errors import (
    BadModule,
    BadParameter,
    EngineError,
    IntegrityError,
    SettingsError,
    UsageError,
)
from bundlerun.pipelines.environment import local_environment
from bundlerun.pipelines.source import source_digest
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.images import image_of_run
from bundlerun.runs.keys import plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.request import RunRequest
from bundlerun.runs.worker import Attempt, work
from tests.backends.harness import bring
from tests.runs.scripted import plan_of

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


@pytest.mark.heavy
@pytest.mark.parametrize("edited", [True, False])
def test_what_was_changed_after_the_plan_is_not_run(
    tmp_path: Path, project: Path, edited: bool
) -> None:
    """An image holds its source and packages; here the job sees the project's and its own."""
    plan = plan_of("out")
    source = plan.task.code.source if edited else source_digest(project, "jobs.pipes")
    task = replace(plan.task, left_out=None, code=CodeVersion(source))
    plan = replace(plan, image=None, task=task)
    (tmp_path / "remote").mkdir()
    remote = FileRemote(f"file://{tmp_path}/remote")
    remote.put_new(plan_key(plan.run_id), plan.to_bytes())
    left = work(Attempt(remote, plan.run_id, "job", pipe_root=project), say=lambda text: None)
    assert left.error == "InfraError"
    words = "edited after the run was planned" if edited else "was planned for environment: "
    assert words in left.message
    assert "bundlerun run IN OUT jobs.pipes.Double" in left.message


@pytest.mark.slow
def test_a_run_as_a_process_makes_what_apply_makes(here: br.Workspace, project: Path) -> None:
    """From the plan to the output without an engine; equal work is found from either side."""
    here.add("numbers", [1, 2, 3], commit=True)
    result = here.run("numbers", "out", "jobs.pipes.Summed", backend="Processes")
    assert here.get("out")["sum"] == 12
    assert result.record is not None
    assert (result.record.image, result.record.state) == (None, br.JobState.SUCCEEDED)
    assert result.output is not None
    assert result.output.lineage.image is None
    assert here.run("numbers", "out", "jobs.pipes.Summed", backend="Processes").reused
    here.pull("jobs.pipes.Double")
    applied = here.apply("numbers", "applied", "jobs.pipes.Double", pipe_root=project)
    (ran,) = here.ls("jobs.pipes.Double")
    assert applied.root == ran.root
    assert applied.lineage.task == ran.lineage.task


def test_an_image_is_made_for_the_platform_of_the_queue(
    here: br.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run --build`` for a queue: not that of this machine. Told before an engine is asked."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    monkeypatch.setenv("BUNDLERUN_AWS_BATCH_PLATFORM", "risc")
    runs = br.open(context="work").scope.runs()
    request = RunRequest(None, "out", "jobs.pipes.Double", backend="AWSBatch")
    with pytest.raises(UsageError, match="'risc' is not a platform"):
        image_of_run(request, runs, build=True)
    with pytest.raises(EngineError):
        image_of_run(replace(request, backend="Local"), runs, build=True)


def test_a_push_without_a_registry_builds_nothing(
    here: br.Workspace, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is told before minutes are spent."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    with pytest.raises(SettingsError, match="BUNDLERUN_REGISTRY"):
        here.dockerize(project, "jobs.pipes.Double", push=True)
