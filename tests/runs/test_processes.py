"""A backend that another distribution brings runs pipes by the command line, and nothing of
bundlerun knows of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors
from tests.backends.harness import bring

ROOT = Path(__file__).parents[2]
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bundlerun(project: Path, tmp_path: Path) -> Iterator[Call]:
    """``bundlerun("run", ...)`` in a process of its own, which has the other distribution, in the
    folder of the project; ``store`` is one of several."""
    bring(tmp_path / "site", "Processes = tests.backends.processes:Processes")

    def call(*arguments: str, store: str = "store") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bundlerun", *arguments],
            cwd=project,
            env={
                **os.environ,
                "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}",
                "BUNDLERUN_STORE": str(tmp_path / store),
                "BUNDLERUN_PROCESSES": str(tmp_path / "processes"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    for store in ("store", "other"):
        assert call("context", "work", store=store).returncode == 0
        assert call("switch", "work", store=store).returncode == 0
        bound = call("remote", "work", f"file://{tmp_path}/remote", store=store)
        assert bound.returncode == 0, bound.stderr
    yield call
    for pid in tmp_path.glob("processes/*/*/pid"):
        if not pid.with_name("end").exists():
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def run_of(said: subprocess.CompletedProcess[str]) -> str:
    """The run that was submitted."""
    assert "submitted run" in said.stdout, said
    return said.stdout.split("submitted run ")[1].split()[0]


RUN = ("run", "--backend", "Processes")


def test_nothing_of_bundlerun_names_the_backend() -> None:
    """One file has it, and an entry point."""
    package = Path(br.__file__).parent
    found = [p for p in package.rglob("*.py") if '"Processes"' in p.read_text("utf-8")]
    assert found == []


@pytest.mark.slow
def test_a_run_on_another_s_backend_brings_its_output_home(bundlerun: Call) -> None:
    """Input, output, lineage, log and equal work, as on a backend of our own."""
    said = bundlerun(*RUN, "-", "two", "jobs.pipes.Sleeps", "--seconds", "0")
    assert "made two" in said.stdout, said
    assert "int 0" in bundlerun("cat", "two").stdout
    run = bundlerun("jobs").stdout.split()
    assert "Processes" in run, run
    again = bundlerun(*RUN, "-", "two", "jobs.pipes.Sleeps", "--seconds", "0")
    assert "equal work was found" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "pipe", "failure"),
    [
        (("--force",), ("jobs.pipes.Raises",), errors.UserError),
        (("--timeout-s", "3"), ("jobs.pipes.Sleeps", "--seconds", "60"), errors.TimedOut),
        (("--force",), ("jobs.pipes.Leaves",), errors.MissingOutput),
    ],
)
def test_a_failure_on_another_s_backend_is_told_as_what_it_is(
    bundlerun: Call, options: tuple[str, ...], pipe: tuple[str, ...], failure: type[Exception]
) -> None:
    """By the exit code that it has everywhere."""
    said = bundlerun(*RUN, *options, "-", "out", *pipe)
    assert said.returncode == failure.exit_code, said  # type: ignore[attr-defined]


@pytest.mark.slow
def test_another_store_ends_and_follows_a_run_on_another_s_backend(bundlerun: Call) -> None:
    """What it learns of it, it learns from the remote and from the backend."""
    pipe = ("jobs.pipes.Sleeps", "--seconds")
    run = run_of(bundlerun(*RUN, "--no-wait", "-", "long", *pipe, "600"))
    short = run_of(bundlerun(*RUN, "--no-wait", "-", "short", *pipe, "1"))
    done = bundlerun("wait", short, store="other")
    assert done.returncode == 0, done
    assert "int 1" in bundlerun("cat", "short", store="other").stdout
    assert bundlerun("cancel", run, store="other").returncode == 0
    ended = bundlerun("wait", run)
    assert ended.returncode == errors.Cancelled.exit_code, ended
