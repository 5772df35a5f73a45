"""The least policies: narrowed, and small enough for IAM."""

from __future__ import annotations

import json
import re

import pytest

from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.policies import Submitter, provision_policy, run_policy
from bundlerun.provision.policy_parts import Place
from bundlerun.provision.templates import Json

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
