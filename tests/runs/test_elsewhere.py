"""A run is known beyond the store that submitted it: through its remote, by every verb."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import bundlerun as br
from bundlerun import errors
from bundlerun.backends.job import Failure, JobHandle, JobState, JobStatus
from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.record import FORMAT
from bundlerun.cli.main import cli
from bundlerun.remotes.base import Remote
from bundlerun.runs.claim import claim
from bundlerun.runs.elsewhere import doing
from bundlerun.runs.keys import handle_key, plan_key
from tests.remotes.watched import Counting
from tests.runs.scripted import DONE, FAILED, RUNNING, Said, Stage, plan_of
from tests.runs.test_settle import aged, held_up

AWAY = JobStatus(JobState.ELSEWHERE, reason="a container on far-host")


@pytest.fixture
def other(stage: Stage, tmp_path: Path) -> br.Workspace:
    """Another store, which is bound to the same remote and knows nothing else."""
    url = stage.workspace.scope.context().remote_url
    return br.open(tmp_path / "other", remote=url, context="work")


def remote_of(stage: Stage) -> Remote:
    """The remote of the stage."""
    return stage.workspace.scope.remote(stage.workspace.scope.context())


def test_a_run_is_waited_for_from_another_store(stage: Stage, other: br.Workspace) -> None:
    """By a prefix of its id: what its container staged is published, and both stores get it."""
    record = stage.submit()
    stage.succeed(record, [1, 2])
    assert other.jobs() == []
    result = other.wait(record.run_id[:13])
    assert other.get(result.output) == [1, 2]
    assert stage.backend.asked("release") == [record.run_id]
    staging = stage.workspace.scope.store.path / "staging"
    assert list(staging.iterdir()) == []
    # The engine has forgotten the job; the submitter learns all the same what became of it.
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == [1, 2]


@pytest.mark.parametrize("failed", [False, True])
def test_a_run_that_its_backend_has_forgotten_is_known_by_its_result(
    stage: Stage, other: br.Workspace, failed: bool
) -> None:
    """No journal has it, no handle leads to its job, and the job is gone: plan, envelope and output
    lie on the remote."""
    record = stage.submit()
    if failed:
        stage.leave_envelope(record, state="failed", error="UserError", message="no")
        stage.backend.script(record.run_id, FAILED)
    else:
        stage.succeed(record)
    assert stage.workspace.jobs()[0].settled
    remote_of(stage).delete([handle_key(record.run_id)])
    if failed:
        with pytest.raises(errors.UserError, match="no"):
            other.wait(record.run_id)
    else:
        assert other.get(other.wait(record.run_id).output) == 42
    assert other.jobs()[0].settled


def test_a_failure_that_left_no_result_is_told_to_every_store(
    stage: Stage, other: br.Workspace
) -> None:
    """Whoever sees the end leaves what the backend said of it: after the release nobody else
    could ask."""
    record = stage.submit()
    killed = JobStatus(JobState.FAILED, Failure.OUT_OF_MEMORY, "at its limit")
    stage.backend.script(record.run_id, killed)
    with pytest.raises(errors.OutOfMemory, match="at its limit"):
        other.wait(record.run_id)
    with pytest.raises(errors.OutOfMemory, match="at its limit"):
        stage.workspace.wait(record.run_id)


@pytest.mark.heavy
def test_a_run_that_never_had_a_job_is_told_to_every_store(
    stage: Stage, other: br.Workspace
) -> None:
    """Its submitter gave it up: no other store waits for it, nor names it as what makes OUT."""
    client, run = held_up(stage)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert not stage.workspace.jobs()[0].settled
    aged(stage, run, orphaned_s=121)
    with pytest.raises(errors.InfraError, match="never submitted"):
        stage.workspace.wait(run)
    (listed,) = other.jobs(remote=True)
    assert (listed.state, listed.failure) == (JobState.FAILED, "InfraError")
    assert "never submitted" in listed.reason
    with pytest.raises(errors.InfraError, match="never submitted"):
        other.wait(run)
    assert other.jobs()[0].settled


def test_a_run_that_cannot_be_submitted_is_told_to_every_store(
    stage: Stage, other: br.Workspace
) -> None:
    """The backend refused it: the run is over, wherever one asks."""
    (stage.backend.state / "refuses").touch()
    with pytest.raises(errors.CloudError, match="no queue"):
        stage.submit()
    (listed,) = other.jobs(remote=True)
    assert listed.state is JobState.FAILED
    assert "no queue" in listed.reason
    with pytest.raises(errors.InfraError, match="no queue"):
        other.wait(listed.run_id)


def test_a_cancel_comes_from_any_store(stage: Stage, other: br.Workspace) -> None:
    """The job ends, and the submitter is told that it was cancelled."""
    record = stage.submit()
    assert other.cancel(record.run_id).state is JobState.CANCELLED
    with pytest.raises(errors.Cancelled):
        stage.workspace.wait(record.run_id)
    assert stage.record(record.run_id).state is JobState.CANCELLED


def test_logs_come_from_any_store(stage: Stage, other: br.Workspace) -> None:
    """While the job runs from its backend; the run stands in this journal too from then on."""
    record = stage.submit()
    assert list(other.logs(record.run_id[:18])) == [f"a line of {record.run_id}"]
    assert [run.run_id for run in other.jobs()] == [record.run_id]


def test_the_remote_lists_the_runs_of_all_stores(stage: Stage, other: br.Workspace) -> None:
    """Newest first, with what each is now; nothing is written, and one listing finds them."""
    names = ["a", "b", "c", "d"]
    done, failed, open_, odd = (stage.submit(name) for name in names)
    stage.succeed(done)
    stage.workspace.wait(done.run_id)
    stage.backend.script(failed.run_id, FAILED)
    stage.leave_envelope(failed, state="failed", error="UserError", message="no")
    with pytest.raises(errors.UserError):
        stage.workspace.wait(failed.run_id)
    remote_of(stage).put(plan_key(odd.run_id), b"{}")
    counting = Counting(other.scope.remote(other.scope.context()))
    other.scope._remotes[counting.url] = counting
    runs = other.jobs(remote=True)
    assert [run.output for run in runs] == ["c", "b", "a"]
    states = [JobState.RUNNING, JobState.FAILED, JobState.SUCCEEDED]
    assert [run.state for run in runs] == states
    assert runs[1].failure == "UserError"
    assert counting.requests.count(("list", "r/")) == 1
    assert other.jobs() == []
    assert [run.output for run in other.jobs(remote=True, limit=2)] == ["c"]
    older = other.jobs(remote=True, before=runs[0].run_id)
    assert [run.output for run in older] == ["b", "a"], "the page after c"
    with pytest.raises(errors.RunNotFound):
        other.jobs(remote=True, before="0123-not-a-run")
    with pytest.raises(errors.UsageError, match="listed"):
        other.jobs(open_.run_id, remote=True)
    assert open_.run_id == runs[0].run_id


def test_the_command_line_lists_the_remote_s_runs(stage: Stage) -> None:
    """``jobs --remote``, from a store of this machine."""
    record = stage.submit("made")
    said = CliRunner().invoke(cli, ["-c", "work", "jobs", "--remote"])
    assert said.exit_code == 0, said.output
    assert record.run_id[:13] in said.output
    assert "made" in said.output
    refused = CliRunner().invoke(cli, ["-c", "work", "jobs", "--remote", record.run_id])
    assert isinstance(refused.exception, errors.UsageError)


def test_a_pull_names_the_run_that_makes_it(stage: Stage, other: br.Workspace) -> None:
    """From the submitter's store, and from any other; once the run has ended badly it does not."""
    record = stage.submit("late")
    for workspace in (stage.workspace, other):
        with pytest.raises(errors.BundleNotFound, match=f"bundlerun wait {record.run_id[:13]}"):
            workspace.pull("late")
    with pytest.raises(errors.BundleNotFound) as raised:
        other.pull("never")
    assert "bundlerun wait" not in str(raised.value)
    stage.workspace.cancel(record.run_id)
    with pytest.raises(errors.BundleNotFound) as raised:
        other.pull("late")
    assert "bundlerun wait" not in str(raised.value)


