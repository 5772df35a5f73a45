"""The failure of a pipe: as an error here, and on its way from a child process."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from bundlerun import errors
from bundlerun.errors import BundlerunError, InfraError, RunFailed, UsageError, UserError

INTERRUPT = "KeyboardInterrupt"


def raised_in(pipe: str, method: str, error: BaseException) -> UserError:
    """The UserError of a pipe's method that raised ``error``.

    Its evidence is the traceback from the method's own frame down: call this where the method
    was called, so that the first frame is the caller's.
    """
    tb: TracebackType | None = error.__traceback__
    own = tb.tb_next if tb is not None and tb.tb_next is not None else tb
    evidence = "".join(traceback.format_exception(type(error), error, own))
    return UserError(f"{pipe} failed in {method}: {said_by(error)}", evidence=evidence)


def not_kept(pipe: str, error: UsageError) -> UserError:
    """The UserError of a pipe that returned what no bundle can keep."""
    return UserError(
        f"the value that {pipe} returned cannot be kept: {error.message}",
        hint=error.hint,
        evidence=str(error),
    )


def to_json(error: BaseException) -> dict[str, str | None]:
    """``error`` as it travels from a child process."""
    if isinstance(error, BundlerunError):
        return {
            "error": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "evidence": error.evidence if isinstance(error, RunFailed) else "",
        }
    evidence = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    kind = INTERRUPT if isinstance(error, KeyboardInterrupt) else InfraError.__name__
    said = f"{type(error).__name__}: {_first_line(error)}"
    return {"error": kind, "message": said, "hint": None, "evidence": evidence}


def from_json(found: Mapping[str, Any]) -> BaseException:
    """The inverse of ``to_json``."""
    if found["error"] == INTERRUPT:
        return KeyboardInterrupt()
    kind = errors.named(found["error"], InfraError, BundlerunError)
    if issubclass(kind, RunFailed):
        return kind(found["message"], hint=found["hint"], evidence=found["evidence"] or "")
    return kind(found["message"], hint=found["hint"])


def of_dead_child(pipe: str, exit_code: int | None) -> InfraError:
    """The error for a worker process that ended without a word."""
    return InfraError(
        f"the process that ran {pipe} died before the pipe ended (exit code {exit_code})",
        hint="apply --workers 1, to see it fail in this process",
    )


def said_by(error: BaseException) -> str:
    """The class of an error and its first line."""
    said = _first_line(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _first_line(error: BaseException) -> str:
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception class is the user's: its text may fail too
        return ""
    return lines[0] if lines else ""
