"""The index of the runs on a remote.

By it any store that is bound to the remote finds them again::

    r/<9999999999999-ms>-<run>.<mark>   empty: one listing gives the newest runs
    runs/<run>/plan.json             *  what was asked
    runs/<run>/handle                   which job has it, once there is one

``ms`` is when the run's id was made; ``mark`` tells, of the whole listing, which runs make some
output, and of what request, so that only the plans of those are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundlerun.backends.job import JobHandle
from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.record import FORMAT, check_format, checked_id, parse_record
from bundlerun.errors import BundlerunError, Conflict, IntegrityError, RunNotFound, UsageError
from bundlerun.remotes.gc.mark import in_parallel
from bundlerun.remotes.keys import RUN_INDEX, listed_run, run_index_key
from bundlerun.remotes.records import create, read_record
from bundlerun.runs.keys import handle_key, plan_key
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.record import RunRecord
from bundlerun.runs.task import CallTask

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote


LOOKED_THROUGH = 1000


"""The newest runs among which the makers of an output are sought.

They are a page of a listing.
"""


_LAST_MARK = "~"


"""Sorts after every mark of one run."""


_RUN = re.compile(r"[0-9a-f-]{36}")


_RUN_KEY = re.compile(r"runs/([0-9a-f-]{36})/.*")


_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{3,35}")


@dataclass(frozen=True)
class Known:
    """A run as the remote has it: its plan, and its job's handle where it is noted."""

    plan: RunPlan
    handle: JobHandle | None


def announce(remote: Remote, plan: RunPlan) -> None:
    """Write the plan, then the key that lists it.

    Raises Conflict where there is such a plan.
    """
    there = create(remote, plan_key(plan.run_id), plan.to_bytes())
    if there is not None and there != plan.to_bytes():
        raise Conflict(
            f"the run {plan.run_id} is on {remote.url} already",
            hint=f"bundlerun jobs {plan.run_id[:13]}",
        )
    remote.put(index_key(plan), b"")


def note_handle(remote: Remote, handle: JobHandle) -> None:
    """Write down, for everybody, which job has the run."""
    remote.put(
        handle_key(handle.run_id), canonical_json({"format": FORMAT, "handle": handle.to_json()})
    )


def index_key(plan: RunPlan) -> str:
    """The key that lists the run of ``plan``."""
    mark = "".join(map(_mark, plan.task.marks))
    return run_index_key(plan.run_id, _ms(plan.run_id), mark)


def newest(remote: Remote, *, limit: int | None, before: str | None) -> list[str]:
    """The ids of the newest runs, newest first, ``limit`` at most.

    ``before``, a run's id or how it starts: those older than that one. One request a 1,000. Raises
    as ``whole_id``.
    """
    return [run for run, _ in _listed(remote, limit, before and whole_id(remote, before))]


def making(remote: Remote, *marks: str) -> list[str]:
    """The ids of the newest runs whose ``marks`` begin with these, newest first.

    Marks are the output that a run makes, and where it is given, the work. The newest 1,000 runs
    are looked through. One request; read the plans to be sure.
    """
    wanted = "".join(map(_mark, marks))
    return [run for run, mark in _listed(remote, LOOKED_THROUGH) if mark.startswith(wanted)]


def whole_id(remote: Remote, prefix: str) -> str:
    """The id of the run on ``remote`` that starts with ``prefix``.

    ``prefix`` has four characters at least. Raises RunNotFound, or UsageError when several start
    so.
    """
    if _RUN.fullmatch(prefix):
        return prefix
    found: list[str] = []
    for entry in remote.list(f"runs/{prefix}") if _PREFIX.fullmatch(prefix) else ():
        match = _RUN_KEY.fullmatch(entry.key)
        if match and match[1] not in found:
            found.append(match[1])
        if len(found) > 1:
            break
    if not found:
        raise RunNotFound(
            f"neither this store nor {remote.url} has a run {prefix!r}",
            hint="bundlerun jobs --remote",
        )
    if len(found) > 1:
        names = ", ".join(found)
        raise UsageError(f"several runs start with {prefix!r}: {names}", hint="more digits")
    return found[0]


def read(remote: Remote, run_id: str) -> Known | None:
    """The plan and handle of a run on the remote, None where it has no plan.

    Two requests. Raises IntegrityError for a plan that cannot be read. A handle that cannot be read
    counts as absent: the job is looked for by the run's own name then.
    """
    plan = plan_of(remote, run_id)
    if plan is None:
        return None
    if isinstance(plan.task, CallTask):
        # Its parts have handles, each of its own.
        return Known(plan, None)
    return Known(plan, _handle(read_record(remote, handle_key(run_id)), plan))


def plan_of(remote: Remote, run_id: str) -> RunPlan | None:
    """The plan of a run, None where the remote has none.

    One request. Raises IntegrityError for one that cannot be read.
    """
    data = read_record(remote, plan_key(run_id))
    if data is None:
        return None
    try:
        plan = RunPlan.from_bytes(data)
        if plan.run_id != run_id:
            raise IntegrityError(f"it is the plan of run {plan.run_id}")
    except IntegrityError as error:
        raise IntegrityError(
            f"{plan_key(run_id)} at {remote.url}: {error.message}", hint=error.hint
        ) from error
    return plan


def read_all(remote: Remote, ids: Iterable[str]) -> list[Known | IntegrityError]:
    """``read`` for each of ``ids``, several at a time, without those gone meanwhile."""

    def one(run_id: str) -> Known | IntegrityError | None:
        try:
            return read(remote, run_id)
        except IntegrityError as error:
            return error

    return [found for found in in_parallel(one, ids) if found is not None]


def record_of(known: Known, remote_url: str, remote_uuid: str | None) -> RunRecord:
    """The run as a journal keeps it, from what the remote has of it."""
    plan, task = known.plan, known.plan.task
    return RunRecord(
        run_id=plan.run_id,
        backend=plan.backend,
        kind=task.kind,
        pipe=task.subject,
        input=", ".join(f"{given.name}@{given.id}" for given in task.inputs) or None,
        output=task.output,
        output_id=task.output_id,
        image=plan.image,
        remote_url=remote_url,
        remote_uuid=remote_uuid,
        submitted_s=_ms(plan.run_id) / 1000,
        handle=known.handle,
        items=task.items if isinstance(task, CallTask) else None,
    )


def _handle(data: bytes | None, plan: RunPlan) -> JobHandle | None:
    if data is None:
        return None
    try:
        found = parse_record(data)
        check_format(found)
        handle = JobHandle.from_json(found["handle"])
    except (BundlerunError, AttributeError, KeyError, TypeError, ValueError):
        return None
    right = (handle.run_id, handle.backend) == (plan.run_id, plan.backend)
    return handle if right else None


def _listed(remote: Remote, limit: int | None, before: str | None = None) -> list[tuple[str, str]]:
    after = run_index_key(before, _ms(before), _LAST_MARK) if before else ""
    found = (listed_run(entry.key) for entry in remote.list(RUN_INDEX, after=after, limit=limit))
    return [(run, mark) for run, mark in filter(None, found) if _RUN.fullmatch(run)]


def _ms(run_id: str) -> int:
    """Unix milliseconds of a UUIDv7 (RFC 9562, 5.7)."""
    return int(checked_id(run_id).replace("-", "")[:12], 16)


def _mark(text: str) -> str:
    return str(digest_of(text.encode()))[-8:]
