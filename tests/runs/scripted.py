"""A backend that says what a test tells it to, and what a test's job leaves: no engine is needed.

The script of a run, and what was asked of the backend, are files below the settings' home, so that
every process of a test sees the same job.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bundlerun as br
from bundlerun.backends.base import Backend
from bundlerun.backends.job import Failure, JobHandle, JobSpec, JobState, JobStatus
from bundlerun.backends.local_docker import LocalDocker
from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion, Parent, ReuseKey
from bundlerun.bundles.record import new_id
from bundlerun.errors import CloudError, EngineError, SubmitUnknown
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.identity import found_uuid
from bundlerun.remotes.open import open_remote
from bundlerun.remotes.push import push
from bundlerun.remotes.staging import OverlayRemote
from bundlerun.runs.envelope import Envelope
from bundlerun.runs.keys import result_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.record import RunRecord
from bundlerun.runs.request import RunRequest
from bundlerun.runs.submit import start
from bundlerun.runs.task import PipeTask
from bundlerun.settings import Settings
from bundlerun.store.store import Store

RUNNING, DONE, LOST, FAILED = (
    JobStatus(state)
    for state in (JobState.RUNNING, JobState.SUCCEEDED, JobState.LOST, JobState.FAILED)
)
FAILED = replace(FAILED, failure=Failure.USER_ERROR, reason="exit code 1")
CANCELLED = JobStatus(JobState.CANCELLED, Failure.CANCELLED, "cancelled")


class Scripted(Backend):
    """Stands for the local engine. A run without a script has no job."""

    name = "Local"
    traits = LocalDocker.traits

    def __init__(self, settings: Settings) -> None:
        self.state = settings.home / "scripted"
        self.state.mkdir(parents=True, exist_ok=True)

    def submit(self, spec: JobSpec) -> JobHandle:
        """A job that runs, once nothing holds it up (``hold``); none where it is refused
        (``refuses``)."""
        self._note("submit", spec.run_id)
        if (self.state / "refuses").exists():
            raise CloudError("no queue of that name")
        while (self.state / "hold").exists():
            time.sleep(0.01)
        if spec.access is not None and spec.access.staging is not None:
            (self.state / f"{spec.run_id}.mount").write_text(str(spec.access.staging))
        self.script(spec.run_id, RUNNING)
        if (self.state / "deaf").exists():
            raise SubmitUnknown("whether it was done is not known")
        return JobHandle(self.name, spec.run_id, spec.run_id)

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        """The job, where it has a script."""
        self._note("find", run_id)
        return JobHandle(self.name, run_id, run_id) if self._path(run_id).exists() else None

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The next look of each script, the last one for ever."""
        self._note("poll", *(handle.id for handle in handles))
        if (self.state / "down").exists():
            raise EngineError("the scripted engine is down")
        return {handle.id: self._next(handle.id) for handle in handles}

    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """One line."""
        yield f"a line of {handle.id}"

    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        """The job is cancelled at once, unless it has ended."""
        self._note("cancel", handle.id)
        if not self._next(handle.id).state.final:
            self.script(handle.id, CANCELLED)

    def release(self, handle: JobHandle) -> None:
        """The job is forgotten."""
        self._note("release", handle.id)
        if (self.state / "sticky").exists():
            raise EngineError("the scripted engine keeps its containers")
        self._path(handle.id).unlink(missing_ok=True)

    def staging(self, handle: JobHandle) -> Path | None:
        """What was mounted, while the job is known."""
        mount = self.state / f"{handle.run_id}.mount"
        known = mount.exists() and self._path(handle.id).exists()
        return Path(mount.read_text()) if known else None

    def other_job(self, handle: JobHandle, claiming: str) -> JobHandle | None:
        """Jobs know themselves by their ids."""
        other = JobHandle(self.name, claiming, handle.run_id)
        return None if claiming == handle.id else other

    def script(self, run_id: str, *statuses: JobStatus) -> None:
        """What the looks at a job say from now on."""
        self._write(run_id, [_row(status) for status in statuses])

    def asked(self, what: str) -> list[str]:
        """The calls of one kind so far, by the ids that they named."""
        path = self.state / "calls"
        calls = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [" ".join(call[1:]) for call in calls if call[0] == what]

    def _next(self, run_id: str) -> JobStatus:
        try:
            rows = json.loads(self._path(run_id).read_text())
        except FileNotFoundError:
            return replace(LOST, reason="the engine has no such container")
        if len(rows) > 1:
            self._write(run_id, rows[1:])
        return _status(rows[0])

    def _write(self, run_id: str, rows: list[dict[str, Any]]) -> None:
        aside = self.state / f"{run_id}.{new_id()}"
        aside.write_text(json.dumps(rows))
        aside.rename(self._path(run_id))

    def _path(self, run_id: str) -> Path:
        return self.state / f"{run_id}.json"

    def _note(self, what: str, *ids: str) -> None:
        with (self.state / "calls").open("a") as file:
            file.write(" ".join([what, *ids]) + "\n")


