"""The sandbox makes and deletes stacks as CloudFormation does, asked through boto3."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bundlerun.sandbox.batch_attempt import in_process
from bundlerun.sandbox.stacks import Unmakeable, blocks, in_order
from tests.sandbox.scene import client_of
from tests.services import aws_in_process

pytestmark = pytest.mark.heavy

NAMED = ["CAPABILITY_NAMED_IAM"]


def ref(name: str) -> dict[str, str]:
    """A reference."""
    return {"Ref": name}


def arn_of(name: str) -> dict[str, list[str]]:
    """The ARN of a resource."""
    return {"Fn::GetAtt": [name, "Arn"]}


def role(service: str, *managed: str) -> dict[str, Any]:
    """A role that a service may take."""
    allowed = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [allowed]}
    policies = [f"arn:aws:iam::aws:policy/service-role/{name}" for name in managed]
    properties = {"AssumeRolePolicyDocument": trust, "ManagedPolicyArns": policies}
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def everything(name: str) -> dict[str, Any]:
    """What AWS Batch needs, in the order of a reader and not of its making."""
    tags = {"owner": name}
    resources = {
        "Queue": (
            "Batch::JobQueue",
            {
                "JobQueueName": name,
                "Priority": 1,
                "ComputeEnvironmentOrder": [{"Order": 1, "ComputeEnvironment": ref("Compute")}],
                "Tags": tags,
            },
        ),
        "Compute": (
            "Batch::ComputeEnvironment",
            {
                "ComputeEnvironmentName": name,
                "Type": "MANAGED",
                "ServiceRole": arn_of("ServiceRole"),
                "ComputeResources": {
                    "Type": "EC2",
                    "MinvCpus": 0,
                    "MaxvCpus": 8,
                    "DesiredvCpus": 0,
                    "InstanceTypes": ["optimal"],
                    "InstanceRole": arn_of("Profile"),
                    "Subnets": [ref("Subnet")],
                    "SecurityGroupIds": [ref("Group")],
                },
                "Tags": tags,
            },
        ),
        "Definition": (
            "Batch::JobDefinition",
            {
                "JobDefinitionName": name,
                "Type": "container",
                "RetryStrategy": {"Attempts": 1},
                "ContainerProperties": {"Image": "x", "Vcpus": 1, "Memory": 128},
                "Tags": tags,
            },
        ),
        "Profile": ("IAM::InstanceProfile", {"Roles": [ref("InstanceRole")]}),
        "Launch": (
            "EC2::LaunchTemplate",
            {
                "LaunchTemplateName": name,
                "LaunchTemplateData": {"MetadataOptions": {"HttpTokens": "required"}},
            },
        ),
        "Route": (
            "EC2::Route",
            {
                "RouteTableId": ref("Routes"),
                "DestinationCidrBlock": "0.0.0.0/0",
                "GatewayId": ref("Gateway"),
            },
        ),
        "Association": (
            "EC2::SubnetRouteTableAssociation",
            {"SubnetId": ref("Subnet"), "RouteTableId": ref("Routes")},
        ),
        "Subnet": (
            "EC2::Subnet",
            {
                "VpcId": ref("Vpc"),
                "CidrBlock": {
                    "Fn::Select": [1, {"Fn::Cidr": [{"Fn::GetAtt": ["Vpc", "CidrBlock"]}, 2, 12]}]
                },
            },
        ),
        "Endpoint": (
            "EC2::VPCEndpoint",
            {
                "VpcId": ref("Vpc"),
                "ServiceName": {"Fn::Sub": "com.amazonaws.${AWS::Region}.s3"},
                "VpcEndpointType": "Gateway",
                "RouteTableIds": [ref("Routes")],
            },
        ),
        "Group": ("EC2::SecurityGroup", {"GroupDescription": "none", "VpcId": ref("Vpc")}),
        "Routes": ("EC2::RouteTable", {"VpcId": ref("Vpc")}),
        "Attachment": (
            "EC2::VPCGatewayAttachment",
            {"VpcId": ref("Vpc"), "InternetGatewayId": ref("Gateway")},
        ),
        "Gateway": ("EC2::InternetGateway", {}),
        "Vpc": ("EC2::VPC", {"CidrBlock": "10.7.0.0/16"}),
        "Repository": ("ECR::Repository", {"RepositoryName": name}),
        "Logs": ("Logs::LogGroup", {"LogGroupName": name, "RetentionInDays": 30}),
        "Bucket": ("S3::Bucket", {"BucketName": name}),
    }
    rows: dict[str, Any] = {
        key: {"Type": f"AWS::{kind}", "Properties": properties}
        for key, (kind, properties) in resources.items()
    }
    rows["ServiceRole"] = role("batch.amazonaws.com", "AWSBatchServiceRole")
    rows["InstanceRole"] = role("ec2.amazonaws.com", "AmazonEC2ContainerServiceforEC2Role")
    rows["Route"]["DependsOn"] = "Attachment"
    return {"Resources": rows, "Outputs": {"QueueArn": {"Value": ref("Queue")}}}


class Aws:
    """A served AWS, and one stack's name of the test's own."""

    def __init__(self, endpoint: str, failing: dict[str, str]) -> None:
        self.endpoint, self.failing = endpoint, failing
        self.cfn = client_of("cloudformation", endpoint)
        self.name = f"s-{uuid.uuid4().hex[:10]}"

    def create(self, template: dict[str, Any] | None = None, **more: Any) -> str:
        """Begin a stack; its id."""
        given = {"StackName": self.name, "Capabilities": NAMED, **more}
        body = json.dumps(everything(self.name) if template is None else template)
        return str(self.cfn.create_stack(TemplateBody=body, **given)["StackId"])

    def ended(self, stack: str) -> dict[str, Any]:
        """The stack, once nothing happens to it."""
        until_s = time.monotonic() + 30
        while True:
            (found,) = self.cfn.describe_stacks(StackName=stack)["Stacks"]
            if not found["StackStatus"].endswith("IN_PROGRESS"):
                return dict(found)
            assert time.monotonic() < until_s, found
            time.sleep(0.02)

    def events(self, stack: str) -> list[dict[str, Any]]:
        """The events, oldest first."""
        return list(reversed(self.cfn.describe_stack_events(StackName=stack)["StackEvents"]))

    def told(self, stack: str, status: str) -> list[str]:
        """The logical ids of the resources that had this status, oldest first."""
        return [
            row["LogicalResourceId"]
            for row in self.events(stack)
            if row["ResourceStatus"] == status and row["LogicalResourceId"] != self.name
        ]

    def left(self) -> list[str]:
        """What of ``everything`` is there, by its own service."""
        ec2, batch, iam, ecr, logs, s3 = (
            client_of(service, self.endpoint)
            for service in ("ec2", "batch", "iam", "ecr", "logs", "s3")
        )
        vpcs = [
            vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"] if vpc["CidrBlock"] == "10.7.0.0/16"
        ]
        own = [{"Name": "vpc-id", "Values": vpcs or ["none"]}]
        environments = batch.describe_compute_environments()["computeEnvironments"]
        found = {
            "Vpc": vpcs,
            "Gateway": [
                row
                for row in ec2.describe_internet_gateways()["InternetGateways"]
                if not row["Attachments"] or row["Attachments"][0]["VpcId"] in vpcs
            ],
            "Subnet": ec2.describe_subnets(Filters=own)["Subnets"],
            "Routes": ec2.describe_route_tables(Filters=own)["RouteTables"],
            "Group": ec2.describe_security_groups(Filters=own)["SecurityGroups"],
            "Endpoint": ec2.describe_vpc_endpoints(Filters=own)["VpcEndpoints"],
            "Launch": [
                row
                for row in ec2.describe_launch_templates()["LaunchTemplates"]
                if row["LaunchTemplateName"] == self.name
            ],
            "Roles": [
                row for row in iam.list_roles()["Roles"] if row["RoleName"].startswith(self.name)
            ],
            "Profile": [
                row
                for row in iam.list_instance_profiles()["InstanceProfiles"]
                if row["InstanceProfileName"].startswith(self.name)
            ],
            "Compute": [r for r in environments if r["computeEnvironmentName"] == self.name],
            "Queue": batch.describe_job_queues(jobQueues=[self.name])["jobQueues"],
            "Definition": [
                row
                for row in batch.describe_job_definitions(jobDefinitionName=self.name)[
                    "jobDefinitions"
                ]
                if row["status"] == "ACTIVE"
            ],
            "Repository": [
                row
                for row in ecr.describe_repositories()["repositories"]
                if row["repositoryName"] == self.name
            ],
            "Logs": logs.describe_log_groups(logGroupNamePrefix=self.name)["logGroups"],
            "Bucket": [row for row in s3.list_buckets()["Buckets"] if row["Name"] == self.name],
        }
        return [kind for kind, rows in found.items() if rows]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, dict[str, str]]]:
    """One AWS for all tests, and what fails in it."""
    failing: dict[str, str] = {}
    with aws_in_process(in_process(lambda _: 0), failing=failing) as (_, endpoint):
        yield endpoint, failing


@pytest.fixture
def aws(served: tuple[str, dict[str, str]]) -> Iterator[Aws]:
    """An AWS in which nothing fails yet."""
    endpoint, failing = served
    failing.clear()
    found = Aws(endpoint, failing)
    yield found
    failing.clear()
    for stack in found.cfn.describe_stacks()["Stacks"]:
        if stack["StackName"] == found.name:
            found.ended(stack["StackId"])
            found.cfn.update_termination_protection(
                StackName=found.name, EnableTerminationProtection=False
            )
            found.cfn.delete_stack(StackName=found.name)
            found.ended(stack["StackId"])


def test_resources_are_made_one_after_the_other(aws: Aws) -> None:
    """Each after those that it refers to, with an event when it begins and when it is there."""
    stack = aws.create()
    found = aws.ended(stack)
    assert found["StackStatus"] == "CREATE_COMPLETE"
    began, made = aws.told(stack, "CREATE_IN_PROGRESS"), aws.told(stack, "CREATE_COMPLETE")
    assert began == made == in_order(everything(aws.name)["Resources"])
    assert made.index("Attachment") < made.index("Route")
    first, *_, last = aws.events(stack)
    assert (first["ResourceStatus"], first["ResourceStatusReason"]) == (
        "CREATE_IN_PROGRESS",
        "User Initiated",
    )
    assert (last["LogicalResourceId"], last["ResourceStatus"]) == (aws.name, "CREATE_COMPLETE")
    (output,) = found["Outputs"]
    assert output["OutputValue"].endswith(f":job-queue/{aws.name}")
    assert len(aws.cfn.describe_stack_resources(StackName=stack)["StackResources"]) == len(made)


def test_what_is_made_is_what_was_asked_for(aws: Aws) -> None:
    """Managed policies are attached, AWS Batch's resources have their tags, blocks are cut."""
    aws.ended(aws.create())
    batch, iam = client_of("batch", aws.endpoint), client_of("iam", aws.endpoint)
    (queue,) = batch.describe_job_queues(jobQueues=[aws.name])["jobQueues"]
    tags = batch.list_tags_for_resource(resourceArn=queue["jobQueueArn"])["tags"]
    assert tags == {"owner": aws.name}
    (service_role,) = (
        row["RoleName"]
        for row in iam.list_roles()["Roles"]
        if row["RoleName"].startswith(f"{aws.name}-ServiceRole")
    )
    (policy,) = iam.list_attached_role_policies(RoleName=service_role)["AttachedPolicies"]
    assert policy["PolicyName"] == "AWSBatchServiceRole"
    subnets = client_of("ec2", aws.endpoint).describe_subnets()["Subnets"]
    assert "10.7.16.0/20" in {row["CidrBlock"] for row in subnets}


