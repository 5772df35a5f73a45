"""Ending a call: all of it, one request an array, or one of its items."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bundlerun.errors import BundlerunError
from bundlerun.runs.calls.cancels import cancel_item
from bundlerun.runs.scope import change, holding

if TYPE_CHECKING:
    from bundlerun.runs.calls.call import Call
    from bundlerun.runs.record import RunRecord

_REASON = "cancelled with bundlerun cancel"


def end(call: Call) -> Call:
    """The call once every job was told to end; ended ones are not an error.

    The wish is written down first: what is being submitted meanwhile is ended by its submitter.
    Raises what the backend raises; the wish stays.
    """

    def asked(newest: RunRecord) -> RunRecord:
        if newest.judged:
            return newest
        return newest.changed(cancel_asked_s=newest.cancel_asked_s or time.time())

    call = replace(call, record=change(call.record, asked, call.scope))
    if call.record.judged:
        return call
    call = _with_lost_jobs(call)
    raised: BundlerunError | None = None
    for part in call.parts:
        if part.handle is not None:
            try:
                call.backend.cancel(part.handle, _REASON)
            except BundlerunError as error:
                raised = error
    if raised is not None:
        raise raised
    return call.changed(cancel_sent=True)


def _with_lost_jobs(call: Call) -> Call:
    """The call with the jobs that its client could not note before it died."""
    if all(part.handle for part in call.parts):
        return call
    with holding(call.run_id, call.scope, wait=False) as mine:
        if not mine:
            # Who submits it sees the wish.
            return call
        call = call.read_again()
        for part in call.parts:
            handle = part.handle or call.find_job(part)
            if part.handle != handle:
                call = call.with_part(replace(part, handle=handle))
    return call


def end_item(call: Call, index: int) -> bool:
    """End one item; whether its job was told.

    A job that others share skips the item, or ends it within seconds where it is under way. False
    where nobody has it yet. Raises what the backend or the remote raises.
    """
    part = next(part for part in reversed(call.parts) if part.has(index))
    if part.handle is None:
        return False
    if part.chunk > 1:
        cancel_item(call.remote, call.run_id, index, call.key())
        return True
    child = part.child_of(index)
    call.backend.cancel(part.handle, _REASON, index=child if part.children > 1 else None)
    return True
