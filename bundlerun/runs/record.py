"""A run as the journal keeps it: enough to find the job again after the client died."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundlerun.bundles.bundle import Bundle
from bundlerun.errors import IntegrityError
from bundlerun.jobs.spec import JobHandle
from bundlerun.jobs.state import JobState


@dataclass(frozen=True)
class RunRecord:
    """One run of this store. Times are Unix seconds.

    ``remote_url`` and ``remote_uuid`` name the remote that the run works on, whatever its context
    is bound to later. ``lost_s``: since when the backend does not know the job, by the look before;
    ``orphaned_s``: when it was first seen that whoever submitted has ended and left no job;
    ``cancel_asked_s``: when somebody asked for its end, and ``cancel_sent``: the backend was told.
    ``adopted``: another store submitted it, or this one's journal was lost since; ``followed``: it
    was under way when equal work was asked for.
    ``judged``: what became of it stands here; ``settled``: beside that, the backend was told to
    forget the job, and nothing is left to be done. ``revision`` is the journal's.
    """

    run_id: str
    backend: str
    pipe: str
    output: str
    output_id: str
    image: str
    remote_url: str
    remote_uuid: str | None = None
    kind: str = "pipe"
    input: str | None = None
    state: JobState = JobState.QUEUED
    reason: str = ""
    failure: str | None = None
    evidence: str = ""
    handle: JobHandle | None = None
    adopted: bool = False
    followed: bool = False
    judged: bool = False
    settled: bool = False
    submitted_s: float | None = None
    started_s: float | None = None
    finished_s: float | None = None
    lost_s: float | None = None
    orphaned_s: float | None = None
    cancel_asked_s: float | None = None
    cancel_sent: bool = False
    revision: int = field(default=0, compare=False)

    def changed(self, **fields: Any) -> RunRecord:
        """A copy in which ``fields`` differ."""
        return dataclasses.replace(self, **fields)

    @property
    def label(self) -> str:
        """How messages name the run."""
        return f"run {self.run_id[:13]} of {self.pipe}"

    def to_json(self) -> dict[str, Any]:
        """The JSON form; the revision is not part of it."""
        found = {name: getattr(self, name) for name in _FIELDS}
        found["id"] = self.run_id
        found["state"] = self.state.value
        found["handle"] = self.handle and self.handle.to_json()
        return found

    @staticmethod
    def from_json(found: Mapping[str, Any], revision: int = 0) -> RunRecord:
        """The inverse of ``to_json``. Raises IntegrityError."""
        try:
            fields = {name: found[name] for name in _FIELDS if name in found}
            fields["state"] = JobState(found["state"])
            handle = found.get("handle")
            fields["handle"] = None if handle is None else JobHandle.from_json(handle)
            return RunRecord(**fields, revision=revision)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"not the record of a run: {error!r:.200}", hint="bundlerun fsck"
            ) from error


_FIELDS = tuple(field.name for field in dataclasses.fields(RunRecord) if field.name != "revision")


@dataclass(frozen=True)
class RunResult:
    """What became of a run. ``output`` is None while it still goes on, and after a dry run;
    ``reused``: equal work was found, and no job was started; ``followed``: an equal run that is
    under way was found, and ``record`` is that one's."""

    record: RunRecord | None
    plan: Mapping[str, Any]
    output: Bundle | None = None
    reused: bool = False
    followed: bool = False
