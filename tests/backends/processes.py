"""A backend as another distribution brings one: jobs are processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundlerun.backends.base import INDEX, Backend, Check, ImageAt, Traits
from bundlerun.backends.job import (
    Failure,
    JobHandle,
    JobSpec,
    JobState,
    JobStatus,
    state_of_array,
)
from bundlerun.errors import Conflict
from bundlerun.settings import Settings, option
from tests.backends.processes_keeper import write

KEEPER = Path(__file__).with_name("processes_keeper.py")
"""The program that keeps one job: it starts it, and writes down its end."""


@dataclass(frozen=True)
class ProcessesOptions:
    """``[backends.Processes]``."""

    folder: str | None = option(variable="BUNDLERUN_PROCESSES")


class Processes(Backend):
    """A folder a submission, in it one a job; a keeper process of each job writes what became of
    it."""

    name = "Processes"
    options = ProcessesOptions
    traits = Traits(
        waits=True,
        image=ImageAt.NONE,
        sees_folders=True,
        private_variables=True,
        slots=2,
        largest_array=100,
    )

    def __init__(self, settings: Settings) -> None:
        folder = settings.options(self.name, ProcessesOptions).folder
        self._folder = Path(folder) if folder else settings.home / "processes"

    def checks(self) -> Iterator[Check]:
        yield Check("processes", True, str(self._folder))

    def submit(self, spec: JobSpec) -> JobHandle:
        self.check(spec)
        staging = str(spec.access.staging) if spec.access and spec.access.staging else None
        told = {"argv": spec.argv(), "timeout_s": spec.timeout_s, "staging": staging}
        jobs = [self._folder / _id(spec.run_id, spec.part) / str(n) for n in range(spec.array)]
        for index, job in enumerate(jobs):
            env = {**spec.environment, **({INDEX: str(index)} if spec.array > 1 else {})}
            job.mkdir(parents=True, exist_ok=True)
            write(job / "spec", json.dumps({**told, "env": env, "array": spec.array}))
        self._begin(jobs)
        return self._handle(spec.run_id, spec.part, spec.array)

    def _begin(self, jobs: Sequence[Path]) -> None:
        for job in jobs:
            # Of several keepers of one job the first keeps it.
            if not (job / "keeper").exists() and not (job / "cancelled").exists():
                self._start(job)

    def _start(self, job: Path) -> None:
        # It outlives whoever submits, and keeps nothing of that one open.
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        command = [sys.executable, str(KEEPER), str(job)]
        subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, **quiet)

    def _handle(self, run_id: str, part: int, array: int) -> JobHandle:
        return JobHandle(self.name, _id(run_id, part), run_id, part=part, array=array)

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        there = list((self._folder / _id(run_id, part)).glob("*/spec"))
        array = json.loads(there[0].read_text())["array"] if there else None
        if array != len(there):
            return None
        self._begin([spec.parent for spec in there])
        return self._handle(run_id, part, array)

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        return {handle.id: self._looked(handle) for handle in handles}

    def _looked(self, handle: JobHandle) -> JobStatus:
        if handle.id != _id(handle.run_id, handle.part):
            return JobStatus(JobState.LOST)
        jobs = [_status(job) for job in self._jobs(handle)]
        if handle.array == 1:
            return jobs[0]
        tally = Counter(status.state for status in jobs)
        state = state_of_array(tally)
        failure = Failure.CANCELLED if state is JobState.CANCELLED else None
        return JobStatus(state, failure, tally=dict(tally))

    def failed(self, handle: JobHandle) -> Mapping[int, JobStatus]:
        found = {index: _status(job) for index, job in enumerate(self._jobs(handle))}
        over = {index: status for index, status in found.items() if status.state.final}
        return {n: status for n, status in over.items() if status.state is not JobState.SUCCEEDED}

    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        for job in self._jobs(handle, index):
            while follow and not _status(job).state.final:
                time.sleep(0.05)
            if (job / "log").exists():
                yield from (job / "log").read_text().splitlines()

    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        for job in self._jobs(handle, index):
            if job.is_dir() and not _status(job).state.final:
                (job / "cancelled").touch()
                if (job / "pid").exists():
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(int((job / "pid").read_text()), signal.SIGKILL)

    def _jobs(self, handle: JobHandle, index: int | None = None) -> list[Path]:
        """The folders of the jobs that are meant, whether they are there or not."""
        folder = self._folder / handle.id
        if handle.id != _id(handle.run_id, handle.part) and folder.is_dir():
            raise Conflict(f"the job {handle.id} is not one of run {handle.run_id}")
        return [folder / str(at) for at in handle.indices(index)]

    def _record(self, handle: JobHandle) -> dict[str, object]:
        spec = self._jobs(handle)[0] / "spec"
        found: dict[str, object] = json.loads(spec.read_text()) if spec.exists() else {}
        return found

    def staging(self, handle: JobHandle) -> Path | None:
        found = self._record(handle).get("staging")
        return Path(str(found)) if found else None

    def variable(self, handle: JobHandle, name: str) -> str | None:
        env = self._record(handle).get("env")
        return env.get(name) if isinstance(env, dict) else None

    def release(self, handle: JobHandle) -> None:
        self._jobs(handle)
        shutil.rmtree(self._folder / handle.id, ignore_errors=True)


def _id(run_id: str, part: int) -> str:
    return f"{run_id}.{part}"


def _status(job: Path) -> JobStatus:
    if not job.is_dir():
        return JobStatus(JobState.LOST)
    if not (job / "end").exists():
        if (job / "pid").exists():
            return JobStatus(JobState.RUNNING)
        cancelled = (job / "cancelled").exists()
        return JobStatus(*_CANCELLED) if cancelled else JobStatus(JobState.QUEUED)
    code, timed_out, *times = json.loads((job / "end").read_text())
    if (job / "cancelled").exists():
        return JobStatus(*_CANCELLED, "cancelled", code, *times)
    failure = Failure.TIMED_OUT if timed_out else Failure.USER_ERROR if code else None
    state = JobState.FAILED if failure else JobState.SUCCEEDED
    return JobStatus(state, failure, "", code, *times)


_CANCELLED = (JobState.CANCELLED, Failure.CANCELLED)
