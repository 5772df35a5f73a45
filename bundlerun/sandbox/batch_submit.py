"""The contents of SubmitJob and RegisterJobDefinition, and AWS Batch's refusals.

"guide" is the AWS Batch user guide, "API" its API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bundlerun.sandbox.batch_jobs import Queue, Request
from bundlerun.sandbox.refused import Refused

Json = dict[str, Any]

ARRAY_SIZES = range(2, 10_001)
MOST_SUBMIT_KIB = 30
MOST_DEFINITION_KIB = 24
MOST_ATTEMPTS = 10
MOST_RULES = 5
MOST_DEPENDENCIES = 20
LEAST_TIMEOUT_S = 60
"""The limits of jobs and of their definitions.

API, ArrayProperties, RetryStrategy, SubmitJob, JobTimeout; guide, "Service quotas" (sizes).
"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


def check_submit(body: Json, size: int) -> None:
    """Check a SubmitJob of ``size`` bytes by itself.

    Raises Refused.
    """
    if size > MOST_SUBMIT_KIB * 1024:
        raise Refused(f"Job size must be less than {MOST_SUBMIT_KIB} KiB, got {size >> 10} KiB")
    if not _NAME.fullmatch(str(body.get("jobName"))):
        raise Refused("Job name should match valid pattern")
    children = (body.get("arrayProperties") or {}).get("size")
    if children is not None and children not in ARRAY_SIZES:
        raise Refused("Array size must be between 2 and 10000")
    rows = body.get("dependsOn") or []
    if len(rows) > MOST_DEPENDENCIES:
        raise Refused("A job can depend upon a maximum of 20 jobs")
    if any(row.get("type") for row in rows):
        raise Refused("this sandbox serves no dependencies of the types SEQUENTIAL and N_TO_N")
    check_names((body.get("containerOverrides") or {}).get("environment") or ())


def check_definition(body: Json, size: int) -> None:
    """Check a RegisterJobDefinition of ``size`` bytes, before moto does.

    Raises Refused.
    """
    if size > MOST_DEFINITION_KIB * 1024:
        raise Refused(f"Job definition size must be less than {MOST_DEFINITION_KIB} KiB")
    check_names((body.get("containerProperties") or {}).get("environment") or ())


def check_names(variables: Iterable[Mapping[str, str]]) -> None:
    """Raises Refused for names that Batch keeps to itself (API, ContainerOverrides)."""
    for row in variables:
        if row["name"].startswith("AWS_BATCH"):
            raise Refused(f"Environment variables cannot start with AWS_BATCH: {row['name']}")


def request_of(body: Json, queue: Queue, definition: Json, least_timeout_s: int) -> Request:
    """A checked SubmitJob, laid over the job definition.

    Raises Refused.
    """
    overrides = body.get("containerOverrides") or {}
    retry = body.get("retryStrategy") or definition.get("retryStrategy") or {}
    rules = retry.get("evaluateOnExit") or ()
    if not 1 <= retry.get("attempts", 1) <= MOST_ATTEMPTS or len(rules) > MOST_RULES:
        raise Refused("retryStrategy takes 1 to 10 attempts and at most 5 evaluateOnExit")
    timeout = body.get("timeout") or definition.get("timeout") or {}
    timeout_s = timeout.get("attemptDurationSeconds")
    if timeout_s is not None and timeout_s < least_timeout_s:
        raise Refused("Timeout for job must be at least 60 seconds")
    container = overlaid(definition["containerProperties"], overrides)
    parameters = {**(definition.get("parameters") or {}), **(body.get("parameters") or {})}
    # API, RegisterJobDefinition, parameters.
    container["command"] = [
        parameters.get(word.removeprefix("Ref::"), word) if word.startswith("Ref::") else word
        for word in container.get("command") or ()
    ]
    return Request(
        name=body["jobName"],
        queue=queue,
        definition=definition["jobDefinitionArn"],
        container=container,
        overrides=overrides,
        vcpus=int(float(needs(container).get("VCPU", 1))),
        retry=retry,
        timeout_s=timeout_s,
        tags=body.get("tags") or {},
        parameters=parameters,
        depends_on=[str(row.get("jobId")) for row in body.get("dependsOn") or ()],
        size=(body.get("arrayProperties") or {}).get("size"),
    )


def overlaid(properties: Mapping[str, Any], overrides: Mapping[str, Any]) -> Json:
    """A definition's container with a job's overrides (API, ContainerOverrides)."""
    variables = {
        row["name"]: row
        for row in (*(properties.get("environment") or ()), *(overrides.get("environment") or ()))
    }
    wanted = {**needs(properties), **needs(overrides)}
    found = {**properties, "environment": list(variables.values())}
    found["resourceRequirements"] = [{"type": kind, "value": text} for kind, text in wanted.items()]
    if overrides.get("command"):
        found["command"] = overrides["command"]
    return found


def needs(container: Mapping[str, Any]) -> dict[str, str]:
    """The resources by type; ``vcpus`` and ``memory`` are their older names."""
    older = (("VCPU", container.get("vcpus")), ("MEMORY", container.get("memory")))
    rows = container.get("resourceRequirements") or ()
    named = {kind: str(value) for kind, value in older if value is not None}
    return {**named, **{row["type"]: row["value"] for row in rows}}
