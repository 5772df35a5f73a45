"""The status of a job from its stopped container: a pure function of ``State``."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from bundlerun.backends.job import Failure, JobState, JobStatus

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