@pytest.mark.parametrize("failing", sorted(everything("x")["Resources"]))
def test_a_failure_is_told_first_and_leaves_nothing(aws: Aws, failing: str) -> None:
    """The first failing event has the reason; what was made is deleted, the last first; the name
    is free once the stack is deleted."""
    aws.failing[failing] = "not today"
    stack = aws.create()
    found = aws.ended(stack)
    assert found["StackStatus"] == "ROLLBACK_COMPLETE"
    reasons = [row for row in aws.events(stack) if row["ResourceStatus"] == "CREATE_FAILED"]
    assert [(row["LogicalResourceId"], row["ResourceStatusReason"]) for row in reasons] == [
        (failing, "not today")
    ]
    made = aws.told(stack, "CREATE_COMPLETE")
    assert aws.told(stack, "DELETE_COMPLETE") == made[::-1]
    assert aws.left() == []
    with pytest.raises(ClientError) as taken:
        aws.create()
    assert taken.value.response["Error"]["Code"] == "AlreadyExistsException"
    aws.cfn.delete_stack(StackName=aws.name)
    assert aws.ended(stack)["StackStatus"] == "DELETE_COMPLETE"
    aws.failing.clear()
    assert aws.ended(aws.create())["StackStatus"] == "CREATE_COMPLETE"


