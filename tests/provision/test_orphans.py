"""What carries our tags and has no stack is found, and removed when that is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bundlerun.provision import ensure
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.orphans import Orphan, orphans, remove
from bundlerun.provision.stacks import Left
from tests.provision.conftest import Account, CountedAws
from tests.provision.test_status import ForbiddenAws, submit

pytestmark = pytest.mark.heavy


def make(account: Account, **of_pars: Any) -> tuple[ensure.ParsMade, ensure.KnotMade]:
    """A Pars and a Knot of it, both called after the test."""
    client = account.provision()
    made = client.ensure_pars(ParsOptions.of(account.name, **of_pars))
    knot = KnotOptions.of(account.name, pars=account.name)
    return made, client.ensure_knot(knot, made.outputs)


def forget(account: Account) -> None:
    """Have the account lose the test's stacks, and keep all that they made."""
    from moto.cloudformation.models import cloudformation_backends

    from bundlerun.sandbox.contents import ACCOUNT, REGION

    stacks = cloudformation_backends[ACCOUNT][REGION].stacks
    for stack_id, stack in list(stacks.items()):
        if stack.name.endswith(account.name):
            del stacks[stack_id]


def own(account: Account, found: tuple[Orphan, ...]) -> list[Orphan]:
    """Those of this test."""
    return [each for each in found if each.owner.endswith(account.name)]


def swept(account: Account, **options: Any) -> tuple[Left, ...]:
    """Remove the orphans of this test."""
    aws = CountedAws()
    found = own(account, orphans(aws).found)
    return remove(aws, found, sleep=lambda _: None, **options)


def test_what_stands_is_no_orphan(account: Account) -> None:
    """Neither a whole stack's things, nor those without a tag of ours."""
    make(account, vpc="new")
    assert own(account, orphans(CountedAws()).found) == []
    before = account.all()
    assert swept(account) == ()
    assert account.all() == before


def test_all_that_lost_its_stack_is_found_and_removed(account: Account) -> None:
    """In an order that AWS takes: nothing of it remains, and nothing else is touched."""
    before = account.all()
    role = f"b-{account.name}"
    make(account, vpc="new", batch_service_role=role)
    whole = account.all()
    forget(account)
    found = orphans(CountedAws()).found
    kinds = {each.what.removeprefix("AWS::") for each in own(account, found)}
    assert kinds == {
        "Batch::ComputeEnvironment",
        "Batch::JobQueue",
        "EC2::InternetGateway",
        "EC2::LaunchTemplate",
        "EC2::RouteTable",
        "EC2::SecurityGroup",
        "EC2::Subnet",
        "EC2::VPC",
        "EC2::VPCEndpoint",
        "ECR::Repository",
        "IAM::Role",
        "Logs::LogGroup",
        "S3::Bucket",
    }
    assert account.all() <= whole
    assert swept(account) == ()
    assert account.all() == before
    assert own(account, orphans(CountedAws()).found) == []
    assert swept(account) == ()


def test_data_stay_unless_they_are_asked_for(account: Account) -> None:
    """A bucket and a repository that are not empty are told, with the reason."""
    shared, made = make(account)
    account.client("s3").put_object(Bucket=shared.outputs.bucket, Key="k", Body=b"x")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    image = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": "sha256:0"}, "layers": []}
    account.client("ecr").put_image(
        repositoryName=made.outputs.repository, imageManifest=json.dumps(image), imageTag="t"
    )
    forget(account)
    left = {each.what: each for each in swept(account)}
    assert set(left) == {"AWS::S3::Bucket", "AWS::ECR::Repository"}
    assert all("not empty" in each.why for each in left.values())
    assert {each.id for each in left.values()} == {
        shared.outputs.bucket,
        made.outputs.repository,
    }
    assert swept(account, data=True) == ()
    assert own(account, orphans(CountedAws()).found) == []


def test_job_definitions_of_a_deleted_knot_are_orphans(account: Account) -> None:
    """Those that are deregistered are none; those without the tag are left alone."""
    batch = account.client("batch")
    tagged = {"bundlerun:knot": account.name}
    arns = []
    for number, tags in enumerate((tagged, tagged, {})):
        arn = batch.register_job_definition(
            jobDefinitionName=f"{account.name}-{number}",
            type="container",
            containerProperties={"image": "any", "vcpus": 1, "memory": 128},
            tags=tags,
        )["jobDefinitionArn"]
        arns.append(arn)
    batch.deregister_job_definition(jobDefinition=arns[0])
    (found,) = own(account, orphans(CountedAws()).found)
    assert (found.what, found.id) == ("AWS::Batch::JobDefinition", f"{account.name}-1:1")
    assert str(found).endswith(f"it was made for the Knot {account.name}, which does not exist")
    assert swept(account) == ()
    rows = batch.describe_job_definitions(jobDefinitions=arns)["jobDefinitions"]
    assert {row["jobDefinitionName"][-1]: row["status"] for row in rows} == {
        "0": "INACTIVE",
        "1": "INACTIVE",
        "2": "ACTIVE",
    }


