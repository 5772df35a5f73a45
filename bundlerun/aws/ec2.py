"""The calls to EC2, one function each: networks and machine images.

Answers are EC2's own JSON. Every function raises CloudError, NoCredentials, AccessDenied or
RemoteUnreachable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundlerun.aws.failures import code_of, translated

Json = Mapping[str, Any]


def default_vpc(client: Any) -> str | None:
    """The id of the region's default VPC; None without one."""
    with translated("looking for the default VPC", client.meta.region_name):
        rows = [{"Name": "is-default", "Values": ["true"]}]
        found = client.describe_vpcs(Filters=rows)["Vpcs"]
    return str(found[0]["VpcId"]) if found else None


def _in_vpc(client: Any, operation: str, key: str, vpc: str) -> list[Json]:
    with translated(f"asking for the {key} of the VPC", vpc):
        pages = client.get_paginator(operation).paginate(
            Filters=[{"Name": "vpc-id", "Values": [vpc]}]
        )
        return [row for page in pages for row in page[key]]


def subnets(client: Any, vpc: str) -> list[Json]:
    """The subnets of a VPC; none where there is no such VPC."""
    return _in_vpc(client, "describe_subnets", "Subnets", vpc)


def route_tables(client: Any, vpc: str) -> list[Json]:
    """The route tables of a VPC."""
    return _in_vpc(client, "describe_route_tables", "RouteTables", vpc)


def endpoints(client: Any, vpc: str) -> list[Json]:
    """The endpoints of AWS's services in a VPC."""
    return _in_vpc(client, "describe_vpc_endpoints", "VpcEndpoints", vpc)


def standing_endpoints(client: Any) -> set[str]:
    """The ids of the region's VPC endpoints, without those that are deleted.

    AWS tells them for some time after it.
    """
    with translated("asking for the VPC endpoints", client.meta.region_name):
        return {
            str(row["VpcEndpointId"])
            for page in client.get_paginator("describe_vpc_endpoints").paginate()
            for row in page["VpcEndpoints"]
            if str(row.get("State")).lower() not in ("deleted", "deleting")
        }


def zones(client: Any) -> list[str]:
    """The names of the region's availability zones that can be used, sorted."""
    with translated("asking for the zones", client.meta.region_name):
        found = client.describe_availability_zones(
            Filters=[
                {"Name": "state", "Values": ["available"]},
                {"Name": "zone-type", "Values": ["availability-zone"]},
            ]
        )["AvailabilityZones"]
    return sorted(str(row["ZoneName"]) for row in found)


def root_device(client: Any, image_id: str) -> str | None:
    """The device that a machine image starts from; None without such an image."""
    from botocore.exceptions import ClientError

    with translated("looking for the machine image", image_id):
        try:
            found = client.describe_images(ImageIds=[image_id])["Images"]
        except ClientError as error:
            if not code_of(error).startswith("InvalidAMIID."):
                raise
            return None
    return str(found[0]["RootDeviceName"]) if found else None


def instance_types(client: Any, wanted: Sequence[str]) -> list[Json]:
    """The machines of these types ("m7g.large") and families ("m7g").

    Those that the region does not have are absent.
    """
    patterns = [each if "." in each else f"{each}.*" for each in wanted]
    with translated("asking for the instance types", ", ".join(wanted)):
        pages = client.get_paginator("describe_instance_types").paginate(
            Filters=[{"Name": "instance-type", "Values": patterns}]
        )
        return [row for page in pages for row in page["InstanceTypes"]]