def test_a_job_whose_handle_was_not_noted_is_found_by_its_name(
    stage: Stage, other: br.Workspace
) -> None:
    """Its client died right after it submitted: another store notes the handle for everybody."""
    record = stage.submit()
    remote = remote_of(stage)
    remote.delete([handle_key(record.run_id)])
    stage.succeed(record)
    assert other.get(other.wait(record.run_id).output) == 42
    assert remote.get(handle_key(record.run_id)) is not None


def test_a_run_of_which_it_is_not_known_whether_it_has_a_job_stays_open(
    stage: Stage, other: br.Workspace
) -> None:
    """The answer to its submit was lost: whoever waits finds the job, and every store learns of
    it."""
    (stage.backend.state / "deaf").touch()
    with pytest.raises(errors.SubmitUnknown, match="bundlerun wait"):
        stage.submit()
    (record,) = other.jobs(remote=True)
    assert record.reason == "no job of it is noted yet"
    stage.succeed(record)
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42
    assert remote_of(stage).get(handle_key(record.run_id)) is not None
    assert stage.backend.asked("submit") == [record.run_id]


@pytest.mark.parametrize("what", ["not JSON", "another run's", "another backend's", "a list"])
def test_a_handle_that_is_not_the_run_s_is_not_believed(
    stage: Stage, other: br.Workspace, what: str
) -> None:
    """The job is looked for by the run's own name then: nobody else's is ended."""
    record, bystander = stage.submit("a"), stage.submit("b")
    handle = JobHandle("Local", bystander.run_id, bystander.run_id)
    lies = {
        "not JSON": b"}{",
        "another run's": canonical_json({"format": FORMAT, "handle": handle.to_json()}),
        "another backend's": canonical_json(
            {"format": FORMAT, "handle": {**handle.to_json(), "backend": "AWSBatch"}}
        ),
        "a list": canonical_json({"format": FORMAT, "handle": []}),
    }
    remote_of(stage).put(handle_key(record.run_id), lies[what])
    other.cancel(record.run_id)
    assert stage.backend.asked("cancel") == [record.run_id]
    assert stage.workspace.jobs(bystander.run_id)[0].state is JobState.RUNNING


