"""How often the job of a call asks the remote: by its chunk, not by its items."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.errors import RemoteUnreachable
from bundlerun.remotes.base import Remote
from bundlerun.runs.calls.carry import carry_part
from bundlerun.runs.keys import (
    Written,
    cancels_prefix,
    claim_key,
    function_key,
    items_key,
    part_key,
    place_of,
    plan_key,
)
from bundlerun.runs.worker import Attempt
from tests.remotes.watched import Counting
from tests.runs.calls.scene import Scene

pytestmark = pytest.mark.heavy


class Silent(Counting):
    """Does not answer the first ``times`` that outcomes are written."""

    def __init__(self, inner: Remote, times: int) -> None:
        super().__init__(inner)
        self._times = times

    def put(self, key: str, data: bytes) -> None:
        if "/e/" in key and self._times > 0:
            self._times -= 1
            self.requests.append(("put", key))
            raise RemoteUnreachable(f"{self.url} does not answer")
        super().put(key, data)


def carried_out(
    scene: Scene, index: int = 0, number: int = 1, remote: Counting | None = None
) -> list[tuple[str, str]]:
    """The requests of one attempt of a job of the first part."""
    remote = remote or Counting(scene.remote)
    attempt = Attempt(remote, scene.run, f"job-{index}", number=number, index=index)
    assert carry_part(attempt, 0, scene.seal.hex(), staging=None) == 0
    return remote.requests


def test_a_job_of_any_chunk_asks_seven_times(tmp_path: Path) -> None:
    """Plan, part, claim, function, two for its items, and one to tell.

    And one now and then for what was cancelled of a chunk.
    """
    scene = Scene(tmp_path / "scene", abs, range(101), chunk=100)
    requests = carried_out(scene)
    looks = [each for each in requests if each == ("list", cancels_prefix(scene.run))]
    assert looks
    assert [key for what, key in requests if (what, key) not in looks] == [
        plan_key(scene.run),
        part_key(scene.run, 0),
        claim_key(scene.run, place_of(0, 0)),
        function_key(scene.run),
        items_key(scene.run, 0),
        items_key(scene.run, 0),
        Written(0, 1, 0, 100, 0).key(scene.run),
    ]
    assert len(carried_out(scene, index=1)) == 7


def test_a_retried_job_that_is_done_reads_neither_function_nor_items(tmp_path: Path) -> None:
    """It lists what was told, reads that, and ends."""
    scene = Scene(tmp_path / "scene", abs, range(3))
    carried_out(scene)
    requests = carried_out(scene, number=2)
    asked = {key for _, key in requests}
    assert function_key(scene.run) not in asked
    assert items_key(scene.run, 0) not in asked
    assert len(requests) == 6
    assert [end.attempt for end in scene.ends()] == [1, 1, 1]


def test_a_remote_that_is_silent_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """What could not be written is written with the next, or at the end."""
    scene = Scene(tmp_path / "scene", abs, range(3))
    requests = carried_out(scene, remote=Silent(scene.remote, 1))
    assert [what for what, key in requests if "/e/" in key] == ["put", "put"]
    assert scene.values() == [0, 1, 2]


def test_a_job_that_cannot_tell_anything_says_so(tmp_path: Path) -> None:
    """It ends with the remote's own error."""
    scene = Scene(tmp_path / "scene", abs, range(3))
    with pytest.raises(RemoteUnreachable, match="does not answer"):
        carried_out(scene, remote=Silent(scene.remote, 9))
    assert scene.written() == []
