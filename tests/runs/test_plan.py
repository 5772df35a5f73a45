"""What a plan says, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import Parent
from bundlerun.images.described import Described
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.plan import Place, RunPlan, plan_run
from bundlerun.runs.request import RunRequest
from bundlerun.store.store import Store

PIPE = "jobs.pipes.Double"

DESCRIBED = Described(
    module="jobs.pipes",
    schema={"config": {}, "pipes": {PIPE: {"params": {}}}},
    source=digest_of(b"source"),
    left_out={},
    environment=digest_of(b"environment"),
    pipe_root="/project",
    commit=None,
    dirty=False,
)


def test_a_plan_names_its_input_and_leaves_its_record_at_home(tmp_path: Path) -> None:
    """The job brings the record from the remote: its tags and its own lineage do not travel twice,
    and the plan is read by a bundlerun that knows another form of record."""
    store = Store.open(tmp_path / "store")
    remote = FileRemote(f"file://{tmp_path}/remote")
    (tmp_path / "remote").mkdir()
    context = bind(store, store.contexts.create("work"), remote)
    tags = {f"note{number}": "said before " * 80 for number in range(20)}
    given = store.add(context, "numbers", [1, 2], tags=tags, commit=True).bundle
    plan = plan_run(
        RunRequest("numbers", "out", PIPE),
        Binding.of(store, context, remote),
        Place(DESCRIBED, image="bundlerun-jobs-pipes:tag"),
    )
    data = plan.to_bytes()
    assert b"said before" not in data
    assert len(data) < 2_000
    assert RunPlan.from_bytes(data) == plan
    parent = Parent("pipeline_input", "numbers", given.id, given.root.digest)
    assert plan.task.promised().lineage.parents == (parent,)
    store.close()
