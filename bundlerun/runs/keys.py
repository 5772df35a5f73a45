"""Where the objects of a run lie on its remote."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"runs/[^/]+/e/(\d{9})\.(\d+)\.(\d+)\.(\d+)\.(\d+)", re.ASCII)


def result_key(run_id: str, index: int, attempt: int) -> str:
    """The key of the envelope of one attempt of the job at ``index`` of a run.

    ``attempt`` is its number. The one job of a run has the index 0.
    """
    return f"runs/{run_id}/{index}/result.{attempt}.json"


def plan_key(run_id: str) -> str:
    """Where a run's plan lies on the remote."""
    return f"runs/{run_id}/plan.json"


def claim_key(run_id: str, place: int | str) -> str:
    """The key by which a job claims the place ``place`` in a run.

    ``place`` is the job's index, or what ``place_of`` gives.
    """
    return f"runs/{run_id}/{place}/claim"


def handle_key(run_id: str) -> str:
    """Where the handle of a run's job lies on the remote."""
    return f"runs/{run_id}/handle"


def place_of(part: int, child: int) -> str:
    """What a claim calls the ``child``-th job of a part of a run."""
    return f"{part}.{child}"


def function_key(run_id: str) -> str:
    """Where the function of a run lies, with its sources."""
    return f"runs/{run_id}/f"


def items_key(run_id: str, pack: int) -> str:
    """Where a pack of a run's items lies, from 0."""
    return f"runs/{run_id}/i/{pack:06}"


def used_pack_key(run_id: str, pack: str) -> str:
    """What says that the items of a run use a pack of the remote, for clean-ups."""
    return f"runs/{run_id}/p/{pack}"


def part_key(run_id: str, part: int) -> str:
    """Where one submission of a run is described."""
    return f"runs/{run_id}/h/{part:04}"


def gathered_key(run_id: str, pack: int) -> str:
    """Where a pack of all outcomes of a run lies, from 0, in the order of the items."""
    return f"runs/{run_id}/all/{pack:06}"


def cancels_prefix(run_id: str) -> str:
    """What the keys begin with that say which items of a run are not wanted any more."""
    return f"runs/{run_id}/c/"


def cancel_key(run_id: str, index: int) -> str:
    """Where it is said that the item ``index`` of a run is not wanted any more."""
    return f"{cancels_prefix(run_id)}{index:09}"


def outcomes_prefix(run_id: str) -> str:
    """What the keys of a run's outcomes begin with."""
    return f"runs/{run_id}/e/"


@dataclass(frozen=True)
class Written:
    """The contents of the key of an object of outcomes.

    Those of ``items`` consecutive items from ``first``, ``failed`` of which failed, made in one
    attempt of a part. The key itself proves nothing: what lies there is sealed.
    """

    first: int
    attempt: int
    part: int
    items: int
    failed: int

    def key(self, run_id: str) -> str:
        """Where the outcomes lie."""
        return (
            f"{outcomes_prefix(run_id)}{self.first:09}"
            f".{self.attempt}.{self.part}.{self.items}.{self.failed}"
        )

    @staticmethod
    def of(key: str) -> Written | None:
        """What ``key`` says; None for any other key."""
        match = _WRITTEN.fullmatch(key)
        return None if match is None else Written(*map(int, match.groups()))
