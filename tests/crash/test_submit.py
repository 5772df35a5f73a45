"""A submit that is killed at any of its writes leaves no job that nobody knows of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.remotes.base import Remote
from bundlerun.remotes.keys import RUN_INDEX, listed_run
from bundlerun.runs.keys import handle_key, plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.request import RunRequest
from bundlerun.runs.submit import start
from tests.crash.calls import counted, killed_at
from tests.crash.staging import spread
from tests.runs.conftest import stage as stage  # a fixture
from tests.runs.scripted import Stage, plan_of

KILLS = 40


def submit(stage: Stage, plan: RunPlan) -> Callable[[], None]:
    """The submit of ``plan``, for a child: it opens the store itself."""

    def act() -> None:
        workspace = br.open(context="work")
        start(
            plan,
            RunRequest(None, plan.task.output, plan.task.pipe),
            stage.backend,
            workspace.scope.runs(),
        )
        workspace.close()

    return act


def test_a_submit_is_killed_at_each_write(stage: Stage, tmp_path: Path) -> None:
    """What was submitted is found by its own store and by another one, with its handle or without;
    what was not is waited for by nobody; the remote lists no run that has no plan."""
    remote = stage.workspace.scope.remote(stage.workspace.scope.context())
    other = br.open(tmp_path / "other", remote=remote.url, context="work")
    stage.workspace.close()
    other.close()
    total = counted(submit(stage, plan_of("counted")))
    assert total >= KILLS
    seen: set[tuple[bool, bool, bool]] = set()
    for number in spread(total, KILLS):
        plan = plan_of(f"out{number}")
        ending = killed_at(submit(stage, plan), number)
        assert not ending.error, ending.error
        has_job = stage.backend.find(plan.run_id, "") is not None
        has_plan = remote.get(plan_key(plan.run_id)) is not None
        seen.add((has_plan, has_job, remote.get(handle_key(plan.run_id)) is not None))
        check(stage, other, remote, plan, has_job=has_job, has_plan=has_plan)
        stage.workspace.close()
        other.close()
    assert len(seen) == 4
    listed = {run for run, _ in filter(None, (listed_run(e.key) for e in remote.list(RUN_INDEX)))}
    assert all(remote.get(plan_key(run)) for run in listed)


def check(
    stage: Stage,
    other: br.Workspace,
    remote: Remote,
    plan: RunPlan,
    *,
    has_job: bool,
    has_plan: bool,
) -> None:
    """Both stores say the same of the run, and bring its output home."""
    workspace, run = stage.workspace, plan.run_id
    if not has_plan:
        for store in (workspace, other):
            with pytest.raises(errors.RunNotFound):
                store.jobs(run)
        return
    found = [store.jobs(run)[0] for store in (workspace, other)]
    assert not any(record.settled for record in found)
    assert all((record.handle is not None) == has_job for record in found)
    if has_job:
        stage.succeed(found[0])
        for store in (other, workspace):
            assert store.get(store.wait(run).output) == 42
    assert remote.get(plan_key(run)) is not None
