"""What exists already and is named: it is looked up, adopted, and never deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bundlerun.aws import ec2, iam
from bundlerun.aws.buckets import bucket_exists
from bundlerun.aws.ecr import repository_uri
from bundlerun.aws.session import Aws
from bundlerun.errors import NotFound, UsageError
from bundlerun.provision.knot_template import Machine
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.templates import Found, Network, RoleFound
from bundlerun.remotes.s3 import bucket_and_prefix

Json = Mapping[str, Any]

MOST_SUBNETS = 16
MOST_ZONES = 6

_ROLES = ("job_role", "instance_role", "batch_service_role", "spot_fleet_role")


def for_pars(aws: Aws, options: ParsOptions) -> Found:
    """What the account has of what a Pars names.

    Raises NotFound for a network or a role that must exist and does not, UsageError where what
    exists would have to be changed.
    """
    named = options.bucket
    bucket, prefix = bucket_and_prefix(named) if named else (own_bucket(aws, options.name), "")
    return Found(
        partition=aws.partition,
        network=_network(aws, options),
        bucket=bucket,
        prefix=prefix,
        makes_bucket=not bucket_exists(aws, bucket),
        roles=_roles(aws, options),
    )


def own_bucket(aws: Aws, name: str) -> str:
    """The name of a Pars's own bucket.

    Names of buckets are one space for all accounts (S3 user guide, "General purpose bucket naming
    rules").
    """
    return f"br-{name}-{aws.account()}-{aws.region}"


def for_knot(aws: Aws, options: KnotOptions) -> Machine:
    """What the account has of what a Knot names.

    Raises NotFound for a machine image that does not exist.
    """
    makes = repository_uri(aws, options.repository_name) is None
    if options.image_id is None:
        return Machine(makes_repository=makes)
    disk = ec2.root_device(aws.client("ec2"), options.image_id)
    if disk is None:
        raise NotFound(
            f"there is no machine image {options.image_id} in {aws.region}",
            hint="aws ec2 describe-images --owners self amazon",
        )
    return Machine(disk=disk, makes_repository=makes)


def _roles(aws: Aws, options: ParsOptions) -> dict[str, RoleFound]:
    found = {}
    for option in _ROLES:
        asked = getattr(options, option)
        role = _role(aws, option, asked) if asked else None
        if role is not None:
            found[option] = role
    if "job_role" in found and options.policies:
        raise UsageError(
            f"the role {options.job_role} exists, and what exists is not changed: it cannot be"
            " given policies",
            hint="policies=[]",
        )
    return found


def _role(aws: Aws, option: str, asked: str) -> RoleFound | None:
    client = aws.client("iam")
    name = asked.rpartition("/")[2]
    arn = iam.role_arn(client, name)
    if arn is None and not asked.startswith("arn:"):
        return None
    if arn is None or (asked.startswith("arn:") and arn != asked):
        raise NotFound(f"there is no role {asked}", hint=f"aws iam get-role --role-name {name}")
    profiles = iam.instance_profiles(client, name) if option == "instance_role" else []
    return RoleFound(arn, name, profiles[0] if profiles else None)


def _network(aws: Aws, options: ParsOptions) -> Network:
    client = aws.client("ec2")
    if options.vpc == "new":
        return Network(zones=tuple(ec2.zones(client)[:MOST_ZONES]))
    vpc = ec2.default_vpc(client) if options.vpc == "default" else options.vpc
    if vpc is None:
        raise NotFound(
            f"{aws.region} has no default VPC",
            hint="vpc='new', or aws ec2 create-default-vpc",
        )
    subnets = ec2.subnets(client, vpc)
    if not subnets:
        raise NotFound(
            f"the VPC {vpc} does not exist in {aws.region}, or has no subnet",
            hint="aws ec2 describe-subnets, or vpc='new'",
        )
    if options.vpc == "default" and all(row.get("MapPublicIpOnLaunch") for row in subnets):
        # So it is made, with a way out (VPC user guide, "Default VPCs").
        return Network(vpc, _some(str(row["SubnetId"]) for row in subnets))
    return _chosen(client, vpc, subnets, ec2.route_tables(client, vpc))


def _some(subnets: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(subnets)[:MOST_SUBNETS])


def _chosen(client: Any, vpc: str, subnets: Sequence[Json], tables: Sequence[Json]) -> Network:
    """The subnets of a VPC whose machines reach AWS, by the fewest means.

    Machines must reach ECS, ECR and the logs (AWS Batch user guide, "Compute environments":
    ``subnets``). A gateway that gives addresses is the first choice, one behind which none are
    needed the second, and a public address by the launch template the last.
    """
    ways = {str(row["SubnetId"]): _way_out(row, tables) for row in subnets}
    gives = {str(row["SubnetId"]): bool(row.get("MapPublicIpOnLaunch")) for row in subnets}
    direct = [each for each, (kind, _) in ways.items() if kind == "internet"]
    public = [each for each in direct if gives[each]]
    private = [each for each, (kind, _) in ways.items() if kind == "other"]
    if public:
        return Network(vpc, _some(public))
    if private:
        chosen = _some(private)
        used = {ways[each][1] for each in chosen}
        free = {
            table
            for row in ec2.endpoints(client, vpc)
            if str(row.get("ServiceName", "")).endswith(".s3")
            for table in row.get("RouteTableIds") or ()
        }
        return Network(vpc, chosen, tables=tuple(sorted(used - free)))
    if direct:
        return Network(vpc, _some(direct), public_ip=True)
    raise NotFound(
        f"no subnet of the VPC {vpc} has a route to the internet: its machines could not reach"
        " AWS Batch",
        hint="vpc='new'",
    )


def _way_out(subnet: Json, tables: Sequence[Json]) -> tuple[str, str]:
    """Where a subnet's traffic goes, and the id of its route table.

    "internet": to a gateway that gives addresses; "other": to another one; "": nowhere.
    A subnet without a table of its own has the VPC's main one (VPC user guide, "Route tables").
    """
    links = [(link, table) for table in tables for link in table.get("Associations") or ()]
    own = [table for link, table in links if link.get("SubnetId") == subnet["SubnetId"]]
    table = next(iter(own or [table for link, table in links if link.get("Main")]), None)
    if table is None:
        return "", ""
    for route in table.get("Routes") or ():
        if route.get("DestinationCidrBlock") == "0.0.0.0/0" and route.get("State") != "blackhole":
            kind = "internet" if str(route.get("GatewayId", "")).startswith("igw-") else "other"
            return kind, str(table["RouteTableId"])
    return "", str(table["RouteTableId"])
