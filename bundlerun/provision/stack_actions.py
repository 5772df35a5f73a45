"""What CloudFormation does as the caller to make and delete stacks.

The actions of each type are those of its handlers ``create`` and ``delete`` in CloudFormation's
own resource schemas, without what these templates never use. Their resources and condition keys:
Service Authorization Reference, as in ``policies``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bundlerun.provision.policy_parts import ANY, Place, allow, owned, passing
from bundlerun.provision.templates import KNOT_TAG, PARS_TAG, Json

_NETWORK = (
    "internet-gateway",
    "route-table",
    "security-group",
    "subnet",
    "vpc",
    "vpc-endpoint",
)


@dataclass(frozen=True)
class Things:
    """The names of what the stacks have, as patterns: "*" is any text.

    ``roles`` are those that a Pars makes, ``given_roles`` those that it gives to machines, to AWS
    Batch and to fleets.
    """

    bucket: str
    roles: Sequence[str]
    given_roles: Sequence[str]
    profiles: Sequence[str]
    queue: str
    environment: str
    log_group: str
    repository: str
    definitions: str
    new_network: bool = True


def stack_statements(place: Place, things: Things) -> list[Json]:
    """The statements for the resources of both templates."""
    return [
        *_network(place, things),
        *_launch_templates(place),
        *_roles(place, things),
        *_bucket(place, things),
        *_queue(place, things),
        *_logs_and_images(place, things),
    ]


def _network(place: Place, things: Things) -> list[Json]:
    made = [place.arn("ec2", f"{kind}/*") for kind in _NETWORK]
    looks = [
        "ec2:DescribeInstances",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
    ]
    makes = [
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:CreateSecurityGroup",
        "ec2:CreateTags",
        "ec2:CreateVpcEndpoint",
        "ec2:RevokeSecurityGroupEgress",
    ]
    deletes = ["ec2:DeleteSecurityGroup", "ec2:DeleteVpcEndpoints"]
    if things.new_network:
        looks += [
            "ec2:DescribeInternetGateways",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeVpcAttribute",
        ]
        makes += [
            "ec2:AssociateRouteTable",
            "ec2:AttachInternetGateway",
            "ec2:CreateInternetGateway",
            "ec2:CreateRoute",
            "ec2:CreateRouteTable",
            "ec2:CreateSubnet",
            "ec2:CreateVpc",
            "ec2:ModifySubnetAttribute",
            "ec2:ModifyVpcAttribute",
        ]
        deletes += [
            "ec2:DeleteInternetGateway",
            "ec2:DeleteRoute",
            "ec2:DeleteRouteTable",
            "ec2:DeleteSubnet",
            "ec2:DeleteVpc",
            "ec2:DetachInternetGateway",
            "ec2:DisassociateRouteTable",
        ]
    return [
        allow("LookAtNetwork", looks, [ANY]),
        allow("MakeNetwork", makes, made),
        # Each action is about one kind of things alone.
        owned(allow("DeleteNetwork", deletes, [place.arn("ec2", "*")]), PARS_TAG),
    ]


def _launch_templates(place: Place) -> list[Json]:
    made = [place.arn("ec2", "launch-template/*")]
    looks = ["ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"]
    deletes = ["ec2:DeleteLaunchTemplate", "ec2:DeleteTags"]
    return [
        allow("LookAtLaunchTemplates", looks, [ANY]),
        allow("MakeLaunchTemplate", ["ec2:CreateLaunchTemplate", "ec2:CreateTags"], made),
        owned(allow("DeleteLaunchTemplate", deletes, made), KNOT_TAG),
    ]


def _roles(place: Place, things: Things) -> list[Json]:
    roles = [place.iam("role", name) for name in things.roles]
    given = [place.iam("role", name) for name in things.given_roles]
    profiles = [place.iam("instance-profile", name) for name in things.profiles]
    services = ["batch.amazonaws.com", "ec2.amazonaws.com", "spotfleet.amazonaws.com"]
    made = [
        "iam:AttachRolePolicy",
        "iam:CreateRole",
        "iam:DeleteRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListRolePolicies",
        "iam:PutRolePolicy",
        "iam:TagRole",
        "iam:UntagRole",
    ]
    made_profiles = [
        "iam:AddRoleToInstanceProfile",
        "iam:CreateInstanceProfile",
        "iam:DeleteInstanceProfile",
        "iam:GetInstanceProfile",
        "iam:RemoveRoleFromInstanceProfile",
    ]
    linked = allow(
        "MakeServiceLinkedRole",
        ["iam:CreateServiceLinkedRole"],
        [place.iam("role", "aws-service-role/batch.amazonaws.com/*")],
    )
    linked["Condition"] = {"StringEquals": {"iam:AWSServiceName": "batch.amazonaws.com"}}
    return [
        allow("MakeRoles", made, roles),
        allow("MakeInstanceProfile", made_profiles, profiles),
        passing("GiveRolesToMachines", given, services),
        linked,
    ]


def _bucket(place: Place, things: Things) -> list[Json]:
    made = [
        "s3:CreateBucket",
        "s3:DeleteBucket",
        "s3:GetBucketAcl",
        "s3:ListBucket",
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPublicAccessBlock",
        "s3:PutBucketTagging",
        "s3:PutEncryptionConfiguration",
        "s3:PutLifecycleConfiguration",
        "s3:TagResource",
    ]
    return [allow("MakeBucket", made, [place.s3(things.bucket)])]


def _queue(place: Place, things: Things) -> list[Json]:
    environment = place.arn("batch", f"compute-environment/{things.environment}")
    queue = place.arn("batch", f"job-queue/{things.queue}")
    made = [
        "batch:CreateComputeEnvironment",
        "batch:CreateJobQueue",
        "batch:DeleteComputeEnvironment",
        "batch:DeleteJobQueue",
        "batch:TagResource",
        "batch:UpdateComputeEnvironment",
        "batch:UpdateJobQueue",
    ]
    looks = ["batch:DescribeComputeEnvironments", "batch:DescribeJobQueues"]
    return [allow("LookAtQueues", looks, [ANY]), allow("MakeQueue", made, [environment, queue])]


def _logs_and_images(place: Place, things: Things) -> list[Json]:
    group = place.arn("logs", f"log-group:{things.log_group}")
    logs = [
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:PutRetentionPolicy",
        "logs:TagResource",
    ]
    images = ["ecr:CreateRepository", "ecr:DeleteRepository", "ecr:TagResource"]
    repository = place.arn("ecr", f"repository/{things.repository}")
    return [
        allow("LookAtLogGroups", ["logs:DescribeLogGroups"], [ANY]),
        allow("MakeLogGroup", logs, [group, f"{group}:*"]),
        allow("MakeRepository", images, [repository]),
    ]
