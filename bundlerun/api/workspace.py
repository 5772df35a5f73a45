"""A workspace: the settings, a store, a context, and every verb on them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bundlerun.api.care import Care
from bundlerun.api.checkup import checkup
from bundlerun.api.work import Work
from bundlerun.errors import UsageError
from bundlerun.jobs.check import Check


class Workspace(Work, Care):
    """All verbs. Made by ``bundlerun.open``, or from the settings by ``bundlerun.add`` and others.

    ``progress`` may be set to whatever shows what goes on. Safe to use from several threads. Inside
    of a pipe, verbs on data and ``apply`` see the pipe's inputs, its dependencies and what it made
    itself; all others raise UsageError.
    """

    def doctor(self) -> list[Check]:
        """What works here and what does not, each with the command that mends it."""
        return checkup(self)


_BEFORE = "the same before or after the pipeline, outside of its pipes"
_TRAVELS = "nothing: what a pipe makes travels with its output"
_COMES = "br.external(name) in requires(): it is brought before the pipe begins"
_APPLY = "br.apply, or the pipe in requires()"

OUTSIDE_ONLY = {
    **dict.fromkeys(("context_create", "context_delete", "context_list", "switch"), _BEFORE),
    **dict.fromkeys(("bind_remote", "fsck", "gc", "doctor"), _BEFORE),
    **dict.fromkeys(("dockerize", "write_build_context"), _BEFORE),
    **dict.fromkeys(("list_jobs", "list_remote_jobs", "logs", "wait", "cancel"), _BEFORE),
    "push": _TRAVELS,
    "pull": _COMES,
    "run": _APPLY,
}
"""The verbs that a pipe cannot use, for no key knows what they do, and what to do instead."""


def _outside_only(verb: Callable[..., Any], cure: str) -> Callable[..., Any]:
    @functools.wraps(verb)
    def refusing(self: Workspace, *args: Any, **kwargs: Any) -> Any:
        if self.inner is not None:
            raise UsageError(f"{verb.__name__} cannot be used inside of a pipe", hint=cure)
        return verb(self, *args, **kwargs)

    return refusing


for _name, _cure in OUTSIDE_ONLY.items():
    setattr(Workspace, _name, _outside_only(getattr(Workspace, _name), _cure))
