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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundlerun.backends.base import Backend, Check, ImageAt, Traits
from bundlerun.backends.job import Failure, JobHandle, JobSpec, JobState, JobStatus
from bundlerun.errors import Conflict
from bundlerun.settings import Settings, option

KEEPER = Path(__file__).with_name("processes_keeper.py")
"""The program that keeps one job: it starts it, and writes down its end."""


@dataclass(frozen=True)
class ProcessesOptions:
    """``[backends.Processes]``."""

    folder: str | None = option(variable="BUNDLERUN_PROCESSES")


class Processes(Backend):
    """A folder a job; a keeper process of each job writes what became of it."""

    name = "Processes"
    options = ProcessesOptions
    traits = Traits(waits=True, image=ImageAt.NONE, sees_folders=True, private_variables=True)

    def __init__(self, settings: Settings) -> None:
        folder = settings.options(self.name, ProcessesOptions).folder
        self._folder = Path(folder) if folder else settings.home / "processes"

    def checks(self) -> Iterator[Check]:
        yield Check("processes", True, str(self._folder))

    def submit(self, spec: JobSpec) -> JobHandle:
        self.check(spec)
        job = self._folder / spec.run_id
        with contextlib.suppress(FileExistsError):
            job.mkdir(parents=True)
            staging = str(spec.access.staging) if spec.access and spec.access.staging else None
            told = {"argv": spec.argv(), "env": spec.environment, "timeout_s": spec.timeout_s}
            (job / "spec").write_text(json.dumps({**told, "staging": staging}))
            self._start(job)
        return JobHandle(self.name, spec.run_id, spec.run_id)

    def _start(self, job: Path) -> None:
        # It outlives whoever submits, and keeps nothing of that one open.
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        command = [sys.executable, str(KEEPER), str(job)]
        subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, **quiet)

    def find(self, run_id: str, name: str) -> JobHandle | None:
        there = (self._folder / run_id).is_dir()
        return JobHandle(self.name, run_id, run_id) if there else None

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        return {handle.id: self._status(self._folder / handle.id) for handle in handles}

    def logs(self, handle: JobHandle, *, follow: bool = False) -> Iterator[str]:
        job = self._folder / handle.id
        while follow and not self._status(job).state.final:
            time.sleep(0.05)
        if (job / "log").exists():
            yield from (job / "log").read_text().splitlines()

    def cancel(self, handle: JobHandle, reason: str) -> None:
        job = self._folder / handle.id
        if handle.id != handle.run_id and job.is_dir():
            raise Conflict(f"the job {handle.id} is not one of run {handle.run_id}")
        if job.is_dir() and not self._status(job).state.final:
            (job / "cancelled").touch()
            if (job / "pid").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int((job / "pid").read_text()), signal.SIGKILL)

    def staging(self, handle: JobHandle) -> Path | None:
        spec = self._folder / handle.id / "spec"
        found = json.loads(spec.read_text())["staging"] if spec.exists() else None
        return Path(found) if found else None

    def release(self, handle: JobHandle) -> None:
        shutil.rmtree(self._folder / handle.id, ignore_errors=True)

    def _status(self, job: Path) -> JobStatus:
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
