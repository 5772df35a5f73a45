"""The end of a run, through the verbs, with a job that a test scripts: no engine is needed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.backends.job import Failure, JobState, JobStatus
from bundlerun.cli.main import run_cli
from bundlerun.runs.keys import result_key
from tests.runs.scripted import DONE, FAILED, LOST, RUNNING, Said, Stage

LOOKS: dict[str, Callable[[Stage, str], object]] = {
    "jobs": lambda stage, run: stage.workspace.jobs(run),
    "pull": lambda stage, run: stage.workspace.pull(),
    "cancel": lambda stage, run: stage.workspace.cancel(run),
}
"""The verbs that look at a run once."""


def test_a_run_that_left_its_output_has_succeeded(stage: Stage) -> None:
    """Published, pulled, settled, released; and so it stays."""
    record = stage.submit()
    stage.succeed(record, [1, 2])
    result = stage.workspace.wait(record.run_id)
    assert stage.workspace.get(result.output) == [1, 2]
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == [1, 2]
    (kept,) = stage.workspace.jobs()
    assert (kept.state, kept.settled, kept.failure) == (JobState.SUCCEEDED, True, None)
    assert stage.backend.asked("release") == [record.run_id]
    assert not (stage.workspace.scope.store.path / "staging" / record.run_id).exists()
    assert list((stage.workspace.scope.store.path / "locks").iterdir()) == []


@pytest.mark.parametrize("verb", LOOKS)
def test_one_loss_ends_no_run(stage: Stage, verb: str) -> None:
    """A service may know a new job a moment late: the second look in a row decides, also where
    each is another call, and a look that finds the job starts the count anew."""
    record = stage.submit()
    stage.backend.script(record.run_id, LOST, *[RUNNING] * 2, LOST, LOST)
    for _ in range(3 if verb == "cancel" else 4):
        # A cancel looks at the job twice: before it ends it, and after.
        LOOKS["jobs"](stage, record.run_id)
    kept = stage.record(record.run_id)
    assert not kept.judged
    if verb == "cancel":
        stage.backend.script(record.run_id, LOST)
    LOOKS[verb](stage, record.run_id)
    if verb == "cancel":
        assert not stage.record(record.run_id).judged
        LOOKS[verb](stage, record.run_id)
    kept = stage.record(record.run_id)
    assert (kept.state, kept.failure, kept.settled) == (JobState.LOST, "InfraError", True)


def test_a_loss_and_then_a_success_is_a_success(stage: Stage) -> None:
    """What one loss could have hidden for ever comes home."""
    record = stage.submit()
    stage.backend.script(record.run_id, LOST)
    assert not stage.workspace.jobs(record.run_id)[0].settled
    stage.succeed(record)
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42


def test_each_change_is_told_once(stage: Stage) -> None:
    """Whoever waits reads a state when it begins, not at every look; its end is the result."""
    record = stage.submit()
    stage.leave_output(record)
    stage.leave_envelope(record)
    waits, runs = (replace(RUNNING, reason=why) for why in ("pulling the image", "started"))
    stage.backend.script(record.run_id, waits, waits, waits, runs, runs, replace(DONE, reason="0"))
    said: list[str] = []
    stage.workspace.progress = Said(said)
    stage.workspace.wait(record.run_id)
    states = [line for line in said if not line.startswith("a line of")]
    assert [line for line in states if "pulling" in line or "started" in line] == [
        f"{JobState.RUNNING.value}: pulling the image",
        f"{JobState.RUNNING.value}: started",
    ]
    assert not any(line.startswith(JobState.SUCCEEDED.value) for line in states)


def test_a_job_that_the_service_forgot_after_it_succeeded_comes_home_at_once(
    stage: Stage,
) -> None:
    """Its envelope and its output say enough: no second look is waited for."""
    record = stage.submit()
    stage.leave_output(record)
    stage.leave_envelope(record)
    stage.backend.script(record.run_id, LOST)
    stage.workspace.pull()
    assert stage.record(record.run_id).state is JobState.SUCCEEDED
    assert stage.workspace.get("out") == 42


GARBLED = {
    "not JSON": b"}{",
    "another format": b'{"format": 99}',
    "an error that is no name": {"error": ["UserError"]},
    "a traceback that is no text": {"traceback": {"a": 1}},
    "another run's": {"run_id": "another"},
    "not text at all": b"\xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("what", GARBLED)
def test_a_garbled_envelope_ends_its_own_run_alone(stage: Stage, what: str) -> None:
    """As InfraError with what was found; the others go on and come home."""
    garbled, good, running = stage.submit("a"), stage.submit("b"), stage.submit("c")
    found = GARBLED[what]
    if isinstance(found, bytes):
        stage.leave_bytes(garbled, found)
    else:
        whole = {"format": 1, "run_id": garbled.run_id, "attempt": 1, "state": "failed", **found}
        stage.leave_bytes(garbled, json.dumps(whole).encode())
    stage.backend.script(garbled.run_id, DONE)
    stage.succeed(good)
    stage.workspace.pull()
    kept = {record.output: record for record in stage.workspace.jobs()}
    assert (kept["a"].failure, kept["a"].settled) == ("InfraError", True)
    assert "cannot be read" in kept["a"].reason
    assert (kept["b"].state, kept["c"].state) == (JobState.SUCCEEDED, JobState.RUNNING)
    with pytest.raises(errors.InfraError, match="cannot be read"):
        stage.workspace.wait(garbled.run_id)
    assert kept["c"].run_id == running.run_id


@pytest.mark.parametrize(
    "name", ["annotations", "BundleNotFound", "named", "E", "no such class", None]
)
def test_an_error_of_no_known_name_is_an_infra_error(stage: Stage, name: str | None) -> None:
    """Names that the module of errors happens to have are no errors of a run; what the job said
    is told."""
    record = stage.submit()
    stage.leave_envelope(record, state="failed", error=name, message="it said so")
    stage.backend.script(record.run_id, FAILED)
    with pytest.raises(errors.InfraError, match="it said so"):
        stage.workspace.wait(record.run_id)
    assert stage.workspace.jobs()[0].failure == "InfraError"


def test_staged_bytes_that_are_wrong_end_their_own_run_alone(stage: Stage) -> None:
    """A container can write to its folder what it likes."""
    bad, good = stage.submit("a"), stage.submit("b")
    stage.succeed(bad, os.urandom(5000))
    pack = next((stage.workspace.scope.store.path / "staging" / bad.run_id / "packs").iterdir())
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    stage.succeed(good)
    kept = {record.output: record for record in stage.workspace.jobs()}
    assert (kept["a"].failure, kept["b"].failure) == ("InfraError", None)
    assert "cannot be published" in kept["a"].reason
    assert stage.workspace.ls("a") == []


def test_a_damaged_record_in_the_journal_is_in_no_other_s_way(stage: Stage) -> None:
    """The others are listed and settled."""
    workspace = stage.workspace
    workspace.scope.store.journal.add(
        workspace.scope.context(), {"id": "odd", "state": "what is this"}
    )
    good = stage.submit()
    stage.succeed(good)
    workspace.pull()
    assert [record.run_id for record in workspace.jobs()] == [good.run_id]
    assert stage.record(good.run_id).state is JobState.SUCCEEDED
    with pytest.raises(errors.IntegrityError, match="bundlerun fsck"):
        workspace.jobs("odd")


def test_an_engine_that_is_down_ends_no_run(stage: Stage) -> None:
    """The runs are listed as they were, with the reason, and pull goes on."""
    record = stage.submit()
    (stage.backend.state / "down").touch()
    (listed,) = stage.workspace.jobs()
    assert "is down" in listed.reason
    stage.workspace.pull()
    assert not stage.record(record.run_id).judged


def test_a_run_is_judged_against_its_own_remote(stage: Stage, tmp_path: Path) -> None:
    """Its context was bound to another one meanwhile: the output is brought whole, and is new to
    that one."""
    record = stage.submit()
    stage.succeed(record, list(range(3000)))
    (tmp_path / "other").mkdir()
    workspace = stage.workspace
    workspace.remote("work", f"file://{tmp_path}/other", rebind=True)
    workspace.jobs()
    kept = stage.record(record.run_id)
    assert (kept.state, kept.failure) == (JobState.SUCCEEDED, None)
    os.rename(tmp_path / "remote", tmp_path / "away")
    assert workspace.get(workspace.wait(record.run_id).output) == list(range(3000))
    workspace.push("out")
    elsewhere = br.open(tmp_path / "store", f"file://{tmp_path}/other", "elsewhere")
    assert elsewhere.get(elsewhere.pull("out")[0]) == list(range(3000))


def test_a_failure_is_not_blamed_on_the_present_remote(stage: Stage, tmp_path: Path) -> None:
    """Nor is its envelope sought there; and a context without any still knows its runs."""
    record = stage.submit()
    stage.leave_envelope(record, state="failed", error="UserError", message="ValueError: no")
    stage.backend.script(record.run_id, FAILED)
    workspace = stage.workspace
    workspace.scope.store.contexts.bind(workspace.scope.context(), None, None)
    assert workspace.jobs()[0].failure == "UserError"


def test_a_remote_that_moved_is_the_same_remote(stage: Stage, tmp_path: Path) -> None:
    """It is known by its uuid: the address that the context has now is the right one."""
    record = stage.submit()
    stage.succeed(record)
    os.rename(tmp_path / "remote", tmp_path / "moved")
    stage.workspace.remote("work", f"file://{tmp_path}/moved")
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42
    assert stage.workspace.ls("out")[0].pushed


def test_another_remote_at_the_same_place_ends_no_run(stage: Stage, tmp_path: Path) -> None:
    """Whoever looks there sees nothing of the run: it stays open, with the reason."""
    record = stage.submit()
    stage.succeed(record)
    os.rename(tmp_path / "remote", tmp_path / "away")
    (tmp_path / "remote").mkdir()
    (listed,) = stage.workspace.jobs()
    assert str(tmp_path / "remote") in listed.reason
    os.rename(tmp_path / "remote", tmp_path / "wrong")
    os.rename(tmp_path / "away", tmp_path / "remote")
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42


def test_a_cancel_during_submit_wins(stage: Stage) -> None:
    """Whoever submits sees it, ends the job that it just submitted, and says so."""
    hold = stage.backend.state / "hold"
    hold.touch()
    raised: list[BaseException] = []

    def submit() -> None:
        try:
            stage.submit()
        except errors.Cancelled as error:
            raised.append(error)

    submitting = threading.Thread(target=submit)
    submitting.start()
    while not stage.backend.asked("submit"):
        time.sleep(0.01)
    (record,) = stage.workspace.jobs()
    assert stage.workspace.cancel(record.run_id).state is JobState.CANCELLED
    assert not stage.record(record.run_id).settled
    hold.unlink()
    submitting.join()
    assert len(raised) == 1
    assert stage.backend.asked("cancel") == [record.run_id]
    kept = stage.record(record.run_id)
    assert (kept.state, kept.settled, kept.failure) == (JobState.CANCELLED, True, "Cancelled")
    with pytest.raises(errors.Cancelled):
        stage.workspace.wait(record.run_id)


SUBMIT = """
import sys
import bundlerun as br
from bundlerun import registry
from tests.runs.scripted import Scripted, Stage
registry.BACKENDS["Local"] = registry.Row("tests.runs.scripted:Scripted")
workspace = br.open(context="work")
Stage(workspace, Scripted(workspace.scope.settings)).submit()
"""


def held_up(stage: Stage) -> tuple[subprocess.Popen[bytes], str]:
    """A process that is submitting a run, and the run."""
    (stage.backend.state / "hold").touch()
    client = subprocess.Popen([sys.executable, "-c", SUBMIT])
    while not stage.backend.asked("submit"):
        assert client.poll() is None
        time.sleep(0.01)
    return client, stage.backend.asked("submit")[0]


def aged(stage: Stage, run: str, **seconds: float) -> None:
    """The run as if it had been noted so long ago."""
    record = stage.record(run)
    changed = record.changed(**{name: time.time() - ago for name, ago in seconds.items()})
    journal = stage.workspace.scope.store.journal
    journal.replace(stage.workspace.scope.context(), changed.to_json(), record.revision)


@pytest.mark.heavy
def test_a_submit_may_take_as_long_as_it_takes(stage: Stage) -> None:
    """An image of an hour's pull: as long as its client lives, the run is being submitted."""
    client, run = held_up(stage)
    aged(stage, run, submitted_s=3600)
    for _ in range(2):
        (listed,) = stage.workspace.jobs()
        assert (listed.state, listed.settled) == (JobState.QUEUED, False)
        assert listed.reason == "being submitted"
    assert stage.backend.asked("find") == []
    (stage.backend.state / "hold").unlink()
    assert client.wait() == 0
    assert stage.workspace.jobs()[0].state is JobState.RUNNING


