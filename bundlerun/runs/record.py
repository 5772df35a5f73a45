"""The journal's record of a run: enough to find its job after the client died."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundlerun import html
from bundlerun.backends.job import JobHandle, JobState
from bundlerun.errors import IntegrityError
from bundlerun.formatting import took, when


@dataclass(frozen=True)
class RunRecord:
    """One run of this store.

    Times are Unix seconds. ``kind`` is that of the task which the run carries out; ``image`` None:
    its job has none. ``remote_url`` and ``remote_uuid`` name the remote that the run works on,
    whatever its context is bound to later. ``lost_s``: since when the backend does not know the
    job, by the look before; ``orphaned_s``: when it was first seen that the submitter has ended and
    left no job; ``cancel_asked_s``: when somebody asked for its end, and ``cancel_sent``: the
    backend was told. ``adopted``: another store submitted it, or this one's journal was lost since;
    ``followed``: it was under way when equal work was asked for. ``judged``: what became of it
    stands here; ``settled``: besides, the backend was told to forget the job, and nothing is left
    to be done. ``revision`` is the journal's.

    A call has ``items``, and ``parts``, each the JSON form of a submission; its ``tally`` counts
    the items by what became of them. ``key`` (hex) seals what it reads and writes, and ``unsent``
    is its plan while that is not known to be on the remote: both stand in the journal alone.
    """

    run_id: str
    backend: str
    pipe: str
    output: str
    output_id: str
    image: str | None
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
    items: int | None = None
    parts: tuple[Mapping[str, Any], ...] = ()
    tally: Mapping[str, int] = field(default_factory=dict)
    key: str | None = field(default=None, repr=False)
    unsent: Mapping[str, Any] | None = field(default=None, repr=False)
    revision: int = field(default=0, compare=False)

    def changed(self, **fields: Any) -> RunRecord:
        """A copy in which ``fields`` differ."""
        return dataclasses.replace(self, **fields)

    @property
    def label(self) -> str:
        """The name of the run in messages."""
        return f"run {self.run_id[:13]} of {self.pipe}"

    @property
    def handles(self) -> list[JobHandle]:
        """Its jobs: the one, or of a call those of the parts that were submitted.

        Raises IntegrityError.
        """
        rows = [part["handle"] for part in self.parts if part.get("handle")]
        own = [] if self.handle is None else [self.handle]
        try:
            return own + [JobHandle.from_json(row) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"not the record of a run: {error!r:.200}", hint="bundlerun fsck"
            ) from error

    def facts(self) -> list[tuple[str, str]]:
        """The facts on the run for a person; ``to_json`` has all."""
        facts = {
            "run": self.run_id,
            "state": self.state.value,
            "failure": self.failure,
            "reason": self.reason,
            "backend": self.backend,
            "job": self.handle and self.handle.id,
            **self._items(),
            "pipe": self.pipe,
            "input": self.input,
            "output": self.output and f"{self.output}@{self.output_id}",
            "image": self.image,
            "remote": self.remote_url,
            "submitted": when(self.submitted_s),
            "started": when(self.started_s),
            "finished": when(self.finished_s),
            "took": took(self.started_s, self.finished_s),
        }
        return [(name, text) for name, text in facts.items() if text and text != "-"]

    def _repr_html_(self) -> str:
        """For notebooks."""
        return str(html.facts(self.facts()))

    def _items(self) -> dict[str, str]:
        """The facts of a call alone: how many items are where, and each of its parts."""
        if self.items is None:
            return {}
        counts = ", ".join(f"{count} {state}" for state, count in self.tally.items() if count)
        parts = {f"part {part['part']}": _part_in_words(part) for part in self.parts}
        return {"items": f"{self.items}{f': {counts}' if counts else ''}", **parts}

    def to_json(self) -> dict[str, Any]:
        """The JSON form for others; neither revision nor key is part of it."""
        found = {name: getattr(self, name) for name in _FIELDS if name not in _PRIVATE}
        found["id"] = self.run_id
        found["state"] = self.state.value
        found["handle"] = self.handle and self.handle.to_json()
        found["parts"] = [dict(part) for part in self.parts]
        found["tally"] = dict(self.tally)
        return found

    def to_row(self) -> dict[str, Any]:
        """The JSON form for the journal, which keeps secrets; without the revision."""
        return {**self.to_json(), **{name: getattr(self, name) for name in _PRIVATE}}

    @staticmethod
    def from_json(found: Mapping[str, Any], revision: int = 0) -> RunRecord:
        """The inverse of ``to_row``, and of ``to_json``.

        Raises IntegrityError.
        """
        try:
            fields = {name: found[name] for name in _FIELDS if name in found}
            fields["state"] = JobState(found["state"])
            handle = found.get("handle")
            fields["handle"] = None if handle is None else JobHandle.from_json(handle)
            fields["parts"] = tuple(fields.get("parts", ()))
            return RunRecord(**fields, revision=revision)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"not the record of a run: {error!r:.200}", hint="bundlerun fsck"
            ) from error


def _part_in_words(part: Mapping[str, Any]) -> str:
    """One submission of a call: how many items, on which job, and why again."""
    handle, attempt = part.get("handle"), part.get("attempt", 1)
    # Nothing else is submitted once more than what ran out of memory.
    again = f", attempt {attempt} after OutOfMemory" if part.get("items") else ""
    job = handle["id"] if handle else "not submitted"
    return f"{part['count']} items, {part['memory_mib']} MiB{again}, {job}"


_PRIVATE = ("key", "unsent")
"""The fields of the journal alone: no command and no listing shows them."""

_FIELDS = tuple(field.name for field in dataclasses.fields(RunRecord) if field.name != "revision")
