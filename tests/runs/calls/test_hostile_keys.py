"""Hostile bytes at each key of a run on S3: none is unpickled, none is believed, and all else of
the run is told as before."""

from __future__ import annotations

import concurrent.futures
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bundlerun as br
from bundlerun.errors import BundlerunError
from bundlerun.futures.future import MapRun
from bundlerun.remotes.base import Remote
from tests.runs.calls.conftest import Lab
from tests.runs.calls.queued import Queued, queued
from tests.runs.calls.test_hostile import Bomb

pytestmark = pytest.mark.heavy

KINDS = {"plan.json", "f", "i", "p", "h", "c", "e", "all", "claim", "result"}
"""What lies under a run: a new kind of key is one more to show this of."""

LONG_S = 60
LARGE = 200_000


@pytest.fixture
def queue(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    """A queue, and S3."""
    with queued(lab.path, monkeypatch) as found:
        yield found


def kind_of(key: str) -> str:
    """Which kind of object of a run a key names."""
    rest = key.split("/", 2)[2]
    found = re.search(r"claim$|result", rest)
    return found.group() if found else rest.partition("/")[0]


def settled(queue: Queued, workspace: br.Workspace) -> MapRun[Any]:
    """A run that has left all kinds of objects: of large items, with one that was cancelled."""
    queue.machines.go.clear()
    items = [np.full(LARGE, number, dtype=np.uint8) for number in range(4)]
    options: dict[str, Any] = {"backend": "AWSBatch", "image": "any", "chunksize": 2}
    run = workspace.map(lambda array: array, items, **options)
    assert run[3].cancel()
    queue.machines.go.set()
    concurrent.futures.wait(run, LONG_S)
    workspace.wait(run.run_id)
    return run


def hostile(sound: bytes, other: bytes, bomb: Bomb) -> Iterator[bytes]:
    """Nothing, a pickle, one bit, and what another run wrote at the same place."""
    yield b""
    yield pickle.dumps(bomb)
    yield bytes([*sound[:-1], sound[-1] ^ 1]) if sound else b"x"
    yield other


def log_of(workspace: br.Workspace) -> Callable[[str], object]:
    """Reads the log of a run to its end."""
    return lambda run_id: list(workspace.logs(run_id))


def check(workspace: br.Workspace, run_id: str, where: str) -> int:
    """Ask a store all that it can tell of the run; how many items were refused."""
    refused = 0
    try:
        found = list(workspace.attach(run_id).results(LONG_S, return_exceptions=True))
    except BundlerunError:
        return 1
    for index, value in enumerate(found[:3]):
        if isinstance(value, BaseException):
            assert isinstance(value, BundlerunError), (where, value)
            refused += 1
        else:
            assert np.array_equal(value, np.full(LARGE, index, dtype=np.uint8)), where
    asks: tuple[Callable[[str], object], ...] = (workspace.jobs, workspace.wait, log_of(workspace))
    for ask in asks:
        try:
            ask(run_id)
        except BundlerunError:
            refused += 1
    return refused


def test_every_key_of_a_run_may_be_hostile(queue: Queued, lab: Lab) -> None:
    """For the store that submitted it and for one that knows its key from a job alone; once what
    was there is back, all of it is told again."""
    mark = lab.path / "exploded"
    one, two = queue.workspace("one"), queue.workspace("two")
    run, other = settled(queue, one), settled(queue, one)
    remote: Remote = queue.machines.remote
    keys = {kind_of(entry.key): entry.key for entry in remote.list(f"runs/{run.run_id}/")}
    theirs = {kind_of(entry.key): entry.key for entry in remote.list(f"runs/{other.run_id}/")}
    assert keys.keys() == theirs.keys() == KINDS
    refused = 0
    for kind, key in sorted(keys.items()):
        sound = remote.get(key) or b""
        foreign = remote.get(theirs[kind]) or b""
        for number, data in enumerate(hostile(sound, foreign, Bomb(mark))):
            remote.put(key, data)
            refused += check((one, two)[number % 2], run.run_id, f"{kind} {number}")
            assert not mark.exists(), (kind, number)
        remote.put(key, sound)
    assert refused
    three = queue.workspace("three")
    assert [check(each, run.run_id, "sound") for each in (one, two, three)] == [0, 0, 0]
    for workspace in (one, two, three):
        workspace.close()