def test_a_failure_of_moto_itself_is_an_event_too(aws: Aws) -> None:
    """A bucket whose name is taken."""
    client_of("s3", aws.endpoint).create_bucket(Bucket=f"{aws.name}-taken")
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "no"}}
    stack = aws.create({"Resources": {"Bucket": bucket}})
    assert aws.ended(stack)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert aws.told(stack, "CREATE_FAILED") == ["Bucket"]


@pytest.mark.parametrize(
    ("how", "status", "is_left"),
    [("DO_NOTHING", "CREATE_FAILED", True), ("DELETE", "DELETE_COMPLETE", False)],
)
def test_what_happens_on_failure_can_be_chosen(
    aws: Aws, how: str, status: str, is_left: bool
) -> None:
    """OnFailure (API reference, CreateStack)."""
    aws.failing["Queue"] = "not today"
    stack = aws.create(OnFailure=how)
    assert aws.ended(stack)["StackStatus"] == status
    assert ("Compute" in aws.left()) is is_left
    if how == "DELETE":
        with pytest.raises(ClientError, match="does not exist"):
            aws.cfn.describe_stacks(StackName=aws.name)


def test_a_stack_is_deleted_in_the_reverse_order(aws: Aws) -> None:
    """Nothing is left; its name is unknown then, and its id still tells."""
    stack = aws.create()
    aws.ended(stack)
    assert len(aws.left()) == 15
    aws.cfn.delete_stack(StackName=aws.name)
    assert aws.ended(stack)["StackStatus"] == "DELETE_COMPLETE"
    assert aws.told(stack, "DELETE_COMPLETE") == aws.told(stack, "CREATE_COMPLETE")[::-1]
    assert aws.left() == []
    with pytest.raises(ClientError, match="does not exist"):
        aws.cfn.describe_stacks(StackName=aws.name)
    aws.cfn.delete_stack(StackName=aws.name)


