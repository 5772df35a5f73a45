"""The log of a job that several items share, while it runs."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

import bundlerun as br
from tests.runs.calls.conftest import Lab

pytestmark = pytest.mark.heavy

LONG_S = 60


def writes(number: int, folder: str) -> int:
    """Write to both streams, the last line without its end; the second waits for a file."""
    import os
    import sys
    import time

    print("out", number)
    print(f"[9] err {number}", file=sys.stderr)
    print("last", number, end="", flush=True)
    while number == 1 and not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.02)
    return number


def seen(run: str, lines: int) -> list[str]:
    """The log once it has so many lines."""
    until_s = time.monotonic() + LONG_S
    for _ in itertools.count():
        found = list(br.logs(run))
        if len(found) >= lines:
            return found
        assert time.monotonic() < until_s, found
        time.sleep(0.1)
    raise AssertionError


def test_the_log_of_an_item_has_no_line_of_its_neighbours(lab: Lab) -> None:
    """While its job runs; that of the whole run says of each line whose it is. What an item writes
    cannot be taken for another's."""
    folder = str(lab.path)
    run = br.map(writes, [0, 1], backend="Processes", chunksize=2, kwargs={"folder": folder})
    mine = ["[9] err 1", "last 1", "out 1"]
    assert sorted(seen(f"{run.run_id}:1", 3)) == mine
    whole = [line for line in br.logs(run.run_id) if line.startswith("[1] ")]
    assert sorted(whole) == [f"[1] {line}" for line in mine]
    assert [line for line in br.logs(f"{run.run_id}:0") if "1" in line] == []
    Path(folder, "go").touch()
    assert list(run.results(LONG_S)) == [0, 1]
    assert sorted(seen(f"{run.run_id}:1", 3)) == mine
