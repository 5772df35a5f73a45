"""The request of a ``run``, before anything is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bundlerun.backends.job import Resources
from bundlerun.pipelines.overrides import Given
from bundlerun.registry import DEFAULT_BACKEND


@dataclass(frozen=True)
class RunRequest:
    """One ``run``: the names as they were typed, and the options.

    ``input`` is ``name``, ``name@id-prefix`` or None for no input; ``pipe`` is
    ``package.module.Class``; ``session_seconds`` asks for narrowed credentials of that life;
    ``given`` is what ``--set`` and ``--env`` say; ``secrets`` are variables' names, each with
    what a service calls it, or None; ``asked`` names the fields of ``resources`` that are not the
    settings'; ``timeout_s`` None: no limit; ``options`` are of the backend's own.
    """

    input: str | None
    output: str
    pipe: str
    backend: str = DEFAULT_BACKEND
    params: Mapping[str, str] = field(default_factory=dict)
    input_tags: Mapping[str, str] = field(default_factory=dict)
    output_tags: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    force_all: bool = False
    push_input: bool = True
    session_seconds: int | None = None
    resources: Resources = field(default_factory=Resources)
    asked: frozenset[str] = frozenset()
    given: Given = field(default_factory=Given)
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    timeout_s: int | None = None
    retries: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module of the pipe; empty when ``pipe`` names none."""
        return self.pipe.rpartition(".")[0]
