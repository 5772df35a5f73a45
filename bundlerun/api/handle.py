"""A run in the caller's hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bundlerun import html

if TYPE_CHECKING:
    from bundlerun.api.bundle import Bundle
    from bundlerun.api.scope import Scope
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.submit import Begun


@dataclass(frozen=True)
class RunResult:
    """The state and outcome of a run.

    ``output`` is None while it still goes on, and after a dry run; ``reused``: equal work was
    found, and no job was started; ``followed``: an equal run that is under way was found, and
    ``record`` is that one's.
    """

    record: RunRecord | None
    plan: Mapping[str, Any]
    output: Bundle | None = None
    reused: bool = False
    followed: bool = False


class Run:
    """A run that was submitted, or what was found in its place.

    That is an equal run that is under way (``followed``), or equal work (``reused``: no job was
    started, and ``record`` and ``run_id`` are None).
    """

    now: RunResult
    """The last known state of the run, without asking again."""

    def __init__(self, begun: Begun, scope: Scope) -> None:
        self._runs = scope.runs()
        self._scope = scope
        self.now = RunResult(
            record=begun.record,
            plan=begun.plan.to_json(),
            output=None if begun.output is None else self._handed_out(begun.output),
            reused=begun.record is None,
            followed=begun.followed,
        )

    def __repr__(self) -> str:
        state = "equal work was found" if self.record is None else self.record.state.value
        return f"<Run {self.run_id or '-'}, {state}>"

    def _repr_html_(self) -> str:
        """For notebooks: the run as it was when it was last looked at."""
        if self.record is None:
            return str(html.text(repr(self)))
        return self.record._repr_html_()

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
        """The plan, as JSON values."""
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
            record, bundle = follow(self.now.record, self._runs)
            output = None if bundle is None else self._handed_out(bundle)
            self.now = dataclasses.replace(self.now, record=record, output=output)
        return self.now

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines that the run's job wrote; none where equal work was found."""
        from bundlerun.runs.listing import log_lines, run_called

        if self.run_id is not None:
            yield from log_lines(run_called(self.run_id, self._runs), self._runs, follow=follow)

    def cancel(self) -> None:
        """Stop the run's job; one that has ended is not an error.

        Raises as ``Workspace.cancel``.
        """
        from bundlerun.runs.listing import run_called
        from bundlerun.runs.watch import cancel

        if self.run_id is None:
            return
        record = run_called(self.run_id, self._runs)
        record = record if record.settled else cancel(record, self._runs)
        self.now = dataclasses.replace(self.now, record=record)

    def _handed_out(self, bundle: BundleRecord) -> Bundle:
        return handed_out(bundle, self._scope, self._runs.context.name)


def handed_out(bundle: BundleRecord, scope: Scope, context: str) -> Bundle:
    """The output of a run as a verb hands it out.

    Raises BundleNotFound.
    """
    from bundlerun.api.bundle import Bundle

    catalog = scope.store.catalog
    return Bundle.of(catalog.get(scope.context(context), bundle.name, id_prefix=bundle.id), scope)
