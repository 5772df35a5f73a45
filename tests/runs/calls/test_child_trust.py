"""The job of a call believes only what its run has sealed, and shows no secret."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.digest import canonical_json
from bundlerun.futures.item_packs import packed
from bundlerun.futures.sealing import KEY_VARIABLE, Seal, Sealed
from bundlerun.runs.calls.parts import Part
from bundlerun.runs.calls.sealed_plan import sealed_plan
from bundlerun.runs.keys import function_key, items_key, part_key, plan_key
from bundlerun.runs.masking import HIDDEN
from bundlerun.runs.plan import RunPlan
from tests.runs.calls.scene import Scene, mark

pytestmark = pytest.mark.heavy


def noted(number: int) -> int:
    """Note that it was called."""
    mark(number)
    return number


class Noted:
    """Unpickling it is noted."""

    def __reduce__(self) -> Any:
        return noted, (1,)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Two items."""
    return Scene(tmp_path / "scene", noted, range(2))


OTHER = Seal.new()


def plan_of_another(scene: Scene) -> None:
    """A plan that another key has sealed."""
    plan = RunPlan(scene.run, "Local", None, "environment", scene.task)
    scene.remote.put(plan_key(scene.run), sealed_plan(plan, OTHER).to_bytes())


def plan_changed(scene: Scene) -> None:
    """Its own plan, of which one field was changed."""
    data = RunPlan.from_bytes(scene.remote.get(plan_key(scene.run)) or b"")
    found = {**data.to_json(), "task": {**data.task.to_json(), "timeout_s": 1.0}}
    scene.remote.put(plan_key(scene.run), canonical_json(found))


def part_of_another(scene: Scene) -> None:
    """A part that another key has sealed."""
    part = Part(scene.run, 0, 0, 2, 1000, 100)
    scene.remote.put(part_key(scene.run, 0), part.to_sealed(OTHER))


def part_in_place(scene: Scene) -> None:
    """Another part of the same run."""
    part = Part(scene.run, 1, 0, 1, 1000, 100)
    scene.remote.put(part_key(scene.run, 0), part.to_sealed(scene.seal))


def part_gone(scene: Scene) -> None:
    """No part."""
    scene.remote.delete([part_key(scene.run, 0)])


@pytest.mark.parametrize(
    "change", [plan_of_another, plan_changed, part_of_another, part_in_place, part_gone]
)
def test_a_job_that_is_not_told_by_its_run_does_nothing(scene: Scene, change: Any) -> None:
    """It says what is wrong, and calls nothing."""
    change(scene)
    code, _, stderr = scene.carried_out()
    assert code in (7, 17), stderr
    assert stderr.startswith("bundlerun: ")
    assert "\n  try: " in stderr
    assert scene.begun() == []
    assert scene.written() == []


@pytest.mark.parametrize("key", ["", "ab", "z" * 64])
def test_a_job_needs_its_run_s_key(scene: Scene, key: str) -> None:
    """What is wrong with it is said without showing it."""
    code, _, stderr = scene.carried_out(**{KEY_VARIABLE: key})
    assert code == 7, stderr
    assert not key or key not in stderr
    assert scene.begun() == []


def test_a_function_of_another_is_not_opened(scene: Scene) -> None:
    """Each item is told why."""
    data = scene.remote.get(function_key(scene.run)) or b""
    scene.remote.put(function_key(scene.run), OTHER.sealed(Sealed.FUNCTION, 0, data[32:]))
    code, _, stderr = scene.carried_out()
    assert code == 17, stderr
    assert all("the seal of function 0 is wrong" in end.reason for end in scene.ends())
    assert scene.begun() == []


def test_an_item_of_another_is_not_opened(scene: Scene) -> None:
    """The others are done; an item does not stand in for another one."""
    own = scene.seal.sealed(Sealed.ITEM, 0, b"p")
    scene.remote.put(items_key(scene.run, 0), packed([own, own]))
    code, _, stderr = scene.carried_out()
    assert code != 0, stderr
    assert "the seal of item 1 is wrong" in scene.ends()[1].reason
    assert scene.begun() == []


