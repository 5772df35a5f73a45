"""The requests that make a job on AWS Batch: pure functions of its description."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.backends.job import JobHandle, JobSpec
from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import Conflict, SettingsError, UsageError
from bundlerun.settings import option

RUN_TAG = "bundlerun:run"

SHORTEST_TIMEOUT_S = 60
MOST_ATTEMPTS = 10
LEAST_MEMORY_MIB = 4
LARGEST_ARRAY = 10_000
MOST_REQUEST_BYTES = 30 * 1024
"""The limits of AWS Batch, this one and those above.

Source: user guide, "Service quotas" (SubmitJob's payload, array size), "Job timeouts"; API
reference, RetryStrategy and ResourceRequirement (EC2: whole vCPUs, 4 MiB).
"""

MOST_OVERRIDES_CHARS = 8192 - 700
"""The characters of command and variables that a job can have, as JSON.

ECS takes 8,192 characters of overrides (API reference, RunTask, ``overrides``), and checks them
long after SubmitJob has said yes. Batch's own six variables are among them, with the names of the
queue and the compute environment, 128 characters each at most.
"""


@dataclass(frozen=True)
class AWSBatchOptions:
    """``[backends.AWSBatch]``: the queue of jobs, and the roles they have.

    As ``execution_role_arn`` Batch itself reads a job's secrets, before the job begins.
    Either is an ARN, or a role's name in this account. ``job_definition_name`` None: one for each
    name of a job; ``log_group`` None: AWS Batch's own. ``platform`` is that of the queue's
    machines, linux/amd64 unless they are ARM. ``tags``, as ``KEY=VALUE,KEY=VALUE``, stand on jobs
    and job definitions.
    """

    queue: str | None = option(variable="BUNDLERUN_AWS_BATCH_QUEUE")
    job_role_arn: str | None = option(variable="BUNDLERUN_JOB_ROLE_ARN")
    execution_role_arn: str | None = option(variable="BUNDLERUN_EXECUTION_ROLE_ARN")
    job_definition_name: str | None = option(variable="BUNDLERUN_JOB_DEFINITION_NAME")
    log_group: str | None = option(variable="BUNDLERUN_LOG_GROUP")
    platform: str | None = option(variable="BUNDLERUN_AWS_BATCH_PLATFORM")
    tags: str | None = option(variable="BUNDLERUN_JOB_TAGS")


def tags_of(options: AWSBatchOptions) -> dict[str, str]:
    """The ``tags`` of the settings by key.

    Raises SettingsError for what is not such a text.
    """
    found = {}
    for row in (options.tags or "").split(",") if options.tags else ():
        key, equals, value = row.strip().partition("=")
        if not key or not equals or key.lower().startswith("aws:"):
            raise SettingsError(
                f"{row!r:.80} among the tags of jobs is not KEY=VALUE",
                hint='tags = "project=x,team=y"',
            )
        found[key] = value
    return found


def job_definition(spec: JobSpec, options: AWSBatchOptions) -> dict[str, Any]:
    """The job definition that all jobs of one image share.

    Its sizes are defaults that every job overrides.
    """
    container: dict[str, Any] = {
        "image": spec.image,
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "2048"},
        ],
        "linuxParameters": {"initProcessEnabled": True},
        "privileged": False,
    }
    if options.log_group:
        container["logConfiguration"] = {
            "logDriver": "awslogs",
            "options": {"awslogs-group": options.log_group},
        }
    if options.job_role_arn:
        container["jobRoleArn"] = options.job_role_arn
    if spec.secrets:
        rows = sorted(spec.secrets.items())
        container["secrets"] = [{"name": name, "valueFrom": arn} for name, arn in rows]
        container["executionRoleArn"] = options.execution_role_arn
    return {
        "type": "container",
        "platformCapabilities": ["EC2"],
        "containerProperties": container,
    }


def submission(spec: JobSpec, queue: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """SubmitJob's parameters, without the job definition's ARN."""
    needs = [
        {"type": "VCPU", "value": f"{spec.resources.vcpus:g}"},
        {"type": "MEMORY", "value": str(spec.resources.memory_mib)},
    ]
    if spec.resources.gpus:
        needs.append({"type": "GPU", "value": str(spec.resources.gpus)})
    request: dict[str, Any] = {
        "jobName": job_name(spec.name, spec.run_id, spec.part),
        "jobQueue": queue,
        "jobDefinition": "",
        "containerOverrides": {
            "command": list(spec.argv()),
            "environment": [
                {"name": name, "value": text} for name, text in spec.environment.items()
            ],
            "resourceRequirements": needs,
        },
        "retryStrategy": {
            "attempts": spec.retries + 1,
            "evaluateOnExit": [
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                {"onStatusReason": "Task failed to start*", "action": "RETRY"},
                # SIGTERM, by a machine that is taken away and drained first. What a cancel or the
                # time limit ends so Batch never retries (guide, "Job timeouts").
                {"onExitCode": "143", "action": "RETRY"},
                # What no rule is about would be retried.
                {"onReason": "*", "action": "EXIT"},
            ],
        },
        "tags": {**tags, RUN_TAG: spec.run_id},
    }
    if spec.array > 1:
        request["arrayProperties"] = {"size": spec.array}
    if spec.timeout_s is not None:
        request["timeout"] = {"attemptDurationSeconds": spec.timeout_s}
    return request


def check_request(spec: JobSpec, request: Mapping[str, Any]) -> None:
    """Refuse what AWS Batch would refuse, or quietly do otherwise.

    Raises UsageError.
    """
    cure = "fewer or shorter --env, --set and --secret"
    overrides = request["containerOverrides"]
    told = {name: overrides[name] for name in ("command", "environment")}
    chars, size = len(json.dumps(told, ensure_ascii=False)), len(canonical_json(request))
    if chars > MOST_OVERRIDES_CHARS:
        raise UsageError(
            f"run {spec.run_id} has {chars} characters of command and environment; AWS Batch "
            f"takes at most {MOST_OVERRIDES_CHARS}",
            hint=cure,
        )
    if size > MOST_REQUEST_BYTES:
        raise UsageError(
            f"run {spec.run_id} has a request of {size} bytes; AWS Batch takes at most "
            f"{MOST_REQUEST_BYTES}",
            hint=cure,
        )


def job_name(name: str, run_id: str, part: int = 0) -> str:
    """The name of a run's job: letters, digits, - and _, 128 at most (API reference).

    The run's id and its part are whole in it, however long ``name`` is: a job is found again by its
    name.
    """
    end = _name_end(run_id, part)
    return f"{plain(name, 128 - len(end))}{end}"


def _name_end(run_id: str, part: int) -> str:
    return f"-{plain(run_id, 120)}-{part}"


def check_owner(handle: JobHandle, job: Mapping[str, Any]) -> None:
    """Refuse a described job whose name and tag are not those of the handle's run.

    Raises Conflict.
    """
    named = str(job.get("jobName", "")).endswith(_name_end(handle.run_id, handle.part))
    tag = (job.get("tags") or {}).get(RUN_TAG)
    if not named or tag != handle.run_id:
        raise Conflict(
            f"the job {handle.id} ({job.get('jobName')}) is not a job of run {handle.run_id}: "
            "nothing was done to it",
            hint=f"bundlerun jobs {handle.run_id[:13]}",
        )


def plain(name: str, most: int) -> str:
    """A name that AWS Batch takes: letters, digits, hyphens, underscores."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:most]
