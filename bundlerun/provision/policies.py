"""The least IAM policies: of a client that submits, and of one that provisions.

Actions, their resources and their condition keys: Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/), the page of each service.
Where a statement has the resource "*", the reference names no narrower one for its actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.policy_parts import ANY, Place, allow, owned, passing, policy
from bundlerun.provision.stack_actions import Things, stack_statements
from bundlerun.provision.templates import KNOT_TAG, Json
from bundlerun.remotes.s3 import bucket_and_prefix


@dataclass(frozen=True)
class Submitter:
    """What a client uses that submits; "*" means any, an empty tuple none.

    ``remote`` is ``s3://BUCKET/PREFIX``. ``roles`` are those that jobs are given, names or ARNs.
    ``session_role`` is the one whose credentials are narrowed for jobs ([aws] session_role_arn);
    ``federated``: those of an IAM user are (session_seconds without such a role).
    """

    remote: str = ANY
    queue: str = ANY
    definitions: str = ANY
    repositories: Sequence[str] = (ANY,)
    log_groups: Sequence[str] = (ANY,)
    roles: Sequence[str] = (ANY,)
    session_role: str | None = None
    federated: bool = False
    knots: Sequence[str] = (ANY,)
    pars: Sequence[str] = (ANY,)


def run_policy(place: Place, submitter: Submitter) -> Json:
    """The least policy of a client that submits, follows, ends and reads its runs.

    It pushes and pulls on the remote, pushes images, and finds its Pars and Knots again; it makes
    and deletes none. Raises UsageError for what cannot be a remote.
    """
    return policy(
        [
            *_remote(place, submitter.remote),
            *_images(place, submitter.repositories),
            *_jobs(place, submitter),
            *_roles(place, submitter),
            *_stacks_found(place, submitter),
        ]
    )


def _remote(place: Place, remote: str) -> list[Json]:
    bucket, prefix = (ANY, "") if remote == ANY else bucket_and_prefix(remote)
    below = f"{prefix}/*" if prefix else "*"
    listing = allow("ListRemote", ["s3:ListBucket"], [place.s3(bucket)])
    if prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": [below]}}
    objects = [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
    ]
    return [listing, allow("UseRemote", objects, [place.s3(f"{bucket}/{below}")])]


def _images(place: Place, repositories: Sequence[str]) -> list[Json]:
    if not repositories:
        return []
    used = [
        "ecr:DescribeRepositories",
        "ecr:CreateRepository",
        # What a push and a pull of docker ask for (ECR user guide, "IAM permissions for pushing
        # an image").
        "ecr:BatchCheckLayerAvailability",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
        "ecr:CompleteLayerUpload",
        "ecr:PutImage",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    ]
    where = [place.arn("ecr", f"repository/{name}") for name in repositories]
    return [
        allow("LoginToRegistry", ["ecr:GetAuthorizationToken"], [ANY]),
        allow("PushImages", used, where),
    ]


def _jobs(place: Place, submitter: Submitter) -> list[Json]:
    queue = place.arn("batch", f"job-queue/{submitter.queue}")
    definitions = place.arn("batch", f"job-definition/{submitter.definitions}")
    looks = [
        "batch:DescribeComputeEnvironments",
        "batch:DescribeJobDefinitions",
        "batch:DescribeJobQueues",
        "batch:DescribeJobs",
        "batch:ListJobs",
    ]
    rows = [
        allow("LookAtJobs", looks, [ANY]),
        allow("SubmitJobs", ["batch:SubmitJob"], [queue, definitions]),
        allow("DefineJobs", ["batch:RegisterJobDefinition"], [definitions]),
        # Both are made with tags, which is a permission of its own.
        allow("TagJobs", ["batch:TagResource"], [definitions, place.arn("batch", "job/*")]),
        allow("EndJobs", ["batch:TerminateJob"], [place.arn("batch", "job/*")]),
    ]
    if submitter.log_groups:
        where = [
            place.arn("logs", f"log-group:{name}:log-stream:*") for name in submitter.log_groups
        ]
        rows.append(allow("ReadLogs", ["logs:GetLogEvents"], where))
    return rows


def _roles(place: Place, submitter: Submitter) -> list[Json]:
    rows = []
    if submitter.roles:
        roles = [place.iam("role", name) for name in submitter.roles]
        rows.append(passing("GiveRolesToJobs", roles, ["ecs-tasks.amazonaws.com"]))
    if submitter.session_role:
        role = place.iam("role", submitter.session_role)
        rows.append(allow("NarrowCredentials", ["sts:AssumeRole"], [role]))
    if submitter.federated:
        # The name that Aws.narrowed gives.
        user = f"arn:{place.partition}:sts::{place.account}:federated-user/bundlerun"
        rows.append(allow("NarrowOwnCredentials", ["sts:GetFederationToken"], [user]))
    return rows


def _stacks_found(place: Place, submitter: Submitter) -> list[Json]:
    names = [
        *(f"bundlerun-knot-{name}" for name in submitter.knots),
        *(f"bundlerun-pars-{name}" for name in submitter.pars),
    ]
    if not names:
        return []
    where = [place.arn("cloudformation", f"stack/{name}/*") for name in names]
    return [
        allow(
            "FindKnots",
            ["cloudformation:DescribeStacks", "cloudformation:GetTemplate"],
            where,
        )
    ]


def provision_policy(
    place: Place, *, pars: ParsOptions | None = None, knot: KnotOptions | None = None
) -> Json:
    """The least policy that makes, finds, shows and deletes a Pars and a Knot.

    Without ``pars`` or ``knot`` those of any name, as long as roles, buckets, queues and
    repositories have the names that bundlerun gives them. It holds for a caller that is not
    CloudFormation's own role: CloudFormation does everything as the caller.
    """
    things = _things(pars, knot)
    return policy(
        [
            *_stacks(place, pars, knot),
            *stack_statements(place, things),
            *_adopted(place, things),
            *_ended(place, things),
            *_shown(place, things),
            *_swept(place),
        ]
    )


def _things(pars: ParsOptions | None, knot: KnotOptions | None) -> Things:
    name = pars.name if pars else ANY
    bucket = bucket_and_prefix(pars.bucket)[0] if pars and pars.bucket else f"br-{name}-*"
    asked = (
        (pars.job_role, pars.instance_role, pars.batch_service_role, pars.spot_fleet_role)
        if pars
        else ()
    )
    named = [role for role in asked if role]
    own = _generated(name)
    return Things(
        bucket=bucket,
        roles=(own, *named),
        given_roles=(own, *named),
        profiles=(f"bundlerun-pars-{name}-*",),
        queue=knot.queue if knot else "bundlerun-*",
        environment=knot.environment if knot else "bundlerun-*",
        log_group=knot.log_group if knot else "/bundlerun/knot/*",
        repository=knot.repository_name if knot else "bundlerun/*",
        definitions=knot.job_definition if knot else "bundlerun-*",
        new_network=pars is None or pars.vpc == "new",
    )


def _generated(pars: str) -> str:
    """The names that CloudFormation gives to the roles of a Pars.

    STACK-LOGICAL-SUFFIX in at most 64 characters, for which it cuts the stack's name
    (CloudFormation user guide, "Name type"); the suffix has 12 or 13.
    """
    stack, most = f"bundlerun-pars-{pars}", 64 - len("-InstanceRole-") - 13
    return f"{stack}-*" if len(stack) <= most else f"{stack[:most]}*"


def _stacks(place: Place, pars: ParsOptions | None, knot: KnotOptions | None) -> list[Json]:
    names = [
        f"bundlerun-pars-{pars.name if pars else ANY}",
        f"bundlerun-knot-{knot.name if knot else ANY}",
    ]
    own = [
        "cloudformation:CreateStack",
        "cloudformation:DeleteStack",
        "cloudformation:DescribeStackEvents",
        "cloudformation:DescribeStacks",
    ]
    where = [place.arn("cloudformation", f"stack/{name}/*") for name in names]
    # What others use, and who is still being made, is told by their templates.
    every = [place.arn("cloudformation", "stack/bundlerun-*/*")]
    # DescribeStacks without a name (API reference).
    listing = ["cloudformation:DescribeStacks", "cloudformation:ListStacks"]
    return [
        allow("Stacks", own, where),
        allow("ReadStacks", ["cloudformation:GetTemplate"], every),
        allow("ListStacks", listing, [ANY]),
    ]


def _adopted(place: Place, things: Things) -> list[Json]:
    """The looks for what exists already (``adopt``)."""
    looks = ["ec2:DescribeAvailabilityZones", "ec2:DescribeImages"]
    repository = place.arn("ecr", f"repository/{things.repository}")
    roles = [place.iam("role", name) for name in things.roles]
    return [
        allow("LookForNetwork", looks, [ANY]),
        allow("LookForRepository", ["ecr:DescribeRepositories"], [repository]),
        allow("LookForProfiles", ["iam:ListInstanceProfilesForRole"], roles),
    ]


def _ended(place: Place, things: Things) -> list[Json]:
    """The calls of a deletion that end jobs, images and data."""
    images = ["ecr:DeleteRepository", "ecr:ListTagsForResource"]
    repository = place.arn("ecr", f"repository/{things.repository}")
    definitions = place.arn("batch", f"job-definition/{things.definitions}:*")
    bucket = place.s3(things.bucket)
    return [
        allow("ListJobs", ["batch:DescribeJobDefinitions", "batch:ListJobs"], [ANY]),
        allow("EndJobs", ["batch:TerminateJob"], [place.arn("batch", "job/*")]),
        allow("ForgetDefinitions", ["batch:DeregisterJobDefinition"], [definitions]),
        allow("DeleteImages", images, [repository]),
        allow("ListData", ["s3:GetBucketTagging", "s3:ListBucketVersions"], [bucket]),
        allow("DeleteData", ["s3:DeleteObject", "s3:DeleteObjectVersion"], [f"{bucket}/*"]),
    ]


def _shown(place: Place, things: Things) -> list[Json]:
    """The looks of ``status``."""
    looks = ["batch:DescribeJobs", "ec2:DescribeInstanceTypes", "servicequotas:GetServiceQuota"]
    queue = place.arn("batch", f"job-queue/{things.queue}")
    return [
        allow("ShowJobs", looks, [ANY]),
        allow("ShowQueue", ["batch:GetJobQueueSnapshot"], [queue]),
    ]


def _swept(place: Place) -> list[Json]:
    """What ``orphans`` looks for, and deletes without CloudFormation."""
    looks = ["batch:DescribeJobDefinitions", "iam:ListRoles", "tag:GetResources"]
    definitions = place.arn("batch", "job-definition/*")
    row = allow("ForgetJobDefinitions", ["batch:DeregisterJobDefinition"], [definitions])
    return [
        allow("FindOrphans", looks, [ANY]),
        allow("FindRoles", ["iam:ListRoleTags"], [place.iam("role", ANY)]),
        owned(row, KNOT_TAG),
    ]
