"""A job of a call whose spot instance is taken away goes on where it was, on AWS Batch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.base import Pace
from bundlerun.backends.job import JobSpec, JobState
from bundlerun.backends.poll import looks
from bundlerun.futures.sealing import KEY_VARIABLE
from bundlerun.runs.job_spec import WORKER, told
from bundlerun.sandbox.batch_attempt import Attempt, in_process
from tests.backends.harness import batch_settings, point_at
from tests.runs.calls.scene import Scene, mark
from tests.sandbox.scene import scene as served

pytestmark = pytest.mark.heavy

GRACE_S = 60
"""Seconds that a machine gives its jobs after SIGTERM, two minutes on EC2."""


def waits(number: int) -> int:
    """Note the begin; the fifth item waits for the file ``go``."""
    mark(number)
    while number == 4 and not (Path(os.environ["HERE"]) / "go").exists():
        time.sleep(0.02)
    return number * 2


def test_a_reclaimed_job_does_what_it_had_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch starts it again by itself: each item is done once, but the one that was under way."""
    scene = Scene(tmp_path / "scene", waits, range(6), chunk=3)

    def work(attempt: Attempt) -> int:
        """What a machine of the queue does with the job."""
        env = {**os.environ, **attempt.environment, "HERE": str(scene.folder)}
        worker = subprocess.Popen([*attempt.container["command"]], env=env)
        attempt.on_stop(lambda grace_s: worker.terminate())
        return worker.wait(GRACE_S)

    with served(in_process(work)) as aws:
        point_at(monkeypatch, aws.endpoint)
        backend = AWSBatch(batch_settings(tmp_path, aws.queue))
        command = (sys.executable, *WORKER[1:], scene.run, "--part", "0")
        spec = JobSpec(
            run_id=scene.run,
            name="bundlerun-lab",
            image="any",
            command=(*command, *told(backend.traits.tells, 2), "--remote", scene.remote.url),
            env={KEY_VARIABLE: scene.seal.hex()},
            secret=frozenset({KEY_VARIABLE}),
            array=2,
            retries=1,
        )
        handle = backend.submit(spec)
        until_s = time.monotonic() + 60
        while "4" not in scene.begun():
            assert time.monotonic() < until_s
            time.sleep(0.02)
        aws.batch.jobs.reclaim(f"{handle.id}:1")
        while not aws.job(f"{handle.id}:1")["attempts"]:
            assert time.monotonic() < until_s
            time.sleep(0.02)
        (scene.folder / "go").touch()
        pace = Pace(first_s=0.2, most_s=1.0)
        seen = looks(backend, handle, pace=pace, timeout_s=60)
        last = next(status for status in seen if status.state.final)
    assert (last.state, last.tally) == (JobState.SUCCEEDED, {JobState.SUCCEEDED: 2})
    assert scene.values() == [0, 2, 4, 6, 8, 10]
    assert [end.attempt for end in scene.ends()] == [1, 1, 1, 1, 2, 2]
    assert Counter(scene.begun()) == Counter("012345" + "4")
