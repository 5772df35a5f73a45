"""One attempt of an AWS Batch job, between what keeps the jobs and what runs them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.aws.batch import LOG_GROUP

EXITED = "Essential container in task exited"
NOT_STARTED = "Task failed to start"
"""The words of Batch for a container that ended, and for one that never began.

Guide, "Troubleshooting"; ECS developer guide, "Stopped tasks error codes".
"""

LOGGED_EVERY_S = 0.2


@dataclass(frozen=True)
class Exit:
    """The end of an attempt.

    ``code`` is the exit code, None without a container; ``reason`` is what ECS writes about the
    container, ``status_reason`` what Batch writes about the attempt.
    """

    code: int | None
    reason: str = ""
    status_reason: str = EXITED


class Attempt:
    """One attempt, as it is given to a runner.

    ``container`` is the job definition's with the job's overrides, and ``environment`` all
    variables of the job, Batch's own included. A runner calls ``running`` once the work has begun,
    and returns when it has ended; ``stopping`` is set once it must end.
    """

    def __init__(
        self,
        *,
        job_id: str,
        job_name: str,
        number: int,
        definition: str,
        container: Mapping[str, Any],
        environment: dict[str, str],
        vcpus: int,
        started: Callable[[], None],
        put_log: Callable[[str, str, list[str]], None],
    ) -> None:
        self.job_id, self.job_name, self.number = job_id, job_name, number
        self.container, self.environment, self.vcpus = container, environment, vcpus
        self.stopping = threading.Event()
        self.stop_reason: str | None = None
        self.started_ms: int | None = None
        self.task = uuid.uuid4().hex
        self.stream = f"{definition}/default/{self.task}"
        self._started, self._put_log = started, put_log
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._flush_soon: threading.Timer | None = None
        self._timer: threading.Timer | None = None
        self._grace_s = 0.0
        self._act: Callable[[float], None] | None = None

    @property
    def index(self) -> int | None:
        """Which child of its array it is."""
        text = self.environment.get("AWS_BATCH_JOB_ARRAY_INDEX")
        return None if text is None else int(text)

    def running(self) -> None:
        """The work has begun."""
        self._started()

    def on_stop(self, act: Callable[[float], None]) -> None:
        """Have ``act`` called, in a thread of its own, once the attempt must end.

        Its argument are the seconds between SIGTERM and SIGKILL. Where the attempt must end
        already, ``act`` is called at once.
        """
        with self._lock:
            self._act = act
            late = self.stop_reason is not None
        if late:
            threading.Thread(target=act, args=(self._grace_s,), daemon=True).start()

    def stop(self, status_reason: str, grace_s: float) -> None:
        """The attempt must end, for that reason; the first one counts."""
        with self._lock:
            if self.stop_reason is not None:
                return
            self.stop_reason, self._grace_s = status_reason, grace_s
            act = self._act
        self.stopping.set()
        if act is not None:
            threading.Thread(target=act, args=(grace_s,), daemon=True).start()

    def stop_after(self, seconds: float, status_reason: str, grace_s: float) -> None:
        """Stop it then, unless it is over before."""
        self._timer = threading.Timer(seconds, self.stop, (status_reason, grace_s))
        self._timer.daemon = True
        self._timer.start()

    def over(self) -> None:
        """It has ended: nothing stops it any more."""
        if self._timer is not None:
            self._timer.cancel()

    def log(self, line: str) -> None:
        """A line of its output; it is in CloudWatch a moment later."""
        with self._lock:
            self._lines.append(line)
            if self._flush_soon is None:
                self._flush_soon = threading.Timer(LOGGED_EVERY_S, self.flush)
                self._flush_soon.daemon = True
                self._flush_soon.start()

    def flush(self) -> None:
        """Have all lines so far in CloudWatch."""
        with self._lock:
            if self._flush_soon is not None:
                self._flush_soon.cancel()
                self._flush_soon = None
            if self._lines:
                self._put_log(self.log_group, self.stream, self._lines)
                self._lines = []

    @property
    def log_group(self) -> str:
        """Where its log goes (API, LogConfiguration)."""
        options = (self.container.get("logConfiguration") or {}).get("options") or {}
        return str(options.get("awslogs-group") or LOG_GROUP)

    def described(self, ended: Exit, stopped_ms: int) -> dict[str, Any]:
        """As DescribeJobs tells it of an ended attempt (API, AttemptDetail)."""
        container: dict[str, Any] = {**self.shown(), "networkInterfaces": []}
        if ended.code is not None:
            container["exitCode"] = ended.code
        if ended.reason:
            container["reason"] = ended.reason[:255]
        times = {"stoppedAt": stopped_ms}
        if self.started_ms is not None:
            times["startedAt"] = self.started_ms
        return {"container": container, "statusReason": ended.status_reason, **times}

    def shown(self) -> dict[str, str]:
        """The part of the job's container that is known while the attempt runs.

        The log stream has its name from RUNNING on (API, AttemptContainerDetail).
        """
        task = {"taskArn": f"arn:aws:ecs:::task/{self.task}"}
        return task if self.started_ms is None else {**task, "logStreamName": self.stream}


Runner = Callable[[Attempt], Exit]


def in_process(work: Callable[[Attempt], Exit | int | None]) -> Runner:
    """A runner whose jobs are calls in this very process.

    ``work`` returns how the attempt ended, or its exit code, or None for 0; what it raises is exit
    code 1, with the traceback as log.
    """

    def run(attempt: Attempt) -> Exit:
        attempt.running()
        ended = work(attempt)
        return ended if isinstance(ended, Exit) else Exit(ended or 0)

    return run
