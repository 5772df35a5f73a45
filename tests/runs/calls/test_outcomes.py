"""When the outcomes of a long chunk are written: soon at first, and then ever more rarely."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.bundles.record import new_id
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import Seal
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.calls.outcomes import Outcomes
from bundlerun.runs.keys import outcomes_prefix


def ends_of(path: Path, items: int, every_s: float, is_looked_after: bool) -> list[int]:
    """How many objects there are after each item of a job that takes ``every_s`` seconds each."""
    remote, run_id, now_s, found = FileRemote(f"file://{path}"), new_id(), 0.0, []
    outcomes = Outcomes(remote, run_id, 0, 1, Seal.new(), now=lambda: now_s)
    for index in range(items):
        now_s += every_s
        if is_looked_after:
            outcomes.flush_if_late()
        outcomes.add(Outcome(index, 1, value=b"x"))
        outcomes.drain()
        found.append(len(list(remote.list(outcomes_prefix(run_id)))))
    outcomes.close()
    return found


@pytest.mark.parametrize("is_looked_after", [True, False])
def test_the_first_results_of_a_long_chunk_come_within_two_seconds(
    tmp_path: Path, is_looked_after: bool
) -> None:
    """Also where items are so short that nobody looks while they work."""
    ends = ends_of(tmp_path, 80, 0.05, is_looked_after)
    assert ends[45] >= 1


@pytest.mark.heavy
def test_results_of_an_hour_are_few_objects(tmp_path: Path) -> None:
    """One each 30 s, and five more at the start."""
    ends = ends_of(tmp_path, 1200, 3.0, True)
    assert 120 <= ends[-1] <= 126
