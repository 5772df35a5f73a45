"""The parts of templates, and what is looked up before one is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

METADATA = "bundlerun"
"""The key of a template's Metadata that has the options."""

PARS_TAG = "bundlerun:pars"
KNOT_TAG = "bundlerun:knot"
"""The ownership tags, this one and the one above; their value is the name."""

STACK_TAG = "bundlerun:stack"
"""The tag of roles that has the ARN of their stack.

IAM is one for all regions, and stacks are not.
"""


@dataclass(frozen=True)
class Network:
    """The network to use.

    It is that of the VPC ``vpc``, or a new one over the zones ``zones``. ``public_ip``: the
    machines need public addresses, which their subnets do not give by themselves. ``tables`` are
    route tables whose way to S3 is a gateway that is paid by the byte.
    """

    vpc: str | None = None
    subnets: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    public_ip: bool = False
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoleFound:
    """A role that exists, and the ARN of an instance profile that has it."""

    arn: str
    name: str
    profile: str | None = None


@dataclass(frozen=True)
class Found:
    """What a Pars is made into: the account's place, the network, and what is adopted.

    ``roles`` has the adopted ones by option ("job_role"); ``makes_bucket`` is False where the
    bucket exists.
    """

    partition: str
    network: Network
    bucket: str
    prefix: str = ""
    makes_bucket: bool = True
    roles: Mapping[str, RoleFound] = field(default_factory=dict)


def ref(name: str) -> Json:
    """A reference to a resource."""
    return {"Ref": name}


def arn_of(name: str) -> Json:
    """The ARN of a resource."""
    return {"Fn::GetAtt": [name, "Arn"]}


def tag_rows(tags: Mapping[str, str], name: str | None = None) -> list[dict[str, str]]:
    """Tags as most types take them; ``name`` is what AWS's console shows."""
    shown = {"Name": name, **tags} if name else tags
    return [{"Key": key, "Value": value} for key, value in shown.items()]


def resource(kind: str, properties: Mapping[str, Any], **more: Any) -> Json:
    """A resource of the type ``AWS::KIND``; properties that are None are left out."""
    kept = {key: value for key, value in properties.items() if value is not None}
    return {"Type": f"AWS::{kind}", "Properties": kept, **more}


def template(what: str, options: Json, resources: Json, outputs: Mapping[str, Any]) -> Json:
    """A whole template, with the options that it is made of in its Metadata."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": what,
        "Metadata": {METADATA: options},
        "Resources": resources,
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
