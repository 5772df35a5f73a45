"""A whole map on an AWS that throttles, loses answers and takes machines away: no item is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.sandbox.batch import Fate
from bundlerun.sandbox.batch_attempt import Attempt, in_process
from bundlerun.sandbox.contents import BUCKET
from tests.backends.harness import point_at
from tests.runs.calls.conftest import Lab
from tests.sandbox.scene import scene as served

pytestmark = pytest.mark.heavy

LONG_S = 120
GRACE_S = 60
CALLS = ("SubmitJob", "DescribeJobs", "ListJobs", "RegisterJobDefinition")


def marks(folder: str, number: int) -> int:
    """Note the begin; the third item waits for the file ``go``."""
    with open(os.path.join(folder, "begun"), "a") as file:
        file.write(f"{number}\n")
    while number == 2 and not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.02)
    return number * 2


@pytest.mark.parametrize("fate", [Fate.THROTTLED, Fate.LOST, Fate.FAILED_AFTER])
def test_a_map_on_a_troubled_batch_does_each_item_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    """Each call has its trouble twice, and the machine of an item is taken away under it."""
    (folder := lab.path / "marks").mkdir()

    def work(attempt: Attempt) -> int:
        command = [*attempt.container["command"]]
        command[0] = sys.executable
        worker = subprocess.Popen(command, env={**os.environ, **attempt.environment})
        attempt.on_stop(lambda grace_s: worker.terminate())
        return worker.wait(GRACE_S)

    with served(in_process(work)) as aws:
        point_at(monkeypatch, aws.endpoint)
        monkeypatch.setenv("BUNDLERUN_AWS_BATCH_QUEUE", aws.queue)
        url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        workspace = br.open(lab.path / "aws", url, "work")
        for call in CALLS:
            aws.batch.befall(call, fate, fate)
        here = [(str(folder), number) for number in range(4)]
        run = workspace.starmap(marks, here, backend="AWSBatch", image="any", retries=1)
        until_s = time.monotonic() + LONG_S
        while "2\n" not in _begun(folder):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        (handle,) = workspace.jobs(run.run_id)[0].handles
        aws.batch.jobs.reclaim(f"{handle.id}:2")
        while not aws.job(f"{handle.id}:2")["attempts"]:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        for call in CALLS:
            aws.batch.befall(call, fate, fate)
        (folder / "go").touch()
        assert list(run.results(LONG_S)) == [0, 2, 4, 6]
        assert [future.attempts for future in run] == [1, 1, 2, 1]
        assert Counter(_begun(folder)) == Counter(["0\n", "1\n", "2\n", "2\n", "3\n"])
        assert aws.batch.calls("SubmitJob") == (3 if fate is Fate.THROTTLED else 1)
        assert workspace.wait(run.run_id).record is not None
        workspace.close()


def _begun(folder: Path) -> list[str]:
    path = folder / "begun"
    return path.read_text().splitlines(keepends=True) if path.exists() else []
