"""The status of a job by the engine's record of its container: pure functions."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from bundlerun.backends.job import Failure, JobState, JobStatus, reason_of_array, state_of_array
from bundlerun.backends.local_docker_options import (
    ARRAY_LABEL,
    INDEX_LABEL,
    PART_LABEL,
    RUN_LABEL,
    TIMEOUT_LABEL,
)

CANCELLED = "-cancelled"
"""The end of the name of a cancelled job's container.

Labels cannot be changed, a name can.
"""

DEADLINE_EXIT_CODES = (124, 137, 143)
"""The exit codes of ``timeout``: GNU's 124, 137 when it killed, 143 of busybox."""

NOTED_LATE_S = 2.0
"""The delay, on a busy machine, of the engine's note of a start.

The process has begun by then.
"""

_ALIVE = {
    "created": JobState.QUEUED,
    "restarting": JobState.STARTING,
    "running": JobState.RUNNING,
    "paused": JobState.RUNNING,
    "removing": JobState.RUNNING,
}


_EXITED = re.compile(r"Exited \((\d+)\)")
# What a listing says of a container that has ended (Engine API, ContainerList: Status).


@dataclass(frozen=True)
class Row:
    """A container as the engine lists it.

    ``state`` tells success from failure, and nothing of the reason.
    """

    id: str
    name: str
    run_id: str
    part: int
    index: int
    array: int
    state: JobState

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for its end."""
        return self.name.endswith(CANCELLED)


def row_of(found: Mapping[str, Any]) -> Row | None:
    """The container of an entry of the engine's listing; None without our labels."""
    labels, names = found.get("Labels") or {}, found.get("Names") or [""]
    name = str(names[0]).removeprefix("/")
    try:
        part, index, array = (int(labels[key]) for key in (PART_LABEL, INDEX_LABEL, ARRAY_LABEL))
        run_id = str(labels[RUN_LABEL])
    except (KeyError, ValueError):
        return None
    return Row(str(found["Id"]), name, run_id, part, index, array, _listed_state(found, name))


def _listed_state(found: Mapping[str, Any], name: str) -> JobState:
    state, ended = str(found.get("State")), _EXITED.match(str(found.get("Status")))
    code = int(ended[1]) if ended else 1
    cancelled = name.endswith(CANCELLED)
    return job_status(
        {"Status": state, "ExitCode": code}, cancelled=cancelled, timeout_s=None
    ).state


def inspected_status(found: Mapping[str, Any]) -> JobStatus:
    """The status of a job from the engine's whole record of its container."""
    timeout = (found["Config"].get("Labels") or {}).get(TIMEOUT_LABEL)
    return job_status(
        found["State"],
        cancelled=str(found["Name"]).endswith(CANCELLED),
        timeout_s=int(timeout) if timeout else None,
    )


def array_status(rows: Sequence[Row], size: int) -> JobStatus:
    """The status of an array of ``size`` jobs from its containers on the engine."""
    tally = Counter(row.state for row in rows)
    if size > len(rows):
        tally[JobState.LOST] += size - len(rows)
    state = state_of_array(tally)
    failure = Failure.CANCELLED if state is JobState.CANCELLED else None
    reason = reason_of_array(tally) if state.final else ""
    return JobStatus(state, failure, reason, tally=dict(tally))


def job_status(state: Mapping[str, Any], *, cancelled: bool, timeout_s: int | None) -> JobStatus:
    """The status of a job from the engine's ``State`` of its container.

    ``cancelled``: somebody asked for its end. ``timeout_s``: its deadline, None for none; a
    command that itself exits with 124 before the deadline is not taken for a timeout.
    """
    found = str(state.get("Status"))
    started_s, finished_s = unix_s(state.get("StartedAt")), unix_s(state.get("FinishedAt"))
    if found == "created" and cancelled:
        return JobStatus(JobState.CANCELLED, Failure.CANCELLED, "cancelled before it started")
    if found in _ALIVE:
        return JobStatus(_ALIVE[found], started_s=started_s)
    if started_s is not None and finished_s is not None:
        started_s = min(started_s, finished_s)  # The engine may note a start after the end.
    code = int(state.get("ExitCode") or 0)
    late = (
        timeout_s is not None
        and started_s is not None
        and finished_s is not None
        and finished_s - started_s >= timeout_s - NOTED_LATE_S
        and code in DEADLINE_EXIT_CODES
    )
    if cancelled:
        outcome, failure, reason = JobState.CANCELLED, Failure.CANCELLED, "cancelled"
    elif found == "dead":
        outcome, failure, reason = JobState.FAILED, Failure.INFRA_ERROR, "the engine lost it"
    elif code == 0:
        return JobStatus(JobState.SUCCEEDED, None, "", 0, started_s, finished_s)
    elif late and code == 124:
        outcome, failure, reason = _timed_out(timeout_s)
    elif state.get("OOMKilled"):
        outcome, failure = JobState.FAILED, Failure.OUT_OF_MEMORY
        reason = "the kernel killed it at its memory limit"
    elif late:
        outcome, failure, reason = _timed_out(timeout_s)
    else:
        outcome, failure = JobState.FAILED, _by_exit_code(code)
        reason = str(state.get("Error") or "") or _words(code)
    return JobStatus(outcome, failure, reason, code, started_s, finished_s)


def _timed_out(timeout_s: int | None) -> tuple[JobState, Failure, str]:
    return JobState.FAILED, Failure.TIMED_OUT, f"it ran longer than {timeout_s} s"


def _by_exit_code(code: int) -> Failure:
    # Nobody asked for its end through us, and a program does not send itself these.
    outside = (128 + signal.SIGKILL, 128 + signal.SIGTERM, 128 + signal.SIGINT)
    return Failure.INFRA_ERROR if code in outside else Failure.USER_ERROR


def _words(code: int) -> str:
    if 128 < code < 160:
        try:
            return f"killed by {signal.Signals(code - 128).name} (exit code {code})"
        except ValueError:
            return f"exit code {code}"
    return f"exit code {code}"


def unix_s(text: object) -> float | None:
    """Unix seconds of an engine's timestamp (RFC 3339, in ns); None for its year 1."""
    if not isinstance(text, str) or text.startswith("0001-") or "T" not in text:
        return None
    whole, _, rest = text.partition(".")
    digits = rest.rstrip("Z") if rest else ""
    zone = "+00:00"
    for sign in "+-":
        if sign in digits:
            digits, _, offset = digits.partition(sign)
            zone = sign + offset
    moment = datetime.fromisoformat(whole.rstrip("Z") + ("" if "+" in whole[10:] else zone))
    return moment.astimezone(timezone.utc).timestamp() + (float(f"0.{digits}") if digits else 0.0)
