"""What carries our ownership tags and belongs to no stack that stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundlerun.aws import batch, deletions, ec2, iam, tagging
from bundlerun.aws.buckets import delete_bucket
from bundlerun.aws.ecr import delete_repository
from bundlerun.aws.session import Aws
from bundlerun.errors import AccessDenied, CloudError, RemoteUnreachable
from bundlerun.progress import SILENT, Progress
from bundlerun.provision.ensure import knot_stack, pars_stack
from bundlerun.provision.stacks import UNMADE, Left, Stack, Stacks
from bundlerun.provision.templates import KNOT_TAG, PARS_TAG, STACK_TAG
from bundlerun.remotes.s3 import bucket_and_prefix

STACK = "AWS::CloudFormation::Stack"
ROLE = "AWS::IAM::Role"
HOLDS_DATA = frozenset({"AWS::S3::Bucket", "AWS::ECR::Repository"})
"""The types that hold what users made."""

_TYPES = {
    "batch:compute-environment": "AWS::Batch::ComputeEnvironment",
    "batch:job-definition": "AWS::Batch::JobDefinition",
    "batch:job-queue": "AWS::Batch::JobQueue",
    "ec2:internet-gateway": "AWS::EC2::InternetGateway",
    "ec2:launch-template": "AWS::EC2::LaunchTemplate",
    "ec2:route-table": "AWS::EC2::RouteTable",
    "ec2:security-group": "AWS::EC2::SecurityGroup",
    "ec2:subnet": "AWS::EC2::Subnet",
    "ec2:vpc": "AWS::EC2::VPC",
    "ec2:vpc-endpoint": "AWS::EC2::VPCEndpoint",
    "ecr:repository": "AWS::ECR::Repository",
    "logs:log-group": "AWS::Logs::LogGroup",
    "iam:role": "AWS::IAM::Role",
    "s3:": "AWS::S3::Bucket",
}
"""The types that bundlerun makes, by service and kind of an ARN."""

_NETWORK = frozenset(
    f"AWS::EC2::{kind}"
    for kind in ("InternetGateway", "RouteTable", "SecurityGroup", "Subnet", "VPC", "VPCEndpoint")
)

_SERVICES = (
    "batch.amazonaws.com",
    "ec2.amazonaws.com",
    "ecs-tasks.amazonaws.com",
    "spotfleet.amazonaws.com",
)
"""Those that a role of ours trusts."""

LOOKS, PAUSE_S = 60, 2.0
"""The most looks at a queue until it is deleted, and the seconds between them."""


@dataclass(frozen=True)
class Orphan:
    """A thing of ours that no stack has.

    ``what`` is its type in CloudFormation ("AWS::Logs::LogGroup"), ``id`` its name on AWS,
    ``owner`` whose it was ("Knot mv-prod"), ``stack`` the stack that had it. Where ``holds_data``
    it stays when it is not empty, unless that is asked for.
    """

    what: str
    id: str
    owner: str
    stack: str
    why: str

    @property
    def holds_data(self) -> bool:
        """Whether it holds what users made."""
        return self.what in HOLDS_DATA

    def __str__(self) -> str:
        return f"{self.id} ({self.what}): {self.why}"


@dataclass(frozen=True)
class _Used:
    """The stacks that stand, and what they use.

    ``named`` has the stack by the names of things: what one adopted is its own too. ``shared`` has
    the Knot's stack by that of its Pars, which is used as long as the Knot stands.
    """

    standing: frozenset[str]
    named: Mapping[str, str]
    shared: Mapping[str, str]

    @classmethod
    def of(cls, stacks: Stacks, found: Iterable[Stack]) -> _Used:
        """What is used by the stacks that are whole, or at which somebody works."""
        standing = [each for each in found if each.status not in (*UNMADE, "DELETE_FAILED")]
        # Stacks of others use nothing of ours.
        told = [(each.name, stacks.outputs(each)) for each in standing if _owner(each.tags)[1]]
        named = {
            thing: name
            for name, outputs in told
            for each in outputs.values()
            for thing in _in(each)
        }
        shared = {pars_stack(outputs["Pars"]): name for name, outputs in told if "Pars" in outputs}
        return cls(frozenset(each.name for each in standing), named, shared)

    def by(self, orphan: Orphan, among: Iterable[Orphan]) -> str | None:
        """The stack that uses a thing, or the VPC that it is part of; None without one."""
        # A Pars outlives its stack for the Knots that use it.
        if orphan.stack in self.standing:
            return orphan.stack
        if orphan.stack in self.shared:
            return self.shared[orphan.stack]
        ids = [orphan.id]
        if orphan.what in _NETWORK:
            vpcs = (each for each in among if each.what == "AWS::EC2::VPC")
            ids += [each.id for each in vpcs if each.stack == orphan.stack]
        return next((self.named[each] for each in ids if each in self.named), None)


@dataclass(frozen=True)
class Orphans:
    """What was found, in the order of deletion, and what could not be asked for."""

    found: tuple[Orphan, ...]
    unknown: tuple[str, ...] = ()


def orphans(aws: Aws) -> Orphans:
    """What carries our tags in this region and belongs to no stack that stands.

    Stacks of ours that were not made or not deleted whole are among them. Nothing is changed.
    Raises NoCredentials, AccessDenied, RemoteUnreachable where neither tags nor stacks are told;
    roles that this identity may not list are named as unknown.
    """
    # The stacks come last: what a new one makes meanwhile is not taken for an orphan.
    things = list(_tagged(aws))
    unknown: tuple[str, ...] = ()
    try:
        things += _roles(aws)
    except (AccessDenied, CloudError) as error:
        unknown = (error.message,)
    reader = Stacks(aws)
    stacks = reader.all()
    used = _Used.of(reader, stacks)
    found = {each for each in things if used.by(each, things) is None}
    found -= {each for each in found if each.what == ROLE and _serves(aws, each, used)}
    unmade = {
        Orphan(STACK, each.id, owner, each.name, f"it is {each.status}")
        for each in stacks
        for owner, name in [_owner(each.tags)]
        if name == each.name
    }
    found |= {each for each in unmade if used.by(each, ()) is None}
    return Orphans(tuple(sorted(found, key=_order)), unknown)


def remove(
    aws: Aws,
    found: Sequence[Orphan],
    *,
    data: bool = False,
    progress: Progress = SILENT,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Left, ...]:
    """Delete orphans, each after what uses it; what remains, and why.

    A bucket or a repository that is not empty remains unless ``data``, and so does what belongs to
    a stack that was made meanwhile. Raises NoCredentials, AccessDenied, RemoteUnreachable before
    anything is deleted.
    """
    stacks = Stacks(aws, progress=progress, sleep=sleep)
    used = _Used.of(stacks, stacks.all())
    removal = _Removal(aws, stacks, data, sleep)
    left: list[Left] = []
    for each in sorted(found, key=_order):
        user = used.by(each, found)
        if user is not None:
            left.append(Left(each.what, each.id, f"it belongs to the stack {user}"))
            continue
        remains = removal.remove(each)
        left += remains
        if not remains:
            progress.line(f"{each.id} ({each.what}): deleted")
    return tuple(left)


class _Removal:
    """The removal of orphans by one identity."""

    def __init__(
        self, aws: Aws, stacks: Stacks, data: bool, sleep: Callable[[float], None]
    ) -> None:
        self._aws = aws
        self._stacks = stacks
        self._data = data
        self._sleep = sleep

    def remove(self, orphan: Orphan) -> tuple[Left, ...]:
        """What remains of it."""
        try:
            return self._removed(orphan)
        except (AccessDenied, CloudError, RemoteUnreachable) as error:
            why = error.message
            if orphan.holds_data and deletions.was_not_empty(error):
                why = "it is not empty: bundlerun aws gc --delete --data deletes it with that"
            return (Left(orphan.what, orphan.id, why),)

    def _removed(self, orphan: Orphan) -> tuple[Left, ...]:
        what, name = orphan.what, orphan.id
        if what == STACK:
            # What it keeps is told by itself, as an orphan of its own.
            self._stacks.delete(name)
            left = self._stacks.find(name)
            gone = left is None or left.status == "DELETE_COMPLETE"
            return () if gone else (Left(what, name, "AWS could not delete all that it has"),)
        if what in _DISABLED_FIRST:
            return self._disabled_first(what, name)
        if what == ROLE:
            return self._role(orphan)
        if self._data and what == "AWS::S3::Bucket":
            delete_bucket(self._aws, name)
        elif self._data and what == "AWS::ECR::Repository":
            delete_repository(self._aws, name)
        elif what in deletions.DELETE:
            deletions.DELETE[what](self._aws, name)
        else:
            return (
                Left(what, name, "bundlerun deletes no such thing: AWS Batch ends its machines"),
            )
        return ()

    def _disabled_first(self, what: str, name: str) -> tuple[Left, ...]:
        """Delete a queue with its jobs, or an environment.

        Source: API reference, DeleteJobQueue, DeleteComputeEnvironment.
        """
        client, (disable, look) = self._aws.client("batch"), _DISABLED_FIRST[what]
        if not look(client, [name]):
            return ()
        disable(self._aws, name)
        if what == "AWS::Batch::JobQueue":
            for job_id in batch.open_jobs(client, name):
                batch.terminate_job(client, job_id, "its Knot is deleted")
        asked = False
        for _ in range(LOOKS):
            rows = look(client, [name])
            if not rows or rows[0].get("status") == "DELETED":
                return ()
            if not asked and rows[0].get("status") not in ("UPDATING", "CREATING"):
                deletions.DELETE[what](self._aws, name)
                asked = True
                continue
            self._sleep(PAUSE_S)
        return (Left(what, name, "AWS Batch is still deleting it"),)

    def _role(self, orphan: Orphan) -> tuple[Left, ...]:
        client = self._aws.client("iam")
        if iam.role_arn(client, orphan.id) is None:
            return ()
        for arn in iam.instance_profiles(client, orphan.id):
            profile = arn.rpartition("/")[2]
            # A profile takes no tags in a template: the name that CloudFormation gives tells it.
            if not profile.startswith(f"{orphan.stack}-InstanceProfile-"):
                why = f"it is in the instance profile {profile}, which bundlerun did not make"
                return (Left(ROLE, orphan.id, why),)
            deletions.delete_profile(self._aws, profile, orphan.id)
        deletions.DELETE[ROLE](self._aws, orphan.id)
        return ()


_DISABLED_FIRST: Mapping[str, tuple[Callable[[Aws, str], None], Callable[..., Sequence[Any]]]] = {
    "AWS::Batch::JobQueue": (deletions.disable_queue, batch.describe_queues),
    "AWS::Batch::ComputeEnvironment": (
        deletions.disable_environment,
        batch.describe_environments,
    ),
}


def _tagged(aws: Aws) -> Iterator[Orphan]:
    """The things of this region that carry our tags, but stacks, roles and jobs."""
    client, seen = aws.client("resourcegroupstaggingapi"), set()
    definitions: dict[str, Orphan] = {}
    endpoints: dict[str, Orphan] = {}
    for key in (KNOT_TAG, PARS_TAG):
        for arn, tags in tagging.tagged(client, key):
            what, name = _named(arn)
            if arn in seen or what in (STACK, ROLE, "batch:job"):
                continue
            seen.add(arn)
            thing = _orphan(what, name, tags)
            if what == "AWS::Batch::JobDefinition":
                definitions[arn] = thing
            elif what == "AWS::EC2::VPCEndpoint":
                endpoints[name] = thing
            else:
                yield thing
    # One that is deregistered is kept for half a year, with its tags; an endpoint for some time.
    active = batch.active_definitions(aws.client("batch"), list(definitions))
    yield from (thing for arn, thing in definitions.items() if arn in active)
    there = ec2.standing_endpoints(aws.client("ec2")) if endpoints else set()
    yield from (thing for each, thing in endpoints.items() if each in there)


def _roles(aws: Aws) -> Iterator[Orphan]:
    """The roles that stacks of this region made.

    IAM is one for all regions: the role's tag tells its stack, and that the region. A request for
    every role that a service of ours may take.
    """
    client = aws.client("iam")
    for role in iam.roles(client):
        trusted = str(role.get("AssumeRolePolicyDocument"))
        ours = any(service in trusted for service in _SERVICES)
        if not ours or str(role["Path"]).startswith("/aws-service-role/"):
            continue
        tags = iam.role_tags(client, str(role["RoleName"]))
        place = tags.get(STACK_TAG, "").split(":")
        if _owner(tags)[1] and len(place) > 3 and place[3] == aws.region:
            yield _orphan(ROLE, str(role["RoleName"]), tags)


def _serves(aws: Aws, role: Orphan, used: _Used) -> bool:
    """Whether a role is in an instance profile that a stack uses."""
    profiles = iam.instance_profiles(aws.client("iam"), role.id)
    return any(arn.rpartition("/")[2] in used.named for arn in profiles)


def _orphan(what: str, name: str, tags: Mapping[str, str]) -> Orphan:
    owner, stack = _owner(tags)
    return Orphan(what, name, owner, stack, f"it was made for the {owner}, which does not exist")


def _owner(tags: Mapping[str, str]) -> tuple[str, str]:
    """Whose a thing is, and the name of the stack that makes such; empty: nobody's."""
    if KNOT_TAG in tags:
        return f"Knot {tags[KNOT_TAG]}", knot_stack(tags[KNOT_TAG])
    if PARS_TAG in tags:
        return f"Pars {tags[PARS_TAG]}", pars_stack(tags[PARS_TAG])
    return "", ""


def _in(output: str) -> Iterator[str]:
    """The names of things in an output: of an ARN the last part; subnets are several."""
    for part in output.split(","):
        if part.startswith("s3://"):
            yield bucket_and_prefix(part)[0]
        else:
            yield part.rpartition("/")[2] if part.startswith("arn:") else part


def _named(arn: str) -> tuple[str, str]:
    """The type of a thing in CloudFormation, or in its ARN; and its name.

    Source: Service Authorization Reference, "Resource types" of each service.
    """
    _, _, service, _, _, rest = arn.split(":", 5)
    if service == "cloudformation":
        return STACK, arn
    if service == "s3":
        return _TYPES["s3:"], rest
    kind, _, name = rest.partition(":" if service == "logs" else "/")
    what = f"{service}:{kind}"
    return _TYPES.get(what, what), name.removesuffix(":*")


_ORDER = {what: place for place, what in enumerate((STACK, *deletions.DELETE))}


def _order(orphan: Orphan) -> tuple[int, str]:
    return _ORDER.get(orphan.what, len(_ORDER)), orphan.id
