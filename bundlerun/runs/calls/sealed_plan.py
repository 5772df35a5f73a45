"""The seal of a call's plan: it proves that the run wrote it."""

from __future__ import annotations

import dataclasses

from bundlerun.errors import IntegrityError
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import CallTask


def sealed_plan(plan: RunPlan, seal: Seal) -> RunPlan:
    """``plan``, of a call, with its seal."""
    task = call_of(plan)
    tag = seal.tag(Sealed.PLAN, 0, _without_seal(plan, task))
    return dataclasses.replace(plan, task=dataclasses.replace(task, seal=tag.hex()))


def checked_call(plan: RunPlan, seal: Seal) -> CallTask:
    """The task of ``plan``.

    Raises IntegrityError where ``seal`` did not seal the plan, or it is not a call's.
    """
    task = call_of(plan)
    seal.opened(Sealed.PLAN, 0, _tag(task.seal) + _without_seal(plan, task))
    return task


def call_of(plan: RunPlan) -> CallTask:
    """The task of a call's plan.

    Raises IntegrityError for any other's.
    """
    if not isinstance(plan.task, CallTask):
        raise IntegrityError(
            f"run {plan.run_id} carries out a {plan.task.kind}, and this job is of a call",
            hint=f"bundlerun cancel {plan.run_id[:13]}",
        )
    return plan.task


def _tag(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise IntegrityError(f"{text!r:.80} is not a seal") from error


def _without_seal(plan: RunPlan, task: CallTask) -> bytes:
    bare = dataclasses.replace(task, seal="")
    return dataclasses.replace(plan, task=bare).to_bytes()
