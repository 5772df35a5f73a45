"""A run as the journal keeps it: enough to find the job again after the client died."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.bundles.bundle import Bundle
from bundlerun.jobs.spec import JobHandle
from bundlerun.jobs.state import JobState


@dataclass(frozen=True)
class RunRecord:
    """One run of this store. ``settled``: its end was seen, its result brought home (or there was
    none), and the backend told to forget the job. Times are Unix seconds."""

    run_id: str
    backend: str
    pipe: str
    output: str
    output_id: str
    image: str
    remote_url: str
    input: str | None = None
    state: JobState = JobState.QUEUED
    reason: str = ""
    failure: str | None = None
    evidence: str = ""
    handle: JobHandle | None = None
    settled: bool = False
    submitted_s: float | None = None
    started_s: float | None = None
    finished_s: float | None = None

    def changed(self, **fields: Any) -> RunRecord:
        """A copy in which ``fields`` differ."""
        return dataclasses.replace(self, **fields)

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        found["id"] = self.run_id
        found["state"] = self.state.value
        found["handle"] = self.handle and self.handle.to_json()
        return found

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> RunRecord:
        """The inverse of ``to_json``."""
        fields = {key: found.get(key) for key in RunRecord.__dataclass_fields__ if key in found}
        fields["state"] = JobState(found["state"])
        handle = found.get("handle")
        fields["handle"] = None if handle is None else JobHandle.from_json(handle)
        return RunRecord(**fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class RunResult:
    """What became of a run. ``output`` is None while it still goes on, and after a dry run;
    ``reused``: equal work was found, and no job was started."""

    record: RunRecord | None
    plan: Mapping[str, Any]
    output: Bundle | None = None
    reused: bool = False
