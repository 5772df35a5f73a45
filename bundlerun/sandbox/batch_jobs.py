"""What becomes of AWS Batch's jobs: queues, arrays, attempts, retries and ends.

Each rule names where AWS states it: "guide" is the AWS Batch user guide, "API" its API reference.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bundlerun.sandbox.batch_attempt import Attempt, Exit, Runner
from bundlerun.sandbox.batch_retry import tried_again

Json = dict[str, Any]

STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
FINAL = ("SUCCEEDED", "FAILED")

TIMED_OUT = "Job attempt duration exceeded timeout"
DRAINED = "drained"
CHILD_FAILED = "Array Child Job failed"
DEPENDENCY_FAILED = "Dependent Job failed"
OVERRIDES_TOO_LONG = "Container Overrides length must be at most 8192"
TOO_LARGE = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CPU/MEMORY job's requirement is greater"
    " than the compute environment's max vCPU capacity"
)
"""The reasons that AWS Batch writes.

API, JobDetail; guide, "Job timeouts" and "Troubleshooting".
"""

MOST_OVERRIDES = 8192
"""Characters of JSON that ECS takes (ECS API, RunTask, ``overrides``)."""


@dataclass
class Queue:
    """A job queue, and how many vCPUs its enabled compute environments have."""

    arn: str
    environment: str = ""
    vcpus: int = 0
    most_vcpus: int = 0
    used: int = 0
    waiting: deque[Job] = field(default_factory=deque)

    @property
    def name(self) -> str:
        """Its name."""
        return self.arn.rpartition("/")[2]


@dataclass(frozen=True)
class Request:
    """A SubmitJob, laid over its job definition.

    The children of an array share it.
    """

    name: str
    queue: Queue
    definition: str
    container: Json
    overrides: Json
    vcpus: int
    retry: Json
    timeout_s: float | None
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    depends_on: Sequence[str] = ()
    size: int | None = None


@dataclass(eq=False, slots=True)
class Job:
    """A job, an array or the child of one."""

    id: str
    request: Request
    created_ms: int
    status: str
    index: int | None = None
    parent: Job | None = None
    reason: str = ""
    started_ms: int | None = None
    stopped_ms: int | None = None
    attempts: list[Json] = field(default_factory=list)
    live: Attempt | None = None
    cancelled: bool = False
    terminated: bool = False
    children: list[Job] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    awaited: set[str] = field(default_factory=set)

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in FINAL


class Jobs:
    """All jobs, in order of their submission.

    ``run`` carries out an attempt, in a thread of its own; ``put_log`` takes a group, a stream and
    its new lines.
    """

    def __init__(
        self, run: Runner, put_log: Callable[[str, str, list[str]], None], grace_s: float
    ) -> None:
        self._run = run
        self._put_log = put_log
        self._grace_s = grace_s
        self._lock = threading.RLock()
        self._by_id: dict[str, Job] = {}
        self._dependents: dict[str, list[Job]] = {}
        self._live: set[Attempt] = set()
        self._closed = False

    def submit(self, request: Request) -> Job:
        """A new job; it may be running when this returns."""
        job = Job(str(uuid.uuid4()), request, now_ms(), "SUBMITTED")
        with self._lock:
            self._by_id[job.id] = job
            for other in request.depends_on:
                if not self._by_id[other].final or self._by_id[other].status == "FAILED":
                    job.awaited.add(other)
                    self._dependents.setdefault(other, []).append(job)
            # Children begin as PENDING (API, JobDetail, createdAt).
            for index in range(request.size or 0):
                child = Job(f"{job.id}:{index}", request, job.created_ms, "PENDING", index, job)
                job.children.append(child)
                self._by_id[child.id] = child
            job.tally["PENDING"] = len(job.children)
            if not job.awaited:
                self._release(job)
                return job
            self._set(job, "PENDING")
            for other in list(job.awaited):
                if self._by_id[other].final:
                    self._dependency_ended(job, self._by_id[other])
        return job

    def find(self, job_id: str) -> Job | None:
        """The job of that id."""
        return self._by_id.get(job_id)

    def among(self, choose: Callable[[Job], bool]) -> list[Job]:
        """The jobs that are chosen, oldest first."""
        with self._lock:
            return [job for job in self._by_id.values() if choose(job)]

    def cancel(self, job: Job, reason: str) -> None:
        """Cancel a job that has not begun; one that has goes on.

        Of an array all children are cancelled so, and it ends with the last of them; a job that
        waits for others ends with the last of those (API, CancelJob).
        """
        with self._lock:
            if job.final or job.status in ("STARTING", "RUNNING"):
                return
            job.cancelled = True
            self._drop(job, reason)
            for child in job.children:
                self.cancel(child, reason)

    def terminate(self, job: Job, reason: str) -> None:
        """End a job: stop it where it runs, cancel it where it does not.

        Of an array all children end (API, TerminateJob; guide, "Array jobs").
        """
        with self._lock:
            if job.final:
                return
            job.terminated = True
            if job.live is not None:
                job.live.stop(reason, self._grace_s)
            else:
                self._drop(job, reason)
            for child in job.children:
                self.terminate(child, reason)

    def reclaim(self, job_id: str, *, drained: bool = False) -> None:
        """Take the machine under a running attempt away, as a spot interruption does.

        ``drained``: its agent stops the container first, as after an interruption notice (ECS
        developer guide, "Amazon ECS container instance draining"). Then the container's own exit
        code is all that Batch sees.
        """
        job = self._by_id[job_id]
        if job.live is not None and drained:
            job.live.stop(DRAINED, self._grace_s)
        elif job.live is not None:
            job.live.stop(f"Host EC2 (instance i-{uuid.uuid4().hex[:17]}) terminated.", 0.0)

    def forget(self, job_id: str) -> None:
        """Know nothing more of a job, and of its children, as of one that ended days ago.

        Guide, "Job states": a job stays visible for 7 days after its end.
        """
        with self._lock:
            for job in (self._by_id[job_id], *self._by_id[job_id].children):
                del self._by_id[job.id]

    def start(self, queue: Queue) -> None:
        """Start the attempts that the queue has vCPUs for, first come, first served."""
        with self._lock:
            misfits = []
            while queue.waiting and not self._closed:
                job = queue.waiting[0]
                if job.request.vcpus > queue.most_vcpus:
                    # It waits for ever, and in nobody's way (API, JobDetail, statusReason).
                    job.reason = TOO_LARGE
                    misfits.append(job)
                elif job.status == "RUNNABLE":
                    if queue.used + job.request.vcpus > queue.vcpus:
                        break
                    self._begin(job)
                queue.waiting.popleft()
            queue.waiting.extend(job for job in misfits if not job.final)

    def close(self, within_s: float = 10.0) -> None:
        """Kill what runs, start nothing more, and wait until it has ended."""
        until = time.monotonic() + within_s
        with self._lock:
            self._closed = True
            for attempt in self._live:
                attempt.stop("the server ended", 0.0)
        while self._live and time.monotonic() < until:
            time.sleep(0.02)

    def _release(self, job: Job) -> None:
        """Put what has nothing to wait for into its queue."""
        queue = job.request.queue
        for each in job.children or [job]:
            self._enqueue(each)
        self.start(queue)

    def _enqueue(self, job: Job) -> None:
        job.request.queue.waiting.append(job)
        self._set(job, "RUNNABLE")

    def _drop(self, job: Job, reason: str) -> None:
        job.reason = reason
        if not job.children and not job.awaited:
            self._finish(job, "FAILED", reason)

    def _begin(self, job: Job) -> None:
        request, queue = job.request, job.request.queue
        attempt = Attempt(
            job_id=job.id,
            job_name=request.name,
            number=len(job.attempts) + 1,
            container=request.container,
            environment=environment(job),
            vcpus=request.vcpus,
            started=lambda: self._running(job),
            put_log=self._put_log,
            definition=request.definition.rpartition("/")[2].partition(":")[0],
        )
        if _overrides_length(request, attempt) > MOST_OVERRIDES:
            # It fails after SubmitJob has said yes, and is not tried again.
            self._finish(job, "FAILED", OVERRIDES_TOO_LONG)
            return
        self._set(job, "STARTING")
        job.live = attempt
        job.reason = ""
        self._live.add(attempt)
        queue.used += request.vcpus
        threading.Thread(target=self._carry_out, args=(job, attempt), daemon=True).start()

    def _carry_out(self, job: Job, attempt: Attempt) -> None:
        try:
            ended = self._run(attempt)
        except Exception:
            for line in traceback.format_exc().splitlines():
                attempt.log(line)
            ended = Exit(1)
        attempt.flush()
        with self._lock:
            self._ended(job, attempt, ended)
            self.start(job.request.queue)
            self._live.discard(attempt)

    def _running(self, job: Job) -> None:
        with self._lock:
            attempt = job.live
            assert attempt is not None
            attempt.started_ms = job.started_ms = now_ms()
            self._set(job, "RUNNING")
            if job.request.timeout_s is not None:
                # From the attempt's start, for each child by itself (guide, "Job timeouts").
                attempt.stop_after(job.request.timeout_s, TIMED_OUT, self._grace_s)

    def _ended(self, job: Job, attempt: Attempt, ended: Exit) -> None:
        job.request.queue.used -= job.request.vcpus
        job.live = None
        attempt.over()
        stopped = None if attempt.stop_reason == DRAINED else attempt.stop_reason
        if stopped is not None:
            gone = stopped.startswith("Host EC2")
            code, reason = (None, "") if gone else (ended.code, ended.reason)
            ended = replace(ended, code=code, reason=reason, status_reason=stopped)
        job.attempts.append(attempt.described(ended, now_ms()))
        failed = ended.code != 0 or stopped is not None
        # Neither what timed out nor what was ended is retried (guide, "Job timeouts",
        # "Automated job retries").
        over = job.terminated or job.cancelled or stopped == TIMED_OUT
        if failed and not over and tried_again(job.request.retry, len(job.attempts), ended):
            self._enqueue(job)
        else:
            self._finish(job, "FAILED" if failed else "SUCCEEDED", ended.status_reason)

    def _finish(self, job: Job, status: str, reason: str) -> None:
        job.reason, job.stopped_ms = reason, now_ms()
        self._set(job, status)
        for dependent in self._dependents.pop(job.id, ()):
            self._dependency_ended(dependent, job)

    def _dependency_ended(self, job: Job, other: Job) -> None:
        job.awaited.discard(other.id)
        if job.final:
            return
        if other.status == "FAILED":
            job.awaited.clear()
            for each in (job, *job.children):
                self._finish(each, "FAILED", DEPENDENCY_FAILED)
        elif not job.awaited:
            if job.cancelled or job.terminated:
                self._drop(job, job.reason)
            else:
                self._release(job)

    def _set(self, job: Job, status: str) -> None:
        before, job.status = job.status, status
        parent = job.parent
        if parent is None:
            return
        parent.tally[before] -= 1
        parent.tally[status] += 1
        if parent.status == "SUBMITTED":
            # PENDING from the first child that is RUNNABLE to the end of the last (API, ListJobs).
            parent.status = "PENDING"
        left = len(parent.children) - parent.tally["SUCCEEDED"] - parent.tally["FAILED"]
        if not left and not parent.final:
            ended_by_us = parent.terminated or parent.cancelled
            if parent.tally["FAILED"]:
                self._finish(parent, "FAILED", parent.reason if ended_by_us else CHILD_FAILED)
            else:
                self._finish(parent, "SUCCEEDED", "")


def now_ms() -> int:
    """Unix time, milliseconds."""
    return int(time.time() * 1000)


def environment(job: Job) -> dict[str, str]:
    """The variables of a job's next attempt.

    Guide, "AWS Batch job environment variables".
    """
    rows: Iterable[Json] = job.request.container.get("environment", ())
    own = {
        "AWS_BATCH_CE_NAME": job.request.queue.environment,
        "AWS_BATCH_JQ_NAME": job.request.queue.name,
        "AWS_BATCH_JOB_ID": job.id,
        "AWS_BATCH_JOB_ATTEMPT": str(len(job.attempts) + 1),
    }
    if job.index is not None:
        own["AWS_BATCH_JOB_ARRAY_INDEX"] = str(job.index)
        own["AWS_BATCH_JOB_ARRAY_SIZE"] = str(job.request.size)
    return {**{row["name"]: row.get("value", "") for row in rows}, **own}


def _overrides_length(request: Request, attempt: Attempt) -> int:
    """The characters of JSON that Batch hands to ECS with the definition.

    Its own variables are included.
    """
    given = request.overrides.get("environment", ())
    own = [
        {"name": name, "value": text}
        for name, text in attempt.environment.items()
        if name.startswith("AWS_BATCH_")
    ]
    container = {
        "name": "default",
        "command": request.overrides.get("command", []),
        "environment": [*given, *own],
    }
    return len(json.dumps({"containerOverrides": [container]}, ensure_ascii=False))
