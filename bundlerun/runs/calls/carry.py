"""Carrying out a call inside a job: a child of a part works through its items.

The child is a supervisor, which has the run's key and the remote, and one process that runs the
user's code (``item_process``). An item that kills the process, or is late, fails alone: the next
one gets a new process. Nothing is unpickled before its seal was found right, nor by a Python or a
cloudpickle that is not the one it was pickled with.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun import errors
from bundlerun.errors import BundlerunError, InfraError, IntegrityError, RunFailed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.payload import Versions, check_versions
from bundlerun.futures.sealing import TAG_BYTES, Seal, Sealed
from bundlerun.runs.calls.cancels import Cancels
from bundlerun.runs.calls.item_log import ItemLog
from bundlerun.runs.calls.items import read_items
from bundlerun.runs.calls.outcomes import Outcomes, final_ones
from bundlerun.runs.calls.parts import Part
from bundlerun.runs.calls.sealed_plan import checked_call
from bundlerun.runs.calls.stopping import Stop, stopping
from bundlerun.runs.calls.supervised import Setting
from bundlerun.runs.calls.supervisor import Supervisor, masked_outcome
from bundlerun.runs.claim import claim
from bundlerun.runs.keys import function_key, part_key, place_of, plan_key
from bundlerun.runs.plan import RunPlan

if TYPE_CHECKING:
    from bundlerun.progress import Progress
    from bundlerun.runs.task import CallTask
    from bundlerun.runs.worker import Attempt, Done

STOPPED = 128 + signal.SIGTERM
"""The exit code of a job that was asked to end, as shells have it."""


def carry_call(plan: RunPlan, attempt: Attempt, folder: Path, progress: Progress) -> Done:
    """See ``worker.Carry``.

    Raises InfraError: a call is carried out in parts, by jobs that are told theirs.
    """
    raise InfraError(
        f"run {plan.run_id} is carried out in parts, and this job was told none",
        hint=f"bundlerun cancel {plan.run_id[:13]}",
    )


@dataclass(frozen=True)
class Child:
    """What a job of a call works on.

    The plan's task and its part, read from the remote and found to be the run's own, and the
    ``items`` that are still to be done. ``attempt`` is the number of the attempt that it makes of
    them.
    """

    task: CallTask
    part: Part
    items: Sequence[int]
    attempt: int


def carry_part(attempt: Attempt, number: int, key: str, *, staging: Path | None) -> int:
    """Work through the items of a part's job, telling their outcomes; its exit code.

    It is the job ``attempt.index`` of part ``number``. ``key`` is the run's, in hex; ``staging``
    the folder that is written instead of the remote, where there is one.

    0 when all succeeded or were cancelled, else that of the first failure's class; ``STOPPED``
    after SIGTERM: then what was done is written, and a retried job does the rest. Raises
    IntegrityError for what the run did not write, Conflict where another job has this place, and
    what the remote raises.
    """
    seal = Seal.from_hex(key)
    first: str | None = None
    with stopping() as stop, _scratch() as folder:
        child = _child(attempt, number, seal)
        outcomes = Outcomes(attempt.remote, attempt.run_id, number, child.attempt, seal)
        setting = Setting(attempt.remote.url, staging, Path(folder), attempt.run_id)
        # Also where something else breaks: what was done is done.
        with contextlib.closing(outcomes):
            for outcome in _worked(child, attempt, seal, setting, stop, outcomes):
                outcomes.add(outcome)
                if not outcome.ok and outcome.failure != errors.Cancelled.__name__:
                    first = first or outcome.failure or errors.UserError.__name__
        if stop.asked:
            return STOPPED
    return 0 if first is None else errors.named(first, InfraError, RunFailed).exit_code


def _scratch() -> tempfile.TemporaryDirectory[str]:
    # What an item left there, and cannot be removed, is not a failure of the job.
    return tempfile.TemporaryDirectory(prefix="bundlerun-", ignore_cleanup_errors=True)


def _child(attempt: Attempt, number: int, seal: Seal) -> Child:
    """What this job is to do, and nobody else does; its place is taken then.

    Three requests, and where an earlier attempt began, those that tell what it did.
    """
    remote, run_id = attempt.remote, attempt.run_id
    task = checked_call(RunPlan.from_bytes(_there(attempt, plan_key(run_id))), seal)
    part = Part.from_sealed(_there(attempt, part_key(run_id, number)), seal, run_id, number)
    items = part.items_of(attempt.index)
    if items[-1] >= task.items:
        raise IntegrityError(f"run {run_id} has {task.items} items, and part {number} more")
    fresh = claim(remote, run_id, place_of(number, attempt.index), attempt.job)
    done = set() if fresh else final_ones(remote, run_id, number, items, seal)
    left = [index for index in items if index not in done]
    return Child(task, part, left, part.attempt + attempt.number - 1)


def _there(attempt: Attempt, key: str) -> bytes:
    data = attempt.remote.get(key)
    if data is None:
        raise InfraError(
            f"{attempt.remote.url} has no {key}", hint=f"bundlerun jobs {attempt.run_id[:13]}"
        )
    return data


def _worked(
    child: Child, attempt: Attempt, seal: Seal, setting: Setting, stop: Stop, outcomes: Outcomes
) -> Iterator[Outcome]:
    """The outcome of each item of ``child``, as far as the job is not to end before."""
    remote, run_id, task = attempt.remote, attempt.run_id, child.task
    if not child.items:
        return
    try:
        check_versions(Versions(task.python, task.cloudpickle))
        sealed = _there(attempt, function_key(task.function or run_id))
        if task.function:
            # Another run sent it, by a key of its own; the plan has its seal by this one's.
            sealed = bytes.fromhex(task.function_seal) + sealed[TAG_BYTES:]
        function = seal.opened(Sealed.FUNCTION, 0, sealed)
    except (InfraError, IntegrityError) as error:
        for index in child.items:
            yield _undone(index, child, error)
        return
    cancels = Cancels(remote, run_id, child.items, seal)

    def meanwhile() -> None:
        outcomes.flush_if_late()
        cancels.look()

    supervisor = Supervisor(
        setting,
        function,
        ItemLog(tuple(attempt.hidden.values()), labelled=child.part.chunk > 1),
        limit_s=task.timeout_s,
        memory_mib=child.part.memory_mib,
        attempt=child.attempt,
        stop=stop,
        cancels=cancels,
        meanwhile=meanwhile,
    )
    with contextlib.closing(cancels), contextlib.closing(supervisor):
        for index, item in read_items(remote, run_id, task.packs, child.items, seal):
            if isinstance(item, IntegrityError):
                yield _undone(index, child, item)
                continue
            outcome = supervisor.outcome_of(index, item)
            if outcome is None:
                return
            yield masked_outcome(outcome, tuple(attempt.hidden.values()))


def _undone(index: int, child: Child, error: BundlerunError) -> Outcome:
    """The outcome of an item that was not begun."""
    return Outcome(index, child.attempt, failure=InfraError.__name__, reason=str(error))
