"""One suite of what a run promises, wherever it runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

import bundlerun as br
from bundlerun import errors
from bundlerun.aws.session import Aws
from bundlerun.backends.job import JobState
from bundlerun.bundles.record import new_id
from bundlerun.cli.main import cli
from tests.runs.conftest import Place


def test_a_run_makes_the_output_and_brings_it_home(place: Place) -> None:
    """Input pushed, pipes run in a container, output committed, pushed and pulled, with lineage."""
    ws = place.workspace
    ws.add("numbers", [1, 2, 3], commit=True)
    result = place.run("numbers", "total", "Summed", params={"times": "3"}, output_tags={"a": "b"})
    value = ws.get("total")
    assert value["sum"] == 18
    assert value["file"].read_text() == "18"
    bundle = ws.scope.entry("total").bundle
    assert bundle == result.output
    assert bundle.tags == {"a": "b"}
    assert bundle.params["times"] == "3"
    lineage = bundle.lineage
    assert lineage.pipe == "jobs.pipes.Summed"
    assert lineage.run == result.record.run_id
    assert {parent.role for parent in lineage.parents} == {"pipeline_input", "doubled"}
    assert lineage.code is not None
    assert lineage.image is not None
    assert result.record.state is JobState.SUCCEEDED
    # The pipe before it was committed and pushed under its module-qualified class.
    doubled = ws.pull("jobs.pipes.Double")[0]
    assert ws.get(doubled) == [3, 6, 9]


def test_equal_work_is_found_and_force_runs_it_again(place: Place) -> None:
    """A hit starts no job; under another name it is a new version over the same value."""
    ws = place.workspace
    ws.add("numbers", [5], commit=True)
    first = place.run("numbers", "out", "Double")
    again = place.run("numbers", "out", "Double", params={"times": "02"})
    assert again.reused
    assert again.record is None
    assert again.output.id == first.output.id
    elsewhere = place.run("numbers", "other", "Double")
    assert elsewhere.reused
    assert elsewhere.output.root == first.output.root
    assert ws.scope.entry("other").bundle.name == "other"
    forced = place.run("numbers", "out", "Double", force=True)
    assert not forced.reused
    assert forced.output.id != first.output.id
    assert len(ws.jobs()) == 2


def test_a_pipe_that_raises_is_a_user_error_with_its_traceback(place: Place) -> None:
    """The traceback from inside comes home; the pipes before it keep their output."""
    ws = place.workspace
    ws.add("numbers", [1], commit=True)
    with pytest.raises(errors.UserError) as raised:
        place.run("numbers", "never", "Raises")
    assert "ValueError: the pipe has had enough" in raised.value.evidence
    assert "jobs/pipes.py" in raised.value.evidence
    assert raised.value.exit_code == 11
    assert ws.ls("never") == []
    assert ws.get(ws.pull("jobs.pipes.Double")[0]) == [2]
    with pytest.raises(errors.BundleNotFound):
        ws.pull("never")
    record = ws.jobs()[0]
    assert record.state is JobState.FAILED
    assert record.failure == "UserError"


def test_none_is_an_output_like_any_other(place: Place) -> None:
    """A pipe that returns None makes a bundle of None; no input is no input."""
    result = place.run("-", "nothing", "Nothing")
    assert result.output is not None
    assert place.workspace.get("nothing") is None


def test_log_lines_come_home(place: Place) -> None:
    """``logs`` shows what the pipe printed, in whole lines and in order, long after the job."""
    place.workspace.add("numbers", [7], commit=True)
    result = place.run("numbers", "out", "Double")
    lines = list(place.workspace.logs(result.record.run_id))
    assert [line for line in lines if "doubling" in line or "stderr" in line] == [
        "doubling [7]",
        "to stderr",
    ]


def test_a_cancelled_run_says_so(place: Place) -> None:
    """``cancel`` stops the job; whoever waits gets Cancelled."""
    ws = place.workspace
    run = place.submit("-", "never", "Sleeps").record.run_id
    _until_running(ws, run)
    record = ws.cancel(run)
    with pytest.raises(errors.Cancelled):
        ws.wait(run)
    assert ws.jobs(run)[0].state is JobState.CANCELLED
    assert record.run_id == run
    assert ws.ls("never") == []


def test_three_runs_at_once_all_arrive(place: Place) -> None:
    """Three jobs side by side, three outputs."""
    ws = place.workspace
    ws.add("numbers", [1, 2], commit=True)
    runs = [
        place.submit("numbers", f"out{n}", "Double", params={"times": str(n)}) for n in (3, 4, 5)
    ]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda run: ws.wait(run.record.run_id), runs))
    assert [ws.get(result.output) for result in results] == [[3, 6], [4, 8], [5, 10]]


def test_a_run_is_found_again_by_another_client(place: Place) -> None:
    """The journal and the remote are enough: a fresh workspace waits for the run."""
    ws = place.workspace
    ws.add("numbers", [4], commit=True)
    run = place.submit("numbers", "out", "Double").record.run_id
    context = ws.scope.context().name
    ws.close()
    other = br.open(context=context)
    assert other.get(other.wait(run[:20]).output) == [8]
    assert other.jobs(run)[0].settled
    # Waiting once more finds the settled result.
    assert other.get(other.wait(run).output) == [8]


def test_an_exit_without_a_result_is_missing_output(place: Place) -> None:
    """A job that ends well and leaves nothing did not succeed."""
    with pytest.raises(errors.MissingOutput):
        place.run("-", "never", "Leaves")


def test_a_submitted_run_is_waited_for_by_its_result(local_file: Place) -> None:
    """``submit`` is at once, ``result`` the output; a second time is at once; equal work is found
    by the next one, which has no job."""
    run = local_file.submit("-", "nothing", "Nothing")
    assert run.result().output.name == "nothing"
    assert run.result() is run.result()
    assert run.record.state is JobState.SUCCEEDED
    assert list(run.logs()) == list(local_file.workspace.logs(run.run_id))
    again = local_file.submit("-", "nothing", "Nothing")
    assert (again.reused, again.run_id) == (True, None)
    assert again.result().output == run.result().output
    with pytest.raises(errors.UsageError, match=r"'forced' is not an option .* 'force'"):
        local_file.submit("-", "nothing", "Nothing", forced=True)


def test_a_dry_run_changes_nothing(place: Place) -> None:
    """The plan only: no push, no job, no journal."""
    ws = place.workspace
    ws.add("numbers", [1], commit=True)
    plan = place.plan("numbers", "out", "Double")
    assert plan.found is None
    assert plan.task.pipe == "jobs.pipes.Double"
    assert plan.task.params == {"times": "2"}
    assert ws.jobs() == []
    assert not ws.ls("numbers")[0].pushed


def _until_running(ws: br.Workspace, run: str) -> None:
    for _ in range(200):
        if any("going to sleep" in line for line in ws.logs(run)) or (
            ws.jobs(run)[0].state is JobState.RUNNING
        ):
            return
        time.sleep(0.05)
    raise AssertionError(ws.jobs(run))


def test_progress_sees_the_job_s_lines_while_it_runs(local_file: Place) -> None:
    """Logs stream: a line arrives before the job ends."""
    ws = local_file.workspace
    seen = threading.Event()
    record = local_file.submit("-", "out", "Sleeps", params={"seconds": "3"}).record

    class Listening:
        def start(self, what: str, total: int | None, unit: str) -> int:
            return 0

        def advance(self, bar: int, steps: int) -> None: ...

        def finish(self, bar: int) -> None: ...

        def line(self, text: str) -> None:
            if "going to sleep" in text and not ws.ls("out"):
                seen.set()

    ws.progress = Listening()
    ws.wait(record.run_id)
    assert seen.is_set()


def test_a_local_job_over_its_time_is_timed_out(local_file: Place) -> None:
    """The deadline of ``--timeout-s``."""
    with pytest.raises(errors.TimedOut):
        local_file.run("-", "never", "Sleeps", timeout_s=2)


def test_a_local_job_over_its_memory_is_out_of_memory(local_file: Place) -> None:
    """The limit of ``--memory-mib`` kills, and the reason is told."""
    with pytest.raises(errors.OutOfMemory):
        local_file.run("-", "never", "Eats", memory_mib=256)


def test_a_local_job_runs_as_an_ordinary_user_with_a_home(local_file: Place) -> None:
    """Never root, and HOME is writable."""
    value = local_file.workspace.get(local_file.run("-", "who", "Who").output)
    assert value["uid"] != 0
    assert value["home_writable"] is True


def test_nothing_of_a_local_run_is_left_on_the_engine(local_file: Place, engine: object) -> None:
    """The container and the staging folder are gone after the run."""
    run = local_file.run("-", "nothing", "Nothing").record.run_id
    label = {"label": f"org.bundlerun.run={run}"}
    assert engine.containers.list(all=True, filters=label) == []  # type: ignore[attr-defined]
    staging = local_file.workspace.scope.store.path / "staging" / run
    assert not staging.exists()


def test_narrowed_credentials_cannot_write_elsewhere(batch_s3: Place, s3_bucket: str) -> None:
    """The session policy holds on a real server: a write outside the prefix is denied."""
    with pytest.raises(errors.UserError) as raised:
        batch_s3.run("-", "never", "WritesElsewhere", params={"bucket": s3_bucket})
    assert "AccessDenied" in raised.value.evidence


def test_a_run_on_batch_looks_for_credentials_once(
    batch_s3: Place, s3_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remote, narrowing and backend are one identity: what gives it is asked a single time."""
    counted = tmp_path / "asked"
    found = {
        "Version": 1,
        "AccessKeyId": s3_env["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": s3_env["AWS_SECRET_ACCESS_KEY"],
    }
    script = tmp_path / "credentials"
    script.write_text(f"#!/bin/sh\necho asked >> {counted}\necho '{json.dumps(found)}'\n")
    script.chmod(0o755)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {script}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    order = "run --backend AWSBatch --use-aws-session-token 3600 - once jobs.pipes.Nothing"
    done = subprocess.run(
        [sys.executable, "-m", "bundlerun", "--context", "work", *order.split()],
        capture_output=True,
        text=True,
    )
    assert "submitted run" in done.stdout, done.stderr
    assert counted.read_text().splitlines() == ["asked"]


def test_batch_runs_of_one_module_share_a_job_definition(batch_s3: Place) -> None:
    """An equal definition is reused, not registered again."""
    ws = batch_s3.workspace
    ws.add("numbers", [1], commit=True)
    batch_s3.run("numbers", "a", "Double", params={"times": "7"})
    batch_s3.run("numbers", "b", "Double", params={"times": "8"})
    found = (
        Aws.of(ws.scope.connections)
        .client("batch")
        .describe_job_definitions(jobDefinitionName="bundlerun-jobs-pipes-job-definition")
    )
    images = [d["containerProperties"]["image"] for d in found["jobDefinitions"]]
    assert len(images) == len(set(images))


def test_a_folder_remote_is_refused_for_batch(local_file: Place, monkeypatch: object) -> None:
    """A job elsewhere cannot see this machine's folders: refused before anything is done."""
    with pytest.raises(errors.UsageError, match="cannot reach"):
        local_file.run("-", "out", "Nothing", backend="AWSBatch")
    assert local_file.workspace.jobs() == []


def test_an_edited_helper_module_stops_the_run_until_it_is_built(
    base_image: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source differs from the image: the run names ``--build``, which makes it anew."""
    import shutil

    monkeypatch.setenv("BUNDLERUN_BASE_IMAGE", base_image)
    monkeypatch.setenv("BUNDLERUN_REPOSITORY_PREFIX", "edited")
    root = tmp_path / "project"
    shutil.copytree(project, root)
    (tmp_path / "remote").mkdir()
    ws = br.open(remote=f"file://{tmp_path}/remote", context="work")
    ws.dockerize(root, "jobs.pipes.Double")
    ws.add("numbers", [1], commit=True)
    ws.run("numbers", "out", "jobs.pipes.Double")
    (root / "jobs/numbers.py").write_text("def multiplied(value, times):\n    return -value\n")
    with pytest.raises(errors.StaleImage, match="--build"):
        ws.run("numbers", "out", "jobs.pipes.Double")
    result = ws.run("numbers", "out", "jobs.pipes.Double", build=True)
    assert not result.reused
    assert ws.get("out") == [-1]


@pytest.mark.parametrize(
    ("input", "pipe", "params", "error"),
    [
        ("missing", "Double", {}, errors.BundleNotFound),
        ("scratch", "Double", {}, errors.NotCommitted),
        ("-", "Absent", {}, errors.BadModule),
        ("-", "Nothing", {"colour": "red"}, errors.BadParameter),
        ("-", "Sleeps", {"seconds": "long"}, errors.BadParameter),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_done(
    local_file: Place, input: str, pipe: str, params: dict[str, str], error: type[Exception]
) -> None:
    """No job, no journal entry, nothing pushed."""
    ws = local_file.workspace
    ws.add("scratch", [1])
    with pytest.raises(error):
        local_file.run(input, "out", pipe, params=params)
    assert ws.jobs() == []


def test_doctor_looks_at_the_images_that_were_made(local_file: Place) -> None:
    """The image is there, and made of the source as it is."""
    checks = [check for check in local_file.workspace.doctor() if check.what == "image"]
    assert [check.ok for check in checks] == [True]
    assert "bundlerun-jobs-pipes" in checks[0].detail


def test_a_published_image_is_named_by_its_digest(
    batch_s3: Place, project: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dockerize --push; then the job's image is the one that the registry answered for."""
    monkeypatch.setenv("BUNDLERUN_REGISTRY", registry)
    ws = br.open(context="work")
    image = ws.dockerize(project, "jobs.pipes.Double", push=True)
    assert image.ref.digest is not None
    place = Place("published", ws, batch_s3.options)
    result = place.run("-", "nothing", "Nothing")
    assert result.plan["image"] == f"{image.ref.name}@{image.ref.digest}"
    assert ws.get(result.output) is None


def test_a_module_without_an_image_names_the_dockerize_command(local_file: Place) -> None:
    """ImageNotFound, with what to type."""
    with pytest.raises(errors.ImageNotFound, match="bundlerun dockerize"):
        local_file.workspace.run("-", "out", "other.module.Pipe")


@pytest.mark.parametrize("place", ["local_file", "batch_s3"], indirect=True)
def test_an_equal_run_is_followed_from_another_store(place: Place, tmp_path: Path) -> None:
    """No second job starts; both stores have the output, and force does the work again."""
    ws = place.workspace
    first = place.submit("-", "slept", "Sleeps", params={"seconds": "6"})
    other = br.open(tmp_path / "other", remote=ws.scope.context().remote_url, context="work")
    copy = Place("other", other, place.options)
    second = copy.run("-", "slept", "Sleeps", params={"seconds": "6"})
    assert second.followed
    assert second.record.run_id == first.record.run_id
    assert other.get(second.output) == 6
    assert ws.wait(first.record.run_id).output.id == second.output.id
    assert len(other.jobs(remote=True)) == 1
    forced = copy.submit("-", "slept", "Sleeps", params={"seconds": "0"}, force=True)
    assert not forced.followed
    other.cancel(forced.record.run_id)


def test_the_command_line_follows_an_equal_run(local_file: Place) -> None:
    """It says so, with and without waiting, and starts nothing."""
    run = local_file.submit("-", "slept", "Sleeps", params={"seconds": "5"}).record
    typed = ["-", "slept", "jobs.pipes.Sleeps", "--seconds", "5"]
    going = CliRunner().invoke(cli, ["-c", "work", "run", "--no-wait", *typed])
    assert f"an equal run goes on: {run.run_id[:13]}" in going.output, going.output
    followed = CliRunner().invoke(cli, ["-c", "work", "run", *typed])
    assert "(an equal run was followed)" in followed.output, followed.output
    assert len(local_file.workspace.jobs()) == 1
    found = CliRunner().invoke(cli, ["-c", "work", "run", *typed])
    assert "equal work was found" in found.output, found.output


@pytest.mark.parametrize("place", ["local_file", "batch_s3"], indirect=True)
def test_a_client_killed_right_after_it_submitted_finds_its_job_again(place: Place) -> None:
    """kill -9 before the handle was noted: nothing is lost, nothing runs twice."""
    ws = place.workspace
    ws.add("numbers", [21], commit=True)
    options = {**place.options}
    script = (
        "import os, signal, bundlerun as br\n"
        "from bundlerun import registry\n"
        f"kind = registry.load(registry.BACKENDS, {options.get('backend', 'Local')!r}, what='')\n"
        "real = kind.submit\n"
        "def submit(self, spec):\n"
        "    real(self, spec)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "kind.submit = submit\n"
        f"br.open(context='work').submit('numbers', 'out', 'jobs.pipes.Double', **{options!r})\n"
    )
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    (record,) = ws.jobs()
    assert ws.get(ws.wait(record.run_id).output) == [42]
    assert len(ws.jobs()) == 1


def test_a_run_whose_client_died_before_it_submitted_is_told(
    local_file: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no job for ever: after a while it is settled as never submitted."""
    ws = local_file.workspace
    run = local_file.run("-", "nothing", "Nothing").record
    begun = run.changed(handle=None, judged=False, settled=False, run_id=new_id())
    journal, context = ws.scope.store.journal, ws.scope.context()
    journal.add(context, begun.to_json())
    (listed,) = ws.jobs(begun.run_id)
    assert not listed.settled
    journal.replace(context, listed.changed(orphaned_s=0.0).to_json(), listed.revision)
    assert ws.jobs(begun.run_id)[0].failure == "InfraError"
    with pytest.raises(errors.InfraError, match="never submitted"):
        ws.wait(begun.run_id)
