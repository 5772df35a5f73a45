"""An AWS in this process, and what a test of provision does with it."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bundlerun.aws.session import Aws
from bundlerun.progress import Lines
from bundlerun.provision.ensure import Provision
from bundlerun.sandbox.batch_attempt import Attempt, in_process
from bundlerun.sandbox.contents import REGION, SECRETS
from tests.sandbox.fates import Fates
from tests.sandbox.scene import client_of
from tests.services import aws_in_process

LOOKS = frozenset({"DescribeStackEvents"})


class CountedAws(Aws):
    """An identity whose requests are counted, by their operations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self._known: set[int] = set()

    def client(self, service: str) -> Any:
        """See Aws."""
        client = super().client(service)
        if id(client) not in self._known:
            self._known.add(id(client))
            client.meta.events.register("before-call", self._count)
        return client

    def _count(self, model: Any, **_: Any) -> None:
        self.calls[model.name] += 1


class Account:
    """An account, and a name of the test's own."""

    def __init__(self, endpoint: str, failing: dict[str, str], calls: Fates) -> None:
        self.endpoint, self.failing, self.calls = endpoint, failing, calls
        self.name = f"t-{uuid.uuid4().hex[:10]}"
        self.lines: list[str] = []

    def provision(self, aws: Aws | None = None) -> Provision:
        """Another client."""
        told = Lines(self.lines.append)
        return Provision(aws or Aws(), progress=told, sleep=lambda _: time.sleep(0.02))

    def client(self, service: str) -> Any:
        """A plain client."""
        return client_of(service, self.endpoint)

    def all(self) -> set[str]:
        """The ids of everything that a Pars or a Knot may make, but the service-linked role."""
        found: set[str] = set()
        for service, operation, key, name in KINDS:
            client = self.client(service)
            rows = getattr(client, operation)()[key]
            # What was deleted of late may be told still.
            found |= {f"{key}: {row[name]}" for row in rows if row.get("State") != "deleted"}
        return {each for each in found if "AWSServiceRoleFor" not in each}


KINDS = (
    ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    ("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("ec2", "describe_subnets", "Subnets", "SubnetId"),
    ("ec2", "describe_route_tables", "RouteTables", "RouteTableId"),
    ("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    ("iam", "list_roles", "Roles", "RoleName"),
    ("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    ("batch", "describe_compute_environments", "computeEnvironments", "computeEnvironmentName"),
    ("batch", "describe_job_queues", "jobQueues", "jobQueueName"),
    ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("ecr", "describe_repositories", "repositories", "repositoryName"),
    ("s3", "list_buckets", "Buckets", "Name"),
    ("cloudformation", "describe_stacks", "Stacks", "StackName"),
)


def until_ended(attempt: Attempt) -> int:
    """A job that runs until it is ended."""
    attempt.stopping.wait(60)
    return 143


@pytest.fixture(scope="module")
def work() -> Callable[[Attempt], int]:
    """What a job does."""
    return until_ended


@pytest.fixture(scope="module")
def served(work: Callable[[Attempt], int]) -> Iterator[tuple[str, dict[str, str], Fates]]:
    """One AWS for all tests of a module, and what fails in it."""
    failing: dict[str, str] = {}
    with aws_in_process(in_process(work), failing=failing) as (calls, endpoint):
        yield endpoint, failing, calls


@pytest.fixture
def account(
    served: tuple[str, dict[str, str], Fates],
    monkeypatch: pytest.MonkeyPatch,
    isolated_environment: None,
) -> Iterator[Account]:
    """An account in which nothing fails yet; what the test makes is deleted after it."""
    endpoint, failing, calls = served
    failing.clear()
    for name, value in {
        **SECRETS,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    made = Account(endpoint, failing, calls)
    yield made
    calls.befall_first(None)
    failing.clear()
    made.provision().delete_knot(made.name)
    made.provision().delete_pars(made.name)
