"""A run as the journal keeps it: enough to find the job again after the client died."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from bundlerun import html
from bundlerun.backends.job import JobHandle, JobState
from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.record import FORMAT, check_format, parse_record
from bundlerun.errors import IntegrityError
from bundlerun.formatting import took, when

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote


@dataclass(frozen=True)
class RunRecord:
    """One run of this store. Times are Unix seconds.

    ``kind`` is that of the task which the run carries out; ``image`` None: its job has none.
    ``remote_url`` and ``remote_uuid`` name the remote that the run works on, whatever its context
    is bound to later. ``lost_s``: since when the backend does not know the job, by the look before;
    ``orphaned_s``: when it was first seen that the submitter has ended and left no job;
    ``cancel_asked_s``: when somebody asked for its end, and ``cancel_sent``: the backend was told.
    ``adopted``: another store submitted it, or this one's journal was lost since; ``followed``: it
    was under way when equal work was asked for.
    ``judged``: what became of it stands here; ``settled``: besides, the backend was told to
    forget the job, and nothing is left to be done. ``revision`` is the journal's.
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
    revision: int = field(default=0, compare=False)

    def changed(self, **fields: Any) -> RunRecord:
        """A copy in which ``fields`` differ."""
        return dataclasses.replace(self, **fields)

    @property
    def label(self) -> str:
        """How messages name the run."""
        return f"run {self.run_id[:13]} of {self.pipe}"

    def facts(self) -> list[tuple[str, str]]:
        """What a person wants to know of the run; ``to_json`` has all."""
        facts = {
            "run": self.run_id,
            "state": self.state.value,
            "failure": self.failure,
            "reason": self.reason,
            "backend": self.backend,
            "job": self.handle and self.handle.id,
            "pipe": self.pipe,
            "input": self.input,
            "output": f"{self.output}@{self.output_id}",
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


TAIL_BYTES = 64 * 1024
"""How much of a job's last output an envelope keeps."""

MOST_BYTES = 16 * 1024 * 1024
"""A larger envelope is not read: a job writes a tail and a traceback, no more."""

_TEXTS = ("run_id", "state", "message", "traceback", "tail")
_NUMBERS = ("started_s", "finished_s", "peak_memory_mib")
_STATES = ("succeeded", "failed")


@dataclass(frozen=True)
class Envelope:
    """The result of one attempt of the job at ``index`` of its run, from 0.

    ``state`` is "succeeded" or "failed"; ``error`` the class name of a bundlerun error, ``message``
    and ``traceback`` its evidence; ``output`` the id of the output bundle; times are Unix seconds,
    ``peak_memory_mib`` the process's largest resident set.
    """

    run_id: str
    attempt: int
    state: str
    output: str | None = None
    ran: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    error: str | None = None
    message: str = ""
    traceback: str = ""
    tail: str = ""
    started_s: float = 0.0
    finished_s: float = 0.0
    peak_memory_mib: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    index: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the pipe returned and its output was pushed."""
        return self.state == "succeeded"

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON."""
        return canonical_json({"format": FORMAT, **asdict(self)})

    @staticmethod
    def from_bytes(data: bytes) -> Envelope:
        """The inverse of ``to_bytes``. Raises IntegrityError for anything else: an envelope is
        written by a job, which may write what it likes."""
        if len(data) > MOST_BYTES:
            raise IntegrityError(f"a result envelope has more than {MOST_BYTES} bytes")
        found: Any = parse_record(data)
        check_format(found)
        fields = {key: found[key] for key in Envelope.__dataclass_fields__ if key in found}
        try:
            fields["ran"] = tuple(fields.get("ran", ()))
            fields["reused"] = tuple(fields.get("reused", ()))
            envelope = Envelope(**fields)
        except TypeError as error:
            raise IntegrityError(f"not a result envelope: {error!s:.200}") from error
        for name, value in fields.items():
            if not _fits(name, value):
                raise IntegrityError(f"not a result envelope: its {name} is {value!r:.100}")
        return envelope


class Missing(Enum):
    """Why there is no envelope to judge by."""

    UNREAD = "nobody has looked for it yet"
    ABSENT = "no attempt left one"


@dataclass(frozen=True)
class Unreadable:
    """An envelope that cannot be read: of which attempt, and what was found instead."""

    attempt: int
    found: str


def newest_envelope(remote: Remote, run_id: str, index: int = 0) -> Envelope | Unreadable | Missing:
    """What the last attempt of the job at ``index`` of a run left on the remote. Two requests at
    most."""
    prefix = result_key(run_id, index, 0).removesuffix("0.json")
    attempts = [entry.key[len(prefix) :].split(".")[0] for entry in remote.list(prefix)]
    numbers = sorted(int(attempt) for attempt in attempts if attempt.isdecimal())
    data = (
        remote.get(result_key(run_id, index, numbers[-1]), 0, MOST_BYTES + 1) if numbers else None
    )
    if data is None:
        return Missing.ABSENT
    try:
        envelope = Envelope.from_bytes(data)
    except IntegrityError as error:
        return Unreadable(numbers[-1], error.message)
    if (envelope.run_id, envelope.index, envelope.attempt) != (run_id, index, numbers[-1]):
        of = f"attempt {envelope.attempt} of the job {envelope.index} of {envelope.run_id}"
        return Unreadable(numbers[-1], f"it is of {of}")
    return envelope


def _fits(name: str, value: object) -> bool:
    """Whether the field ``name`` may have this value."""
    if name == "state":
        return value in _STATES
    if name in ("attempt", "index"):
        return type(value) is int
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _NUMBERS:
        return type(value) in (int, float)
    if name in ("output", "error"):
        return value is None or isinstance(value, str)
    if name == "versions":
        return isinstance(value, dict)
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def result_key(run_id: str, index: int, attempt: int) -> str:
    """Where attempt number ``attempt`` of the job at ``index`` of a run leaves its envelope on the
    remote; the one job of a run has the index 0."""
    return f"runs/{run_id}/{index}/result.{attempt}.json"


def plan_key(run_id: str) -> str:
    """Where a run's plan lies on the remote."""
    return f"runs/{run_id}/plan.json"


def claim_key(run_id: str, index: int) -> str:
    """Where the job that carries out the part ``index`` of a run says so on the remote."""
    return f"runs/{run_id}/{index}/claim"


def handle_key(run_id: str) -> str:
    """Where the handle of a run's job lies on the remote."""
    return f"runs/{run_id}/handle"
