"""One thing that ``doctor`` looks at, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bundlerun.errors import BundlerunError


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``ok`` None: not needed as things are configured."""

    what: str
    ok: bool | None
    detail: str
    cure: str | None = None


def checked(what: str, look: Callable[[], str]) -> Check:
    """What ``look`` says of ``what``; an error of ours is a failing check, with its cure."""
    try:
        return Check(what, True, look())
    except BundlerunError as error:
        return Check(what, False, error.message, error.hint)
