"""The network of a VPC that exists: which subnets, and what their machines need."""

from __future__ import annotations

from typing import Any

import pytest

from bundlerun.aws.session import Aws
from bundlerun.errors import NotFound
from bundlerun.provision import adopt
from bundlerun.provision.options import KnotOptions, ParsOptions
from tests.provision.conftest import Account

pytestmark = pytest.mark.heavy


class Vpc:
    """A VPC that a test puts together."""

    def __init__(self, account: Account) -> None:
        self.ec2 = account.client("ec2")
        self.id = self.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        self._count = 0

    def subnet(self, *, public: bool = False, gives: bool = False) -> str:
        """A subnet with a route table of its own."""
        self._count += 1
        block = f"10.9.{self._count}.0/24"
        made = self.ec2.create_subnet(VpcId=self.id, CidrBlock=block)["Subnet"]["SubnetId"]
        if gives:
            self.ec2.modify_subnet_attribute(SubnetId=made, MapPublicIpOnLaunch={"Value": True})
        table = self.ec2.create_route_table(VpcId=self.id)["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=made)
        if public:
            self._route(table, GatewayId=self._gateway())
        return str(made)

    def behind_nat(self, outside: str) -> tuple[str, str]:
        """A subnet whose way out is a NAT gateway in another one, and its route table."""
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = self.ec2.create_nat_gateway(SubnetId=outside, AllocationId=address)["NatGateway"]
        made = self.subnet()
        rows = [{"Name": "association.subnet-id", "Values": [made]}]
        (table,) = self.ec2.describe_route_tables(Filters=rows)["RouteTables"]
        self._route(table["RouteTableId"], NatGatewayId=nat["NatGatewayId"])
        return made, table["RouteTableId"]

    def _gateway(self) -> str:
        made = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=self.id)
        return str(made)

    def _route(self, table: str, **to: Any) -> None:
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **to)

    def network(self) -> Any:
        """What a Pars finds."""
        return adopt.for_pars(Aws(), ParsOptions.of("lab", vpc=self.id, bucket="b-1")).network


def test_subnets_that_give_public_addresses_come_first(account: Account) -> None:
    """Nothing is added."""
    vpc = Vpc(account)
    vpc.subnet()
    public = vpc.subnet(public=True, gives=True)
    vpc.subnet(gives=True)
    found = vpc.network()
    assert (found.subnets, found.public_ip, found.tables) == ((public,), False, ())


def test_behind_a_gateway_s3_gets_a_way_of_its_own(account: Account) -> None:
    """Each byte through a NAT gateway is paid; an endpoint that is there already is enough."""
    vpc = Vpc(account)
    outside = vpc.subnet(public=True)
    inside, table = vpc.behind_nat(outside)
    found = vpc.network()
    assert (found.subnets, found.public_ip, found.tables) == ((inside,), False, (table,))
    vpc.ec2.create_vpc_endpoint(
        VpcId=vpc.id, ServiceName="com.amazonaws.us-east-1.s3", RouteTableIds=[table]
    )
    assert vpc.network().tables == ()


def test_without_either_machines_are_given_public_addresses(account: Account) -> None:
    """By the launch template."""
    vpc = Vpc(account)
    outside = vpc.subnet(public=True)
    found = vpc.network()
    assert (found.subnets, found.public_ip) == ((outside,), True)


def test_a_vpc_without_a_way_out_is_refused(account: Account) -> None:
    """Its machines would wait for ever for ECS."""
    vpc = Vpc(account)
    vpc.subnet()
    with pytest.raises(NotFound, match=r"no subnet .* has a route"):
        vpc.network()


def test_the_disk_is_that_of_the_machine_image(account: Account) -> None:
    """Its size would else be given to another device."""
    (image, *_) = account.client("ec2").describe_images()["Images"]
    found = adopt.for_knot(Aws(), KnotOptions.of("k1", image_id=image["ImageId"]))
    assert found.disk == image["RootDeviceName"]
    with pytest.raises(NotFound, match="there is no machine image"):
        adopt.for_knot(Aws(), KnotOptions.of("k1", image_id="ami-0123456789abcdef0"))
