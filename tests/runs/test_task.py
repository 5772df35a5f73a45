"""What a job carries out is a task, of a kind that the worker knows or refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun import registry
from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.lineage import Parent
from bundlerun.bundles.record import new_id
from bundlerun.errors import IntegrityError
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.envelope import Envelope
from bundlerun.runs.keys import plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import TASKS
from bundlerun.runs.worker import Attempt, work
from tests.runs.scripted import plan_of


def edited(plan: RunPlan, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The bytes of ``plan`` after ``change``."""
    found = json.loads(plan.to_bytes())
    change(found)
    return canonical_json(found)


def worked(folder: Path, plan: RunPlan, data: bytes) -> Envelope:
    """What the worker leaves of a run whose plan is ``data``."""
    (folder / "remote").mkdir()
    remote = FileRemote(f"file://{folder}/remote")
    remote.put_new(plan_key(plan.run_id), data)
    return work(Attempt(remote, plan.run_id, "job"), say=lambda text: None)


def test_a_plan_is_read_back_as_it_was_written() -> None:
    """The task, and what stands around it."""
    given = Parent("pipeline_input", "numbers", new_id(), digest_of(b"1"))
    plan = plan_of("out", given)
    assert RunPlan.from_bytes(plan.to_bytes()) == plan
    assert json.loads(plan.to_bytes())["task"]["kind"] == "pipe"


@pytest.mark.heavy
def test_every_kind_of_task_can_be_carried_out() -> None:
    """Each row names a function that is there."""
    carriers = {kind: row.carry for kind, row in TASKS.items()}
    assert all(callable(registry.load(carriers, kind, what="task")) for kind in carriers)
    assert all(row.type.kind == kind for kind, row in TASKS.items())


@pytest.mark.parametrize(
    ("image", "cure"), [("image", "dockerize"), (None, "pip install --upgrade bundlerun")]
)
def test_a_worker_refuses_a_task_that_it_does_not_know(
    tmp_path: Path, image: str | None, cure: str
) -> None:
    """The image, or what stands in its place, is of an older bundlerun: the client is told."""
    plan = plan_of("out")
    data = edited(plan, lambda found: found.update(image=image, task={"kind": "call"}))
    envelope = worked(tmp_path, plan, data)
    assert envelope.error == "InfraError"
    assert "a task of the kind 'call'" in envelope.message
    assert "(it knows pipe)" in envelope.message
    assert cure in envelope.message


def test_a_client_that_does_not_know_a_task_says_so() -> None:
    """A newer bundlerun submitted it."""
    data = edited(plan_of("out"), lambda found: found.update(task={"kind": "call"}))
    with pytest.raises(IntegrityError, match="kind 'call' is not known") as no:
        RunPlan.from_bytes(data)
    assert no.value.hint == "pip install --upgrade bundlerun"


@pytest.mark.parametrize(
    "change",
    [
        {"task": None},
        {"task": {}},
        {"task": {"kind": 1}},
        {"task": {"kind": "pipe"}},
        {"task": []},
        {"array": 0},
        {"array": True},
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """By the client and by the worker, whose envelope says so."""
    plan = plan_of("out")
    data = edited(plan, lambda found: found.update(change))
    with pytest.raises(IntegrityError):
        RunPlan.from_bytes(data)
    assert worked(tmp_path, plan, data).error == "InfraError"
