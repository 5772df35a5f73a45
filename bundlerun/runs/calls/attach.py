"""Calls that were submitted before, found again from any process.

With their key, if somebody knows it; a submit that broke off is gone on with.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bundlerun.backends.open import shared_backend
from bundlerun.bundles.record import parse_record
from bundlerun.errors import BundlerunError, Conflict, IntegrityError, RunNotFound, UsageError
from bundlerun.futures.sealing import KEY_VARIABLE, TAG_BYTES, Seal
from bundlerun.remotes.records import read_record
from bundlerun.runs.calls.call import Call, parts_as_rows
from bundlerun.runs.calls.parts import Part, parts_of
from bundlerun.runs.calls.sealed_plan import checked_call
from bundlerun.runs.calls.submit import go_on
from bundlerun.runs.index import plan_of
from bundlerun.runs.keys import part_key
from bundlerun.runs.listing import run_called
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.scope import change, holding
from bundlerun.runs.task import CallTask

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope

ABANDONED_S = 600.0
"""A submit of another store that is so old and not complete has broken off."""


def attached(run: str, scope: RunScope) -> Call:
    """The call whose run's id starts with ``run``, submitted to its end.

    Raises RunNotFound, UsageError for a run of a pipe or when several start so, IntegrityError for
    what the run did not write, and as ``submit.go_on``.
    """
    record = run_called(run, scope)
    if record.kind != CallTask.kind:
        raise UsageError(
            f"{record.label} is that of a pipe, and has no items",
            hint=f"bundlerun wait {record.run_id[:13]}",
        )
    return resumed(opened(record, scope))


def opened(record: RunRecord, scope: RunScope) -> Call:
    """The call of ``record``, with its plan.

    Where another store submitted it its parts are read, and its key is asked of its jobs, while
    their backend knows them. Raises RunNotFound where there is no plan, IntegrityError for one that
    the run did not write.
    """
    backend = shared_backend(record.backend, scope.connections)
    remote = scope.remote_of(record)
    if record.unsent is not None:
        plan = RunPlan.from_json(dict(record.unsent))
    else:
        found = plan_of(remote, record.run_id)
        if found is None:
            raise RunNotFound(
                f"the run {record.run_id} on {remote.url} has no plan",
                hint="bundlerun jobs --remote",
            )
        plan = found
    seal = None if record.key is None else Seal.from_hex(record.key)
    call = Call(record, plan, seal, backend, scope)
    if seal is not None:
        checked_call(plan, seal)
    if record.adopted and not record.settled:
        call = _as_others_left_it(call)
    # Of a plan that nobody proved no word is taken.
    return call if call.seal is None else replace(call, backend=backend.at(plan.options))


def resumed(call: Call) -> Call:
    """The call, of which each part has a job.

    Waits for a process that submits it at this moment, and goes on where nobody does. Raises as
    ``submit.go_on``.
    """
    record = call.record
    if record.judged or record.cancel_asked_s is not None or _is_complete(call):
        return call
    if call.seal is None or may_be_submitted(record):
        raise _not_ours(call)
    return call if _has_begun(call) else gone_on(call)


def gone_on(call: Call) -> Call:
    """The call, of which each part has a job, once no other process submits it.

    Of this store: others are waited for by ``may_be_submitted``. Raises as ``submit.go_on``.
    """
    with holding(call.run_id, call.scope, wait=True):
        call = call.read_again()
        if call.record.judged or _is_complete(call):
            return call
        # A job may be there that its client did not note before it died.
        return go_on(call.changed(orphaned_s=call.record.orphaned_s or time.time()))


def _not_ours(call: Call) -> Conflict:
    """Why this store does not submit the rest, and who does."""
    record, run = call.record, call.run_id[:13]
    there = f"on the machine that submitted it: bundlerun wait {run}"
    if call.seal is None:
        return Conflict(
            f"{record.label} has not all of its jobs, and its key, without which no more can be"
            " submitted, is not known here",
            hint=f"{there}; to end what was submitted: bundlerun cancel {run}",
        )
    # The minute after: it is past by then.
    until_s = (record.submitted_s or 0.0) + ABANDONED_S
    clock = time.strftime("%H:%M", time.localtime(until_s + 60))
    return Conflict(
        f"{record.label} has not all of its jobs yet: its client may still be submitting them, or"
        " has ended before it did",
        hint=f"from {clock} on the same submits the rest; at once {there};"
        f" to end it: bundlerun cancel {run}",
    )


def may_be_submitted(record: RunRecord) -> bool:
    """Whether another store, whose locks are not seen here, may still submit it."""
    return record.adopted and time.time() - (record.submitted_s or 0.0) < ABANDONED_S


def _has_begun(call: Call) -> bool:
    """Whether each item has a job; a repeat gets its own from a follower."""
    covered = sum(part.count for part in call.parts if part.items is None)
    if call.record.unsent is not None or covered < call.task.items:
        return False
    return all(part.handle for part in call.parts if part.items is None)


def _is_complete(call: Call) -> bool:
    return _has_begun(call) and all(part.handle for part in call.parts)


def _as_others_left_it(call: Call) -> Call:
    """The call with its parts as the remote has them, and its key if a job tells it."""
    data = _part_objects(call.remote, call.run_id)
    unproven = [_unproven(each, call) for each in data]
    seal = call.seal or _key_from_jobs(call, unproven)
    if seal is None:
        parts = [part for part in unproven if part.run_id == call.run_id]
    else:
        parts = []
        for number, sealed in enumerate(data):
            parts.append(Part.from_sealed(sealed, seal, call.run_id, number))
        parts += _planned_parts(call)[len(parts) :]
    rows, key = parts_as_rows(parts), None if seal is None else seal.hex()
    record = change(call.record, lambda r: r.changed(parts=rows, key=key), call.scope)
    return replace(call, record=record, seal=seal)


def _planned_parts(call: Call) -> list[Part]:
    """The parts that the call begins with.

    A client that died may have noted the first of them alone.
    """
    task, largest = call.task, call.backend.traits.largest_array
    return parts_of(call.run_id, task.items, task.chunk, largest, task.resources.memory_mib)


def _part_objects(remote: Remote, run_id: str) -> list[bytes]:
    prefix = part_key(run_id, 0)[:-4]
    keys = [entry.key for entry in remote.list(prefix)]
    found = [read_record(remote, key) for key in keys]
    return [data for data in found if data is not None]


def _unproven(data: bytes, call: Call) -> Part:
    """A part, by an unknown writer.

    Raises IntegrityError for what is not one.
    """
    try:
        return Part.from_json(parse_record(data[TAG_BYTES:]))
    except IntegrityError as error:
        raise IntegrityError(
            f"a part of {call.record.label} at {call.remote.url}: {error.message}", hint=error.hint
        ) from error


def _key_from_jobs(call: Call, parts: list[Part]) -> Seal | None:
    """The key, as a job of the run has it, if it sealed the plan.

    None where no backend knows such a job any more.
    """
    for part in parts:
        if part.handle is None or part.handle.run_id != call.run_id:
            continue
        try:
            text = call.backend.variable(part.handle, KEY_VARIABLE)
            if text is None:
                continue
            seal = Seal.from_hex(text)
            checked_call(call.plan, seal)
        except BundlerunError as error:
            call.scope.progress.line(f"(a job of {call.record.label} is not believed: {error})")
            continue
        return seal
    return None
