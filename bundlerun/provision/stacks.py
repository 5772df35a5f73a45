"""Stacks that are made, found again by their names, and deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.aws import cloudformation
from bundlerun.aws.session import Aws
from bundlerun.errors import CloudError, Conflict
from bundlerun.progress import SILENT, Progress
from bundlerun.provision.templates import METADATA, Json

FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 5.0
"""The seconds between two looks at a stack, from the first to the longest."""

ATTEMPTS = 3
"""The most beginnings of a stack that others delete at the same time."""

KEPT = "it is kept"

_STACK = "AWS::CloudFormation::Stack"
_SKIPPED = "DELETE_SKIPPED"
UNMADE = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
"""The states of a stack that was not made."""


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation describes it."""

    id: str
    name: str
    status: str
    reason: str
    outputs: Mapping[str, str]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Stack:
        """The stack of a description."""
        return cls(
            id=str(found["StackId"]),
            name=str(found["StackName"]),
            status=str(found["StackStatus"]),
            reason=str(found.get("StackStatusReason") or ""),
            outputs={row["OutputKey"]: row["OutputValue"] for row in found.get("Outputs") or ()},
            tags={row["Key"]: row["Value"] for row in found.get("Tags") or ()},
        )

    @property
    def is_gone(self) -> bool:
        """Whether it is deleted: by its id it is still described."""
        return self.status == "DELETE_COMPLETE"

    @property
    def is_made(self) -> bool:
        """Whether all of it is there; a later update that failed left what was."""
        return self.status == "CREATE_COMPLETE" or self.status.startswith("UPDATE_")


@dataclass(frozen=True)
class Left:
    """A thing that remains after a deletion, and why.

    ``what`` is its type ("AWS::S3::Bucket"), ``id`` its name on AWS.
    """

    what: str
    id: str
    why: str

    def __str__(self) -> str:
        return f"{self.id} ({self.what}): {self.why}"


@dataclass(frozen=True)
class Wanted:
    """A stack that is asked for: its name and its tags.

    ``template`` says what it is made of, and is called where it is missing.
    """

    name: str
    tags: Mapping[str, str]
    template: Callable[[], Json]


