"""What a push costs, and what it does where bytes of a bundle are elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.lineage import Lineage, Parent
from bundlerun.errors import BundleNotFound, PushIncomplete
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all
from bundlerun.remotes.push import PushReport, push
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store
from tests.cli.conftest import Said
from tests.cli.conftest import bundlerun as bundlerun
from tests.cli.conftest import ok as ok

Opened = tuple[Store, Context, FileRemote]


def opened(folder: Path, remote: FileRemote) -> Opened:
    """A machine of its own, bound to the remote."""
    store = Store.open(folder)
    return store, bind(store, store.contexts.create("work"), remote), remote


def push_all(machine: Opened) -> PushReport:
    """Everything that is not there yet."""
    store, context, remote = machine
    return push(Binding.of(store, context, remote), store.catalog.unpushed(context))


def steps_of(machine: Opened, versions: int) -> int:
    """SQLite's steps, in tens, for a push of so many new versions of one name."""
    store, context, _ = machine
    for n in range(versions):
        store.add(context, f"name{versions}", n, commit=True)
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    with store._database.reading() as connection:
        connection.set_progress_handler(step, 10)
    assert len(push_all(machine).bundles) == versions
    with store._database.reading() as connection:
        connection.set_progress_handler(None, 0)
    return steps


def test_a_push_of_many_versions_of_one_name_is_linear(tmp_path: Path) -> None:
    """Four times as many versions cost four times as much of the catalog, not sixteen times."""
    machine = opened(tmp_path / "store", FileRemote((tmp_path / "remote").as_uri()))
    few = steps_of(machine, 40)
    many = steps_of(machine, 160)
    assert many <= 6 * few
    machine[0].close()


@pytest.fixture
def moved(tmp_path: Path) -> Opened:
    """A machine that has the records of "far" from one remote, none of its bytes, and is bound to
    another, empty one by now."""
    there = FileRemote((tmp_path / "there").as_uri())
    maker = opened(tmp_path / "maker", there)
    maker[0].add(maker[1], "far", {"x": b"far" * 1000}, commit=True)
    push_all(maker)
    maker[0].close()
    store, context, _ = opened(tmp_path / "store", there)
    pull_all(Binding.of(store, context, there))
    here = FileRemote((tmp_path / "here").as_uri())
    return store, bind(store, context, here, rebind=True), here


def test_what_has_its_bytes_elsewhere_is_named_and_the_rest_goes(moved: Opened) -> None:
    """What was made of it goes too; a newer version of its name waits, since numbers say which is
    newer. Once the bytes are here all goes, in order."""
    store, context, here = moved
    far = store.catalog.get(context, "far").bundle
    store.add(context, "near", 1, commit=True)
    store.add(
        context,
        "made",
        2,
        lineage=Lineage(parents=(Parent("input", far.name, far.id, far.root.digest),)),
        commit=True,
    )
    newer = store.add(context, "far", 3, commit=True).bundle
    with pytest.raises(PushIncomplete, match=rf"far@{far.id}.*neither.*here") as caught:
        push_all(moved)
    assert caught.value.exit_code == BundleNotFound.exit_code
    assert "--localize" in (caught.value.hint or "")
    report = caught.value.report
    assert isinstance(report, PushReport)
    assert {bundle.name for bundle in report.bundles} == {"near", "made"}
    assert [bundle.id for bundle in report.left] == [far.id, newer.id]
    assert {standing.name for standing in version_infos(here)} == {"near", "made"}

    localise(store, FileRemote(here.url.replace("/here", "/there")), [far])
    assert [bundle.id for bundle in push_all(moved).bundles] == [far.id, newer.id]
    store.close()


def test_the_command_line_shows_what_went_and_what_did_not(
    moved: Opened, tmp_path: Path, bundlerun: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, what was pushed and what was not on standard output, the cure below the error;
    with --json both lists."""
    store, context, _ = moved
    store.add(context, "near", 1, commit=True)
    store.close()
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "store"))
    said = bundlerun("-c", "work", "push")
    assert said.code == BundleNotFound.exit_code
    assert "pushed near@" in said.out
    assert "not sent far@" in said.out
    assert "  try: bundlerun rm far@" in said.err
    said = bundlerun("-c", "work", "push", "--json")
    assert said.code == BundleNotFound.exit_code
    found = json.loads(said.out)
    assert [bundle["name"] for bundle in found["left"]] == ["far"]
    assert found["bundles"] == []