@pytest.mark.heavy
def test_a_client_that_was_killed_while_it_submitted_is_told(stage: Stage) -> None:
    """The job may still be listed a moment later; it never is, so the run never began."""
    client, run = held_up(stage)
    client.send_signal(signal.SIGKILL)
    client.wait()
    (listed,) = stage.workspace.jobs()
    assert (listed.state, listed.settled) == (JobState.QUEUED, False)
    assert "client ended" in listed.reason
    aged(stage, run, orphaned_s=121)
    assert stage.workspace.jobs()[0].failure == "InfraError"
    with pytest.raises(errors.InfraError, match="never submitted"):
        stage.workspace.wait(run)


@pytest.mark.heavy
def test_a_cancel_reaches_the_job_of_a_client_that_was_killed(stage: Stage) -> None:
    """Asked for during submit, the wish outlives the submitter, and the job is ended as soon as
    it shows itself."""
    client, run = held_up(stage)
    stage.workspace.cancel(run)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert not stage.workspace.jobs()[0].settled
    stage.backend.script(run, RUNNING)
    assert stage.workspace.jobs()[0].state is JobState.CANCELLED
    assert stage.backend.asked("cancel") == [run]
    assert stage.record(run).settled


def test_what_cannot_be_released_is_released_later(stage: Stage) -> None:
    """The result is home all the same."""
    record = stage.submit()
    stage.succeed(record)
    (stage.backend.state / "sticky").touch()
    assert stage.workspace.get(stage.workspace.wait(record.run_id).output) == 42
    kept = stage.record(record.run_id)
    assert (kept.judged, kept.settled) == (True, False)
    (stage.backend.state / "sticky").unlink()
    stage.workspace.jobs()
    assert stage.record(record.run_id).settled