class Stacks:
    """The stacks of one identity in one region.

    ``progress`` gets a line for each thing that is made or deleted.
    """

    def __init__(
        self,
        aws: Aws,
        *,
        progress: Progress = SILENT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._progress = progress
        self._sleep = sleep

    def find(self, name: str) -> Stack | None:
        """The stack of this name or id, in whichever state; None without one."""
        found = cloudformation.describe_stack(self._client(), name)
        return None if found is None else Stack.of(found)

    def all(self) -> list[Stack]:
        """Every stack of the region."""
        return [Stack.of(row) for row in cloudformation.describe_stacks(self._client())]

    def options(self, stack: Stack) -> Json:
        """The options that a stack was made of (``templates.template``).

        Raises Conflict for a stack that bundlerun did not make.
        """
        template = cloudformation.template_of(self._client(), stack.id)
        found = (template.get("Metadata") or {}).get(METADATA)
        if not isinstance(found, dict):
            raise _foreign(stack.name)
        return found

    def outputs(self, stack: Stack) -> Mapping[str, str]:
        """What a stack tells of what it has, or will tell.

        CloudFormation tells no outputs until all is made: meanwhile they are those that its
        template says outright.
        """
        if stack.outputs or stack.is_made or stack.status == "ROLLBACK_COMPLETE":
            return stack.outputs
        told = cloudformation.template_of(self._client(), stack.id).get("Outputs") or {}
        rows = {key: row["Value"] for key, row in told.items()}
        return {key: value for key, value in rows.items() if isinstance(value, str)}

    def ensure(self, wanted: Wanted) -> tuple[Stack, bool]:
        """The stack that is wanted, and whether it was made now.

        Another client that makes it at the same time is waited for; what a client left of a
        creation that failed is deleted first. Raises CloudError with the first failing event where
        something cannot be made, with nothing left and the name free; Conflict for a stack of
        another owner, or one whose deletion failed.
        """
        for _ in range(ATTEMPTS):
            found = self.find(wanted.name)
            if found is not None:
                _check_owner(found, wanted.tags)
                found = self._settled(found)
            if found is not None:
                return found, False
            stack_id = cloudformation.create_stack(
                self._client(), wanted.name, wanted.template(), wanted.tags
            )
            if stack_id is None:
                # Another client was faster, or this one's first sending was carried out.
                continue
            self._progress.line(f"making the stack {wanted.name}: some minutes on AWS")
            made = self._made(stack_id)
            if made is not None:
                return made, True
        raise Conflict(
            f"the stack {wanted.name} is made and deleted by others at the same time",
            hint="the same command again",
        )

    def delete(self, name: str) -> tuple[Left, ...]:
        """Delete a stack with all it has; what remains, and why.

        Nothing remains of a stack that is not there. One that is just being made is waited for.
        """
        found = self.find(name)
        if found is None:
            return ()
        if found.status == "CREATE_IN_PROGRESS":
            self._ended(found.id)
        return self._deleted(found.id)

    def _client(self) -> Any:
        return self._aws.client("cloudformation")

    def _settled(self, stack: Stack) -> Stack | None:
        """A stack that exists, once it is made; None once what remained of it is gone."""
        if stack.status == "CREATE_IN_PROGRESS":
            return self._made(stack.id)
        if stack.status in UNMADE or stack.status == "ROLLBACK_IN_PROGRESS":
            # Its client died before it could remove it.
            self._ended(stack.id)
            self._deleted(stack.id)
            return None
        if stack.status == "DELETE_IN_PROGRESS":
            self._ended(stack.id)
            return None
        if not stack.is_made:
            raise Conflict(
                f"the stack {stack.name} is {stack.status}: {stack.reason}",
                hint=down_command(stack.name),
            )
        return stack

    def _made(self, stack_id: str) -> Stack | None:
        """A stack that is being made, once it is; None where others deleted it meanwhile."""
        status = self._ended(stack_id)
        if status == "CREATE_COMPLETE":
            return self.find(stack_id)
        first = self._first_failure(stack_id)
        if first is None:
            return None
        left = self._deleted(stack_id)
        remains = "".join(f"; {each} remains" for each in left)
        raise CloudError(f"{first}{remains}", hint="correct it, and the same command again")

    def _first_failure(self, stack_id: str) -> str | None:
        """The event that made a creation fail: those after it are its consequences."""
        events = list(cloudformation.stack_events(self._client(), stack_id))
        for event in reversed(events):
            if event["ResourceStatus"] == "CREATE_FAILED":
                reason = event.get("ResourceStatusReason") or "no reason is given"
                what = f"{event['LogicalResourceId']} ({event['ResourceType']})"
                return f"the stack {event['StackName']}: {what} cannot be made: {reason}"
        return None

    def _deleted(self, stack_id: str) -> tuple[Left, ...]:
        """Delete by the id: under the name there may be another stack by now."""
        client = self._client()
        before = list(cloudformation.stack_events(client, stack_id))
        stacks_own = [e for e in before if e["PhysicalResourceId"] == stack_id]
        # Nothing more happens to a stack that others deleted.
        if not stacks_own or stacks_own[0]["ResourceStatus"] != "DELETE_COMPLETE":
            cloudformation.delete_stack(client, stack_id)
            self._ended(stack_id, {str(event["EventId"]) for event in before})
        return self._left(stack_id)

    def _left(self, stack_id: str) -> tuple[Left, ...]:
        """What the newest event of each resource says to be there still."""
        newest: dict[str, Mapping[str, Any]] = {}
        for event in cloudformation.stack_events(self._client(), stack_id):
            if event["ResourceType"] != _STACK:
                newest.setdefault(event["LogicalResourceId"], event)
        return tuple(
            Left(
                event["ResourceType"],
                event.get("PhysicalResourceId") or event["LogicalResourceId"],
                KEPT if event["ResourceStatus"] == _SKIPPED else _why(event),
            )
            for event in newest.values()
            if event["ResourceStatus"] in (_SKIPPED, "DELETE_FAILED")
        )

    def _ended(self, stack_id: str, before: Collection[str] = ()) -> str:
        """The status of a stack once nothing happens to it.

        The events ``before`` count for nothing: what they told is over.
        """
        pause_s, seen = FIRST_PAUSE_S, set(before)
        while True:
            status = ""
            for event in self._news(stack_id, seen):
                told = str(event["ResourceStatus"])
                if event["PhysicalResourceId"] == stack_id:
                    status = told
                elif told in _SHOWN:
                    what = f"{event['LogicalResourceId']} ({event['ResourceType']})"
                    self._progress.line(f"{what}: {_SHOWN[told]}")
                    pause_s = FIRST_PAUSE_S
            if status and not status.endswith("_IN_PROGRESS"):
                return status
            self._sleep(pause_s)
            pause_s = min(pause_s * 1.4, MOST_PAUSE_S)

    def _news(self, stack_id: str, seen: set[str]) -> Iterator[Mapping[str, Any]]:
        """The events since the last look, oldest first."""
        news = []
        for event in cloudformation.stack_events(self._client(), stack_id):
            if event["EventId"] in seen:
                break
            news.append(event)
        seen.update(event["EventId"] for event in news)
        return reversed(news)


_SHOWN = {
    "CREATE_IN_PROGRESS": "making",
    "CREATE_FAILED": "failed",
    "DELETE_IN_PROGRESS": "deleting",
    "DELETE_FAILED": "cannot be deleted",
    "DELETE_SKIPPED": "kept",
}
"""The events that are worth a line."""


def _why(event: Mapping[str, Any]) -> str:
    return str(event.get("ResourceStatusReason") or "no reason is given")


def down_command(stack: str) -> str:
    """The command that deletes the Pars or the Knot of a stack."""
    _, kind, name = stack.split("-", 2)
    return f"bundlerun aws down {'--pars ' if kind == 'pars' else ''}{name}"


def _check_owner(stack: Stack, tags: Mapping[str, str]) -> None:
    """Refuse a stack of the wanted name that is another owner's."""
    if any(stack.tags.get(key) != value for key, value in tags.items()):
        raise _foreign(stack.name)


def _foreign(name: str) -> Conflict:
    return Conflict(
        f"the stack {name} exists, and bundlerun did not make it",
        hint="another name, or aws cloudformation describe-stacks --stack-name NAME",
    )