def test_what_cannot_be_deleted_is_told_and_stays(aws: Aws) -> None:
    """A bucket with something in it; deleted again, once it is empty, the stack is gone."""
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": aws.name}}
    stack = aws.create({"Resources": {"Bucket": bucket}})
    aws.ended(stack)
    s3 = client_of("s3", aws.endpoint)
    s3.put_object(Bucket=aws.name, Key="k", Body=b"x")
    aws.cfn.delete_stack(StackName=aws.name)
    found = aws.ended(stack)
    assert found["StackStatus"] == "DELETE_FAILED"
    assert "[Bucket]" in found["StackStatusReason"]
    assert aws.told(stack, "DELETE_FAILED") == ["Bucket"]
    s3.delete_object(Bucket=aws.name, Key="k")
    aws.cfn.delete_stack(StackName=aws.name)
    assert aws.ended(stack)["StackStatus"] == "DELETE_COMPLETE"


def test_a_protected_stack_is_not_deleted(aws: Aws) -> None:
    """Until the protection is taken away."""
    logs = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": aws.name}}
    stack = aws.create({"Resources": {"Logs": logs}}, EnableTerminationProtection=True)
    aws.ended(stack)
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        aws.cfn.delete_stack(StackName=aws.name)
    aws.cfn.update_termination_protection(StackName=aws.name, EnableTerminationProtection=False)
    aws.cfn.delete_stack(StackName=aws.name)
    assert aws.ended(stack)["StackStatus"] == "DELETE_COMPLETE"


