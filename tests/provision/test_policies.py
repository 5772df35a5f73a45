"""The least policies: what is called and nothing else, narrowed, and small enough for IAM.

What bundlerun calls stands in ``tests/recorded_calls.py``, which every suite verifies; what
CloudFormation calls, in the ``handlers`` of the resource schemas that AWS publishes, which cfn-lint
has. The sandbox enforces no policy.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

import bundlerun
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.policies import Submitter, provision_policy, run_policy
from bundlerun.provision.policy_parts import Place
from bundlerun.provision.templates import Json
from tests.provision.test_templates import TEMPLATES
from tests.recorded_calls import PROVISION, RUN

PLACE = Place("aws", "us-east-1", "123456789012")
NARROW = Submitter(
    remote="s3://my-bucket/data/x",
    queue="q1",
    definitions="team-*",
    repositories=("bundlerun/k1",),
    log_groups=("/bundlerun/knot/k1",),
    roles=("my-job",),
    session_role="my-session",
    knots=("k1",),
    pars=("lab",),
)
POLICIES: dict[str, Json] = {
    "run": run_policy(PLACE, Submitter()),
    "run, all": run_policy(PLACE, Submitter(session_role="my-session", federated=True)),
    "run, narrowed": run_policy(PLACE, NARROW),
    "provision": provision_policy(PLACE),
    "provision, narrowed": provision_policy(
        PLACE,
        pars=ParsOptions.of("lab", bucket="mine/data", instance_role="machine"),
        knot=KnotOptions.of("k1", queue_name="q1"),
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_one_that_iam_takes(name: str) -> None:
    """Its elements, its ARNs, and 6,144 characters at most beside white space (IAM quotas)."""
    policy = POLICIES[name]
    assert policy["Version"] == "2012-10-17"
    names = [row["Sid"] for row in policy["Statement"]]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[A-Za-z0-9]+", each) for each in names)
    for row in policy["Statement"]:
        assert set(row) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert row["Action"]
        assert row["Resource"]
        assert all(re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", each) for each in row["Action"])
        assert all(each == "*" or each.count(":") >= 5 for each in row["Resource"])
    assert len(json.dumps(policy, separators=(",", ":"))) <= 6144


def resources(policy: Json, action: str) -> list[str]:
    """Where an action is allowed."""
    return [
        each for row in policy["Statement"] if action in row["Action"] for each in row["Resource"]
    ]


def test_a_client_reaches_what_it_names_alone() -> None:
    """Prefix, queue, definitions, repository, log group and roles."""
    policy = POLICIES["run, narrowed"]
    assert resources(policy, "s3:PutObject") == ["arn:aws:s3:::my-bucket/data/x/*"]
    assert resources(policy, "s3:ListBucket") == ["arn:aws:s3:::my-bucket"]
    assert '{"s3:prefix": ["data/x/*"]}' in json.dumps(policy)
    assert resources(policy, "batch:SubmitJob") == [
        "arn:aws:batch:us-east-1:123456789012:job-queue/q1",
        "arn:aws:batch:us-east-1:123456789012:job-definition/team-*",
    ]
    assert resources(policy, "ecr:PutImage") == [
        "arn:aws:ecr:us-east-1:123456789012:repository/bundlerun/k1"
    ]
    assert resources(policy, "logs:GetLogEvents") == [
        "arn:aws:logs:us-east-1:123456789012:log-group:/bundlerun/knot/k1:log-stream:*"
    ]
    assert resources(policy, "iam:PassRole") == ["arn:aws:iam::123456789012:role/my-job"]
    assert resources(policy, "sts:AssumeRole") == ["arn:aws:iam::123456789012:role/my-session"]


@pytest.mark.parametrize("name", POLICIES)
def test_a_role_is_given_to_named_services_alone(name: str) -> None:
    """Never to whatever service."""
    rows = [row for row in POLICIES[name]["Statement"] if "iam:PassRole" in row["Action"]]
    assert rows
    assert all(row["Condition"]["StringEquals"]["iam:PassedToService"] for row in rows)


def test_what_is_made_and_deleted_has_our_names_or_tags() -> None:
    """Roles and buckets by name, networks and launch templates by tag."""
    policy = POLICIES["provision"]
    own = ["arn:aws:iam::123456789012:role/bundlerun-pars-*-*"]
    assert resources(policy, "iam:CreateRole") == resources(policy, "iam:PassRole") == own
    assert resources(policy, "s3:CreateBucket") == ["arn:aws:s3:::br-*-*"]
    (row,) = (each for each in policy["Statement"] if "ec2:DeleteVpc" in each["Action"])
    assert row["Condition"] == {"Null": {"aws:ResourceTag/bundlerun:pars": "false"}}
    narrow = POLICIES["provision, narrowed"]
    assert resources(narrow, "ec2:CreateVpc") == []
    assert "arn:aws:iam::123456789012:role/machine" in resources(narrow, "iam:CreateRole")


ACTIONS = {
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListParts": "s3:ListMultipartUploadParts",
    "s3:UploadPart": "s3:PutObject",
}
"""The operations whose action has another name.

