"""A container's worker and a pipe that uses the workspace, shown by the worker's own process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bundlerun.api import open as open_workspace
from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion, Parent, ReuseKey
from bundlerun.bundles.record import new_id
from bundlerun.remotes.binding import bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.envelope import Envelope
from bundlerun.runs.keys import plan_key, result_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import PipeTask
from bundlerun.store.store import Store

PIPES = """
import threading
import luigi
import bundlerun as br

class Leaf(br.Pipe):
    def pipe_run(self, pipeline_input):
        self.set_status_message("at the leaf")
        return 1

class Inner(br.Pipe):
    def requires(self):
        return {"leaf": Leaf()}
    def pipe_run(self, pipeline_input, leaf):
        br.add("deepest", leaf)
        return leaf + pipeline_input["rows"]

class Top(br.Pipe):
    retry_count = 2
    worker_timeout = 60
    fail = luigi.BoolParameter(default=False)
    def requires(self):
        return {"far": br.external("far")}
    def pipe_run(self, pipeline_input, far):
        self.set_progress_percentage(10)
        seen = [names()]
        try:
            br.get("other")
        except br.errors.BundleNotFound as error:
            seen.append(str(error))
        br.add("note", {"rows": 3})
        bundle = br.apply("note", "inner", Inner, workers=2)
        seen += [br.get(bundle), names(), in_a_thread(names)]
        if self.fail:
            raise ValueError("no")
        return seen

@Top.event_handler(luigi.Event.SUCCESS)
def heard(task):
    print("heard of success")

def names():
    return sorted(bundle.name for bundle in br.ls(all_versions=True))

def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]
"""

PIPE = "jobs.inner.Top"


@pytest.fixture
def remote(tmp_path: Path) -> FileRemote:
    """A remote with an input, an external, and a bundle that no pipe asks for."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text("")
    (tmp_path / "jobs" / "inner.py").write_text(PIPES)
    (tmp_path / "remote").mkdir()
    remote = FileRemote(f"file://{tmp_path}/remote")
    store = Store.open(tmp_path / "store")
    bind(store, store.contexts.create("work"), remote)
    store.close()
    workspace = open_workspace(tmp_path / "store", context="work")
    for name in ("given", "far", "other"):
        workspace.add(name, name, commit=True)
    workspace.push()
    workspace.close()
    return remote


def _worked(
    folder: Path, remote: FileRemote, **params: str
) -> tuple[subprocess.CompletedProcess[str], Envelope]:
    """The worker of a run of Top over ``given``, and what it left."""
    workspace = open_workspace(folder / "store", context="work")
    run = new_id()
    given = workspace.scope.entry("given").bundle
    plan = RunPlan(
        run_id=run,
        backend="AWSBatch",
        image="image",
        environment="e",
        task=PipeTask(
            pipe=PIPE,
            input=Parent("pipeline_input", given.name, given.id, given.root.digest),
            output="out",
            output_id=new_id(),
            code=CodeVersion(digest_of(b""), None, False),
            request=ReuseKey({"pipe": PIPE}),
            params=params,
        ),
    )
    remote.put_new(plan_key(run), plan.to_bytes())
    workspace.close()
    command = "from bundlerun.cli.main import main; main()"
    found = subprocess.run(
        [
            *(sys.executable, "-c", command, "worker", run),
            *("--remote", remote.url, "--pipe-root", str(folder)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    data = remote.get(result_key(run, 0, 1))
    assert data is not None, found
    return found, Envelope.from_bytes(data)


@pytest.mark.slow
def test_what_a_pipe_makes_inside_travels_with_its_output(
    tmp_path: Path, remote: FileRemote
) -> None:
    """The pipe sees there what it sees here, from its own threads too."""
    worker, envelope = _worked(tmp_path, remote)
    assert envelope.succeeded, envelope
    assert worker.stdout.count("heard of success") == 1
    assert f"{PIPE}: jobs.inner.Leaf: at the leaf" in worker.stdout
    mine = open_workspace(tmp_path / "elsewhere", remote=remote.url, context="mine")
    mine.pull(all_versions=True)
    before, refusal, made, after, of_thread = mine.get("out")
    assert before == ["far", "given"]
    assert 'br.external("other")' in refusal
    assert made == 4
    assert after == of_thread
    assert after == sorted([*before, "deepest", "inner", "jobs.inner.Leaf", "note"])
    tree = mine.lineage("out")
    assert {each.role for each in tree.parents} == {
        "pipeline_input",
        "external:far",
        "inner:inner",
    }
    (inner,) = [each for each in tree.parents if each.role == "inner:inner"]
    assert {each.name for each in inner.parents} == {"note", "deepest", "jobs.inner.Leaf"}
    assert all(each.known for each in inner.parents)
    assert {mine.get("note")["rows"], mine.get("deepest"), mine.get("jobs.inner.Leaf")} == {3, 1}
    mine.close()


@pytest.mark.slow
def test_what_a_failed_pipe_made_inside_stays_there(tmp_path: Path, remote: FileRemote) -> None:
    """It is tried as often as it may be, and the remote has nothing of it."""
    worker, envelope = _worked(tmp_path, remote, fail="True")
    assert not envelope.succeeded
    assert "attempt 2 of 2 follows" in worker.stdout
    mine = open_workspace(tmp_path / "elsewhere", remote=remote.url, context="mine")
    assert {bundle.name for bundle in mine.pull()} == {"far", "given", "other"}
    mine.close()
