"""Where the remote is a folder, jobs of a call write to a folder of their own, and what they were
to tell is published."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy
import pytest

from bundlerun.connections import Connections
from bundlerun.futures.item_packs import packed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import Seal, Sealed
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.index import Known, record_of
from bundlerun.runs.keys import Written, outcomes_prefix, plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.scope import RunScope
from bundlerun.runs.staging import publish_staged
from bundlerun.settings import read_settings
from bundlerun.store.store import Store
from tests.runs.calls.scene import Scene

pytestmark = pytest.mark.heavy


def published(scene: Scene, key: str | None) -> None:
    """Publish what the jobs of the run have staged until now, as the client does."""
    store = Store.open(scene.folder / "store")
    context = store.contexts.get("work")
    scope = RunScope(store, context, FileRemote, Connections(read_settings()))
    plan = RunPlan.from_bytes(scene.remote.get(plan_key(scene.run)) or b"")
    record = record_of(Known(plan, None), scene.remote.url, context.remote_uuid)
    record = record.changed(key=key, items=scene.task.items)
    publish_staged(record, cast(Any, None), scope)
    store.close()


def rows(size: int) -> Any:
    """An array, of which a large one lies in a pack."""
    return numpy.arange(size)


@pytest.mark.parametrize("known", [True, False], ids=["key", "no key"])
def test_staged_outcomes_are_published_with_their_packs(tmp_path: Path, known: bool) -> None:
    """Job by job, also where the journal that had the key is lost; twice changes nothing."""
    scene = Scene(tmp_path / "scene", rows, [3, 1_000_000], chunk=1)
    for index in (0, 1):
        code, _, stderr = scene.carried_out(index, staged=True)
        assert code == 0, stderr
        assert len(scene.written()) == index, "a job wrote to the remote itself"
        for _ in range(2):
            published(scene, scene.seal.hex() if known else None)
        assert len(scene.written()) == index + 1
    assert [len(value) for value in scene.values()] == [3, 1_000_000]
    assert scene.values()[1][-1] == 999_999


def test_a_retried_job_goes_on_from_what_was_staged(tmp_path: Path) -> None:
    """As from what was published since; a second job finds the place taken in both."""
    scene = Scene(tmp_path / "scene", abs, range(3), chunk=2)
    for first, again in ((0, 1), (1, 0)):
        assert scene.carried_out(first, staged=True)[0] == 0
        if again:
            published(scene, scene.seal.hex())
        assert scene.carried_out(first, staged=True, attempt=2)[0] == 0
        assert scene.carried_out(first, staged=True, JOB="another")[0] == 5
    published(scene, scene.seal.hex())
    assert scene.values() == [0, 1, 2]
    assert {end.attempt for end in scene.ends()} == {1}


def test_nothing_else_is_published(tmp_path: Path) -> None:
    """What else a container leaves in its folder stays there."""
    scene = Scene(tmp_path / "scene", abs, range(3))
    assert scene.carried_out(staged=True)[0] == 0
    upper = FileRemote(scene.staging.as_uri())
    entry = Seal.new().sealed(Sealed.OUTCOME, 0, Outcome(0, value=b"p").to_bytes())
    other = "0198c0de-0000-7000-8000-000000000000"
    for key in (
        plan_key(scene.run),
        f"runs/{scene.run}/f",
        f"runs/{scene.run}/h/0000",
        f"runs/{scene.run}/e/more",
        Written(2, 1, 0, 2, 0).key(scene.run),
        Written(0, 1, 0, 1, 0).key(other),
        "packs/0198c0de-0000-4000-8000-000000000000",
        "anything",
    ):
        upper.put(key, packed([entry]))
    (scene.staging / outcomes_prefix(scene.run) / "000000000.9.0.1.0").symlink_to("/etc/passwd")
    before = {entry.key: scene.remote.get(entry.key) for entry in scene.remote.list("")}
    published(scene, scene.seal.hex())
    after = {entry.key: scene.remote.get(entry.key) for entry in scene.remote.list("")}
    new = after.keys() - before.keys()
    assert new == {Written(0, 1, 0, 3, 0).key(scene.run)}
    assert {key: after[key] for key in before} == before
