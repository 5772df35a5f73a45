"""What a job carries out is a task, of a kind that the worker knows or refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundlerun import registry
from bundlerun.backends.job import Resources
from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.lineage import CodeVersion, Parent
from bundlerun.bundles.record import new_id
from bundlerun.errors import Conflict, IntegrityError
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.envelope import Envelope
from bundlerun.runs.keys import plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import TASKS, CallTask
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


def call_of(**fields: Any) -> CallTask:
    """A call of 12 items."""
    known: dict[str, Any] = {
        "func": "lab.model.fit",
        "items": 12,
        "chunk": 5,
        "packs": (7, 5),
        "python": "3.11",
        "cloudpickle": "3.1.1",
        "code": CodeVersion(digest_of(b"source")),
    }
    return CallTask(**{**known, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"items": 0, "packs": ()},
        {"timeout_s": 2, "memory_factor": 2, "retries": 3, "env": {"B": "1", "A": "2"}},
        {"output": "all", "output_id": new_id(), "output_tags": {"a": "b"}},
        {"resources": Resources(vcpus=0.5, memory_mib=100, gpus=1), "requirements": ("numpy==2",)},
        {
            "parents": (Parent("item", "numbers", new_id(), digest_of(b"1")),),
            "seal": "ab",
            "function": new_id(),
        },
    ],
)
def test_the_plan_of_a_call_is_read_back_as_it_was_written(fields: dict[str, Any]) -> None:
    """Byte by byte, since it is sealed."""
    plan = replace(plan_of("out"), task=call_of(**fields))
    again = RunPlan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.to_bytes() == plan.to_bytes()


@pytest.mark.parametrize(
    "change",
    [{"items": 11}, {"packs": [12, 0]}, {"chunk": 0}, {"timeout_s": "x"}, {"resources": {"a": 1}}],
)
def test_what_is_no_call_is_refused(change: dict[str, Any]) -> None:
    """Its numbers must agree."""
    plan = replace(plan_of("out"), task=call_of())
    data = edited(plan, lambda found: found["task"].update(change))
    with pytest.raises(IntegrityError):
        RunPlan.from_bytes(data)


def test_a_call_is_never_taken_for_equal_work() -> None:
    """The same function over the same items may give something else; a pipe's request may not."""
    assert not call_of().does_the_work_of(call_of())
    pipe = plan_of("out").task
    assert pipe.does_the_work_of(pipe)
    assert not pipe.does_the_work_of(call_of())
    assert not pipe.does_the_work_of(plan_of("other").task)


def test_only_results_that_are_kept_are_promised() -> None:
    """With the function and the bundles among the items as their lineage."""
    with pytest.raises(Conflict, match="were not asked to become a bundle"):
        call_of().promised()
    given = Parent("item", "numbers", new_id(), digest_of(b"1"))
    promised = call_of(output="all", output_id=new_id(), parents=(given,)).promised()
    assert promised.name == "all"
    assert promised.lineage.pipe == "lab.model.fit"
    assert promised.lineage.parents == (given,)


def test_a_job_of_a_call_is_told_its_part(tmp_path: Path) -> None:
    """Without one it does nothing, and says so."""
    plan = replace(plan_of("out"), task=call_of())
    envelope = worked(tmp_path, plan, plan.to_bytes())
    assert envelope.error == "InfraError"
    assert "is carried out in parts, and this job was told none" in envelope.message


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
    data = edited(plan, lambda found: found.update(image=image, task={"kind": "dance"}))
    envelope = worked(tmp_path, plan, data)
    assert envelope.error == "InfraError"
    assert "a task of the kind 'dance'" in envelope.message
    assert "(it knows pipe, call)" in envelope.message
    assert cure in envelope.message


def test_a_client_that_does_not_know_a_task_says_so() -> None:
    """A newer bundlerun submitted it."""
    data = edited(plan_of("out"), lambda found: found.update(task={"kind": "dance"}))
    with pytest.raises(IntegrityError, match="kind 'dance' is not known") as no:
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
