"""The poll of a job: looks grow rarer, and a service that stumbles is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bundlerun.backends.base import Backend, Pace
from bundlerun.backends.job import JobHandle, JobStatus
from bundlerun.errors import EngineError, RemoteUnreachable, TimedOut

TRANSIENT = (EngineError, RemoteUnreachable)
"""Errors that may pass: an engine restarts, a service throttles or is silent."""


@dataclass(frozen=True)
class Clock:
    """Time, as ``looks`` knows it; a test gives its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def looks(
    backend: Backend,
    handle: JobHandle,
    *,
    timeout_s: float | None = None,
    pace: Pace | None = None,
    clock: Clock | None = None,
) -> Iterator[JobStatus]:
    """The statuses of a job, look after look and without end.

    Whether a look is the last one is for the caller to judge. They grow rarer as long as they say
    the same. ``timeout_s`` is how long this goes on (None: as long as it takes); the job itself
    goes on. Raises TimedOut then, and the backend's own error when it fails ``pace.stumbles`` + 1
    times in a row.
    """
    clock, pace = clock or Clock(), pace or backend.pace
    until = None if timeout_s is None else clock.now() + timeout_s
    pause_s, stumbles = pace.first_s, 0
    before: JobStatus | None = None
    while True:
        try:
            status = backend.poll([handle])[handle.id]
        except TRANSIENT:
            stumbles += 1
            if stumbles > pace.stumbles:
                raise
        else:
            stumbles = 0
            if status != before:
                before, pause_s = status, pace.first_s
            yield status
        left_s = pause_s if until is None else until - clock.now()
        if left_s <= 0:
            raise TimedOut(
                f"run {handle.run_id} has not ended within {timeout_s:g} s of waiting; it goes on",
                hint=f"bundlerun wait {handle.run_id}",
            )
        clock.sleep(min(pause_s, left_s))
        pause_s = pace.after(pause_s)
