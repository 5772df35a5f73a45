"""Submitting a call: items and function first, the journal around each part.

A client that dies anywhere leaves what ``go_on`` goes on with: the journal has the run, its key and
its parts before the first of them is submitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobState
from bundlerun.backends.open import shared_backend
from bundlerun.bundles.record import new_id
from bundlerun.errors import BundlerunError, Cancelled, NotCommitted, SubmitUnknown
from bundlerun.formatting import RUN_SHOWN
from bundlerun.futures.interrupts import told_at_interrupt
from bundlerun.futures.sealing import Seal
from bundlerun.remotes.identity import check_remote
from bundlerun.runs.calls.call import Call, parts_as_rows
from bundlerun.runs.calls.cost import Worst, affordable
from bundlerun.runs.calls.function import prepared, send_function
from bundlerun.runs.calls.job import check_call, check_reach, part_spec
from bundlerun.runs.calls.parts import parts_of
from bundlerun.runs.calls.sealed_plan import sealed_plan
from bundlerun.runs.calls.sent_items import parents_in, removed_where_it_breaks_off, send_items
from bundlerun.runs.index import Known, announce, record_of
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.scope import change, holding
from bundlerun.runs.task import CallTask
from bundlerun.runs.transfer import send

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.runs.calls.function import Prepared, SentFunction, Uploaded
    from bundlerun.runs.calls.options import CallRequest
    from bundlerun.runs.calls.parts import Part
    from bundlerun.runs.calls.sent_items import SentItems
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope

PAUSE_S = 1 / 40
"""Seconds between two submissions.