def test_what_the_backend_said_outlives_a_client_that_dies_before_it_is_settled(
    stage: Stage,
) -> None:
    """Judged and not yet settled: the container may be gone by then, and the verdict stays."""
    record = stage.submit()
    killed = JobStatus(JobState.FAILED, Failure.OUT_OF_MEMORY, "at its limit")
    stage.backend.script(record.run_id, killed)
    (stage.backend.state / "sticky").touch()
    stage.workspace.jobs()
    (stage.backend.state / "sticky").unlink()
    stage.backend.script(record.run_id, LOST)
    stage.workspace.jobs()
    kept = stage.record(record.run_id)
    assert (kept.failure, kept.settled) == ("OutOfMemory", True)


WAIT = """
import sys
import bundlerun as br
from bundlerun import registry
registry.BACKENDS["Local"] = registry.Row("tests.runs.scripted:Scripted")
workspace = br.open(context="work")
print("ready", flush=True)
sys.stdin.readline()
print(workspace.get(workspace.wait(sys.argv[1]).output), flush=True)
"""


@pytest.mark.slow
def test_of_many_who_wait_for_one_run_all_get_its_output(stage: Stage) -> None:
    """Six processes, three runs, and a seventh that is killed in the middle of it."""
    for number in range(3):
        record = stage.submit(f"out{number}")
        command = [sys.executable, "-c", WAIT, record.run_id]
        clients = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(7)
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        stage.leave_output(record, number)
        stage.leave_envelope(record)
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("\n")
            client.stdin.flush()
        stage.backend.script(record.run_id, DONE)
        time.sleep(0.05 * number)
        clients[0].send_signal(signal.SIGKILL)
        ends = [client.communicate()[0] for client in clients]
        assert ends[1:] == [f"{number}\n"] * 6
        assert stage.record(record.run_id).settled


