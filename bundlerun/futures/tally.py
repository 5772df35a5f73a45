"""Where the open items of a run stand, by what its jobs do."""

from __future__ import annotations

from collections.abc import Iterable

from bundlerun.backends.job import JobState, JobStatus

_WAY = (JobState.QUEUED, JobState.STARTING, JobState.RUNNING)


def open_tally(open: int, count: int, statuses: Iterable[JobStatus]) -> dict[JobState, int]:
    """``open`` of ``count`` items, dealt over the states on the way to an end.

    A job has like many items as the others, and those of a job that has ended are still being
    brought: they count as running.
    """
    jobs = dict.fromkeys(_WAY, 0)
    total = 0
    for status in statuses:
        for state, number in (status.tally or {status.state: 1}).items():
            total += number
            if state in jobs:
                jobs[state] += number
    share = -(-count // total) if total else count
    queued = open if not total else min(open, jobs[JobState.QUEUED] * share)
    starting = min(open - queued, jobs[JobState.STARTING] * share)
    return {
        JobState.QUEUED: queued,
        JobState.STARTING: starting,
        JobState.RUNNING: open - queued - starting,
    }
