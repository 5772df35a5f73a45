"""A whole map on an AWS that throttles, loses answers and takes machines away: no item is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.base import Pace
from bundlerun.sandbox.batch_attempt import Attempt, in_process
from bundlerun.sandbox.contents import BUCKET
from tests.backends.harness import point_at
from tests.runs.calls.conftest import Lab
from tests.runs.calls.queued import Queued, queued
from tests.sandbox.fates import Fate
from tests.sandbox.scene import scene as served

pytestmark = pytest.mark.heavy

LONG_S = 120
GRACE_S = 60

CALLS = {
    *("AssumeRole", "GetCallerIdentity", "GetLogEvents"),
    *("DescribeJobDefinitions", "RegisterJobDefinition", "SubmitJob"),
    *("DescribeJobs", "ListJobs", "TerminateJob"),
    *("GetObject", "PutObject", "ListObjectsV2"),
    *("PutObject runs/plan", "PutObject runs/f", "PutObject runs/i", "PutObject runs/h"),
    *("PutObject runs/claim", "PutObject runs/e", "PutObject runs/c", "PutObject runs/all"),
    *("GetObject runs/plan", "GetObject runs/h", "GetObject runs/e", "GetObject runs/all"),
    *("ListObjectsV2 runs/e", "ListObjectsV2 runs/h"),
}
"""What is asked of AWS from a cold submit to a gathered end, by kind."""


@pytest.fixture
def queue(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queued]:
    """A queue that is looked at often, and jobs with an identity of their own."""
    often = replace(AWSBatch.traits, pace=Pace(first_s=0.05, most_s=0.5))
    monkeypatch.setattr(AWSBatch, "traits", often)
    role = "arn:aws:iam::123456789012:role/bundlerun-sandbox-session"
    monkeypatch.setenv("BUNDLERUN_SESSION_ROLE_ARN", role)
    monkeypatch.setenv("BUNDLERUN_SESSION_SECONDS", "3600")
    monkeypatch.setenv("BUNDLERUN_JOB_ROLE_ARN", "bundlerun-sandbox-job")
    # What moto knows of definitions is one a process.
    monkeypatch.setenv("BUNDLERUN_JOB_DEFINITION_NAME", f"troubled-{uuid.uuid4().hex}")
    with queued(lab.path, monkeypatch) as found:
        yield found


@pytest.mark.parametrize("fate", Fate)
def test_the_first_call_of_each_kind_may_stumble(queue: Queued, fate: Fate) -> None:
    """Of the client and of its jobs, from a cold submit to the end: each item is begun once, a job
    that died is told with its log, a cancel is heard, and another store gathers the same."""
    queue.machines.failing = {2: None}
    queue.aws.batch.befall_first(fate)
    workspace = queue.workspace()
    run = queue.map(workspace, 4)
    found = list(run.results(LONG_S, return_exceptions=True))
    assert (found[:2], found[3]) == ([0, 1], 3)
    assert isinstance(found[2], errors.UserError)
    with pytest.raises(errors.UserError, match="1 of 4"):
        workspace.wait(run.run_id)
    queue.machines.go.clear()
    shared = queue.map(workspace, 4, chunksize=2)
    assert shared[3].cancel()
    shared.cancel()
    with pytest.raises(errors.Cancelled):
        workspace.wait(shared.run_id)
    other = queue.workspace("two")
    again = list(other.attach(run.run_id).results(LONG_S, return_exceptions=True))
    assert (again[:2], again[3], type(again[2])) == ([0, 1], 3, type(found[2]))
    workspace.close()
    other.close()
    assert set(queue.machines.begun.values()) == {1}
    assert [len(queue.jobs(each.run_id)) for each in (run, shared)] == [1, 1]
    assert not CALLS - queue.aws.batch.had, CALLS - queue.aws.batch.had


def marks(folder: str, number: int) -> int:
    """Note the begin; the fifth item waits for the file ``go``."""
    with open(os.path.join(folder, "begun"), "a") as file:
        file.write(f"{number}\n")
    while number == 4 and not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.02)
    return number * 2


@pytest.mark.parametrize("drained", [False, True])
def test_the_machine_of_a_job_is_taken_away_in_the_middle(
    lab: Lab, drained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done is kept, and what was under way goes again once, in real processes that lose
    the first answer of each kind. Also where Batch sees no more of it than the job's exit code."""
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
        workspace = br.open(lab.path / "aws", f"s3://{BUCKET}/{lab.path.name}", "work")
        aws.batch.befall_first(Fate.LOST)
        here = [(str(folder), number) for number in range(6)]
        run = workspace.starmap(
            marks, here, backend="AWSBatch", image="any", retries=1, chunksize=3
        )
        until_s = time.monotonic() + LONG_S
        while "4" not in _begun(folder):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        (handle,) = workspace.jobs(run.run_id)[0].handles
        aws.batch.jobs.reclaim(f"{handle.id}:1", drained=drained)
        while not aws.job(f"{handle.id}:1")["attempts"]:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        (folder / "go").touch()
        assert list(run.results(LONG_S)) == [0, 2, 4, 6, 8, 10]
        assert [future.attempts for future in run] == [1, 1, 1, 1, 2, 2]
        assert Counter(_begun(folder)) == Counter("0123454")
        assert aws.batch.calls("SubmitJob") == 1
        assert workspace.wait(run.run_id).record is not None
        workspace.close()


def _begun(folder: Path) -> list[str]:
    path = folder / "begun"
    return path.read_text().split() if path.exists() else []
