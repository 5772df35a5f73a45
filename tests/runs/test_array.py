"""The jobs of one run stand apart by their index: each has a claim and a result of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bundlerun.errors import Conflict
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.envelope import Envelope, Missing, Unreadable, newest_envelope
from bundlerun.runs.keys import plan_key, result_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.worker import Attempt, work
from tests.runs.scripted import plan_of

PLAN = replace(plan_of("out"), array=3)
RUN = PLAN.run_id


@pytest.fixture
def remote(tmp_path: Path) -> FileRemote:
    """A remote with the plan of a run of three jobs."""
    return remote_with(tmp_path, PLAN)


def remote_with(folder: Path, plan: RunPlan) -> FileRemote:
    """A remote with ``plan``."""
    (folder / "remote").mkdir()
    remote = FileRemote(f"file://{folder}/remote")
    remote.put_new(plan_key(plan.run_id), plan.to_bytes())
    return remote


def worked(remote: FileRemote, index: int, job: str) -> Envelope:
    """What the worker of one of the jobs leaves: its pipe is nowhere, so it fails."""
    return work(Attempt(remote, RUN, job, index=index), say=lambda text: None)


@pytest.mark.heavy
def test_each_job_of_a_run_leaves_a_result_of_its_own(remote: FileRemote) -> None:
    """None is in another's way, and each is found by its index."""
    left = {index: worked(remote, index, f"job-{index}") for index in (0, 2)}
    assert [left[index].index for index in left] == [0, 2]
    assert newest_envelope(remote, RUN, 0) == left[0]
    assert newest_envelope(remote, RUN, 1) is Missing.ABSENT
    assert newest_envelope(remote, RUN, 2) == left[2]
    with pytest.raises(Conflict, match="job job-2 carries out"):
        worked(remote, 2, "job-0")


def test_a_result_does_not_stand_for_that_of_another_job(remote: FileRemote) -> None:
    """A remote may be written to by others: what lies at an index must say that it is of it."""
    envelope = Envelope(RUN, 1, "succeeded", output=PLAN.task.output_id, index=1)
    remote.put(result_key(RUN, 0, 1), envelope.to_bytes())
    found = newest_envelope(remote, RUN)
    assert isinstance(found, Unreadable)
    assert "of the job 1" in found.found


def test_a_job_that_its_run_does_not_have_does_nothing(remote: FileRemote) -> None:
    """It says what it was told."""
    left = worked(remote, 3, "job")
    assert left.error == "InfraError"
    assert "3 jobs" in left.message
    assert newest_envelope(remote, RUN, 3) == left


def worker(remote: FileRemote, run: str, *options: str, **env: str) -> tuple[int, str]:
    """The exit code and the words of the worker's own process."""
    found = subprocess.run(
        [sys.executable, "-m", "bundlerun", "worker", run, "--remote", remote.url, *options],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return found.returncode, found.stderr


@pytest.mark.heavy
def test_an_index_is_told_and_never_guessed(remote: FileRemote) -> None:
    """By the variable that the command names; without it nothing is claimed."""
    options = ("--index-variable", "BUNDLERUN_INDEX")
    code, words = worker(remote, RUN, *options)
    assert code == 17
    assert "BUNDLERUN_INDEX must tell" in words
    assert list(remote.list(f"runs/{RUN}/0/")) == []
    worker(remote, RUN, *options, BUNDLERUN_INDEX="2")
    assert isinstance(newest_envelope(remote, RUN, 2), Envelope)


@pytest.mark.heavy
def test_the_one_job_of_a_run_is_the_first_whatever_is_around_it(tmp_path: Path) -> None:
    """A run that a job of an array submits has the array's variables around it."""
    plan = plan_of("out")
    remote = remote_with(tmp_path, plan)
    worker(remote, plan.run_id, BUNDLERUN_INDEX="2")
    assert isinstance(newest_envelope(remote, plan.run_id), Envelope)