def test_a_run_on_another_host_s_engine_names_the_host(stage: Stage, other: br.Workspace) -> None:
    """It is not lost, and not waited for here; what it leaves on the remote comes home."""
    record = stage.submit()
    stage.backend.script(record.run_id, AWAY)
    with pytest.raises(errors.EngineError, match="far-host"):
        other.wait(record.run_id)
    (shown,) = other.jobs()
    assert (shown.state, shown.settled) == (JobState.ELSEWHERE, False)
    assert "far-host" in shown.reason
    stage.leave_output(record)
    stage.leave_envelope(record)
    assert other.get(other.wait(record.run_id).output) == 42


def test_an_equal_run_that_is_alive_is_followed(stage: Stage, other: br.Workspace) -> None:
    """The same work for the same output with the same tags, and a backend that confirms it."""
    record = stage.submit("out")
    scope = other.scope.runs()
    plan = plan_of("out")
    found = doing(plan, scope)
    assert found is not None
    assert found[1].run_id == record.run_id
    assert doing(plan_of("another"), scope) is None
    assert doing(replace(plan, task=replace(plan.task, output_tags={"a": "b"})), scope) is None
    for status in (AWAY, DONE, JobStatus(JobState.LOST)):
        stage.backend.script(record.run_id, status)
        assert doing(plan, scope) is None
    stage.backend.script(record.run_id, RUNNING)
    assert doing(plan, scope) is not None
    (stage.backend.state / "down").touch()
    assert doing(plan, scope) is None


def test_a_run_that_was_cancelled_here_is_not_followed(stage: Stage) -> None:
    """Also while a service that is late still says that its job runs."""
    record = stage.submit("out")
    stage.workspace.cancel(record.run_id)
    stage.backend.script(record.run_id, RUNNING)
    assert doing(plan_of("out"), stage.workspace.scope.runs()) is None


def test_the_run_of_a_second_job_is_the_one_that_works(stage: Stage) -> None:
    """The noted job found the run claimed, and ended without work: the claiming one is followed."""
    record = stage.submit()
    claim(remote_of(stage), record.run_id, 0, "second")
    stage.backend.script(record.run_id, FAILED)
    stage.backend.script("second", RUNNING)
    second = JobHandle("Local", "second", record.run_id)

    def ends_once_it_is_followed() -> None:
        while stage.record(record.run_id).handle != second:
            time.sleep(0.01)
        stage.leave_output(record)
        stage.leave_envelope(record)
        stage.backend.script("second", DONE)

    job = threading.Thread(target=ends_once_it_is_followed)
    job.start()
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42
    job.join()
    assert stage.record(record.run_id).handle == second


