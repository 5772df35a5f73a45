"""A run in the caller's hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bundlerun.runs.record import RunRecord, RunResult
    from bundlerun.runs.scope import RunScope


class Run:
    """A run that was submitted, an equal one that is under way (``followed``), or equal work that
    was found (``reused``: no job was started, and ``record`` and ``run_id`` are None)."""

    now: RunResult
    """What is known of the run, without asking again."""

    def __init__(self, begun: RunResult, scope: RunScope) -> None:
        self.now = begun
        self._scope = scope

    def __repr__(self) -> str:
        return f"<Run {self.run_id or '(equal work was found)'}>"

    @property
    def record(self) -> RunRecord | None:
        """The run as it was when it was last looked at."""
        return self.now.record

    @property
    def run_id(self) -> str | None:
        """The run's id, for ``wait``, ``logs`` and ``cancel`` of any process."""
        return None if self.now.record is None else self.now.record.run_id

    @property
    def plan(self) -> Mapping[str, Any]:
        """What was planned, as JSON values."""
        return self.now.plan

    @property
    def reused(self) -> bool:
        """Whether equal work was found."""
        return self.now.reused

    @property
    def followed(self) -> bool:
        """Whether it is another's run that does the same."""
        return self.now.followed

    def result(self) -> RunResult:
        """Wait for the run's end and bring its output home; again is at once.

        Raises a RunFailed when it failed.
        """
        from bundlerun.runs.watch import follow

        if self.now.output is None and self.now.record is not None:
            record, bundle = follow(self.now.record, self._scope)
            self.now = dataclasses.replace(self.now, record=record, output=bundle)
        return self.now

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines that the run's job wrote; none where equal work was found."""
        from bundlerun.runs.listing import log_lines, run_called

        if self.run_id is not None:
            yield from log_lines(run_called(self.run_id, self._scope), self._scope, follow=follow)

    def cancel(self) -> None:
        """Stop the run's job; one that has ended is no error. Raises as ``Workspace.cancel``."""
        from bundlerun.runs.listing import run_called
        from bundlerun.runs.watch import cancel

        if self.run_id is None:
            return
        record = run_called(self.run_id, self._scope)
        record = record if record.settled else cancel(record, self._scope)
        self.now = dataclasses.replace(self.now, record=record)
