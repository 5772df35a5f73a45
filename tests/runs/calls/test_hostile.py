"""Hostile bytes at every key of a run: what the run did not write is never opened, nor believed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.errors import BundlerunError, IntegrityError, RunNotFound, Untrusted
from bundlerun.futures.codec import Codec
from bundlerun.futures.item_packs import entries_of, packed
from bundlerun.futures.outcome import Outcome, Raised
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.remotes.folder import FileRemote
from tests.runs.calls.conftest import Lab

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

ITEMS = 4


class Bomb:
    """Loaded, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.fixture(scope="module")
def nowhere() -> Codec:
    """A codec of small values alone."""
    return Codec(FileRemote("file:///proc/none"), Path("/proc/none"))


def flipped(data: bytes) -> Iterator[bytes]:
    """One bit of its beginning, and of its middle."""
    for at in (0, len(data) // 2):
        changed = bytearray(data)
        changed[at] ^= 1
        yield bytes(changed)


def cut(data: bytes) -> Iterator[bytes]:
    """Nothing, all but a byte, and one more."""
    yield from (b"", data[:-1], data + b"\0")


def outcomes_of_others(data: bytes, bomb: Bomb, codec: Codec) -> Iterator[bytes]:
    """Packs of outcomes in the place of those of the run."""
    entries = entries_of(data)
    yield packed(entries[::-1])
    value, other = codec.encode([bomb, {1}]), Seal.new()
    for outcome in (
        Outcome(0, value=value),
        Outcome(0, value=codec.encode(99)),
        Outcome(0, raised=Raised("lab.Error", "x", "", pickle.dumps(bomb))),
    ):
        told = [Outcome(**{**vars(outcome), "index": index}) for index in range(ITEMS)]
        yield packed([other.sealed(Sealed.OUTCOME, each.index, each.to_bytes()) for each in told])


@pytest.mark.parametrize("how", ["flipped", "cut", "of others"])
def test_results_of_others_are_not_believed(how: str, lab: Lab, nowhere: Codec) -> None:
    """Gathered or not: an item has its own result, or an error that says what is wrong."""
    mark = lab.path / "exploded"
    run = br.map(lambda x: {x}, range(ITEMS), backend="Processes", chunksize=ITEMS)
    assert list(run.results(60)) == [{x} for x in range(ITEMS)]
    br.wait(run.run_id)
    folder = lab.remote / "runs" / run.run_id
    (gathered,), (written,) = folder.glob("all/*"), folder.glob("e/*")
    sound = gathered.read_bytes()
    changes: dict[str, Callable[[], Iterator[bytes]]] = {
        "flipped": lambda: flipped(sound),
        "cut": lambda: cut(sound),
        "of others": lambda: outcomes_of_others(sound, Bomb(mark), nowhere),
    }
    refused = 0
    for hostile in changes[how]():
        for path in (gathered, written):
            path.chmod(0o644)
            path.write_bytes(hostile)
        again = br.attach(run.run_id)
        for index, found in enumerate(again.results(60, return_exceptions=True)):
            assert found == {index} or isinstance(found, BundlerunError), found
            refused += isinstance(found, BundlerunError)
        assert not mark.exists()
    assert refused


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_plan_of_others_is_not_believed(how: str, lab: Lab) -> None:
    """A run whose plan was changed is refused, where its key is known."""
    run = br.map(abs, [1], backend="Processes")
    assert list(run.results(60)) == [1]
    path = lab.remote / "runs" / run.run_id / "plan.json"
    sound = path.read_bytes()
    path.chmod(0o644)
    more = json.loads(sound)
    more["task"]["func"] = "os.system"
    changed = [json.dumps(more).encode()] if how == "flipped" else []
    for hostile in (*changed, *(flipped if how == "flipped" else cut)(sound)):
        path.write_bytes(hostile)
        if hostile == sound + b"\0":
            continue
        with pytest.raises((IntegrityError, RunNotFound)):
            br.attach(run.run_id)
    path.write_bytes(sound)
    assert list(br.attach(run.run_id).results(60)) == [1]


def test_without_the_key_values_come_and_pickles_do_not(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another store, when no backend knows the job any more; unless the caller trusts."""
    from lab import model

    run = br.map(lambda x: {x} if x % 2 else x, range(ITEMS), backend="Processes")
    assert len(list(run.results(60))) == ITEMS
    failed = br.map(model.fails, [2], backend="Processes")
    assert isinstance(failed[0].exception(60), ValueError)
    shutil.rmtree(lab.path / "processes")
    monkeypatch.setenv("BUNDLERUN_STORE", str(lab.path / "elsewhere"))
    br.remote(br.context("work").name, f"file://{lab.remote}")
    br.switch("work")
    found = list(br.attach(run.run_id).results(60, return_exceptions=True))
    assert (found[0], found[2]) == (0, 2)
    assert [type(error) for error in (found[1], found[3])] == [Untrusted, Untrusted]
    assert isinstance(br.attach(failed.run_id)[0].exception(60), Untrusted)
    assert list(br.attach(run.run_id, trust=True).results(60)) == [0, {1}, 2, {3}]
    assert isinstance(br.attach(failed.run_id, trust=True)[0].exception(60), ValueError)
