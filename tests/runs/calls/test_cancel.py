"""A cancel says whether it was done, wherever the map stands."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.backends.job import JobHandle, JobSpec
from bundlerun.cli.main import run_cli
from bundlerun.remotes.folder import FileRemote
from bundlerun.settings import read_settings
from bundlerun.store.locks import held
from tests.runs.calls.conftest import Lab
from tests.runs.calls.shelf import Shelf


def said_by_cancel(run_id: str) -> str:
    """What ``bundlerun cancel`` says of the run."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run_cli(["cancel", run_id]) == 0
    return said.getvalue()


def test_before_the_upload_there_is_nothing_to_cancel(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program that still makes items is stopped as any: nothing stays, no job begins."""

    def items() -> Iterator[int]:
        yield 1
        assert br.jobs() == []
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        br.map(abs, items(), backend="Shelf")
    assert br.jobs() == []
    assert Shelf(read_settings()).asked("submit") == []
    assert run_cli(["cancel", "0197aaaa"]) != 0
    assert "0197aaaa" in capsys.readouterr().err


def test_a_cancel_before_submit_is_done_by_the_submitter(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that it will be; the map raises Cancelled, and its job has been told."""
    said: list[str] = []
    submit = Shelf.submit

    def cancelled_meanwhile(shelf: Shelf, spec: JobSpec) -> JobHandle:
        said.append(said_by_cancel(spec.run_id))
        return submit(shelf, spec)

    monkeypatch.setattr(Shelf, "submit", cancelled_meanwhile)
    with pytest.raises(errors.Cancelled):
        br.map(abs, [1, 2], backend="Shelf")
    assert "by its submitter" in said[0]
    (record,) = br.jobs()
    assert len(Shelf(read_settings()).asked("cancel")) == 1
    assert "is cancelled" in said_by_cancel(record.run_id)


def test_a_queued_map_is_cancelled_and_says_so(lab: Lab) -> None:
    """Once; what has been cancelled stays it."""
    run = br.map(abs, [1, 2], backend="Shelf")
    assert "is cancelled" in said_by_cancel(run.run_id)
    assert "is cancelled" in said_by_cancel(run.run_id)
    assert all(future.cancelled() or future.cancel() for future in run)


def test_a_cancel_waits_for_who_settles_the_map(lab: Lab) -> None:
    """Also where that one is slow, it is said that the map is cancelled."""
    run = br.map(abs, [1, 2], backend="Shelf")
    busy, held_s = threading.Event(), 0.5

    def settles() -> None:
        with held(read_settings().store / "locks" / run.run_id, wait=True):
            busy.set()
            time.sleep(held_s)

    other = threading.Thread(target=settles)
    other.start()
    assert busy.wait(30)
    said = said_by_cancel(run.run_id)
    other.join()
    assert "is cancelled" in said


def test_a_map_that_has_ended_is_not_cancelled_and_says_so(lab: Lab) -> None:
    """From the command line and from the map in hand."""
    run = br.map(abs, [1, 2], backend="Shelf")
    Shelf(read_settings()).work(run.run_id, FileRemote(f"file://{lab.remote}"))
    assert list(run.results(60)) == [1, 2]
    assert run.cancel() is False
    br.wait(run.run_id)
    assert "nothing was cancelled" in said_by_cancel(run.run_id)


@pytest.mark.heavy
def test_a_running_map_is_ended_and_says_so(lab: Lab) -> None:
    """Its processes are gone, and each future is cancelled."""
    from lab import model

    run = br.map(model.sleeps, [600, 600], backend="Processes")
    said = said_by_cancel(run.run_id)
    assert "is cancelled" in said or "was told to end" in said
    with pytest.raises(errors.Cancelled):
        br.wait(run.run_id)
    assert "is cancelled" in said_by_cancel(run.run_id)


def test_an_item_that_waits_and_a_map_that_waits_say_that_they_are_cancelled(lab: Lab) -> None:
    """By hand: True once, and again for an item; False once nothing is left."""
    run = br.map(abs, [1, 2, 3], backend="Shelf")
    assert run[1].cancel() is True
    assert run[1].cancel() is True
    assert [future.cancelled() for future in run] == [False, True, False]
    assert run.cancel() is True
    assert run.cancel() is False
    assert all(future.cancelled() for future in run)
    assert len(Shelf(read_settings()).asked("cancel")) == 2


def interrupted(script: str) -> subprocess.CompletedProcess[str]:
    """A program after Ctrl-C, which it got once it wrote that it is there."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as program:  # type: ignore[call-overload]
        assert program.stdout.readline() == "here\n"
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    return subprocess.CompletedProcess(command, program.returncode, out, err)


needs_notes = pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes")


@pytest.mark.heavy
@needs_notes
def test_ctrl_c_in_the_middle_of_the_upload_says_that_nothing_was_submitted(lab: Lab) -> None:
    """A pack is on the remote by then; nothing stays there, and there is no run."""
    done = interrupted(
        """
        import os, time
        import bundlerun as br

        def items():
            for _ in range(5):
                yield os.urandom(4 << 20)
            print("here", flush=True)
            time.sleep(60)
            yield b""

        br.map(len, items(), backend="Shelf")
        """
    )
    assert done.returncode != 0
    assert "nothing was submitted" in done.stderr
    assert list(FileRemote(f"file://{lab.remote}").list("runs/")) == []
    assert br.jobs() == []
    assert Shelf(read_settings()).asked("submit") == []


SUBMITTING = """
    import time
    import bundlerun as br
    from tests.runs.calls.shelf import Shelf

    submit = Shelf.submit

    def slow(shelf, spec):
        if {made}:
            submit(shelf, spec)
        print("here", flush=True)
        time.sleep(60)

    Shelf.submit = slow
    br.map(abs, [1, 2], backend="Shelf")
"""


@pytest.mark.heavy
@pytest.mark.parametrize("made", [True, False])
def test_a_run_that_ctrl_c_left_in_the_middle_of_its_submit_is_cancelled(
    lab: Lab, made: bool
) -> None:
    """It says how to go on and how to end it; a job that nobody noted is found and told to end."""
    done = interrupted(SUBMITTING.format(made=made))
    assert done.returncode != 0
    (record,) = br.jobs()
    if sys.version_info >= (3, 11):
        assert f"br.attach({record.run_id!r})" in done.stderr
        assert f"bundlerun cancel {record.run_id[:13]}" in done.stderr
    said = said_by_cancel(record.run_id)
    assert "is cancelled" in said or "was told to end" in said
    assert len(Shelf(read_settings()).asked("cancel")) == made
    assert "is cancelled" in said_by_cancel(record.run_id)
