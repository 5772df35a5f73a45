"""The input of a run on its way to the remote."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.bundles.lineage import Lineage, Parent
from bundlerun.bundles.record import BundleRecord
from bundlerun.errors import PushIncomplete
from bundlerun.runs.request import RunRequest
from bundlerun.runs.submit import start
from tests.runs.scripted import Stage, plan_of


@pytest.fixture
def far(stage: Stage, tmp_path: Path) -> BundleRecord:
    """A bundle of which the workspace has the record alone: its bytes lie on another remote than
    the one that the context is bound to by now."""
    away = f"file://{tmp_path}/away"
    maker = br.open(tmp_path / "maker", away, "work")
    bundle = maker.add("far", {"x": b"far" * 1000}, commit=True)
    maker.push()
    maker.close()
    workspace = stage.workspace
    workspace.remote("work", away, rebind=True)
    workspace.pull("far")
    workspace.remote("work", f"file://{tmp_path}/remote", rebind=True)
    return bundle


def parent(bundle: BundleRecord) -> Parent:
    """The bundle as plans and lineages name it."""
    return Parent("input", bundle.name, bundle.id, bundle.root.digest)


def test_an_ancestor_that_lies_elsewhere_keeps_no_run_from_its_input(
    stage: Stage, far: BundleRecord
) -> None:
    """The input goes, its lineage names the ancestor, and the job is submitted."""
    workspace = stage.workspace
    lineage = Lineage(parents=(parent(far),))
    context = workspace.scope.context()
    made = workspace.scope.store.add(context, "made", 1, lineage=lineage, commit=True).bundle
    plan = plan_of("out", parent(made))
    record = start(
        plan, RunRequest("made", "out", plan.task.pipe), stage.backend, stage.workspace.scope.runs()
    )
    assert stage.backend.asked("submit") == [record.run_id]
    assert [entry.pushed for entry in workspace.ls("made")] == [True]
    assert [entry.pushed for entry in workspace.ls("far")] == [False]


def test_an_input_that_lies_elsewhere_submits_nothing(stage: Stage, far: BundleRecord) -> None:
    """The error names it, and how to have its bytes."""
    plan = plan_of("out", parent(far))
    with pytest.raises(PushIncomplete, match="far@") as caught:
        start(
            plan,
            RunRequest("far", "out", plan.task.pipe),
            stage.backend,
            stage.workspace.scope.runs(),
        )
    assert "/away --rebind; bundlerun pull far@" in (caught.value.hint or "")
    assert stage.backend.asked("submit") == []
