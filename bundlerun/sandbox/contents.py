"""The contents of the sandbox: bucket, roles, network, queue, log group.

Also a compute environment. Each is made only where it is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bundlerun.aws.batch import LOG_GROUP
from bundlerun.aws.failures import passing_over, translated
from bundlerun.aws.session import clients_of

REGION = "us-east-1"
ACCOUNT = "123456789012"
BUCKET = "bundlerun-sandbox"
QUEUE = "bundlerun-sandbox"
COMPUTE = "bundlerun-sandbox"
SECRETS = {"AWS_ACCESS_KEY_ID": "sandbox", "AWS_SECRET_ACCESS_KEY": "sandbox"}
"""moto believes any keys; these say what they are."""

_MANAGED = "arn:aws:iam::aws:policy/service-role/"
_THERE = frozenset(
    {
        "BucketAlreadyOwnedByYou",
        "BucketAlreadyExists",
        "EntityAlreadyExists",
        "LimitExceeded",
        "ResourceAlreadyExistsException",
    }
)
"""The error codes of AWS for a thing that was made before.

LimitExceeded: an instance profile's one role.
"""


@dataclass(frozen=True)
class Roles:
    """The ARNs of the sandbox's roles that a user may name."""

    job: str = f"arn:aws:iam::{ACCOUNT}:role/bundlerun-sandbox-job"
    session: str = f"arn:aws:iam::{ACCOUNT}:role/bundlerun-sandbox-session"


def furnish(endpoint: str) -> Roles:
    """Make everything a run needs, in the AWS at ``endpoint``.

    Raises CloudError, RemoteUnreachable.
    """
    clients = clients_of(endpoint, SECRETS, REGION)
    with translated("setting up the sandbox", endpoint):
        _once(clients("s3").create_bucket, Bucket=BUCKET)
        _once(clients("logs").create_log_group, logGroupName=LOG_GROUP)
        iam = clients("iam")
        service = _role(iam, "batch", "batch.amazonaws.com", "AWSBatchServiceRole")
        _role(iam, "instance", "ec2.amazonaws.com", "AmazonEC2ContainerServiceforEC2Role")
        profile = "bundlerun-sandbox-instance"
        _once(iam.create_instance_profile, InstanceProfileName=profile)
        _once(iam.add_role_to_instance_profile, InstanceProfileName=profile, RoleName=profile)
        roles = Roles(
            job=_role(iam, "job", "ecs-tasks.amazonaws.com"),
            session=_role(iam, "session", f"arn:aws:iam::{ACCOUNT}:root"),
        )
        for name in ("job", "session"):
            iam.put_role_policy(
                RoleName=f"bundlerun-sandbox-{name}",
                PolicyName="bucket",
                PolicyDocument=json.dumps(_bucket_policy()),
            )
        _queue(clients, service, profile)
    return roles


def _once(make: Callable[..., Any], **parameters: Any) -> None:
    with passing_over(_THERE):
        make(**parameters)


def _role(iam: Any, name: str, trusted: str, managed: str | None = None) -> str:
    kind = "AWS" if trusted.startswith("arn:") else "Service"
    full = f"bundlerun-sandbox-{name}"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {kind: trusted}, "Action": "sts:AssumeRole"}
        ],
    }
    _once(iam.create_role, RoleName=full, AssumeRolePolicyDocument=json.dumps(trust))
    if managed is not None:
        iam.attach_role_policy(RoleName=full, PolicyArn=_MANAGED + managed)
    return str(iam.get_role(RoleName=full)["Role"]["Arn"])


def _bucket_policy() -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject"],
                "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
            }
        ],
    }


def _queue(clients: Callable[[str], Any], service_role: str, instance_profile: str) -> None:
    client, ec2 = clients("batch"), clients("ec2")
    if client.describe_job_queues(jobQueues=[QUEUE])["jobQueues"]:
        return
    found = client.describe_compute_environments(computeEnvironments=[COMPUTE])
    if not found["computeEnvironments"]:
        subnets = ec2.describe_subnets()["Subnets"]
        groups = ec2.describe_security_groups(
            Filters=[{"Name": "vpc-id", "Values": [subnets[0]["VpcId"]]}]
        )["SecurityGroups"]
        client.create_compute_environment(
            computeEnvironmentName=COMPUTE,
            type="MANAGED",
            state="ENABLED",
            serviceRole=service_role,
            computeResources={
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": 16,
                "desiredvCpus": 0,
                "instanceTypes": ["optimal"],
                "instanceRole": instance_profile,
                "subnets": [subnets[0]["SubnetId"]],
                "securityGroupIds": [groups[0]["GroupId"]],
            },
        )
    client.create_job_queue(
        jobQueueName=QUEUE,
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": COMPUTE}],
    )