def test_a_cancel_ends_the_job_that_has_the_run(stage: Stage) -> None:
    """Where the noted job was the second, and left the work to the first, the first is ended."""
    record = stage.submit()
    claim(remote_of(stage), record.run_id, 0, "first")
    stage.backend.script("first", RUNNING)
    ended = stage.workspace.cancel(record.run_id)
    assert ended.state is JobState.CANCELLED
    assert stage.backend.asked("cancel") == [record.run_id, "first"]
    with pytest.raises(errors.Cancelled):
        stage.workspace.wait(record.run_id)


def test_a_followed_run_says_that_it_looked_up_bundles_before(
    stage: Stage, other: br.Workspace
) -> None:
    """What a pipeline takes by name is in no request: an equal one may have taken an older one."""
    record = stage.submit("out")
    said: list[str] = []
    other.progress = Said(said)
    found = doing(plan_of("out"), other.scope.runs())
    assert found is not None
    stage.succeed(record)
    other.wait(record.run_id)
    assert any("--force" in line and "looked up" in line for line in said)


@pytest.mark.parametrize("prefix", ["", "01", "zzzz", "0000aaaa", "../meta", "*"])
def test_a_prefix_of_no_run_is_not_found(stage: Stage, other: br.Workspace, prefix: str) -> None:
    """Too short, not an id at all, or nobody's."""
    stage.submit()
    with pytest.raises(errors.RunNotFound):
        other.wait(prefix)


def test_a_prefix_of_several_runs_asks_for_more(stage: Stage, other: br.Workspace) -> None:
    """None of them is guessed."""
    ids = {stage.submit(name).run_id for name in "ab"}
    with pytest.raises(errors.UsageError, match="several runs") as raised:
        other.cancel(min(ids)[:6])
    assert all(run in str(raised.value) for run in ids)
    assert stage.backend.asked("cancel") == []


def test_a_submit_takes_few_requests(stage: Stage) -> None:
    """Beside what sends the input: a plan, the key that lists it, the handle."""
    counting = Counting(remote_of(stage))
    stage.workspace.scope._remotes[counting.url] = counting
    record = stage.submit()
    kinds = [(what, key.split("/")[0]) for what, key in counting.requests]
    assert kinds == [("create", "runs"), ("put", "r"), ("put", "runs")]
    counting.forget()
    doing(plan_of("never"), stage.workspace.scope.runs())
    assert counting.requests == [("list", "r/")]
    assert record.handle is not None


WAIT = """
import sys
import bundlerun as br
from bundlerun import registry
registry.BACKENDS["Local"] = registry.Row("tests.runs.scripted:Scripted")
workspace = br.open(sys.argv[2], context="work")
print("ready", flush=True)
print(workspace.get(workspace.wait(sys.argv[1]).output), flush=True)
"""


def waiting(run_id: str, store: Path) -> subprocess.Popen[str]:
    """A process that waits for the run, from the store at ``store``."""
    command = [sys.executable, "-c", WAIT, run_id, str(store)]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert client.stdout is not None
    assert client.stdout.readline() == "ready\n"
    return client


@pytest.mark.slow
def test_an_interrupted_follower_cancels_nothing(stage: Stage, other: br.Workspace) -> None:
    """The run is the submitter's: it goes on, and comes home."""
    record = stage.submit()
    other.close()
    polled = len(stage.backend.asked("poll"))
    follower = waiting(record.run_id, other.scope.store.path)
    while len(stage.backend.asked("poll")) < polled + 2:
        time.sleep(0.01)
    follower.send_signal(signal.SIGINT)
    follower.communicate()
    assert follower.returncode != 0
    assert stage.backend.asked("cancel") == []
    assert stage.workspace.jobs(record.run_id)[0].state is JobState.RUNNING
    stage.succeed(record)
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42


@pytest.mark.slow
def test_of_many_stores_that_wait_for_one_run_all_get_its_output(
    stage: Stage, tmp_path: Path
) -> None:
    """Five stores, three runs: one publishes what was staged while others do, and removes it."""
    url = stage.workspace.scope.context().remote_url
    stores = [tmp_path / f"store-{number}" for number in range(4)]
    for store in stores:
        br.open(store, remote=url, context="work").close()
    stores.append(stage.workspace.scope.store.path)
    for number in range(3):
        record = stage.submit(f"out{number}")
        clients = [waiting(record.run_id, store) for store in stores]
        stage.succeed(record, number)
        ends = [client.communicate() for client in clients]
        assert [out for out, _ in ends] == [f"{number}\n"] * len(stores), ends
