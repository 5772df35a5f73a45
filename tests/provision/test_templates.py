"""Templates that CloudFormation takes, and that promise what the options say."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from bundlerun.provision.knot_template import knot_template
from bundlerun.provision.pars_template import pars_template
from tests.provision.cases import KNOTS, PARS

TEMPLATES = {
    **{f"Pars, {name}": lambda case=case: pars_template(*case) for name, case in PARS.items()},
    **{f"Knot, {name}": lambda case=case: knot_template(*case) for name, case in KNOTS.items()},
}
TAKE_NO_TAGS = {
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::EC2::Route",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::IAM::InstanceProfile",
}


def pars(name: str) -> Any:
    """The resources of a Pars, by logical id: their properties."""
    made = pars_template(*PARS[name])["Resources"]
    return {key: row["Properties"] for key, row in made.items()}


def knot(name: str) -> Any:
    """The resources of a Knot."""
    made = knot_template(*KNOTS[name])["Resources"]
    return {key: row["Properties"] for key, row in made.items()}


@pytest.mark.heavy
@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    """No error and no warning, by CloudFormation's own descriptions of its types."""
    from cfnlint.api import lint

    found = lint(json.dumps(TEMPLATES[name]()), regions=["us-east-1"])
    # I: information, such as that a name could be left to AWS.
    assert [str(each) for each in found if not each.rule.id.startswith("I")] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_everything_that_takes_tags_has_its_owner(name: str) -> None:
    """Also what is launched later, by the environment."""
    owner = "bundlerun:pars" if name.startswith("Pars") else "bundlerun:knot"
    for key, row in TEMPLATES[name]()["Resources"].items():
        assert (owner in json.dumps(row)) == (row["Type"] not in TAKE_NO_TAGS), key


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_tells_its_options_and_fits(name: str) -> None:
    """CreateStack takes 51,200 bytes (API reference)."""
    made = TEMPLATES[name]()
    assert made["Metadata"]["bundlerun"]["name"] in made["Description"]
    assert len(json.dumps(made)) < 51_200


@pytest.mark.parametrize("name", PARS)
def test_nothing_comes_in(name: str) -> None:
    """No inbound rule, on no port and from nowhere."""
    assert "SecurityGroupIngress" not in pars(name)["SecurityGroup"]


def test_a_new_network_is_cut_into_a_subnet_a_zone() -> None:
    """They do not overlap, and lie in the block; addresses are public, and S3 has its own way."""
    made = pars("new and dedicated")
    subnets = [made[key] for key in ("Subnet0", "Subnet1", "Subnet2")]
    blocks = [ipaddress.IPv4Network(each["CidrBlock"]) for each in subnets]
    assert all(each.subnet_of(ipaddress.IPv4Network("172.16.0.0/24")) for each in blocks)
    assert not any(a.overlaps(b) for a in blocks for b in blocks if a is not b)
    assert all(each["MapPublicIpOnLaunch"] for each in subnets)
    assert made["Vpc"]["InstanceTenancy"] == "dedicated"
    assert made["S3Endpoint"]["VpcEndpointType"] == "Gateway"


def test_a_job_reaches_its_remote_alone() -> None:
    """Below the prefix, and without a right to delete."""
    (row,) = pars("new and dedicated")["JobRole"]["Policies"]
    text = json.dumps(row)
    assert "arn:aws:s3:::my-bucket/data/x/*" in text
    assert "Delete" not in text
    assert "s3:*" not in text


def test_what_is_adopted_is_not_made() -> None:
    """No role, no profile, no bucket; their names are told all the same."""
    made = pars_template(*PARS["all adopted"])
    assert list(made["Resources"]) == ["SecurityGroup"]
    assert made["Outputs"]["JobRole"] == {"Value": "arn:aws:iam::123456789012:role/job_role"}
    assert made["Outputs"]["Bucket"] == {"Value": "my-bucket"}


def test_a_bucket_is_closed_and_stays() -> None:
    """Its data outlive the stack; of a failed creation nothing stays."""
    made = pars_template(*PARS["default"])["Resources"]["Bucket"]
    assert set(made["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert made["DeletionPolicy"] == "RetainExceptOnCreate"


def test_a_plain_knot_costs_nothing_while_it_waits() -> None:
    """No machine is kept; on demand, the best fit; the service-linked role."""
    made = knot("default")["ComputeEnvironment"]
    resources = made["ComputeResources"]
    assert (resources["MinvCpus"], resources["DesiredvCpus"], resources["MaxvCpus"]) == (0, 0, 16)
    assert (resources["Type"], resources["AllocationStrategy"]) == ("EC2", "BEST_FIT_PROGRESSIVE")
    assert "ServiceRole" not in made


def test_spot_has_no_bid_unless_asked() -> None:
    """By price and capacity; a fleet role only where the Pars has one."""
    plain = knot("spot")["ComputeEnvironment"]["ComputeResources"]
    assert (plain["Type"], plain["AllocationStrategy"]) == ("SPOT", "SPOT_PRICE_CAPACITY_OPTIMIZED")
    assert not {"BidPercentage", "SpotIamFleetRole"} & set(plain)
    bid = knot("spot with a bid and own roles")["ComputeEnvironment"]["ComputeResources"]
    assert bid["BidPercentage"] == 60
    assert bid["SpotIamFleetRole"].endswith("role/spot")


def test_machines_have_a_disk_and_a_guarded_identity() -> None:
    """gp3 of 100 GiB, IMDSv2."""
    data = knot("default")["LaunchTemplate"]["LaunchTemplateData"]
    (disk,) = data["BlockDeviceMappings"]
    assert (disk["Ebs"]["VolumeSize"], disk["Ebs"]["VolumeType"]) == (100, "gp3")
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert "NetworkInterfaces" not in data


def test_public_addresses_only_where_the_subnets_give_none() -> None:
    """By the launch template."""
    data = knot("public addresses")["LaunchTemplate"]["LaunchTemplateData"]
    assert data["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is True


def test_what_is_misconfigured_is_cancelled_after_half_an_hour() -> None:
    """Waiting does not mend it."""
    actions = knot("default")["Queue"]["JobStateTimeLimitActions"]
    assert {each["MaxTimeSeconds"] for each in actions} == {1800}
    assert all(each["Reason"].startswith("MISCONFIGURATION:") for each in actions)


def test_logs_are_kept_30_days() -> None:
    """In a group of the Knot's own."""
    made = knot("default")["LogGroup"]
    assert made["RetentionInDays"] == 30
    assert "mv-prod" in made["LogGroupName"]
