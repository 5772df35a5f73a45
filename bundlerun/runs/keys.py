"""Where the objects of a run lie on its remote."""

from __future__ import annotations


def result_key(run_id: str, index: int, attempt: int) -> str:
    """Where attempt number ``attempt`` of the job at ``index`` of a run leaves its envelope on the
    remote; the one job of a run has the index 0."""
    return f"runs/{run_id}/{index}/result.{attempt}.json"


def plan_key(run_id: str) -> str:
    """Where a run's plan lies on the remote."""
    return f"runs/{run_id}/plan.json"


def claim_key(run_id: str, index: int) -> str:
    """Where the job that carries out the part ``index`` of a run says so on the remote."""
    return f"runs/{run_id}/{index}/claim"


def handle_key(run_id: str) -> str:
    """Where the handle of a run's job lies on the remote."""
    return f"runs/{run_id}/handle"
