"""CloudFormation's stacks, one resource after the other.

moto makes a stack within CreateStack, keeps what it made when a resource fails, and leaves things
behind on deletion. Each rule names where AWS states it: "guide" is the CloudFormation user guide,
"API" its API reference.
"""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from moto.cloudformation.models import Event, Stack
from moto.cloudformation.parsing import clean_json, resource_class_from_type

from bundlerun.sandbox.stack_resources import complete, defaults, delete

Json = dict[str, Any]

STACK = "AWS::CloudFormation::Stack"


class Unmakeable(Exception):
    """A template or a resource that cannot be; the message is CloudFormation's."""


class ServedStack(Stack):
    """A stack that is made and deleted by a thread, with an event for each step.

    ``failing`` has, by logical id, why a resource cannot be made; ``forget`` frees the name.
    """

    forget: Callable[[], None]
    on_failure = "ROLLBACK"
    status_reason: str | None = None
    failing: Mapping[str, str] = {}

    @staticmethod
    def cloudformation_name_type() -> str:
        """The property of a template that names a stack: none."""
        return ""

    def is_created(self) -> bool:
        """Whether all resources are there."""
        return bool(self.status == "CREATE_COMPLETE")

    def create_resources(self) -> None:
        """Begin to make the resources."""
        self.made: list[str] = []
        self._order = in_order(self.template_dict["Resources"])
        self._tell_stack("CREATE_IN_PROGRESS", "User Initiated")
        threading.Thread(target=self._create, daemon=True).start()

    @property
    def stack_resources(self) -> list[Any]:
        """The resources that are there.

        moto would make the others here.
        """
        return [self.resource_map[name] for name in list(self.made)]

    @property
    def outputs(self) -> list[Json] | None:
        """The outputs, once all resources are there."""
        return super().outputs if self.status == "CREATE_COMPLETE" else None

    @property
    def exports(self) -> list[Any]:
        """No exports, as other stacks cannot import from this one."""
        return []

    def delete_resources(self) -> bool:
        """Begin to delete the resources, last first; False while others are under way."""
        if self.status == "DELETE_IN_PROGRESS":
            return True
        if self.status.endswith("_IN_PROGRESS"):
            return False
        self._tell_stack("DELETE_IN_PROGRESS", "User Initiated")
        given = ("DELETE_COMPLETE", "DELETE_FAILED")
        threading.Thread(target=self._end, args=given, daemon=True).start()
        return True

    def _create(self) -> None:
        for name in self._order:
            body = self.template_dict["Resources"][name]
            condition = body.get("Condition")
            if condition and not self.resource_map.lazy_condition_map[condition]:
                continue
            self._tell(name, "CREATE_IN_PROGRESS")
            try:
                self._make(name, body)
            except Exception as error:
                reason = getattr(error, "message", None) or str(error) or repr(error)
                self._tell(name, "CREATE_FAILED", reason)
                self._failed(name)
                return
            self.made.append(name)
            self._tell(name, "CREATE_COMPLETE")
        self._tell_stack("CREATE_COMPLETE")

    def _make(self, name: str, body: Json) -> None:
        if name in self.failing:
            raise Unmakeable(self.failing[name])
        properties = self._with_blocks(body.get("Properties") or {})
        properties = {**defaults(body["Type"], properties, self.account_id), **properties}
        body["Properties"] = properties
        made = self.resource_map[name]
        cleaned = clean_json(properties, self.resource_map)
        complete(body["Type"], made, cleaned, self.account_id, self.region_name)

    def _failed(self, name: str) -> None:
        """Undo what was made, unless it was asked not to (API, CreateStack, OnFailure)."""
        failed = f"The following resource(s) failed to create: [{name}]. "
        if self.on_failure == "DO_NOTHING":
            self._tell_stack("CREATE_FAILED", failed)
        elif self.on_failure == "DELETE":
            self._tell_stack("DELETE_IN_PROGRESS", failed + "Delete requested by user.")
            self._end("DELETE_COMPLETE", "DELETE_FAILED")
        else:
            self._tell_stack("ROLLBACK_IN_PROGRESS", failed + "Rollback requested by user.")
            self._end("ROLLBACK_COMPLETE", "ROLLBACK_FAILED")

    def _end(self, well: str, badly: str) -> None:
        kept = []
        # Template reference, "DeletionPolicy attribute".
        kept_by = {"Retain"} if well == "ROLLBACK_COMPLETE" else {"Retain", "RetainExceptOnCreate"}
        for name in reversed(list(self.made)):
            body = self.template_dict["Resources"][name]
            if body.get("DeletionPolicy") in kept_by:
                self._tell(name, "DELETE_SKIPPED")
                continue
            self._tell(name, "DELETE_IN_PROGRESS")
            try:
                properties = clean_json(body["Properties"], self.resource_map)
                delete(self.resource_map, name, properties, self.account_id, self.region_name)
            except Exception as error:
                self._tell(name, "DELETE_FAILED", getattr(error, "message", None) or str(error))
                kept.append(name)
                continue
            self._tell(name, "DELETE_COMPLETE")
            self.made.remove(name)
        if kept:
            names = ", ".join(kept)
            self._tell_stack(badly, f"The following resource(s) failed to delete: [{names}]. ")
            return
        if well == "DELETE_COMPLETE":
            self.forget()
        self._tell_stack(well)

    def _tell(self, name: str, status: str, reason: str | None = None) -> None:
        made = self.resource_map._parsed_resources.get(name)
        physical = str(getattr(made, "physical_resource_id", None) or "")
        kind = self.template_dict["Resources"][name]["Type"]
        self._note(name, physical, kind, status, reason)

    def _tell_stack(self, status: str, reason: str | None = None) -> None:
        self._note(self.name, self.stack_id, STACK, status, reason)
        # Its status last: who sees it sees its events.
        self.status_reason, self.status = reason, status

    def _note(self, name: str, physical: str, kind: str, status: str, reason: str | None) -> None:
        self.events.append(
            Event(self.stack_id, self.name, name, physical, kind, status, reason, None)
        )

    def _with_blocks(self, node: Any) -> Any:
        """A property with its ``Fn::Cidr`` carried out, which moto cannot."""
        if isinstance(node, list):
            return [self._with_blocks(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "Fn::Cidr" in node:
            given = [clean_json(each, self.resource_map) for each in node["Fn::Cidr"]]
            return blocks(*given)
        return {key: self._with_blocks(each) for key, each in node.items()}


def blocks(block: str, count: int | str, bits: int | str | None = None) -> list[str]:
    """The first ``count`` subnets of ``block`` whose hosts have ``bits`` bits.

    Guide, "Fn::Cidr".
    """
    whole = ipaddress.ip_network(block)
    if not 1 <= int(count) <= 256:
        raise Unmakeable(f"Template error: Fn::Cidr gives 1 to 256 blocks, not {count}")
    prefix = whole.max_prefixlen - int(bits if bits is not None else 8)
    found = [str(each) for each in islice(whole.subnets(new_prefix=prefix), int(count))]
    if len(found) < int(count):
        raise Unmakeable(f"Template error: {block} has no {count} blocks of {bits} bits")
    return found


def check_template(template: Mapping[str, Any], capabilities: list[str]) -> None:
    """Check what AWS checks before it begins a stack.

    Raises Unmakeable, and PermissionError for a capability that was not acknowledged (API,
    CreateStack, Capabilities).
    """
    resources = template.get("Resources") or {}
    parameters = template.get("Parameters") or {}
    unknown = sorted({row["Type"] for row in resources.values() if not _is_known(row["Type"])})
    if unknown:
        raise Unmakeable(
            f"Template format error: Unrecognized resource types: [{', '.join(unknown)}]"
        )
    missing = sorted(
        {
            name
            for row in resources.values()
            for name in references(row)
            if name not in resources and name not in parameters and not name.startswith("AWS::")
        }
    )
    if missing:
        raise Unmakeable(
            "Template format error: Unresolved resource dependencies"
            f" [{', '.join(missing)}] in the Resources block of the template"
        )
    in_order(resources)
    needed = needed_capability(resources)
    granted = {"CAPABILITY_IAM": 1, "CAPABILITY_NAMED_IAM": 2}
    if needed and max([granted.get(each, 0) for each in capabilities] or [0]) < granted[needed]:
        raise PermissionError(f"Requires capabilities : [{needed}]")


def needed_capability(resources: Mapping[str, Any]) -> str | None:
    """The capability that a template needs for its roles, if any (API, CreateStack)."""
    iam = [row for row in resources.values() if row["Type"].startswith("AWS::IAM::")]
    names = {
        "RoleName",
        "UserName",
        "GroupName",
        "InstanceProfileName",
        "ManagedPolicyName",
    }
    if any(names & set(row.get("Properties") or {}) for row in iam):
        return "CAPABILITY_NAMED_IAM"
    return "CAPABILITY_IAM" if iam else None


def in_order(resources: Mapping[str, Any]) -> list[str]:
    """The logical ids, each after those that it refers to (guide, "DependsOn")."""
    found: list[str] = []
    under_way: list[str] = []

    def visit(name: str) -> None:
        if name in found:
            return
        if name in under_way:
            raise Unmakeable(f"Circular dependency between resources: [{', '.join(under_way)}]")
        under_way.append(name)
        for other in references(resources[name]):
            if other in resources:
                visit(other)
        under_way.remove(name)
        found.append(name)

    for name in resources:
        visit(name)
    return found


def references(node: Any) -> Iterator[str]:
    """The names that a part of a template refers to."""
    if isinstance(node, list):
        for each in node:
            yield from references(each)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == "Ref":
            yield value
        elif key == "Fn::GetAtt":
            yield value.partition(".")[0] if isinstance(value, str) else value[0]
        elif key == "DependsOn":
            yield from [value] if isinstance(value, str) else value
        elif key == "Fn::Sub":
            text, given = (value, {}) if isinstance(value, str) else value
            names = [each.partition(".")[0] for each in re.findall(r"\$\{([^!}]+)\}", text)]
            yield from (each for each in names if each not in given)
            yield from references(given)
        else:
            yield from references(value)


def _is_known(kind: str) -> bool:
    return bool(resource_class_from_type(kind))