@dataclass
class Stage:
    """A workspace with a folder as its remote, and the scripted backend."""

    workspace: br.Workspace
    backend: Scripted

    def submit(self, output: str = "out") -> RunRecord:
        """A run that was submitted, and whose job runs."""
        plan = plan_of(output)
        return start(
            plan,
            RunRequest(None, output, plan.task.pipe),
            self.backend,
            self.workspace.scope.runs(),
        )

    def record(self, run_id: str) -> RunRecord:
        """The run as the journal has it."""
        row = self.workspace.scope.store.journal.get(self.workspace.scope.context(), run_id)
        return RunRecord.from_json(row.run, row.revision)

    def container(self, record: RunRecord) -> Remote:
        """What the job of a run writes to."""
        upper = FileRemote((self.workspace.scope.store.path / "staging" / record.run_id).as_uri())
        return OverlayRemote(
            open_remote(record.remote_url, self.workspace.scope.connections), upper
        )

    def leave_output(self, record: RunRecord, value: Any = 42) -> None:
        """The job pushes the promised bundle."""
        remote = self.container(record)
        with tempfile.TemporaryDirectory() as folder:
            store = Store.open(Path(folder) / "store")
            context = store.contexts.create("job")
            context = store.contexts.bind(context, remote.url, found_uuid(remote))
            entry = store.add(context, record.output, value, id=record.output_id, commit=True)
            push(Binding.of(store, context, remote), [entry])
            store.close()

    def leave_envelope(self, record: RunRecord, **fields: Any) -> None:
        """The job leaves its envelope: of success, unless told otherwise."""
        envelope = Envelope(record.run_id, 1, "succeeded", output=record.output_id)
        envelope = replace(envelope, **fields)
        self.leave_bytes(record, envelope.to_bytes(), envelope.attempt)

    def leave_bytes(self, record: RunRecord, data: bytes, attempt: int = 1) -> None:
        """The job leaves an envelope of these bytes."""
        self.container(record).put(result_key(record.run_id, 0, attempt), data)

    def succeed(self, record: RunRecord, value: Any = 42) -> None:
        """The job does all that it promised."""
        self.leave_output(record, value)
        self.leave_envelope(record)
        self.backend.script(record.run_id, DONE)


class Said:
    """Progress that keeps its lines."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def start(self, what: str, total: int | None, unit: str) -> int:
        return 0

    def advance(self, bar: int, steps: int) -> None: ...

    def finish(self, bar: int) -> None: ...

    def line(self, text: str) -> None:
        self.said.append(text)


def plan_of(output: str, input: Parent | None = None) -> RunPlan:
    """A plan of a pipe that no image has: its job is a script."""
    return RunPlan(
        run_id=new_id(),
        backend="Local",
        image="image",
        environment="environment",
        task=PipeTask(
            pipe="jobs.pipes.Double",
            input=input,
            output=output,
            output_id=new_id(),
            code=CodeVersion(digest_of(b"source")),
            request=ReuseKey({"pipe": output}),
        ),
    )


def _row(status: JobStatus) -> dict[str, Any]:
    return {
        **vars(status),
        "state": status.state.value,
        "failure": status.failure and status.failure.value,
    }


def _status(row: Mapping[str, Any]) -> JobStatus:
    failure = None if row["failure"] is None else Failure(row["failure"])
    return JobStatus(**{**row, "state": JobState(row["state"]), "failure": failure})
