"""The end of single things, each of which may be gone already.

Every function takes the identity and the thing's name or id, and raises CloudError, NoCredentials,
AccessDenied or RemoteUnreachable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bundlerun.aws.failures import code_of, passing_over, translated
from bundlerun.aws.session import Aws
from bundlerun.errors import BundlerunError

_GONE = frozenset(
    {
        "InvalidGroup.NotFound",
        "InvalidInternetGatewayID.NotFound",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidRouteTableID.NotFound",
        "InvalidSubnetID.NotFound",
        "InvalidVpcEndpointId.NotFound",
        "InvalidVpcID.NotFound",
        "Gateway.NotAttached",
        "NoSuchBucket",
        "NoSuchEntity",
        "RepositoryNotFoundException",
        "ResourceNotFoundException",
    }
)
"""The codes of what does not exist any more."""

_NOT_EMPTY = frozenset({"BucketNotEmpty", "RepositoryNotEmptyException"})


def was_not_empty(error: BundlerunError) -> bool:
    """Whether a bucket or a repository was not deleted for what it holds."""
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return isinstance(cause, ClientError) and code_of(cause) in _NOT_EMPTY


def _job_definition(aws: Aws, definition: str) -> None:
    with translated("deregistering the job definition", definition), passing_over(_GONE):
        aws.client("batch").deregister_job_definition(jobDefinition=definition)


def disable_queue(aws: Aws, queue: str) -> None:
    """Let a job queue take nothing more."""
    with translated("disabling the job queue", queue):
        aws.client("batch").update_job_queue(jobQueue=queue, state="DISABLED")


def _queue(aws: Aws, queue: str) -> None:
    with translated("deleting the job queue", queue):
        aws.client("batch").delete_job_queue(jobQueue=queue)


def disable_environment(aws: Aws, environment: str) -> None:
    """Let a compute environment begin nothing more."""
    with translated("disabling the compute environment", environment):
        aws.client("batch").update_compute_environment(
            computeEnvironment=environment, state="DISABLED"
        )


def _environment(aws: Aws, environment: str) -> None:
    with translated("deleting the compute environment", environment):
        aws.client("batch").delete_compute_environment(computeEnvironment=environment)


def _launch_template(aws: Aws, template: str) -> None:
    with translated("deleting the launch template", template), passing_over(_GONE):
        aws.client("ec2").delete_launch_template(LaunchTemplateId=template)


def _log_group(aws: Aws, group: str) -> None:
    with translated("deleting the log group", group), passing_over(_GONE):
        aws.client("logs").delete_log_group(logGroupName=group)


def _empty_repository(aws: Aws, name: str) -> None:
    with translated("deleting the repository", name), passing_over(_GONE):
        aws.client("ecr").delete_repository(repositoryName=name)


def _empty_bucket(aws: Aws, bucket: str) -> None:
    with translated("deleting the bucket", bucket), passing_over(_GONE):
        aws.client("s3").delete_bucket(Bucket=bucket)


def _endpoint(aws: Aws, endpoint: str) -> None:
    with translated("deleting the VPC endpoint", endpoint), passing_over(_GONE):
        aws.client("ec2").delete_vpc_endpoints(VpcEndpointIds=[endpoint])


def _subnet(aws: Aws, subnet: str) -> None:
    with translated("deleting the subnet", subnet), passing_over(_GONE):
        aws.client("ec2").delete_subnet(SubnetId=subnet)


def _route_table(aws: Aws, table: str) -> None:
    with translated("deleting the route table", table), passing_over(_GONE):
        aws.client("ec2").delete_route_table(RouteTableId=table)


def _gateway(aws: Aws, gateway: str) -> None:
    client = aws.client("ec2")
    with translated("deleting the internet gateway", gateway), passing_over(_GONE):
        rows = client.describe_internet_gateways(InternetGatewayIds=[gateway])["InternetGateways"]
        for row in (each for found in rows for each in found.get("Attachments") or ()):
            with passing_over(_GONE):
                client.detach_internet_gateway(InternetGatewayId=gateway, VpcId=row["VpcId"])
        client.delete_internet_gateway(InternetGatewayId=gateway)


def _group(aws: Aws, group: str) -> None:
    with translated("deleting the security group", group), passing_over(_GONE):
        aws.client("ec2").delete_security_group(GroupId=group)


def _vpc(aws: Aws, vpc: str) -> None:
    with translated("deleting the VPC", vpc), passing_over(_GONE):
        aws.client("ec2").delete_vpc(VpcId=vpc)


def _role(aws: Aws, name: str) -> None:
    """Delete a role with its policies; it must be in no instance profile."""
    client = aws.client("iam")
    with translated("deleting the role", name), passing_over(_GONE):
        for page in client.get_paginator("list_attached_role_policies").paginate(RoleName=name):
            for row in page["AttachedPolicies"]:
                client.detach_role_policy(RoleName=name, PolicyArn=row["PolicyArn"])
        for page in client.get_paginator("list_role_policies").paginate(RoleName=name):
            for policy in page["PolicyNames"]:
                client.delete_role_policy(RoleName=name, PolicyName=policy)
        client.delete_role(RoleName=name)


def delete_profile(aws: Aws, name: str, role: str) -> None:
    """Delete an instance profile that has ``role``."""
    client = aws.client("iam")
    with translated("deleting the instance profile", name), passing_over(_GONE):
        client.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role)
        client.delete_instance_profile(InstanceProfileName=name)


DELETE: Mapping[str, Callable[[Aws, str], None]] = {
    "AWS::Batch::JobDefinition": _job_definition,
    "AWS::Batch::JobQueue": _queue,
    "AWS::Batch::ComputeEnvironment": _environment,
    "AWS::EC2::LaunchTemplate": _launch_template,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::EC2::Subnet": _subnet,
    "AWS::EC2::RouteTable": _route_table,
    "AWS::EC2::InternetGateway": _gateway,
    "AWS::EC2::SecurityGroup": _group,
    "AWS::EC2::VPC": _vpc,
    "AWS::IAM::Role": _role,
    "AWS::ECR::Repository": _empty_repository,
    "AWS::S3::Bucket": _empty_bucket,
}
"""How a thing is deleted, by its type in CloudFormation, in the order of deletion.

Each comes after what uses it. A queue and an environment must be disabled first, and are deleted
in the background (API reference, DeleteJobQueue, DeleteComputeEnvironment).
"""
