"""Verbs that a pipe cannot use, because no reuse key knows what they do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from bundlerun.errors import UsageError

if TYPE_CHECKING:
    from bundlerun.api.scope import Scope

BEFORE = "the same before or after the pipeline, outside of its pipes"
TRAVELS = "nothing: what a pipe makes travels with its output"
COMES = "br.external(name) in requires(): it is brought before the pipe begins"
APPLY = "br.apply, or the pipe in requires()"

OUTSIDE_ONLY: dict[str, str] = {}
"""Those verbs, and what to do instead."""


class _Scoped(Protocol):
    @property
    def scope(self) -> Scope: ...


W = TypeVar("W", bound=_Scoped)
P = ParamSpec("P")
T = TypeVar("T")
Verb = Callable[Concatenate[W, P], T]


def outside_only(cure: str) -> Callable[[Verb[W, P, T]], Verb[W, P, T]]:
    """The verb raises UsageError inside of a pipe, with ``cure`` as its hint."""

    def decorated(verb: Verb[W, P, T]) -> Verb[W, P, T]:
        OUTSIDE_ONLY[verb.__name__] = cure

        @functools.wraps(verb)
        def refusing(self: W, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if self.scope.inner is not None:
                raise UsageError(f"{verb.__name__} cannot be used inside of a pipe", hint=cure)
            return verb(self, *args, **kwargs)

        return refusing

    return decorated
