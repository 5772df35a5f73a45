"""The envelope that a job leaves on the remote: its attempt's end, and the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.record import FORMAT, check_format, parse_record
from bundlerun.errors import IntegrityError
from bundlerun.runs.keys import result_key

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote

TAIL_BYTES = 64 * 1024
"""The bytes of a job's last output that an envelope keeps."""

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
        """The inverse of ``to_bytes``.

        Raises IntegrityError for anything else: an envelope is written by a job, which may write
        what it likes.
        """
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
    """The reason why there is no envelope to judge by."""

    UNREAD = "nobody has looked for it yet"
    ABSENT = "no attempt left one"


@dataclass(frozen=True)
class Unreadable:
    """An envelope that cannot be read: of which attempt, and what was found instead."""

    attempt: int
    found: str


def newest_envelope(remote: Remote, run_id: str, index: int = 0) -> Envelope | Unreadable | Missing:
    """The envelope of the last attempt of the job at ``index`` of a run.

    Two requests at most.
    """
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