def test_settled_runs_cost_a_pull_nothing(stage: Stage) -> None:
    """Five thousand of them, none of which could be read: none is, and no backend is asked."""
    workspace = stage.workspace
    record = stage.submit()
    stage.succeed(record)
    workspace.wait(record.run_id)
    polls = len(stage.backend.asked("poll"))
    connection = sqlite3.connect(workspace.scope.store.path / "store.sqlite")
    connection.executemany(
        "INSERT INTO runs (context, id, revision, settled, state, kind, json)"
        " VALUES (?, ?, 1, 1, 'succeeded', 'pipe', '}{')",
        [(workspace.scope.context().id, f"old-{number}") for number in range(5000)],
    )
    connection.commit()
    connection.close()
    assert [bundle.name for bundle in workspace.pull("out")] == ["out"]
    assert len(stage.backend.asked("poll")) == polls


def test_jobs_lists_the_newest(stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    """As many as are asked for, and says that there are more."""
    runs = [stage.submit(f"out{number}") for number in range(4)]
    capfd.readouterr()
    assert run_cli(["--context", "work", "jobs", "-n", "2", "--json"]) == 0
    shown = capfd.readouterr()
    assert [row["output"] for row in json.loads(shown.out)] == ["out3", "out2"]
    assert "bundlerun jobs -n 20" in shown.err
    older = stage.workspace.jobs(before=runs[2].run_id)
    assert [record.output for record in older] == ["out1", "out0"]
    with pytest.raises(errors.RunNotFound):
        stage.workspace.jobs(before="0123-not-a-run")


def test_logs_of_a_settled_run_outlive_a_garbled_envelope(stage: Stage) -> None:
    """What the journal kept is shown."""
    record = stage.submit()
    stage.leave_bytes(record, b"}{")
    stage.backend.script(record.run_id, DONE)
    stage.workspace.jobs()
    assert list(stage.workspace.logs(record.run_id)) == [f"a line of {record.run_id}"]
    remote = stage.workspace.scope.remote(stage.workspace.scope.context())
    assert remote.get(result_key(record.run_id, 0, 1)) == b"}{"
