"""Jobs on AWS Batch: a shared job definition a pipeline, overrides for each job."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bundlerun.aws import batch
from bundlerun.aws.logs import LogStream
from bundlerun.aws.session import Aws
from bundlerun.backends.aws_batch_request import (
    LARGEST_ARRAY,
    LEAST_MEMORY_MIB,
    MOST_ATTEMPTS,
    SHORTEST_TIMEOUT_S,
    AWSBatchOptions,
    check_owner,
    check_request,
    job_definition,
    job_name,
    plain,
    submission,
    tags_of,
)
from bundlerun.backends.aws_batch_state import CANCEL_MARK, job_status, log_group, log_streams
from bundlerun.backends.base import Backend, Check, ImageAt, Pace, Tells, Traits, checked
from bundlerun.backends.job import (
    SIZES,
    JobHandle,
    JobSpec,
    JobState,
    JobStatus,
    Resources,
)
from bundlerun.connections import Connections
from bundlerun.errors import CloudError, SettingsError, UsageError
from bundlerun.settings import Settings

_SECRET = re.compile(r"arn:aws[a-z-]*:(secretsmanager|ssm):.+")
# User guide, "Specify sensitive data": Secrets Manager and Parameter Store.

LASTING = ("queue", "job_role_arn", "job_definition_name", "log_group", "tags")
"""The options that a run keeps; see Backend.lasting_options."""

LONG_WAIT_S = 30.0
QUEUE_ASKED_EVERY_S = 60.0

POLLED_WITHIN = 1.5
"""The age of a poll's answer up to which a log follower asks nothing itself.

