"""Whether AWS Batch tries a job again (user guide, "Automated job retries")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundlerun.sandbox.batch_attempt import Exit


def tried_again(strategy: Mapping[str, Any], attempts: int, ended: Exit) -> bool:
    """Whether a failed attempt, the last of ``attempts``, is followed by another.

    The first rule whose conditions all hold decides, and what no rule is about is retried.
    """
    if attempts >= int(strategy.get("attempts") or 1):
        return False
    said = {
        "onStatusReason": ended.status_reason,
        "onReason": ended.reason,
        "onExitCode": "" if ended.code is None else str(ended.code),
    }
    for rule in strategy.get("evaluateOnExit") or ():
        if all(like(text, rule[name]) for name, text in said.items() if name in rule):
            # Upper and lower case are the same (API reference, EvaluateOnExit, action).
            return str(rule["action"]).upper() == "RETRY"
    return True


def like(text: str, pattern: str) -> bool:
    """Whether ``text`` is ``pattern``, in which a last star stands for anything.

    API reference, EvaluateOnExit.
    """
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
