"""The template of a Pars: network, roles, bucket."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from bundlerun.aws.session import policy_below
from bundlerun.provision.options import DEFAULT_CIDR, ParsOptions, to_json
from bundlerun.provision.templates import (
    PARS_TAG,
    STACK_TAG,
    Found,
    Json,
    Network,
    arn_of,
    ref,
    resource,
    tag_rows,
    template,
)

STALE_UPLOAD_DAYS = 7
"""The days after which the parts of an upload that was never completed go away."""

_EC2_ROLE = "service-role/AmazonEC2ContainerServiceforEC2Role"
_BATCH_ROLE = "service-role/AWSBatchServiceRole"
_SPOT_ROLE = "service-role/AmazonEC2SpotFleetTaggingRole"

# Fn::GetAZs leaves out zones without a default subnet, so they were asked for.
_ZONES_ARE_KNOWN = {"cfn-lint": {"config": {"ignore_checks": ["W3010"]}}}

Part = tuple[Json, dict[str, Any]]
"""Resources, and the outputs that come of them."""


def pars_template(options: ParsOptions, found: Found) -> Json:
    """The CloudFormation template of a Pars.

    Its outputs are the fields of ``ParsOutputs``.
    """
    tags = {**options.tags, PARS_TAG: options.name}
    parts = [
        _new_network(options, found.network, tags)
        if found.network.vpc is None
        else _found_network(options, found.network, tags),
        *_roles(options, found, tags),
        _bucket(found, tags),
    ]
    resources = {key: value for part, _ in parts for key, value in part.items()}
    outputs = {key: value for _, part in parts for key, value in part.items()}
    what = f"bundlerun: network, roles and bucket of the Pars {options.name}"
    return template(what, to_json(options), resources, outputs)


def _group(options: ParsOptions, vpc: Any, tags: Mapping[str, str]) -> Json:
    """A security group without an inbound rule; the way out is open."""
    return resource(
        "EC2::SecurityGroup",
        {
            "GroupDescription": f"Machines of the Pars {options.name}: nothing comes in",
            "VpcId": vpc,
            "Tags": tag_rows(tags, f"bundlerun-{options.name}"),
        },
    )


def _endpoint(vpc: Any, tables: list[Any], tags: Mapping[str, str]) -> Json:
    """A way to S3 that costs nothing (VPC user guide, "Gateway endpoints")."""
    return resource(
        "EC2::VPCEndpoint",
        {
            "VpcId": vpc,
            "VpcEndpointType": "Gateway",
            "ServiceName": {"Fn::Sub": "com.amazonaws.${AWS::Region}.s3"},
            "RouteTableIds": tables,
            "Tags": tag_rows(tags),
        },
    )


def _found_network(options: ParsOptions, network: Network, tags: Mapping[str, str]) -> Part:
    made = {"SecurityGroup": _group(options, network.vpc, tags)}
    if network.tables:
        made["S3Endpoint"] = _endpoint(network.vpc, list(network.tables), tags)
    return made, {
        "Vpc": network.vpc,
        "Subnets": ",".join(network.subnets),
        "SecurityGroup": ref("SecurityGroup"),
        "PublicIp": str(network.public_ip).lower(),
    }


def _new_network(options: ParsOptions, network: Network, tags: Mapping[str, str]) -> Part:
    named = tag_rows(tags, f"bundlerun-{options.name}")
    vpc = {
        "CidrBlock": options.cidr or DEFAULT_CIDR,
        "EnableDnsSupport": True,
        "EnableDnsHostnames": True,
        "InstanceTenancy": options.tenancy or "default",
        "Tags": named,
    }
    attachment = {"VpcId": ref("Vpc"), "InternetGatewayId": ref("Gateway")}
    route = {
        "RouteTableId": ref("Routes"),
        "DestinationCidrBlock": "0.0.0.0/0",
        "GatewayId": ref("Gateway"),
    }
    made = {
        "Vpc": resource("EC2::VPC", vpc),
        "Gateway": resource("EC2::InternetGateway", {"Tags": named}),
        "Attachment": resource("EC2::VPCGatewayAttachment", attachment),
        "Routes": resource("EC2::RouteTable", {"VpcId": ref("Vpc"), "Tags": named}),
        # A route to a gateway that is not attached yet is refused.
        "Route": resource("EC2::Route", route, DependsOn="Attachment"),
        "S3Endpoint": _endpoint(ref("Vpc"), [ref("Routes")], tags),
        "SecurityGroup": _group(options, ref("Vpc"), tags),
    }
    subnets: list[Json] = []
    for zone, block in zip(network.zones, subnet_blocks(options, network), strict=True):
        name = f"Subnet{len(subnets)}"
        properties = {
            "VpcId": ref("Vpc"),
            "CidrBlock": block,
            "AvailabilityZone": zone,
            "MapPublicIpOnLaunch": True,
            "Tags": named,
        }
        made[name] = resource("EC2::Subnet", properties, Metadata=_ZONES_ARE_KNOWN)
        made[f"{name}Routes"] = resource(
            "EC2::SubnetRouteTableAssociation",
            {"SubnetId": ref(name), "RouteTableId": ref("Routes")},
        )
        subnets.append(ref(name))
    return made, {
        "Vpc": ref("Vpc"),
        "Subnets": {"Fn::Join": [",", subnets]},
        "SecurityGroup": ref("SecurityGroup"),
        # Machines without a public address could reach nothing but S3.
        "PublicIp": "false",
    }


def subnet_blocks(options: ParsOptions, network: Network) -> list[str]:
    """A block of addresses a zone, of equal size."""
    whole = ipaddress.IPv4Network(options.cidr or DEFAULT_CIDR)
    bits = (len(network.zones) - 1).bit_length()
    blocks = whole.subnets(prefixlen_diff=bits)
    return [str(block) for block, _ in zip(blocks, network.zones, strict=False)]


def _roles(options: ParsOptions, found: Found, tags: Mapping[str, str]) -> list[Part]:
    parts = [
        _job_role(options, found, tags),
        _instance_profile(options, found, tags),
    ]
    # Batch's service-linked role is the default: a role of one's own forbids updates in place.
    # A spot fleet role is for BEST_FIT alone, which is not used here.
    wanted = (
        ("ServiceRole", "batch_service_role", "batch.amazonaws.com", _BATCH_ROLE),
        ("SpotFleetRole", "spot_fleet_role", "spotfleet.amazonaws.com", _SPOT_ROLE),
    )
    for logical, option, service, managed in wanted:
        name = getattr(options, option)
        adopted = found.roles.get(option)
        if adopted:
            parts.append(({}, {logical: adopted.arn}))
        elif name:
            policies = [_managed(found, managed)]
            made = {logical: _role(service, name, tags, policies)}
            parts.append((made, {logical: arn_of(logical)}))
    return parts


def _managed(found: Found, policy: str) -> str:
    return (
        policy if policy.startswith("arn:") else f"arn:{found.partition}:iam::aws:policy/{policy}"
    )


def _role(
    service: str,
    name: str | None,
    tags: Mapping[str, str],
    managed: list[str],
    policies: list[Json] | None = None,
) -> Json:
    allowed = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    properties = {
        "RoleName": name,
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [allowed]},
        "ManagedPolicyArns": managed or None,
        "Policies": policies,
        "Tags": [*tag_rows(tags), {"Key": STACK_TAG, "Value": ref("AWS::StackId")}],
    }
    return resource("IAM::Role", properties)


def _job_role(options: ParsOptions, found: Found, tags: Mapping[str, str]) -> Part:
    adopted = found.roles.get("job_role")
    if adopted:
        return {}, {"JobRole": adopted.arn, "RemoteOnly": "false"}
    remote = policy_below(f"arn:{found.partition}:s3:::{found.bucket}", found.prefix)
    managed = [_managed(found, each) for each in options.policies]
    policies = [{"PolicyName": "remote", "PolicyDocument": remote}]
    made = _role("ecs-tasks.amazonaws.com", options.job_role, tags, managed, policies)
    alone = "false" if options.policies else "true"
    return {"JobRole": made}, {"JobRole": arn_of("JobRole"), "RemoteOnly": alone}


def _instance_profile(options: ParsOptions, found: Found, tags: Mapping[str, str]) -> Part:
    adopted = found.roles.get("instance_role")
    if adopted and adopted.profile:
        return {}, {"InstanceProfile": adopted.profile}
    made = {}
    if adopted is None:
        managed = [_managed(found, _EC2_ROLE)]
        made["InstanceRole"] = _role("ec2.amazonaws.com", options.instance_role, tags, managed)
    roles = [adopted.name if adopted else ref("InstanceRole")]
    made["InstanceProfile"] = resource("IAM::InstanceProfile", {"Roles": roles})
    return made, {"InstanceProfile": arn_of("InstanceProfile")}


def _bucket(found: Found, tags: Mapping[str, str]) -> Part:
    remote = "/".join(["s3:/", found.bucket, *([found.prefix] if found.prefix else [])])
    outputs = {"Bucket": found.bucket, "Remote": remote}
    if not found.makes_bucket:
        return {}, outputs
    closed = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    encryption = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    abort = {
        "Id": "abort-stale-uploads",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": STALE_UPLOAD_DAYS},
    }
    properties = {
        "BucketName": found.bucket,
        "PublicAccessBlockConfiguration": dict.fromkeys(closed, True),
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [encryption]},
        "LifecycleConfiguration": {"Rules": [abort]},
        "Tags": tag_rows(tags),
    }
    # Data outlive the stack; of a creation that failed nothing stays.
    kept = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
    return {"Bucket": resource("S3::Bucket", properties, **kept)}, outputs