AWS Batch takes 50 a second of an account (AWS Batch user guide, "Service quotas"), to which others
submit as well.
"""


@dataclass(frozen=True)
class Begun:
    """What a call has before its items are known."""

    run_id: str
    seal: Seal
    function: Prepared
    backend: Backend


def submit(
    request: CallRequest,
    items: Iterable[object],
    scope: RunScope,
    *,
    uploaded: Uploaded | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Call:
    """Send the items and the function, and submit the jobs.

    Each item is a tuple of arguments. Nothing is waited for. ``uploaded`` notes functions that were
    sent, for who begins several runs. Nothing is submitted, and nothing stays on the remote, where
    the iterable raises. Raises UsageError for what the backend cannot do, RemoteChanged where
    another remote answers than the context is bound to, before anything is sent; BadValue for an
    item that cannot travel; SubmitUnknown, and leaves the run open, where it is not known whether
    there is a job; what the remote and the backend raise.
    """
    backend = shared_backend(request.backend, scope.connections)
    check_call(request, backend)
    items = _affordable(request, items, backend)
    check_reach(scope.remote, request, backend)
    # Before minutes go into an image: the output could not be pushed to another remote.
    check_remote(scope.remote, scope.binding.uuid)
    with told_at_interrupt("nothing was submitted"):
        call = _sent(request, items, backend, scope, uploaded)
    # A process that finds the record without a job and the lock held knows that one may still come.
    with told_at_interrupt(_broken_off(call.run_id)), holding(call.run_id, scope, wait=True):
        row = call.record.to_row()
        revision = scope.store.journal.add(scope.context, row)
        call = go_on(replace(call, record=call.record.changed(revision=revision)), sleep=sleep)
    if call.task.items:
        return call
    from bundlerun.runs.calls.gather import Gathering
    from bundlerun.runs.calls.settle import settle

    # There is nothing to wait for.
    return settle(call, Gathering(call.run_id, 0, call.key()), wait=True)


def _broken_off(run_id: str) -> str:
    return (
        f"run {run_id} was being submitted: br.attach({run_id!r}) submits the rest and follows it,"
        f" bundlerun cancel {run_id[:RUN_SHOWN]} ends it"
    )


def _sent(
    request: CallRequest,
    items: Iterable[object],
    backend: Backend,
    scope: RunScope,
    uploaded: Uploaded | None,
) -> Call:
    """The planned call, once its items and its function are on the remote."""
    begun = Begun(new_id(), Seal.new(), prepared(request, scope), backend)
    remote, run_id, seal = scope.remote, begun.run_id, begun.seal
    with removed_where_it_breaks_off(remote, run_id):
        sent = send_items(items, begun.function.codec, seal, remote, run_id)
        # After the items, whose pickles name modules too.
        function = send_function(begun.function, seal, scope, run_id, uploaded)
        sent = replace(sent, parents=parents_in(begun.function.codec))
        _send_bundles(sent, scope)
        return _planned(begun, sent, function, scope)


def go_on(call: Call, *, sleep: Callable[[float], None] = time.sleep) -> Call:
    """Submit the parts of ``call`` that are not submitted yet.

    The caller holds the run's lock. A job that a client submitted which died before it noted it is
    found by its name. A cancel that comes meanwhile wins: what was submitted is ended, and
    Cancelled raised. Raises as ``submit``.
    """
    if call.record.unsent is not None:
        announce(call.remote, call.plan)
    is_first = True
    for part in call.parts:
        if part.handle is None and call.record.cancel_asked_s is None:
            if not is_first:
                sleep(PAUSE_S)
            call = _submitted(call, part)
            is_first = False
    if call.record.unsent is not None or call.record.reason:
        call = call.changed(unsent=None, reason="")
    if call.record.cancel_asked_s is None:
        return call
    from bundlerun.runs.calls.cancel import end

    end(call)
    raise Cancelled(
        f"{call.record.label} was cancelled while it was being submitted",
        hint=f"bundlerun jobs {call.run_id[:13]}",
    )


def _submitted(call: Call, part: Part) -> Call:
    """The call once ``part`` has a job."""
    scope, backend, seal = call.scope, call.backend, call.key()
    call.note(part)
    spec = part_spec(call.plan, call.task, part, seal, backend, scope)
    try:
        # Of a client that died: a new run has no job yet, and none is looked for.
        handle = call.find_job(part) if call.record.orphaned_s is not None else None
        handle = handle or backend.submit(spec)
    except SubmitUnknown as error:
        why, now_s = error.message, time.time()
        change(call.record, lambda r: r.changed(reason=why, orphaned_s=now_s), scope)
        raise SubmitUnknown(
            f"run {call.run_id[:13]}: {why}", hint=f"bundlerun.attach({call.run_id!r}) goes on"
        ) from error
    except BundlerunError as error:
        if any(each.handle for each in call.parts):
            why = error.message
            change(call.record, lambda r: r.changed(reason=why), scope)
            error.hint = f"{error.hint or 'bundlerun doctor'}; bundlerun.attach({call.run_id!r})"
            raise
        from bundlerun.runs.calls.settle import never_began

        never_began(call, error)
        raise
    return call.with_part(replace(part, handle=handle), unsent=None)


def _send_bundles(sent: SentItems, scope: RunScope) -> None:
    """The bundles among the items are on the remote before a job begins."""
    for parent in sent.parents:
        entry = scope.store.catalog.by_id(scope.context, parent.id)
        if entry is None or entry.pushed:
            continue
        if not entry.committed:
            raise NotCommitted(
                f"{parent.name}@{parent.id[:13]} is among the items and is not committed, and only"
                " committed bundles travel",
                hint=f"bundlerun commit {parent.name}",
            )
        send(entry, scope)


def _planned(begun: Begun, sent: SentItems, function: SentFunction, scope: RunScope) -> Call:
    request, backend = begun.function.request, begun.backend
    environment = function.environment
    room = backend.room(request.resources)
    chunk = chunk_of(sent.count, request.chunksize, room)
    task = CallTask(
        func=begun.function.name,
        function=function.run_id,
        function_seal=function.tag,
        items=sent.count,
        chunk=chunk,
        packs=sent.packs,
        python=environment.python,
        cloudpickle=environment.cloudpickle,
        code=function.code,
        requirements=environment.requirements,
        resources=request.resources,
        timeout_s=request.timeout_s,
        retries=request.retries,
        memory_factor=request.memory_factor,
        env=request.env,
        output=request.output,
        output_id=new_id() if request.output else "",
        output_tags=request.output_tags,
        parents=sent.parents,
    )
    plan = RunPlan(
        run_id=begun.run_id,
        backend=request.backend,
        image=environment.image,
        environment=environment.environment,
        task=task,
        options=backend.lasting_options(),
    )
    plan = sealed_plan(plan, begun.seal)
    largest, memory_mib = backend.traits.largest_array, request.resources.memory_mib
    parts = parts_of(begun.run_id, sent.count, chunk, largest, memory_mib) if sent.count else []
    record = record_of(Known(plan, None), scope.remote.url, scope.context.remote_uuid)
    return Call(_record(record, plan, begun.seal, parts), plan, begun.seal, backend, scope)


def _record(record: RunRecord, plan: RunPlan, seal: Seal, parts: list[Part]) -> RunRecord:
    return record.changed(
        submitted_s=time.time(),
        reason="being submitted",
        state=JobState.QUEUED,
        parts=parts_as_rows(parts),
        key=seal.hex(),
        unsent=plan.to_json(),
    )


def _affordable(
    request: CallRequest, items: Iterable[object], backend: Backend
) -> Iterable[object]:
    """The items, counted before any is sent where there is a budget."""
    if request.budget is None:
        return items
    room, retries = backend.room(request.resources), request.retries
    worst = Worst(
        timeout_s=request.timeout_s or 0.0,
        attempts=1 + (retries if backend.traits.most_retries else 0),
        vcpus=request.resources.vcpus,
        # See follow: what ran out of memory.
        repeats=max(retries, 1) if request.memory_factor > 1 else 0,
    )
    return affordable(
        items, request.budget, worst, lambda count: chunk_of(count, request.chunksize, room)
    )


def chunk_of(items: int, asked: int | None, room: int | None) -> int:
    """How many items a job works through.

    ``asked`` (None: 1), and more where no more than ``room`` jobs run side by side (None: a queue
    decides).
    """
    least = asked or 1
    return least if not room else max(least, -(-items // room))
