"""The job of a call works through its items, and leaves an outcome of each, whatever they do."""

from __future__ import annotations

import functools
import math
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest

import bundlerun as br
from bundlerun.connections import Connections
from bundlerun.errors import ItemFailed
from bundlerun.futures.outcome import exception_of
from bundlerun.remotes.base import Remote
from bundlerun.remotes.open import open_remote
from bundlerun.settings import read_settings
from tests.runs.calls.scene import Scene, is_alive, mark

pytestmark = pytest.mark.heavy

ROWS = 1_000_000


def acted(what: str) -> Any:
    """Do what the item is called; what it returns where it returns."""
    print(f"begins {what}")
    os.write(2, b"words of " + what.encode() + b"\n")
    if what == "none":
        return None
    if what == "lock":
        return threading.Lock()
    if what == "generator":
        return (number for number in range(3))
    if what == "raise":
        raise ValueError("the item has had enough")
    if what == "odd":
        raise Odd("a", "b")
    if what == "sys.exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "os._exit":
        print("no newline", end="")
        os._exit(5)
    if what == "fork" and os.fork() == 0:
        return "the child's own answer"
    return what.upper()


class Odd(Exception):
    """Its ``__init__`` takes other arguments than ``args``, and it holds what has no pickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two
        self.lock = threading.Lock()


ACTS = [
    *("first", "none", "lock", "generator", "raise", "odd", "sys.exit"),
    *("interrupt", "kill", "segfault", "os._exit", "fork", "last"),
]


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, tuple[int, str, str]]:
    """One job that went through ``ACTS``, and how it ended."""
    scene = Scene(tmp_path_factory.mktemp("acts"), acted, ACTS)
    return scene, scene.carried_out()


def test_an_item_fails_alone(acts: tuple[Scene, tuple[int, str, str]]) -> None:
    """Whatever it raises, returns or does to its process, the next one goes on."""
    scene, (code, _, stderr) = acts
    ends = dict(zip(ACTS, scene.ends(), strict=True))
    assert code == 11, stderr
    assert {what for what, end in ends.items() if end.ok} == {"first", "none", "fork", "last"}
    values = dict(zip(ACTS, scene.values(), strict=True))
    assert (values["first"], values["none"]) == ("FIRST", None)
    assert (values["fork"], values["last"]) == ("FORK", "LAST"), "a forked child answered"
    killed = {what: end for what, end in ends.items() if end.failure is not None}
    assert {what: end.failure for what, end in killed.items()} == {
        "kill": "UserError",
        "segfault": "UserError",
        "os._exit": "UserError",
    }
    assert killed["kill"].reason == "its process was killed by signal 9 (SIGKILL)"
    assert " in acted\n" in killed["segfault"].stderr, "where it was"
    assert killed["segfault"].reason == "its process was killed by signal 11 (SIGSEGV)"
    assert killed["os._exit"].reason == "it ended its process, with exit code 5"


def test_what_an_item_raises_comes_home(acts: tuple[Scene, tuple[int, str, str]]) -> None:
    """As itself where it can, else as an ItemFailed that tells its name and text."""
    scene, _ = acts
    ends = dict(zip(ACTS, scene.ends(), strict=True))
    errors = {what: exception_of(end, scene.run, True) for what, end in ends.items() if not end.ok}
    assert isinstance(errors["raise"], ValueError)
    assert "tests/runs/calls/test_child.py" in str(errors["raise"].__cause__)
    for what in ("lock", "generator", "odd", "sys.exit", "interrupt"):
        assert isinstance(errors[what], ItemFailed), what
    assert "SystemExit" in str(errors["sys.exit"])
    assert "test_child.Odd" in str(errors["odd"])


def test_the_output_of_each_item_is_its_own(acts: tuple[Scene, tuple[int, str, str]]) -> None:
    """Also where the item killed its process; and all of it is in the job's log, line by line, with
    the number of the item."""
    scene, (_, log, _) = acts
    for what, end in zip(ACTS, scene.ends(), strict=True):
        more = "no newline" if what == "os._exit" else ""
        assert end.stdout.splitlines()[0] == f"begins {what}"
        assert end.stdout.endswith(more or "\n")
        assert end.stderr.startswith(f"words of {what}\n")
        assert [word for word in ACTS if f"begins {word}" in end.stdout.splitlines()] == [what]
    lines = log.splitlines()
    for number, what in enumerate(ACTS):
        assert [line for line in lines if line.endswith(f" begins {what}")] == [
            f"[{number}] begins {what}"
        ]
        assert f"[{number}] words of {what}" in lines


def test_an_outcome_says_when_where_and_how_large(
    acts: tuple[Scene, tuple[int, str, str]],
) -> None:
    """Of those too whose process was killed."""
    scene, _ = acts
    ends = scene.ends()
    assert all(0 < end.started_s <= end.finished_s for end in ends)
    assert all(end.machine and end.attempt == 1 for end in ends)
    assert all(1 < end.peak_memory_mib < 1000 for end in ends)


def told(scene: Scene) -> tuple[int, int]:
    """How many items the keys of a job's objects tell of, one behind the other, and how many of
    them failed. On a busy machine there is more than one object: the first after a second, each
    further one after twice as long."""
    written, finished_s = scene.written(), [end.finished_s for end in scene.ends()]
    took_s = max(finished_s) - min(finished_s)
    assert len(written) <= 2 + math.log2(1 + took_s), (took_s, written)
    items = 0
    for each in written:
        assert each.first == items
        items += each.items
    return items, sum(each.failed for each in written)


def test_a_job_writes_few_objects(acts: tuple[Scene, tuple[int, str, str]]) -> None:
    """Their keys tell how many items are in them, and how many failed."""
    assert told(acts[0]) == (len(ACTS), 9)


def late(seconds: float) -> float:
    """Sleep so long, in a child of the process as well."""
    if seconds > 1:
        sleeps = [sys.executable, "-c", f"import time; time.sleep({seconds})"]
        with subprocess.Popen(sleeps) as child:
            mark(child.pid)
    return seconds


def test_an_item_that_is_late_fails_alone(tmp_path: Path) -> None:
    """With what it started; the limit is any number of seconds."""
    scene = Scene(tmp_path / "scene", late, [0.0, 600.0, 0.5], timeout_s=2.25)
    code, _, stderr = scene.carried_out()
    assert code == 13, stderr
    first, second, third = scene.ends()
    assert first.ok
    assert third.ok
    assert second.failure == "TimedOut"
    assert second.reason == "it ran longer than its limit of 2.25 s"
    assert second.finished_s - second.started_s < 60
    assert " in late\n" in second.stderr, "where it was"
    (child,) = scene.begun()
    assert not is_alive(int(child))


def squared(by: int, number: int) -> int:
    """Told its item by the environment, and nothing by arguments."""
    assert len(sys.argv) == 1
    assert os.environ["BUNDLERUN_INDEX"] == str(number)
    assert os.environ["BUNDLERUN_ATTEMPT"] == "1"
    assert len(os.environ["BUNDLERUN_RUN"]) == 36
    assert "BUNDLERUN_RUN_KEY" not in os.environ
    return number * number + by


class Adds:
    """A callable instance."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, number: int) -> int:
        return number + self.by


