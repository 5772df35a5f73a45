"""One map that two stores follow at once: what runs out of memory goes again by one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bundlerun.remotes.base import Remote
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.calls import repeats
from bundlerun.runs.keys import part_key
from tests.remotes.watched import Counting
from tests.runs.calls.conftest import Lab
from tests.runs.calls.test_shelved import Scene, scene_of, submitted

pytestmark = pytest.mark.heavy

LONG_S = 60


class Meeting(Counting):
    """Has ``meets`` called before the first write of ``key``."""

    def __init__(self, inner: Remote, key: str, meets: Callable[[], None]) -> None:
        super().__init__(inner)
        self.key = key
        self.meets: Callable[[], None] | None = meets

    def put(self, key: str, data: bytes) -> None:
        """See Remote."""
        self._meet(key)
        super().put(key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        """See Remote."""
        self._meet(key)
        return super().put_new(key, data)

    def _meet(self, key: str) -> None:
        if key == self.key and self.meets is not None:
            meets, self.meets = self.meets, None
            meets()


@pytest.fixture
def stores(lab: Lab) -> Iterator[tuple[Scene, Scene]]:
    """Two stores with one remote."""
    found = scene_of(lab, "one"), scene_of(lab, "two")
    for scene in found:
        scene.workspace.close()
    yield found
    for scene in found:
        scene.workspace.close()


def hungry(memory_mib: int, value: bytes) -> dict[str, Any]:
    """The outcome of an item that needs 2,000 MiB."""
    return {"value": value} if memory_mib >= 2000 else {"failure": "OutOfMemory"}


def until(ready: Callable[[], bool]) -> None:
    """Wait for it."""
    end_s = time.monotonic() + LONG_S
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize("others", [set(), {2}], ids=["equal", "more"])
def test_a_repeat_has_one_number_whoever_is_faster(
    stores: tuple[Scene, Scene], lab: Lab, others: set[int]
) -> None:
    """Who comes second finds the part of the first, and submits none: no item is lost, and none is
    begun by two jobs."""
    one, two = stores
    shelf, remote = one.shelf, FileRemote(f"file://{lab.remote}")
    run_id = submitted(lab, 4, memory_mib=1000, memory_factor=2, chunksize=1)
    failing = dict.fromkeys({1} | others, hungry)
    met = threading.Event()
    with ThreadPoolExecutor() as pool:

        def meets() -> None:
            shelf.work(run_id, remote, failing=failing, only=others)
            waits.append(pool.submit(two.workspace.wait, run_id))
            until(lambda: 1 in shelf.jobs(run_id))
            met.set()

        waits = []
        url = one.workspace.scope.context().remote_url
        one.workspace.scope._remotes[url or ""] = Meeting(remote, part_key(run_id, 1), meets)
        shelf.work(run_id, remote, failing=failing, only={1})
        waits.append(pool.submit(one.workspace.wait, run_id))
        assert met.wait(LONG_S)
        while not all(each.done() for each in waits):
            shelf.work(run_id, remote, failing=failing)
            time.sleep(0.05)
        assert [each.result().record.state.value for each in waits] == ["succeeded"] * 2
    assert list(one.workspace.attach(run_id).results(LONG_S)) == [0, 1, 2, 3]
    submits = [each for each in shelf.asked("submit") if each.startswith(run_id)]
    assert submits == [f"{run_id}.0", f"{run_id}.1"]


class Dying(Meeting):
    """Its client ends right behind the first write of ``key``."""

    def put_new(self, key: str, data: bytes) -> bool:
        """See Remote."""
        new = super().put_new(key, data)
        if key == self.key:
            raise KeyboardInterrupt
        return new


def test_a_repeat_whose_store_ended_is_submitted_by_another(
    stores: tuple[Scene, Scene], lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the number that the first gave it, and is waited for as long as a submit may take."""
    monkeypatch.setattr(repeats, "SUBMITTED_WITHIN_S", 1.0)
    one, two = stores
    shelf, remote = one.shelf, FileRemote(f"file://{lab.remote}")
    run_id = submitted(lab, 4, memory_mib=1000, memory_factor=2, chunksize=1)
    failing = {1: hungry}
    url = one.workspace.scope.context().remote_url
    died, key = threading.Event(), part_key(run_id, 1)
    one.workspace.scope._remotes[url or ""] = Dying(remote, key, lambda: None)
    two.workspace.scope._remotes[url or ""] = Meeting(remote, key, lambda: until(died.is_set))
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(two.workspace.wait, run_id)
        shelf.work(run_id, remote, failing=failing)
        with pytest.raises(KeyboardInterrupt):
            one.workspace.wait(run_id)
        assert 1 not in shelf.jobs(run_id)
        died.set()
        while not waits.done():
            shelf.work(run_id, remote, failing=failing)
            time.sleep(0.05)
        assert waits.result().record.state.value == "succeeded"
    assert list(two.workspace.attach(run_id).results(LONG_S)) == [0, 1, 2, 3]
    submits = [each for each in shelf.asked("submit") if each.startswith(run_id)]
    assert submits == [f"{run_id}.0", f"{run_id}.1"]
