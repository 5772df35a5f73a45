"""The size and the limits of jobs: as asked for, else as the settings say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any, Literal

from bundlerun.backends.job import SIZES, Resources
from bundlerun.backends.open import traits_of
from bundlerun.errors import UsageError
from bundlerun.settings import RunSettings

MARGIN_S = 120
"""Seconds that a job's own limit is above that of its items.

Theirs is kept inside of the job, which must start, and write down what became of them.
"""

LEAST_LIMIT_S = 60
"""No job is given a shorter limit (AWS Batch user guide, "Job timeouts")."""


class LeftOut(Enum):
    """What stands for an option that was not given: None and 0 mean none and zero."""

    SETTING = "as the settings say"


SETTING: Literal[LeftOut.SETTING] = LeftOut.SETTING


def resources_of(
    given: Mapping[str, Any], settings: RunSettings
) -> tuple[Resources, frozenset[str]]:
    """The resources of a job, and which of them must be kept.

    Those are what was asked for, and GPUs wherever they come from: a job that needs one fails
    without it. ``given`` has the value or SETTING by the name of each size. Raises UsageError.
    """
    asked: dict[str, Any] = {}
    for name in sorted(SIZES):
        value = given[name]
        if value is SETTING:
            continue
        if name == "gpus":
            asked[name] = whole(name, value, 0, hint="gpus=1") or 0
        elif value is None:
            raise UsageError(
                f"{name}=None cannot be meant: each container gets some",
                hint=f"leave out {name}, for that of the settings",
            )
        elif name == "vcpus":
            asked[name] = number(name, value, over=0, hint="vcpus=2")
        else:
            asked[name] = whole(name, value, 1, hint="memory_mib=4096")
    defaults = Resources(settings.vcpus, settings.memory_mib, settings.gpus)
    resources = replace(defaults, **asked)
    kept = {*asked, "gpus"} if resources.gpus else asked.keys() - {"gpus"}
    return resources, frozenset(kept)


def timeout_of(given: float | LeftOut | None, settings: RunSettings) -> float | None:
    """The time limit in seconds, None: none.

    Raises UsageError.
    """
    if given is SETTING:
        return settings.timeout_s
    if given is None:
        return None
    return number("timeout_s", given, over=0, hint="timeout_s=3600, or None for no limit")


def retries_of(given: int | LeftOut | None, settings: RunSettings, backend: str) -> int:
    """The attempts after the first.

    Those of the settings are as many as the backend of that name makes. Raises UsageError.
    """
    if given is SETTING:
        return min(settings.retries, traits_of(backend).most_retries)
    return whole("retries", given, 0, hint="--retries 0") or 0


def limit_of(timeout_s: float | None, chunk: int) -> int | None:
    """The limit of a job, in whole seconds.

    The job works through ``chunk`` items with a limit of ``timeout_s`` each (None: none).
    """
    if timeout_s is None:
        return None
    return max(LEAST_LIMIT_S, math.ceil(timeout_s * chunk) + MARGIN_S)


def whole(name: str, given: object, least: int, *, hint: str) -> Any:
    """``given`` as an int of ``least`` or more; None stays None.

    Raises UsageError.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise UsageError(f"{name} must be a whole number, not {given!r:.80}", hint=hint)
    found = given.__index__()
    if found < least:
        raise UsageError(f"{name} must be {least} or more, not {found}", hint=hint)
    return found


def number(name: str, given: object, *, over: float, hint: str) -> float:
    """``given`` as a finite float over ``over``.

    Raises UsageError.
    """
    if isinstance(given, (bool, str)) or not hasattr(given, "__float__"):
        raise UsageError(f"{name} must be a number, not {given!r:.80}", hint=hint)
    found = float(given)
    if not math.isfinite(found) or found <= over:
        raise UsageError(f"{name} must be a number over {over:g}, not {found!r}", hint=hint)
    return found