def closure(by: int) -> Any:
    """A function within a function."""

    def added(number: int) -> int:
        return number + by

    return added


@pytest.mark.parametrize(
    ("func", "second"),
    [
        (lambda number: number + 10, 11),
        (closure(20), 21),
        (Adds(30), 31),
        (functools.partial(squared, 40), 41),
    ],
    ids=["lambda", "closure", "instance", "partial"],
)
def test_any_callable_is_carried_out(tmp_path: Path, func: Any, second: int) -> None:
    """By value or by reference, as it was pickled."""
    scene = Scene(tmp_path / "scene", func, range(3))
    code, _, stderr = scene.carried_out()
    assert code == 0, stderr
    assert scene.values()[1] == second


def test_a_thousand_trivial_items_are_few_objects(tmp_path: Path) -> None:
    """Of one process, their items read from two packs."""
    scene = Scene(tmp_path / "scene", os.path.basename, ["/a"] * 1000, pack=600)
    code, _, stderr = scene.carried_out()
    assert code == 0, stderr
    assert scene.values() == ["a"] * 1000
    assert told(scene) == (1000, 0)


def test_each_child_works_on_its_chunk(tmp_path: Path) -> None:
    """Also the last, which has fewer items; nobody does another's."""
    scene = Scene(tmp_path / "scene", abs, range(101), chunk=50, pack=40)
    for index in (2, 0, 1):
        code, _, stderr = scene.carried_out(index)
        assert code == 0, stderr
    assert scene.values() == list(range(101))
    items = Counter[int]()
    for written in scene.written():
        items[written.first // 50] += written.items
    assert items == {0: 50, 1: 50, 2: 1}


def large(number: int) -> bytes:
    """An exception's text that fills packs."""
    raise ValueError(str(number) * (3 << 20))


def test_much_to_tell_is_several_objects(tmp_path: Path) -> None:
    """None has more bytes than a pack has."""
    scene = Scene(tmp_path / "scene", large, range(8))
    code, _, stderr = scene.carried_out()
    assert code == 11, stderr
    assert len(scene.ends()) == 8
    sizes = [len(scene.remote.get(w.key(scene.run)) or b"") for w in scene.written()]
    assert len(sizes) > 1
    assert max(sizes) <= 16 << 20


def read_and_made(path: br.File) -> dict[str, Any]:
    """Read a file, and return a file and an array that lie in packs."""
    out = Path(os.environ["HERE"]) / f"{os.environ['BUNDLERUN_INDEX']}.txt"
    out.write_text(path.read_text().upper() * 100_000)
    return {"file": br.File(out), "rows": numpy.arange(ROWS)}


@pytest.fixture
def in_a_folder() -> None:
    """The remote of a scene is one of its folders."""


@pytest.fixture
def in_a_bucket(s3_env: dict[str, str], s3_bucket: str) -> Remote:
    """A remote in a bucket."""
    return open_remote(f"s3://{s3_bucket}/prefix", Connections(read_settings()))


@pytest.mark.parametrize("place", ["in_a_folder", "in_a_bucket"])
def test_large_items_and_results_go_through_packs(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    """Files come and go as bundle values do; on S3 by the process's own connection."""
    remote = request.getfixturevalue(place)
    (tmp_path / "in.txt").write_text("words")
    scene = Scene(
        tmp_path / "scene", read_and_made, [br.File(tmp_path / "in.txt")] * 2, remote=remote
    )
    code, _, stderr = scene.carried_out()
    assert code == 0, stderr
    for value in scene.values():
        assert value["file"].read_text() == "WORDS" * 100_000
        assert value["rows"][-1] == ROWS - 1
    (written,) = scene.written()
    assert len(scene.remote.get(written.key(scene.run)) or b"") < 1 << 20
