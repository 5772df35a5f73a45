"""The list of runs: those in the journal, and those of the context's remote by id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobState
from bundlerun.backends.open import traits_of
from bundlerun.errors import BundleNotFound, IntegrityError, RunNotFound, UsageError
from bundlerun.runs.envelope import Envelope, Missing, newest_envelope
from bundlerun.runs.record import RunRecord

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.backends.job import JobHandle
    from bundlerun.runs.scope import RunScope
    from bundlerun.store.journal import Row


def run_called(run: str, scope: RunScope) -> RunRecord:
    """The run whose id starts with ``run``, from the journal, else from the remote.

    It is the context's remote; a run from there is in the journal from now on. Raises RunNotFound,
    UsageError when several start so and for an item, IntegrityError, RemoteErrors.
    """
    if ":" in run:
        raise UsageError(
            f"{run} is an item, and this takes a whole run",
            hint=f"bundlerun logs {run} for an item; else {run.partition(':')[0]}",
        )
    try:
        row = scope.store.journal.get(scope.context, run)
    except RunNotFound as error:
        if (context := scope.bound()).remote_url is None:
            raise RunNotFound(
                f"{error.message}, and no remote to look in for those of other machines",
                hint=f"bundlerun jobs, or first bundlerun remote {context.name} URL",
            ) from error
        from bundlerun.runs.elsewhere import adopt

        return adopt(run, scope)
    return RunRecord.from_json(row.run, row.revision)


def jobs(
    run: str | None, scope: RunScope, *, limit: int | None, before: str | None
) -> list[RunRecord]:
    """The runs of the context, newest first, or the one ``run``, with present states.

    At most ``limit`` of them, and older than the run ``before``. Raises as ``run_called``.
    """
    if run is not None:
        records = [run_called(run, scope)]
    else:
        journal = scope.store.journal
        if before is not None:
            before = str(journal.get(scope.context, before).run["id"])
        rows = journal.list(scope.context, limit=limit, before=before)
        records = _readable(rows, scope)
    return records if all(record.settled for record in records) else _refreshed(records, scope)


def jobs_of(queue: str, scope: RunScope, *, limit: int | None) -> list[RunRecord]:
    """The context's runs in ``queue``, newest first, with present states.

    At most ``limit`` of them; those of which no job is known yet are not among them.
    """
    found = _readable(scope.store.journal.list(scope.context, limit=None, before=None), scope)
    there = [each for each in found if any(h.extra.get("queue") == queue for h in each.handles)]
    records = there[:limit]
    return records if all(record.settled for record in records) else _refreshed(records, scope)


def settle_open_runs(scope: RunScope) -> None:
    """Bring home what ended since somebody looked."""
    rows = scope.store.journal.unsettled(scope.context)
    if rows:
        _refreshed(_readable(rows, scope), scope)


def named_with_its_maker(error: BundleNotFound, name: str, scope: RunScope) -> BundleNotFound:
    """``error``, with the run that makes the missing bundle ``name``, where known."""
    run = _maker_of(name, scope)
    if run is None:
        return error
    return BundleNotFound(
        f"{scope.remote.url} has no bundle {name!r} yet: run {run} makes it",
        hint=f"bundlerun wait {run[:13]}",
    )


def named(run: str) -> tuple[str, int | None]:
    """A run, and the item that ``RUN:INDEX`` names.

    Raises UsageError for what is not a number.
    """
    called, colon, index = run.partition(":")
    if not colon:
        return run, None
    if not (index.isascii() and index.isdecimal()):
        raise UsageError(
            f"{index!r:.40} is not the number of an item", hint=f"bundlerun logs {called}:0"
        )
    return called, int(index)


def log_lines(
    record: RunRecord, scope: RunScope, *, follow: bool, index: int | None = None
) -> Iterator[str]:
    """The lines that the run's job wrote.

    Once the backend has forgotten the job, they are what the envelope kept of them.
    """
    from bundlerun.runs.watch import backend_of, verbs_of

    verbs = verbs_of(record)
    if verbs is not None:
        yield from verbs.log_lines(record, index, scope, follow=follow)
        return
    if index is not None:
        raise UsageError(
            f"{record.label} has one job, and no item {index}",
            hint=f"bundlerun logs {record.run_id[:13]}",
        )
    if record.handle is not None and (not record.settled or traits_of(record.backend).keeps_logs):
        backend = backend_of(record, scope)
        if not record.adopted or _is_here(backend, record.handle):
            yield from backend.logs(record.handle, follow=follow)
            return
    left = newest_envelope(scope.remote_of(record), record.run_id)
    if left is Missing.ABSENT and not record.judged:
        record = _refreshed([record], scope)[0]
    kept = left.tail if isinstance(left, Envelope) else record.evidence or record.reason
    yield from kept.splitlines()


def _is_here(backend: Backend, handle: JobHandle) -> bool:
    """Whether the job is one that can be asked from this machine."""
    return backend.poll([handle])[handle.id].state is not JobState.ELSEWHERE


def _maker_of(name: str, scope: RunScope) -> str | None:
    rows = scope.store.journal.unsettled(scope.context)
    for run in _readable(rows, scope):
        if run.output == name and not run.judged:
            return run.run_id
    from bundlerun.runs.elsewhere import maker_of

    return maker_of(name, scope)


def _readable(rows: Iterable[Row], scope: RunScope) -> list[RunRecord]:
    """The records in rows of the journal; one that is damaged is in no other's way."""
    records = []
    for row in rows:
        try:
            records.append(RunRecord.from_json(row.run, row.revision))
        except IntegrityError as error:
            scope.progress.line(f"(run {row.run.get('id')} is left out: {error})")
    return records


def _refreshed(records: list[RunRecord], scope: RunScope) -> list[RunRecord]:
    from bundlerun.runs.watch import refresh

    return refresh(records, scope)