def test_capabilities_are_asked_for(aws: Aws) -> None:
    """Roles need CAPABILITY_IAM, and with names of their own CAPABILITY_NAMED_IAM."""
    plain = role("ec2.amazonaws.com")
    named = {**plain, "Properties": {**plain["Properties"], "RoleName": aws.name}}
    for resource, given, needed in (
        (plain, [], "CAPABILITY_IAM"),
        (named, [], "CAPABILITY_NAMED_IAM"),
        (named, ["CAPABILITY_IAM"], "CAPABILITY_NAMED_IAM"),
    ):
        with pytest.raises(ClientError) as error:
            aws.create({"Resources": {"Role": resource}}, Capabilities=given)
        assert error.value.response["Error"] == {
            "Type": "Sender",
            "Code": "InsufficientCapabilitiesException",
            "Message": f"Requires capabilities : [{needed}]",
        }
    assert aws.ended(aws.create({"Resources": {"Role": named}}))["StackStatus"] == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"A": {"Type": "AWS::Batch::Nothing"}}, "Unrecognized resource types"),
        (
            {"A": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": ref("B")}}},
            "Unresolved resource dependencies",
        ),
        (
            {
                "A": {"Type": "AWS::Logs::LogGroup", "DependsOn": "B"},
                "B": {"Type": "AWS::Logs::LogGroup", "DependsOn": ["A"]},
            },
            "Circular dependency",
        ),
    ],
)
def test_a_template_that_cannot_be_is_refused(
    aws: Aws, resources: dict[str, Any], words: str
) -> None:
    """Before there is a stack."""
    with pytest.raises(ClientError, match=words):
        aws.create({"Resources": resources})
    with pytest.raises(ClientError, match="does not exist"):
        aws.cfn.describe_stacks(StackName=aws.name)


def test_blocks_are_cut_as_asked() -> None:
    """Fn::Cidr: so many, of so many bits of hosts."""
    assert blocks("10.0.0.0/16", 3, 8) == ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]
    assert blocks("10.0.0.0/24", "2", "5") == ["10.0.0.0/27", "10.0.0.32/27"]
    with pytest.raises(Unmakeable, match="has no 3 blocks"):
        blocks("10.0.0.0/24", 3, 7)


def test_what_is_kept_goes_when_its_creation_fails(aws: Aws) -> None:
    """RetainExceptOnCreate: rolled back with the rest, and kept by a deletion (template reference,
    "DeletionPolicy attribute")."""
    bucket = {
        "Type": "AWS::S3::Bucket",
        "Properties": {"BucketName": aws.name},
        "DeletionPolicy": "RetainExceptOnCreate",
    }
    logs = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": aws.name}}
    template = {"Resources": {"Bucket": bucket, "Logs": {**logs, "DependsOn": "Bucket"}}}
    s3 = client_of("s3", aws.endpoint)
    aws.failing["Logs"] = "not today"
    failed = aws.create(template)
    assert aws.ended(failed)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert aws.name not in [row["Name"] for row in s3.list_buckets()["Buckets"]]
    aws.cfn.delete_stack(StackName=failed)
    aws.ended(failed)
    aws.failing.clear()
    stack = aws.create(template)
    aws.ended(stack)
    aws.cfn.delete_stack(StackName=stack)
    assert aws.ended(stack)["StackStatus"] == "DELETE_COMPLETE"
    assert aws.told(stack, "DELETE_SKIPPED") == ["Bucket"]
    s3.delete_bucket(Bucket=aws.name)


def test_an_environment_without_a_role_has_the_service_linked_one(aws: Aws) -> None:
    """AWS Batch makes it itself (user guide, "Using service-linked roles for AWS Batch")."""
    template = everything(aws.name)
    del template["Resources"]["Compute"]["Properties"]["ServiceRole"]
    aws.ended(aws.create(template))
    batch = client_of("batch", aws.endpoint)
    (found,) = batch.describe_compute_environments(computeEnvironments=[aws.name])[
        "computeEnvironments"
    ]
    assert "/aws-service-role/batch.amazonaws.com/" in found["serviceRole"]
