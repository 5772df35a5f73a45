"""Of two jobs of one run one does the work, shown by the worker's own processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion, ReuseKey
from bundlerun.bundles.record import new_id
from bundlerun.remotes.binding import bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.keys import claim_key, plan_key, result_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import PipeTask
from bundlerun.store.store import Store

pytestmark = pytest.mark.slow

PIPES = """
import os, pathlib, time
import bundlerun as br

class Slow(br.Pipe):
    def pipe_run(self, pipeline_input):
        with open(os.environ["WORKED"], "a") as file:
            file.write("x")
        while not pathlib.Path(os.environ["GO"]).exists():
            time.sleep(0.02)
        return 1
"""


class Scene:
    """A remote with the plan of one run, and workers as an engine would start them."""

    def __init__(self, folder: Path) -> None:
        (folder / "jobs").mkdir()
        (folder / "jobs" / "__init__.py").write_text("")
        (folder / "jobs" / "slow.py").write_text(PIPES)
        (folder / "remote").mkdir()
        self.folder = folder
        self.remote = FileRemote(f"file://{folder}/remote")
        store = Store.open(folder / "store")
        bind(store, store.contexts.create("work"), self.remote)
        store.close()
        self.run = new_id()
        plan = RunPlan(
            run_id=self.run,
            backend="AWSBatch",
            image="image",
            environment="e",
            task=PipeTask(
                pipe="jobs.slow.Slow",
                input=None,
                output="out",
                output_id=new_id(),
                code=CodeVersion(digest_of(b""), None, False),
                request=ReuseKey({"pipe": "jobs.slow.Slow"}),
            ),
        )
        self.remote.put_new(plan_key(self.run), plan.to_bytes())

    def worker(self, job: str, attempt: int = 1) -> subprocess.Popen[str]:
        """The worker of one attempt of a job, begun."""
        return subprocess.Popen(
            [
                *(sys.executable, "-c", "from bundlerun.cli.main import main; main()", "worker"),
                *(self.run, "--remote", self.remote.url, "--pipe-root", str(self.folder)),
                *("--job-variable", "JOB", "--attempt-variable", "ATTEMPT"),
            ],
            env={
                **os.environ,
                "JOB": job,
                "ATTEMPT": str(attempt),
                "GO": str(self.folder / "go"),
                "WORKED": str(self.folder / "worked"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def results(self) -> list[str]:
        """The keys of the envelopes."""
        return [entry.key for entry in self.remote.list(f"runs/{self.run}/0/result.")]

    def worked(self) -> int:
        """How often the pipe began."""
        return (self.folder / "worked").stat().st_size


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A run that no job has yet."""
    return Scene(tmp_path)


def test_of_two_jobs_of_one_run_one_works(scene: Scene) -> None:
    """Both begin at once; the one that was second ends at once, clearly, and leaves no result."""
    workers = {name: scene.worker(name) for name in ("job-a", "job-b")}
    while all(worker.poll() is None for worker in workers.values()):
        time.sleep(0.02)
    (scene.folder / "go").touch()
    ended = {name: (*worker.communicate(), worker.wait()) for name, worker in workers.items()}
    (idle,) = [name for name, (_, _, code) in ended.items() if code]
    (busy,) = workers.keys() - {idle}
    assert ended[idle][2] == 5
    assert f"the job {busy} carries out run" in ended[idle][1]
    assert scene.results() == [result_key(scene.run, 0, 1)]
    assert scene.worked() == 1


def test_the_attempts_of_one_job_share_its_claim(scene: Scene) -> None:
    """A retry on another machine goes on; a job that comes later does not."""
    (scene.folder / "go").touch()
    assert scene.worker("job-a").wait() == 0
    assert scene.worker("job-a", attempt=2).wait() == 0
    assert scene.worker("job-b").wait() == 5
    assert scene.results() == [result_key(scene.run, 0, 1), result_key(scene.run, 0, 2)]


def test_a_claim_that_cannot_be_read_stops_the_job(scene: Scene) -> None:
    """Who has the run is not known, so nothing is done."""
    scene.remote.put(claim_key(scene.run, 0), b"{}")
    worker = scene.worker("job-a")
    assert "claim" in worker.communicate()[1]
    assert worker.returncode == 7
    assert scene.results() == []