def test_damaged_items_are_told_one_by_one(scene: Scene) -> None:
    """A pack that ends early."""
    data = scene.remote.get(items_key(scene.run, 0)) or b""
    scene.remote.put(items_key(scene.run, 0), data[:-1])
    code, _, stderr = scene.carried_out()
    assert code == 17, stderr
    assert [end.failure for end in scene.ends()] == ["InfraError", "InfraError"]


@pytest.mark.parametrize("fields", [{"python": "2.7"}, {"cloudpickle": "0.1"}])
def test_another_python_unpickles_nothing(tmp_path: Path, fields: dict[str, str]) -> None:
    """Nor another cloudpickle: each item is told what differs."""
    scene = Scene(tmp_path / "scene", noted, [Noted()], **fields)
    (scene.folder / "begun").unlink(missing_ok=True)
    code, _, stderr = scene.carried_out()
    assert code == 17, stderr
    (end,) = scene.ends()
    assert end.failure == "InfraError"
    assert next(iter(fields.values())) in end.reason
    assert scene.begun() == []


def tells(what: str) -> str:
    """Print a secret in pieces, or raise it."""
    secret = os.environ["SECRET"]
    if what == "print":
        for letter in secret:
            os.write(1, letter.encode())
        os.write(2, f"{secret}\n".encode())
    if what == "raise":
        raise ValueError(f"wrong: {secret}")
    if what == "hide":
        raise Hides(secret)
    return secret


class Hides(Exception):
    """Its text does not show what it holds."""

    def __str__(self) -> str:
        return "hidden"


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    """Neither in the log nor in what is told of a failure; what is returned is the user's own."""
    scene = Scene(tmp_path / "scene", tells, ["print", "raise", "hide"])
    secret = {"SECRET": "correct horse battery", HIDDEN: "SECRET"}
    code, stdout, stderr = scene.carried_out(**secret)
    assert code == 11, stderr
    assert "correct horse" not in stdout + stderr
    printed, raised, hides = scene.ends()
    assert (printed.stdout, printed.stderr) == ("***", "***\n")
    assert scene.values()[0] == "correct horse battery"
    for end in (raised, hides):
        assert end.raised is not None
        assert b"correct horse" not in end.to_bytes()
    assert raised.raised is not None
    assert raised.raised.text == "wrong: ***"


def test_a_function_that_cannot_be_loaded_fails_every_item(tmp_path: Path) -> None:
    """With the reason, once it was tried once; what it wrote stands with the first."""
    scene = Scene(tmp_path / "scene", LoadsNot(), range(3))
    code, _, stderr = scene.carried_out(ABSENT="1")
    assert code != 0, stderr
    ends = scene.ends()
    assert len(ends) == 3
    assert not any(end.ok for end in ends)
    assert scene.begun() == ["loading"]


class LoadsNot:
    """Its pickle raises where ABSENT is set."""

    def __reduce__(self) -> Any:
        return loads_not, ()

    def __call__(self, number: int) -> int:
        return number


def loads_not() -> Any:
    """Raise where a package is absent."""
    if os.environ.get("ABSENT"):
        mark("loading")
        raise ModuleNotFoundError("No module named 'absent'")
    return LoadsNot()


def dies(number: int) -> int:
    """See ``Dies``."""
    return number


class Dies:
    """Its pickle ends the process."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)

    def __call__(self, number: int) -> int:
        return number


def test_a_function_that_kills_its_process_fails_every_item(tmp_path: Path) -> None:
    """It is not tried for each of them."""
    scene = Scene(tmp_path / "scene", Dies(), range(3))
    code, _, stderr = scene.carried_out()
    assert code == 11, stderr
    reasons = {end.reason for end in scene.ends()}
    assert reasons == {"while the function was loaded: it ended its process, with exit code 9"}


def test_a_plan_of_fewer_items_than_its_part_is_refused(scene: Scene) -> None:
    """Both are the run's own, and do not fit together."""
    scene.part(replace(Part(scene.run, 0, 0, 3, 1000, 100), count=3))
    code, _, stderr = scene.carried_out()
    assert code == 7, stderr
    assert scene.begun() == []
