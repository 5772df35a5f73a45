"""Carrying out a call inside a job: a child of a part works through its items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.errors import InfraError

if TYPE_CHECKING:
    from bundlerun.progress import Progress
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.worker import Attempt, Done


def carry_call(plan: RunPlan, attempt: Attempt, folder: Path, progress: Progress) -> Done:
    """See ``worker.Carry``. Raises InfraError: a call is carried out in parts, by jobs that are
    told theirs."""
    raise InfraError(
        f"run {plan.run_id} is carried out in parts, and this job was told none",
        hint=f"bundlerun cancel {plan.run_id[:13]}",
    )
