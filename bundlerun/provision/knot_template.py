"""The template of a Knot: machines, queue, log group, repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bundlerun.provision.options import KnotOptions, to_json
from bundlerun.provision.templates import (
    KNOT_TAG,
    Json,
    ref,
    resource,
    tag_rows,
    template,
)

KEPT_DAYS = 30
"""The days that a log line is kept."""

MISCONFIGURED_S = 1800
MISCONFIGURED = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
)
"""The reasons for which a job never starts, however long it waits.

Source: AWS Batch user guide, "Automatic remediation with jobStateTimeLimitActions": those that are
taken in every region.
"""


@dataclass(frozen=True)
class ParsOutputs:
    """What a Pars made: the outputs of its stack.

    Roles and the instance profile are ARNs; ``remote`` is ``s3://BUCKET/PREFIX``. ``remote_only``:
    the job role may read and write there, and nothing else.
    """

    vpc: str
    subnets: tuple[str, ...]
    security_group: str
    public_ip: bool
    job_role: str
    instance_profile: str
    bucket: str
    remote: str
    remote_only: bool = True
    service_role: str | None = None
    spot_fleet_role: str | None = None

    @classmethod
    def of(cls, outputs: Mapping[str, str]) -> ParsOutputs:
        """The outputs of a stack."""
        return cls(
            vpc=outputs["Vpc"],
            subnets=tuple(outputs["Subnets"].split(",")),
            security_group=outputs["SecurityGroup"],
            public_ip=outputs["PublicIp"] == "true",
            job_role=outputs["JobRole"],
            instance_profile=outputs["InstanceProfile"],
            bucket=outputs["Bucket"],
            remote=outputs["Remote"],
            remote_only=outputs["RemoteOnly"] == "true",
            service_role=outputs.get("ServiceRole"),
            spot_fleet_role=outputs.get("SpotFleetRole"),
        )


@dataclass(frozen=True)
class Machine:
    """What of the machines and the repository exists.

    ``disk`` is the device that the machine image starts from; ``makes_repository`` is False where
    the repository exists.
    """

    disk: str = "/dev/xvda"
    makes_repository: bool = True


def knot_template(options: KnotOptions, pars: ParsOutputs, machine: Machine) -> Json:
    """The CloudFormation template of a Knot.

    Its outputs are the fields of ``KnotOutputs``, and the name of its Pars.
    """
    tags = {**options.tags, KNOT_TAG: options.name}
    resources = {
        "LaunchTemplate": _launch_template(options, pars, machine, tags),
        "ComputeEnvironment": _compute_environment(options, pars, tags),
        "Queue": _queue(options, tags),
        "LogGroup": resource(
            "Logs::LogGroup",
            {
                "LogGroupName": options.log_group,
                "RetentionInDays": KEPT_DAYS,
                "Tags": tag_rows(tags),
            },
            # Logs end with what they are about, 30 days or not.
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Delete",
        ),
    }
    if machine.makes_repository:
        resources["Repository"] = _repository(options, tags)
    outputs = {
        "Pars": options.pars,
        "Queue": options.queue,
        "ComputeEnvironment": options.environment,
        "LogGroup": options.log_group,
        "JobDefinition": options.job_definition,
        "Repository": options.repository_name,
        "JobRole": pars.job_role,
        "Remote": pars.remote,
        "RemoteOnly": str(pars.remote_only).lower(),
    }
    what = f"bundlerun: queue, machines and repository of the Knot {options.name}"
    return template(what, to_json(options), resources, outputs)


def _launch_template(
    options: KnotOptions, pars: ParsOutputs, machine: Machine, tags: Mapping[str, str]
) -> Json:
    volume = {
        "VolumeSize": options.volume_gib,
        "VolumeType": options.volume_type,
        "DeleteOnTermination": True,
    }
    data: Json = {
        # IMDSv2; a container is one hop further from it than its machine.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "BlockDeviceMappings": [{"DeviceName": machine.disk, "Ebs": volume}],
        "TagSpecifications": [{"ResourceType": "volume", "Tags": tag_rows(tags)}],
    }
    if pars.public_ip:
        data["NetworkInterfaces"] = [
            {
                "DeviceIndex": 0,
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
                "Groups": [pars.security_group],
            }
        ]
    own = {"ResourceType": "launch-template", "Tags": tag_rows(tags, f"bundlerun-{options.name}")}
    return resource("EC2::LaunchTemplate", {"LaunchTemplateData": data, "TagSpecifications": [own]})


def _compute_environment(options: KnotOptions, pars: ParsOutputs, tags: Mapping[str, str]) -> Json:
    strategy = "SPOT_PRICE_CAPACITY_OPTIMIZED" if options.spot else "BEST_FIT_PROGRESSIVE"
    desired = options.min_vcpus if options.desired_vcpus is None else options.desired_vcpus
    launch = {"LaunchTemplateId": ref("LaunchTemplate"), "Version": "$Latest"}
    resources = {
        "Type": "SPOT" if options.spot else "EC2",
        "AllocationStrategy": strategy,
        "BidPercentage": options.bid_percentage,
        "SpotIamFleetRole": pars.spot_fleet_role if options.spot else None,
        "MinvCpus": options.min_vcpus,
        "MaxvCpus": options.max_vcpus,
        "DesiredvCpus": desired,
        "InstanceTypes": list(options.instance_types),
        "InstanceRole": pars.instance_profile,
        "Subnets": list(pars.subnets),
        "SecurityGroupIds": [pars.security_group],
        "LaunchTemplate": launch,
        "Ec2KeyPair": options.key_pair,
        "Ec2Configuration": _own_image(options),
        "Tags": dict(tags),
    }
    properties = {
        "ComputeEnvironmentName": options.environment,
        "Type": "MANAGED",
        "State": "ENABLED",
        "ServiceRole": pars.service_role,
        "ComputeResources": {key: value for key, value in resources.items() if value is not None},
        "Tags": dict(tags),
    }
    return resource("Batch::ComputeEnvironment", properties)


def _own_image(options: KnotOptions) -> list[Json] | None:
    if options.image_id is None:
        return None
    kind = "ECS_AL2023_NVIDIA" if options.gpus else "ECS_AL2023"
    return [{"ImageType": kind, "ImageIdOverride": options.image_id}]


def _queue(options: KnotOptions, tags: Mapping[str, str]) -> Json:
    actions = [
        {
            "Action": "CANCEL",
            "State": "RUNNABLE",
            "Reason": reason,
            "MaxTimeSeconds": MISCONFIGURED_S,
        }
        for reason in MISCONFIGURED
    ]
    properties = {
        "JobQueueName": options.queue,
        "State": "ENABLED",
        "Priority": options.priority,
        "ComputeEnvironmentOrder": [{"Order": 1, "ComputeEnvironment": ref("ComputeEnvironment")}],
        "JobStateTimeLimitActions": actions,
        "Tags": dict(tags),
    }
    return resource("Batch::JobQueue", properties)


def _repository(options: KnotOptions, tags: Mapping[str, str]) -> Json:
    properties = {
        "RepositoryName": options.repository_name,
        "ImageTagMutability": "MUTABLE",
        "ImageScanningConfiguration": {"ScanOnPush": True},
        "Tags": tag_rows(tags),
    }
    # Images outlive the stack, unless they are asked to go.
    kept = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
    return resource("ECR::Repository", properties, **kept)