In longest pauses between the looks of a wait (``pace``).
"""


@dataclass(frozen=True)
class _Look:
    """The answer of DescribeJobs on a job (None: unknown), and its time.

    ``polled``: it was the answer to a poll.
    """

    job: Mapping[str, Any] | None
    at_s: float
    polled: bool


class AWSBatch(Backend):
    """The job queue of ``[backends.AWSBatch] queue``, as ``[aws]`` says who we are.

    ``retries`` are attempts after the machine under the job was taken away (``Host EC2 ...``), or
    its container did not start; a pipe that raises, a deadline and a lack of memory are final at
    once, for they would repeat. The jobs of an array are ``ID:INDEX``.
    """

    name = "AWSBatch"
    traits = Traits(
        waits=False,
        image=ImageAt.REGISTRY,
        keeps_logs=True,
        platform="linux/amd64",
        pace=Pace(first_s=0.5, most_s=30.0),
        least_timeout_s=SHORTEST_TIMEOUT_S,
        most_retries=MOST_ATTEMPTS - 1,
        largest_array=LARGEST_ARRAY,
        # User guide, "AWS Batch job environment variables": attempts count from 1.
        tells=Tells(
            job="AWS_BATCH_JOB_ID",
            attempt="AWS_BATCH_JOB_ATTEMPT",
            index="AWS_BATCH_JOB_ARRAY_INDEX",
        ),
        sizes=SIZES,
        job_options=("job_role_arn", "execution_role_arn"),
    )

    options = AWSBatchOptions

    def __init__(
        self,
        settings: Settings,
        aws: Aws | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._options = settings.options(self.name, AWSBatchOptions)
        self._aws = aws or Aws(settings.aws)
        self._sleep = sleep
        self._queues_said: dict[str, tuple[float, str | None]] = {}
        self._news = threading.Condition()
        self._looks: dict[str, _Look] = {}
        self._definitions: dict[tuple[str, str], str] = {}
        self._others: dict[tuple[tuple[str, str], ...], AWSBatch] = {}

    @classmethod
    def open(cls, connections: Connections) -> AWSBatch:
        """See Backend.open: as the identity that reads and writes the remote."""
        return cls(connections.settings, Aws.of(connections))

    def lasting_options(self) -> Mapping[str, str]:
        """See Backend.lasting_options: the queue, and what job definitions are made of."""
        values = {name: getattr(self._options, name) for name in LASTING}
        return {name: value for name, value in values.items() if value}

    def at(self, options: Mapping[str, str]) -> AWSBatch:
        """See Backend.at: of the same identity; one for all who ask for the same."""
        if not options or options == self.lasting_options():
            return self
        key = tuple(sorted(options.items()))
        with self._news:
            if key not in self._others:
                values = {name: options.get(name) for name in LASTING}
                led = self._settings.but_options(self.name, AWSBatchOptions, values)
                self._others[key] = AWSBatch(led, self._aws, sleep=self._sleep)
            return self._others[key]

    def submit(self, spec: JobSpec) -> JobHandle:
        """Queue ``spec``.

        Batch itself takes a second job of the same ``run_id``, so a job whose answer was lost is
        looked for by its name before it is submitted again. Batch checks later whether the image is
        there. Raises SettingsError without a queue, UsageError for what AWS Batch cannot do, before
        anything is asked of it; SubmitUnknown.
        """
        queue = self._queue()
        self.check(spec)
        self.check_secrets(spec.secrets, spec.options)
        options = self._with_arns(self._options_of(spec.options), spec)
        definition = job_definition(spec, options)
        tags = tags_of(options)
        request = submission(spec, queue, tags)
        check_request(spec, request)
        name = plain(options.job_definition_name or f"{spec.name}-job-definition", 128)
        if tags:
            definition["tags"] = tags
        known = (name, batch.content_digest(definition))
        was_known = known in self._definitions
        request["jobDefinition"] = self._definition(known, definition)
        try:
            job_id = batch.submit_job(self._client(), request, sleep=self._sleep)
        except CloudError:
            # Somebody may have deregistered it since this process found it.
            if not was_known:
                raise
            self._definitions.pop(known, None)
            request["jobDefinition"] = self._definition(known, definition)
            job_id = batch.submit_job(self._client(), request, sleep=self._sleep)
        return JobHandle(self.name, job_id, spec.run_id, {"queue": queue}, spec.part, spec.array)

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        """The run's job, by its name in the configured queue; see Backend.find.

        Batch lists a job some days after its end.
        """
        queue = self._queue()
        found = batch.find_job(self._client(), queue, job_name(name, run_id, part))
        if found is None:
            return None
        array = int((found.get("arrayProperties") or {}).get("size") or 1)
        return JobHandle(self.name, str(found["jobId"]), run_id, {"queue": queue}, part, array)

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The status of each handle, a DescribeJobs a hundred handles; see Backend.poll.

        Now and then the queue's own state is asked for, for a job that has long been waiting
        without a reason. Batch forgets a job some days after its end (at least 24 hours): LOST
        then.
        """
        ids = [handle.id for handle in handles]
        # Batch tells a job of an array, and not the parent, why it waits; no request more is made.
        first = [_job_id(handle, 0) for handle in handles if self._may_wait(handle)]
        found = batch.describe_jobs(
            self._client(), ids + first[: -len(ids) % batch.DESCRIBE_AT_MOST]
        )
        with self._news:
            now_s = time.monotonic()
            self._looks = {h.id: _Look(found.get(h.id), now_s, polled=True) for h in handles}
            self._news.notify_all()
        return {h.id: self._status(h, found.get(h.id), found.get(_job_id(h, 0))) for h in handles}

    def _may_wait(self, handle: JobHandle) -> bool:
        """Whether none of the jobs of an array has begun, as far as is known."""
        look = self._looks.get(handle.id)
        known = look.job if look else None
        return handle.array > 1 and (known is None or job_status(known).state is JobState.QUEUED)

    def failed(self, handle: JobHandle) -> Mapping[int, JobStatus]:
        """The status of each failed job, a ListJobs a thousand; see Backend.failed."""
        if handle.array == 1:
            return super().failed(handle)
        found = batch.failed_children(self._client(), handle.id)
        rows = {int(job["arrayProperties"]["index"]): job_status(job) for job in found}
        return dict(sorted(rows.items()))

    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """The lines of all attempts, in CloudWatch's order; see Backend.logs.

        While another thread polls the same job through this object, its looks serve here as well.
        """
        ids = [_job_id(handle, at) for at in handle.indices(index)]
        if follow:
            for job_id in ids:
                yield from self._followed(job_id)
            return
        for start in range(0, len(ids), batch.DESCRIBE_AT_MOST):
            some = ids[start : start + batch.DESCRIBE_AT_MOST]
            found = batch.describe_jobs(self._client(), some)
            for job_id in some:
                for name in log_streams(found.get(job_id) or {}):
                    stream = LogStream(self._aws.client("logs"), log_group(found[job_id]), name)
                    yield from stream.new_lines()

    def _followed(self, job_id: str) -> Iterator[str]:
        """The lines of one job, as they come, until it ends."""
        client = self._aws.client("logs")
        streams: dict[str, LogStream] = {}
        pause_s, quiet_after_end, ended = 0.5, 0, False
        job: Mapping[str, Any] | None = None
        while True:
            job = job if ended else self._described(job_id, pause_s)
            if job is None:
                return
            ended = job_status(job).state.final
            came = False
            for name in log_streams(job):
                stream = streams.setdefault(name, LogStream(client, log_group(job), name))
                for line in stream.new_lines():
                    came = True
                    yield line
            # CloudWatch shows the last lines a moment after Batch shows the end.
            quiet_after_end = quiet_after_end + 1 if ended and not came else 0
            if quiet_after_end > 1 or (ended and not streams):
                return
            pause_s = 0.5 if came else min(pause_s * 1.4, 5.0)
            if ended:
                self._sleep(1.0)
            else:
                with self._news:
                    self._news.wait(pause_s)

    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        """End the job, queued or running; Batch keeps ``reason``.

        A whole array is ended by one request. See Backend.cancel.
        """
        first = handle.indices(index).start
        target = handle.id if index is None else _job_id(handle, first)
        # Tags stand on the parent.
        found = batch.describe_jobs(self._client(), list(dict.fromkeys((handle.id, target))))
        if not {handle.id, target} <= found.keys() or job_status(found[target]).state.final:
            return
        check_owner(handle, found[handle.id])
        batch.terminate_job(self._client(), target, f"{CANCEL_MARK}: {reason}".rstrip(": "))

    def variable(self, handle: JobHandle, name: str) -> str | None:
        """The environment variable ``name`` of the job; see Backend.variable."""
        job = batch.describe_jobs(self._client(), [handle.id]).get(handle.id)
        if job is None:
            return None
        check_owner(handle, job)
        rows = (job.get("container") or {}).get("environment") or ()
        return next((str(row.get("value", "")) for row in rows if row.get("name") == name), None)

    def release(self, handle: JobHandle) -> None:
        """Nothing to do: Batch forgets its jobs by itself, and the log is worth keeping."""

    def other_job(self, handle: JobHandle, claiming: str) -> JobHandle | None:
        """See Backend.other_job: a job sees its own id (AWS_BATCH_JOB_ID)."""
        other, _, _ = claiming.partition(":")
        return None if other == handle.id else replace(handle, id=other)

    def check_secrets(self, secrets: Mapping[str, str | None], options: Mapping[str, str]) -> None:
        """Refuse secrets that Batch cannot read; see Backend.check_secrets.

        Batch reads a secret by its ARN, as a role that must be named.
        """
        for name, arn in secrets.items():
            if arn is None or not _SECRET.fullmatch(arn):
                # The text is not shown: it may be the secret itself.
                raise UsageError(
                    f"a job on {self.name} gets the secret {name} by its ARN alone: its value"
                    " would stand in the job's description",
                    hint=f"--secret {name}=arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME",
                )
        if secrets and not self._options_of(options).execution_role_arn:
            raise SettingsError(
                f"{self.name} reads secrets as a role of its own, and none is configured:"
                f" [backends.{self.name}] execution_role_arn in {self._settings.file}",
                hint="export BUNDLERUN_EXECUTION_ROLE_ARN=ARN, or --set execution_role_arn=ARN",
            )

    def check_env(self, names: Collection[str]) -> None:
        """See Backend.check_env (API reference, SubmitJob, ContainerOverrides)."""
        for name in sorted(names):
            if name.startswith("AWS_BATCH"):
                raise UsageError(
                    f"{name} is AWS Batch's own variable and cannot be given", hint=f"MY_{name}"
                )

    def check_resources(self, resources: Resources, asked: Collection[str] = ()) -> None:
        """See Backend.check_resources: none is rounded, wherever it comes from."""
        super().check_resources(resources, asked)
        vcpus, memory_mib = resources.vcpus, resources.memory_mib
        if vcpus < 1 or vcpus != int(vcpus):
            raise UsageError(
                f"AWS Batch gives whole vCPUs, at least 1, not {vcpus:g}",
                hint=f"--vcpus {max(1, round(vcpus))}",
            )
        if memory_mib < LEAST_MEMORY_MIB:
            raise UsageError(
                f"AWS Batch gives at least {LEAST_MEMORY_MIB} MiB of memory, not {memory_mib}",
                hint="--memory-mib 2048",
            )

    def checks(self) -> Iterator[Check]:
        """See Backend.checks: who asks, and whether the queue can start anything."""
        if self._options.queue is None:
            cure = "bundlerun aws up NAME --save, or export BUNDLERUN_AWS_BATCH_QUEUE=QUEUE"
            yield Check("credentials and queue", None, "no AWS Batch queue is configured", cure)
            return
        yield checked("credentials", lambda: f"account {self._aws.account()}")
        yield checked("queue", self._usable_queue)

    def _usable_queue(self) -> str:
        problem = self.queue_problem()
        if problem is not None:
            raise CloudError(problem, hint="aws batch describe-job-queues")
        return self._queue()

    def queue_problem(self) -> str | None:
        """The reason, in Batch's words, why the queue can start nothing; None without one.

        Raises SettingsError when no queue is configured.
        """
        return batch.queue_problem(self._client(), self._queue())

    def _options_of(self, options: Mapping[str, str]) -> AWSBatchOptions:
        return self._settings.options(self.name, AWSBatchOptions, options)

    def _with_arns(self, options: AWSBatchOptions, spec: JobSpec) -> AWSBatchOptions:
        """``options`` with ARNs in the place of names of the roles that ``spec`` needs."""
        job = options.job_role_arn
        execution = options.execution_role_arn if spec.secrets else None
        return replace(
            options,
            job_role_arn=self._aws.role_arn(job) if job else None,
            execution_role_arn=self._aws.role_arn(execution)
            if execution and spec.secrets
            else None,
        )

    def _client(self) -> Any:
        return self._aws.client("batch")

    def _queue(self) -> str:
        queue = self._options.queue
        if not queue:
            raise SettingsError(
                f"no AWS Batch queue is configured: [backends.{self.name}] queue in"
                f" {self._settings.file}",
                hint="bundlerun aws up NAME --save, or export BUNDLERUN_AWS_BATCH_QUEUE=QUEUE"
                " (no account: bundlerun sandbox up)",
            )
        return queue

    def _described(self, job_id: str, fresh_s: float) -> Mapping[str, Any] | None:
        """The job, as it was polled of late, or as asked for at most ``fresh_s`` ago."""
        with self._news:
            look = self._looks.get(job_id)
        now_s, polled_s = time.monotonic(), POLLED_WITHIN * self.pace.most_s
        if look and fresh_s and now_s - look.at_s < (polled_s if look.polled else fresh_s):
            return look.job
        look = _Look(batch.describe_jobs(self._client(), [job_id]).get(job_id), now_s, polled=False)
        with self._news:
            self._looks[job_id] = look
        return look.job

    def _definition(self, known: tuple[str, str], definition: Mapping[str, Any]) -> str:
        """The ARN of the definition of this name and content, asked for once a process."""
        if known not in self._definitions:
            client, (name, content) = self._client(), known
            found = batch.find_definition(client, name, content)
            self._definitions[known] = found or batch.register_definition(
                client, name, definition, content, sleep=self._sleep
            )
        return self._definitions[known]

    def _status(
        self,
        handle: JobHandle,
        job: Mapping[str, Any] | None,
        first: Mapping[str, Any] | None,
    ) -> JobStatus:
        """The status of a described job; ``first`` is it, or the first job of the array."""
        if job is None:
            return JobStatus(JobState.LOST, reason="AWS Batch does not know the job any more")
        status = job_status(job)
        if status.state is not JobState.QUEUED or status.reason:
            return status
        waits = job_status(first) if first else status
        if waits.state is JobState.QUEUED and waits.reason:
            return replace(status, reason=waits.reason, stuck=waits.stuck)
        if _waits_long(job):
            queue = handle.extra.get("queue") or self._options.queue
            return replace(status, reason=self._queue_reason(queue) or "")
        return status

    def _queue_reason(self, queue: str | None) -> str | None:
        """The trouble of a job's own queue, asked for at most once a minute."""
        if not queue:
            return None
        now_s = time.monotonic()
        said = self._queues_said.get(queue)
        if said is None or now_s - said[0] > QUEUE_ASKED_EVERY_S:
            said = self._queues_said[queue] = (now_s, batch.queue_problem(self._client(), queue))
        return said[1]


def _job_id(handle: JobHandle, index: int) -> str:
    """The id of one job, of an array or alone.

    Source: API reference, TerminateJob.
    """
    return handle.id if handle.array == 1 else f"{handle.id}:{index}"


def _waits_long(job: Mapping[str, Any]) -> bool:
    created_ms = job.get("createdAt")
    return isinstance(created_ms, (int, float)) and time.time() - created_ms / 1000 > LONG_WAIT_S
