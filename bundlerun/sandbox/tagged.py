"""What the Resource Groups Tagging API tells, and moto leaves out.

Batch's and ECR's things, endpoints of VPCs and launch templates (Resource Groups Tagging API
reference, "Services that support the Resource Groups Tagging API").
"""

from __future__ import annotations

from collections.abc import Iterator

from moto.batch.models import batch_backends
from moto.core.base_backend import BackendDict, BaseBackend
from moto.core.resource_tagging import TaggableResourcesMixin, TaggedResource
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends

from bundlerun.sandbox.contents import ACCOUNT, REGION


class _Others(BaseBackend, TaggableResourcesMixin):
    """A service of no name, whose things are those of others."""

    SERVICE_NAMESPACE = "bundlerun"

    def iter_tagged_resources(self) -> Iterator[TaggedResource]:
        """Their ARNs and tags."""
        batch = batch_backends[self.account_id][self.region_name]
        for kind, made in (
            ("compute-environment", batch._compute_environments),
            ("job-queue", batch._job_queues),
            ("job-definition", batch._job_definitions),
        ):
            for arn in list(made):
                yield TaggedResource(arn, batch.list_tags_for_resource(arn), f"batch:{kind}")
        ecr = ecr_backends[self.account_id][self.region_name]
        for repository in list(ecr.repositories.values()):
            rows = ecr.list_tags_for_resource(repository.arn)["tags"]
            tags = {row["Key"]: row["Value"] for row in rows}
            yield TaggedResource(repository.arn, tags, "ecr:repository")
        ec2 = ec2_backends[self.account_id][self.region_name]
        for kind, ids in (
            ("vpc-endpoint", list(ec2.vpc_end_points)),
            ("launch-template", list(ec2.launch_templates)),
        ):
            for each in ids:
                place = f"{self.region_name}:{self.account_id}"
                arn = f"arn:{self.partition}:ec2:{place}:{kind}/{each}"
                yield TaggedResource(arn, dict(ec2.tags.get(each, {})), f"ec2:{kind}")


_others = BackendDict(_Others, "batch")


def tell_all() -> None:
    """Have GetResources tell them: moto asks the services that are in use."""
    _ = _others[ACCOUNT][REGION]