Source: Amazon S3 user guide, "Required permissions for Amazon S3 API operations".
"""

PREFIXES = {"resourcegroupstaggingapi": "tag", "service-quotas": "servicequotas"}
"""Service prefixes of actions that are not the clients' (Service Authorization Reference)."""


def action_of(call: str) -> str:
    """The action that an operation needs."""
    service, _, operation = call.partition(":")
    return ACTIONS.get(call, f"{PREFIXES.get(service, service)}:{operation}")


def actions_of(policy: Json) -> set[str]:
    """What a policy allows."""
    return {action for row in policy["Statement"] for action in row["Action"]}


RUN_MORE = {
    "batch:TagResource": "RegisterJobDefinition and SubmitJob give tags",
    "cloudformation:DescribeStacks": "a Knot is found again, which provision/ does",
    "cloudformation:GetTemplate": "a Knot is found again, which provision/ does",
    "ecr:BatchCheckLayerAvailability": "docker's push asks, as the login's identity",
    "ecr:BatchGetImage": "docker's push and pull ask",
    "ecr:CompleteLayerUpload": "docker's push asks",
    "ecr:GetDownloadUrlForLayer": "docker's pull asks",
    "ecr:InitiateLayerUpload": "docker's push asks",
    "ecr:PutImage": "docker's push asks",
    "ecr:UploadLayerPart": "docker's push asks",
    "iam:PassRole": "RegisterJobDefinition gives a job its roles",
}
RUN_LESS = {
    "s3:ListBucketMultipartUploads": "gc of a remote asks: it cleans up, and submits nothing",
    "sts:GetCallerIdentity": "it needs no permission (STS API reference)",
}
"""Where the policy of a client differs from the calls: more, and less, and why."""


def test_a_client_may_do_what_it_calls_and_no_more() -> None:
    """But for the differences that are listed, each with its reason."""
    called = {action_of(call) for call in RUN}
    allowed = actions_of(POLICIES["run, all"])
    assert allowed - called == set(RUN_MORE)
    assert called - allowed == set(RUN_LESS)


PROVISION_MORE = {
    "cloudformation:ListStacks": "DescribeStacks without a name (CloudFormation API reference)",
    "s3:DeleteObjectVersion": "DeleteObjects, of a bucket that is deleted with its data",
}
PROVISION_LESS = {"sts:GetCallerIdentity": "it needs no permission (STS API reference)"}

HANDLERS_LESS = {
    "batch:SetCapacityTags": "no such action in the Service Authorization Reference",
    "ec2:AttachVpnGateway": "the templates attach an internet gateway",
    "ec2:AuthorizeSecurityGroupIngress": "no inbound rule",
    "ec2:CreateVpcEncryptionControl": "not in the templates",
    "ec2:DescribeVpnGateways": "the templates attach an internet gateway",
    "ec2:DetachVpnGateway": "the templates attach an internet gateway",
    "ec2:ReplaceRouteTableAssociation": "the subnets are new, and have no table yet",
    "ecr:PutLifecyclePolicy": "the repository has none",
    "ecr:SetRepositoryPolicy": "the repository has none",
    "eks:*": "machines of ECS alone",
    "firehose:*": "no delivery of logs",
    "kms:*": "encrypted by AWS's own keys",
    "logs:*DataProtectionPolicy": "the log group has none",
    "logs:*IndexPolic*": "the log group has none",
    "logs:*ResourcePolic*": "the log group has none",
    "logs:CreateLogDelivery": "no delivery of logs",
    "logs:PutBearerTokenAuthentication": "not in the templates",
    "s3:*MetadataTableConfiguration": "the bucket has none",
    "s3:PutAccelerateConfiguration": "the bucket has none",
    "s3:PutAnalyticsConfiguration": "the bucket has none",
    "s3:PutBucketAbac": "the bucket has none",
    "s3:PutBucketCORS": "the bucket has none",
    "s3:PutBucketLogging": "the bucket has none",
    "s3:PutBucketNotification": "the bucket has none",
    "s3:PutBucketObjectLockConfiguration": "the bucket has none",
    "s3:PutBucketReplication": "the bucket has none",
    "s3:PutBucketVersioning": "versioning stays off",
    "s3:PutBucketWebsite": "the bucket has none",
    "s3:PutInventoryConfiguration": "the bucket has none",
    "s3:PutIntelligentTieringConfiguration": "the bucket has none",
    "s3:PutMetricsConfiguration": "the bucket has none",
    "s3:PutObjectAcl": "the bucket has no lists of access",
    "s3:PutObjectLockConfiguration": "the bucket has none",
    "s3:PutReplicationConfiguration": "the bucket has none",
    "s3:REST.PUT.OBJECT": "no delivery of logs",
    "s3tables:*": "the bucket has none",
    "vpc-lattice:*": "an endpoint of S3",
    "vpce:*": "an endpoint of S3 in its own region",
}
"""What CloudFormation's handlers may ask for, and these templates never need, and why."""