def test_a_stack_that_could_not_be_deleted_is_an_orphan(account: Account) -> None:
    """It goes with all that it has, once what hindered it is gone."""
    role = f"m-{account.name}"
    account.provision().ensure_pars(ParsOptions.of(account.name, instance_role=role))
    iam = account.client("iam")
    iam.create_instance_profile(InstanceProfileName=account.name)
    iam.add_role_to_instance_profile(InstanceProfileName=account.name, RoleName=role)
    account.provision().delete_pars(account.name)
    found = own(account, orphans(CountedAws()).found)
    assert [(each.what, each.why) for each in found if each.what.endswith("::Stack")] == [
        ("AWS::CloudFormation::Stack", "it is DELETE_FAILED")
    ]
    left = {each.id: each.why for each in swept(account)}
    assert f"the instance profile {account.name}, which bundlerun did not make" in left[role]
    iam.remove_role_from_instance_profile(InstanceProfileName=account.name, RoleName=role)
    assert swept(account) == ()
    assert own(account, orphans(CountedAws()).found) == []
    iam.delete_instance_profile(InstanceProfileName=account.name)


def test_what_another_pars_adopted_is_no_orphan(account: Account) -> None:
    """Its bucket, its machines' role and its network serve on, though their own stack is gone."""
    made, _ = make(account, vpc="new", instance_role=f"m-{account.name}")
    forget(account)
    client, other = account.provision(), f"{account.name}b"
    client.ensure_pars(
        ParsOptions.of(
            other,
            vpc=made.outputs.vpc,
            bucket=made.outputs.bucket,
            instance_role=f"m-{account.name}",
        )
    )
    kinds = {each.what for each in own(account, orphans(CountedAws()).found)}
    assert "AWS::Batch::JobQueue" in kinds
    assert not kinds & {"AWS::S3::Bucket", "AWS::EC2::VPC", "AWS::EC2::InternetGateway"}
    roles = [each for each in own(account, orphans(CountedAws()).found) if "Role" in each.what]
    assert f"m-{account.name}" not in {each.id for each in roles}
    client.delete_pars(other)
    assert swept(account) == ()


def test_what_is_made_again_meanwhile_stays(account: Account) -> None:
    """Between the look and the removal somebody may make a Knot of the same name."""
    make(account)
    forget(account)
    found = own(account, orphans(CountedAws()).found)
    swept(account)
    make(account)
    before = account.all()
    left = remove(CountedAws(), found)
    assert {each.id for each in left} == {each.id for each in found}
    assert all("it belongs to the stack bundlerun-" in each.why for each in left)
    assert account.all() == before


def test_a_role_of_another_region_is_no_orphan(account: Account) -> None:
    """IAM is one for all regions; what does not tell its region is left alone as well."""
    iam = account.client("iam")
    trust = json.dumps({"Statement": [{"Principal": {"Service": "ec2.amazonaws.com"}}]})
    stack = "arn:aws:cloudformation:eu-west-1:123456789012:stack/bundlerun-pars-x/1"
    for number, tags in enumerate(({"bundlerun:stack": stack}, {})):
        rows = {"bundlerun:pars": account.name, **tags}
        iam.create_role(
            RoleName=f"r{number}-{account.name}",
            AssumeRolePolicyDocument=trust,
            Tags=[{"Key": key, "Value": value} for key, value in rows.items()],
        )
    assert own(account, orphans(CountedAws()).found) == []


def test_jobs_of_an_orphaned_queue_end(account: Account) -> None:
    """Before the queue is deleted."""
    _, made = make(account)
    job_id = submit(account, made.outputs.queue, 1)
    forget(account)
    assert swept(account) == ()
    (job,) = account.client("batch").describe_jobs(jobs=[job_id])["jobs"]
    assert job["statusReason"] == "its Knot is deleted"


def test_what_may_not_be_asked_or_done_is_named(account: Account) -> None:
    """Roles that may not be listed; a log group that may not be deleted: the rest goes."""
    make(account)
    forget(account)
    told = orphans(ForbiddenAws("ListRoles"))
    assert "not you" in told.unknown[0]
    found = own(account, told.found)
    (left,) = remove(ForbiddenAws("DeleteLogGroup"), found, sleep=lambda _: None)
    assert (left.what, "not you" in left.why) == ("AWS::Logs::LogGroup", True)
    assert swept(account) == ()
