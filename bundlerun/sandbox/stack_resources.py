"""Single resources of a stack, where moto leaves something out.

CloudFormation's template reference says of each type what it makes and how it is deleted.
"""

from __future__ import annotations

from typing import Any

from moto.batch.models import batch_backends
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

Json = dict[str, Any]


SERVICE_LINKED = "/aws-service-role/batch.amazonaws.com/"
"""The path of the role that AWS Batch makes for itself."""


def defaults(kind: str, properties: Json, account: str) -> Json:
    """The properties that AWS adds to those of a template, where moto demands them."""
    if kind == "AWS::Batch::ComputeEnvironment" and "ServiceRole" not in properties:
        # AWS makes it itself (Batch user guide, "Using service-linked roles for AWS Batch").
        iam = iam_backends[account]["aws"]
        role = next((each for each in iam.get_roles() if each.path == SERVICE_LINKED), None)
        if role is None:
            role = iam.create_service_linked_role("batch.amazonaws.com", "", "")
        return {"ServiceRole": role.arn}
    return {}


def complete(kind: str, made: Any, properties: Json, account: str, region: str) -> None:
    """Give a new resource the properties that moto leaves out."""
    if kind == "AWS::IAM::Role":
        iam = iam_backends[account]["aws"]
        for arn in properties.get("ManagedPolicyArns") or ():
            iam.attach_role_policy(arn, made.name)
    elif kind == "AWS::EC2::SubnetRouteTableAssociation":
        ec2 = ec2_backends[account][region]
        ec2.associate_route_table(made.route_table_id, subnet_id=made.subnet_id)
    elif kind.startswith("AWS::EC2::") and properties.get("Tags"):
        tags = {row["Key"]: row["Value"] for row in properties["Tags"]}
        ec2_backends[account][region].create_tags([made.physical_resource_id], tags)
    elif kind.startswith("AWS::Batch::") and properties.get("Tags"):
        batch_backends[account][region].tag_resource(made.arn, properties["Tags"])


def delete(resources: Any, name: str, properties: Json, account: str, region: str) -> None:
    """Delete a resource of moto's map."""
    made = resources[name]
    kind = resources._resource_json_map[name]["Type"]
    ec2, batch = ec2_backends[account][region], batch_backends[account][region]
    physical = made.physical_resource_id
    # What was deleted outside of its stack makes no deletion fail (CloudFormation CLI user guide,
    # "Resource type handler contract", NotFound).
    if kind == "AWS::Batch::JobQueue":
        if batch.get_job_queue(physical) is not None:
            batch.update_job_queue(physical, None, "DISABLED", None, None)
            batch.delete_job_queue(physical)
    elif kind == "AWS::Batch::ComputeEnvironment":
        if batch.get_compute_environment(physical) is not None:
            batch.update_compute_environment(physical, "DISABLED", None, None)
            batch.delete_compute_environment(physical)
    elif kind == "AWS::Batch::JobDefinition":
        batch.deregister_job_definition(physical)
    elif kind == "AWS::IAM::Role":
        iam = iam_backends[account]["aws"]
        for arn in list(made.managed_policies):
            iam.detach_role_policy(arn, made.name)
        made.policies.clear()
        iam.delete_role(made.name)
    elif kind == "AWS::S3::Bucket" and made.keys:
        raise ValueError(f"The bucket {physical} you tried to delete is not empty")
    elif kind == "AWS::EC2::VPCEndpoint":
        # moto's own deletion looks for a route that it never made.
        ec2.vpc_end_points.pop(physical)
    elif kind == "AWS::EC2::InternetGateway":
        ec2.delete_internet_gateway(physical)
    elif kind == "AWS::EC2::VPCGatewayAttachment":
        ec2.detach_internet_gateway(properties["InternetGatewayId"], properties["VpcId"])
    elif kind == "AWS::EC2::RouteTable":
        ec2.delete_route_table(physical)
    elif kind == "AWS::EC2::Route":
        ec2.delete_route(properties["RouteTableId"], properties["DestinationCidrBlock"])
    elif kind == "AWS::EC2::SubnetRouteTableAssociation":
        associations = ec2.get_route_table(properties["RouteTableId"])._associations
        for association_id, subnet_id in list(associations.items()):
            if subnet_id == properties["SubnetId"]:
                ec2.disassociate_route_table(association_id)
    else:
        resources._delete_resource(made, resources._resource_json_map[name])
    resources._parsed_resources.pop(name, None)
