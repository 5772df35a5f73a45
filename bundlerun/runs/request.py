"""What a caller asks for when a pipe is to run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bundlerun.jobs.spec import Resources
from bundlerun.pipelines.given import Given


@dataclass(frozen=True)
class RunRequest:
    """One ``run``: the names as they were typed, and how it is to be done.

    ``input`` is ``name``, ``name@id-prefix`` or None for no input; ``pipe`` is
    ``package.module.Class``; ``session_seconds`` asks for narrowed credentials of that life;
    ``given`` is what ``--set`` and ``--env`` say; ``secrets`` are variables' names, with the ARN of
    each where it has one; ``timeout_s`` None: no limit.
    """

    input: str | None
    output: str
    pipe: str
    backend: str = "Local"
    params: Mapping[str, str] = field(default_factory=dict)
    input_tags: Mapping[str, str] = field(default_factory=dict)
    output_tags: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    force_all: bool = False
    push_input: bool = True
    session_seconds: int | None = None
    resources: Resources = field(default_factory=Resources)
    given: Given = field(default_factory=Given)
    secrets: Mapping[str, str | None] = field(default_factory=dict)
    timeout_s: int | None = None
    retries: int = 0
    job_role_arn: str | None = None
    execution_role_arn: str | None = None

    @property
    def module(self) -> str:
        """The module of the pipe; empty when ``pipe`` names none."""
        return self.pipe.rpartition(".")[0]
