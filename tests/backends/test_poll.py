"""Looking at a job, with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bundlerun.backends.aws_batch import AWSBatch
from bundlerun.backends.base import Backend, ImageAt, Pace, Traits
from bundlerun.backends.job import JobHandle, JobSpec, JobState, JobStatus
from bundlerun.backends.open import open_backend, shared_backend
from bundlerun.backends.poll import Clock, looks
from bundlerun.connections import Connections
from bundlerun.errors import BundlerunError, EngineError, NoCredentials, TimedOut
from bundlerun.settings import read_settings

HANDLE = JobHandle("Local", "id", "run")
QUEUED, RUNNING, DONE, LOST = (
    JobStatus(state)
    for state in (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.LOST)
)


class Told(Backend):
    """A backend that says what it is told to say, the last thing for ever."""

    name = "Told"
    traits = Traits(waits=False, image=ImageAt.NONE)

    def __init__(self, *says: JobStatus | BundlerunError) -> None:
        self.says = list(says)

    def submit(self, spec: JobSpec) -> JobHandle:
        """The one handle."""
        return HANDLE

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        return None

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The next thing."""
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, BundlerunError):
            raise said
        return {handle.id: said for handle in handles}

    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """No log."""
        return iter(())

    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        """Nothing to end."""

    def release(self, handle: JobHandle) -> None:
        """Nothing to forget."""


class Time:
    """A clock that goes on only while one sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.slept.append(seconds)
        self.now_s += seconds

    def clock(self) -> Clock:
        """As ``looks`` takes it."""
        return Clock(now=lambda: self.now_s, sleep=self.sleep)


def until(end: JobStatus, backend: Backend, **options: Any) -> list[JobStatus]:
    """What the looks say up to the first that says ``end``."""
    seen = []
    for status in looks(backend, HANDLE, **options):
        seen.append(status)
        if status == end:
            break
    return seen


def test_every_look_is_given() -> None:
    """Whether one is the last is for the caller to judge."""
    says = [QUEUED, QUEUED, LOST, RUNNING, LOST, LOST, DONE]
    assert until(DONE, Told(*says), clock=Time().clock()) == says


def test_looks_grow_rarer_up_to_a_limit() -> None:
    """Pauses grow from first_s to most_s, and start anew after a change."""
    time = Time()
    until(DONE, Told(*[QUEUED] * 30, RUNNING, RUNNING, DONE), clock=time.clock())
    assert time.slept[0] == pytest.approx(0.05)
    assert sorted(time.slept[:30]) == time.slept[:30]
    assert max(time.slept) == pytest.approx(5.0)
    assert time.slept[30] == pytest.approx(0.05)


def test_batch_is_asked_less_often() -> None:
    """An hour of a Batch job costs fewer than 400 requests."""
    time = Time()
    with pytest.raises(TimedOut):
        until(DONE, Told(RUNNING), timeout_s=3600, pace=AWSBatch.traits.pace, clock=time.clock())
    assert len(time.slept) < 400
    assert max(time.slept) <= 30


def test_the_longest_pause_is_a_setting(tmp_path: Path) -> None:
    """``[run] poll_s``, for whichever backend; what a wait begins with stays below it."""
    (tmp_path / "config.toml").write_text("[run]\npoll_s = 60\n")
    rare = read_settings({"BUNDLERUN_HOME": str(tmp_path)})
    for name in ("AWSBatch", "Local"):
        assert open_backend(name, Connections(rare)).pace.most_s == 60
        assert shared_backend(name, Connections(rare)).pace.most_s == 60
    told, time = Told(RUNNING), Time()
    told.poll_s = 1.0
    with pytest.raises(TimedOut):
        until(DONE, told, timeout_s=60, clock=time.clock())
    assert time.slept[0] == pytest.approx(0.05)
    assert max(time.slept) == pytest.approx(1.0)


def test_waiting_ends_on_time_and_the_job_goes_on() -> None:
    """timeout_s bounds the wait, not the job, and the error says how to come back."""
    time = Time()
    with pytest.raises(TimedOut, match="bundlerun wait run"):
        until(DONE, Told(RUNNING), timeout_s=7, clock=time.clock())
    assert time.now_s == pytest.approx(7)


def test_stumbling_engine_is_forgiven_a_few_times() -> None:
    """Five failures in a row pass, six do not; an answer in between starts the count anew."""
    trouble = EngineError("restarting")
    passing = Told(RUNNING, *[trouble] * 5, DONE)
    assert until(DONE, passing, clock=Time().clock()) == [RUNNING, DONE]
    mixed = Told(*[trouble] * 5, RUNNING, *[trouble] * 5, DONE)
    assert until(DONE, mixed, clock=Time().clock()) == [RUNNING, DONE]
    with pytest.raises(EngineError):
        until(DONE, Told(*[trouble] * 6, DONE), clock=Time().clock())


def test_what_does_not_pass_by_itself_is_raised_at_once() -> None:
    """Nobody waits for credentials to appear."""
    backend = Told(NoCredentials("none"), DONE)
    with pytest.raises(NoCredentials):
        until(DONE, backend, clock=Time().clock())
    assert backend.says == [DONE]


def test_pace_of_a_test_is_kept() -> None:
    """Another pace is another first pause."""
    time = Time()
    until(DONE, Told(RUNNING, DONE), pace=Pace(first_s=3), clock=time.clock())
    assert time.slept == [3]