@cache
def handlers() -> frozenset[str]:
    """The actions of making and deleting, of every type in the templates."""
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

    types = {row["Type"] for make in TEMPLATES.values() for row in make()["Resources"].values()}
    found = set()
    for kind in types:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        for handler in ("create", "delete"):
            found |= set(schema["handlers"][handler]["permissions"])
    named = (each.partition(":") for each in found)
    return frozenset(f"{service.lower()}:{action}" for service, _, action in named)


@pytest.mark.heavy
def test_one_that_provisions_may_do_what_is_called_and_no_more() -> None:
    """Its own calls and those of CloudFormation, but for the differences that are listed."""
    needed = {
        each
        for each in handlers()
        if not any(fnmatchcase(each, pattern) for pattern in HANDLERS_LESS)
    }
    called = {action_of(call) for call in PROVISION | _SHARED} | needed
    allowed = actions_of(POLICIES["provision"])
    assert allowed - called == set(PROVISION_MORE)
    assert called - allowed == set(PROVISION_LESS)


@pytest.mark.heavy
def test_no_listed_difference_is_without_effect() -> None:
    """Each pattern is about something that a handler names."""
    assert [
        pattern
        for pattern in HANDLERS_LESS
        if not any(fnmatchcase(each, pattern) for each in handlers())
    ] == []


_SHARED = frozenset(
    {
        "batch:DescribeComputeEnvironments",
        "batch:DescribeJobDefinitions",
        "batch:DescribeJobQueues",
        "batch:DescribeJobs",
        "batch:ListJobs",
        "batch:TerminateJob",
        "ecr:DescribeRepositories",
        "s3:DeleteObjects",
        "sts:GetCallerIdentity",
    }
)
"""What both a client and one that provisions call."""


def operations() -> Iterator[str]:
    """What the code names: methods of clients, and those that pages are asked of."""
    from botocore import xform_name
    from botocore.session import get_session

    session = get_session()
    services = {call.partition(":")[0] for call in RUN | PROVISION}
    known: dict[str, set[str]] = {}
    for service in services:
        for name in session.get_service_model(service).operation_names:
            known.setdefault(xform_name(name), set()).add(f"{service}:{name}")
    package = Path(bundlerun.__file__).parent
    for path in package.rglob("*.py"):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ""
            if isinstance(node, ast.Attribute):
                name = node.attr
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                name = node.value
            # A name that several services have stands for those that the tables know.
            calls = known.get(name, set())
            yield from (calls & (RUN | PROVISION)) or calls


@pytest.mark.heavy
def test_the_tables_have_what_the_code_calls_and_no_more() -> None:
    """An operation that is called nowhere any more must leave its table, and the policy."""
    assert set(operations()) == RUN | PROVISION
    assert not RUN & PROVISION


@pytest.mark.parametrize("name", ["lab", "a-name-of-twenty-four-abc", "a" * 32])
@pytest.mark.parametrize("logical", ["JobRole", "InstanceRole"])
def test_the_roles_that_cloudformation_names_may_be_made(name: str, logical: str) -> None:
    """Of a long stack's name it keeps what fits into 64 characters."""
    policy = provision_policy(Place(), pars=ParsOptions.of(name))
    end = f"-{logical}-1LDUBY3Q2HBCS"
    role = f"arn:aws:iam::1:role/{f'bundlerun-pars-{name}'[: 64 - len(end)]}{end}"
    for action in ("iam:CreateRole", "iam:PassRole"):
        assert any(fnmatchcase(role, each) for each in resources(policy, action))
