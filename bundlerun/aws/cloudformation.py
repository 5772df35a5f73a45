"""The calls to CloudFormation, one function each.

Answers are CloudFormation's own JSON. Every function raises CloudError, NoCredentials, AccessDenied
or RemoteUnreachable (aws/failures).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from bundlerun.aws.failures import code_of, translated

Json = Mapping[str, Any]

CREATE_WITHIN_MIN = 30
"""The minutes after which CloudFormation gives a creation up, and undoes it."""

_THERE = frozenset({"AlreadyExistsException", "TokenAlreadyExistsException"})


def describe_stack(client: Any, name: str) -> Json | None:
    """The stack of this name or id; None without one.

    By its id a deleted one is told too (API reference, DescribeStacks).
    """
    from botocore.exceptions import ClientError

    with translated("asking for the stack", name):
        try:
            found: Json = client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            # There is no code of its own for it.
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
    return found


def describe_stacks(client: Any) -> Iterator[Json]:
    """Every stack of the region that is not deleted."""
    with translated("asking for the stacks", client.meta.region_name):
        for page in client.get_paginator("describe_stacks").paginate():
            yield from page["Stacks"]


def create_stack(client: Any, name: str, template: Json, tags: Mapping[str, str]) -> str | None:
    """Begin a stack; its id, or None where one of this name exists.

    It is also None where the answer to an earlier sending was lost. What was made is undone when a
    resource fails.
    """
    from botocore.exceptions import ClientError

    with translated("making the stack", name):
        try:
            answer = client.create_stack(
                StackName=name,
                TemplateBody=json.dumps(template, separators=(",", ":")),
                Capabilities=["CAPABILITY_NAMED_IAM"],
                OnFailure="ROLLBACK",
                TimeoutInMinutes=CREATE_WITHIN_MIN,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                ClientRequestToken=uuid.uuid4().hex,
            )
        except ClientError as error:
            if code_of(error) in _THERE:
                return None
            raise
    return str(answer["StackId"])


def delete_stack(client: Any, stack_id: str) -> None:
    """Begin to delete a stack, which may be gone already."""
    with translated("deleting the stack", stack_id):
        client.delete_stack(StackName=stack_id)


def stack_events(client: Any, stack_id: str) -> Iterator[Json]:
    """The events of a stack, newest first, a request for every hundred or so."""
    with translated("asking for the events of the stack", stack_id):
        for page in client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
            yield from page["StackEvents"]


def template_of(client: Any, stack_id: str) -> Json:
    """The template that a stack was made of, which must be JSON."""
    with translated("asking for the template of the stack", stack_id):
        found: Any = client.get_template(StackName=stack_id)["TemplateBody"]
    # botocore has parsed what is JSON.
    return json.loads(found) if isinstance(found, str) else dict(found)
