"""Sets of options that are as different as options can be, and what an account has for them."""

from __future__ import annotations

from typing import Any

from bundlerun.provision.knot_template import Machine, ParsOutputs
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.templates import Found, Network, RoleFound

NEW = Network(zones=("us-east-1a", "us-east-1b", "us-east-1c"))
HERE = Network("vpc-0123abcd", ("subnet-0123abcd", "subnet-0123abce"))
BEHIND_NAT = Network("vpc-0123abcd", ("subnet-0123abcd",), public_ip=True, tables=("rtb-0123abcd",))
ADOPTED = {
    option: RoleFound(
        f"arn:aws:iam::123456789012:role/{option}",
        option,
        f"arn:aws:iam::123456789012:instance-profile/{option}",
    )
    for option in ("job_role", "instance_role", "batch_service_role", "spot_fleet_role")
}
NO_PROFILE = {"instance_role": RoleFound("arn:aws:iam::123456789012:role/machine", "machine")}
NAMED_ROLES = {f"{each}_role": f"my-{each}" for each in ("batch_service", "instance", "spot_fleet")}


def found(network: Network = HERE, **more: Any) -> Found:
    """What an account has."""
    return Found("aws", network, "my-bucket", **more)


PARS: dict[str, tuple[ParsOptions, Found]] = {
    "default": (ParsOptions.of("lab"), found()),
    "new": (ParsOptions.of("lab", vpc="new"), found(NEW)),
    "new and dedicated": (
        ParsOptions.of("lab", vpc="new", cidr="172.16.0.0/24", tenancy="dedicated"),
        found(NEW, prefix="data/x"),
    ),
    "behind a gateway": (ParsOptions.of("lab", vpc="vpc-0123abcd"), found(BEHIND_NAT)),
    "all adopted": (ParsOptions.of("lab"), found(roles=ADOPTED, makes_bucket=False)),
    "a role without profile": (
        ParsOptions.of("lab", instance_role="machine"),
        found(roles=NO_PROFILE),
    ),
    "own names": (
        ParsOptions.of(
            "lab",
            job_role="my-job",
            policies=["AmazonS3ReadOnlyAccess", "arn:aws:iam::123456789012:policy/mine"],
            tags={"project": "x y"},
            **NAMED_ROLES,
        ),
        found(),
    ),
}

MADE = ParsOutputs(
    vpc="vpc-0123abcd",
    subnets=("subnet-0123abcd", "subnet-0123abce"),
    security_group="sg-0123abcd",
    public_ip=False,
    job_role="arn:aws:iam::123456789012:role/job",
    instance_profile="arn:aws:iam::123456789012:instance-profile/machine",
    bucket="my-bucket",
    remote="s3://my-bucket",
)
ROLES = {
    "service_role": "arn:aws:iam::123456789012:role/batch",
    "spot_fleet_role": "arn:aws:iam::123456789012:role/spot",
}

KNOTS: dict[str, tuple[KnotOptions, ParsOutputs, Machine]] = {
    "default": (KnotOptions.of("mv-prod"), MADE, Machine()),
    "spot": (KnotOptions.of("k1", spot=True), MADE, Machine(makes_repository=False)),
    "spot with a bid and own roles": (
        KnotOptions.of("k1", spot=True, bid_percentage=60),
        ParsOutputs(**{**vars(MADE), **ROLES}),
        Machine(),
    ),
    "public addresses": (
        KnotOptions.of("k1", instance_types=["m7g", "c7g.xlarge"]),
        ParsOutputs(**{**vars(MADE), "public_ip": True}),
        Machine(),
    ),
    "all named": (
        KnotOptions.of(
            "k1",
            pars="lab",
            instance_types=["g5.xlarge"],
            gpus=1,
            min_vcpus=2,
            desired_vcpus=4,
            max_vcpus=64,
            volume_gib=500,
            volume_type="gp2",
            image_id="ami-0123abcd",
            key_pair="mine",
            priority=10,
            queue_name="q1",
            compute_environment_name="c1",
            repository="team/model",
            tags={"project": "x"},
        ),
        MADE,
        Machine(disk="/dev/sda1"),
    ),
}
