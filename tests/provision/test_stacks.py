"""A Pars and a Knot are made whole or not at all, found again, and deleted.

The sandbox's CloudFormation makes, fails, rolls back and deletes one resource after the other as
AWS says it does; that AWS's own rollback does, and what IAM allows, it cannot prove.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bundlerun.errors import CloudError, Conflict, NotFound, UsageError
from bundlerun.provision import ensure
from bundlerun.provision.options import KnotOptions, ParsOptions
from tests.provision.cases import PARS
from tests.provision.conftest import LOOKS, Account, CountedAws
from tests.provision.test_templates import knot, pars
from tests.sandbox.fates import Fate

pytestmark = pytest.mark.heavy


def make(account: Account, **of_knot: Any) -> tuple[ensure.ParsMade, ensure.KnotMade]:
    """A Pars and a Knot of it, both called after the test."""
    client = account.provision()
    made = client.ensure_pars(ParsOptions.of(account.name))
    knot = KnotOptions.of(account.name, pars=account.name, **of_knot)
    return made, client.ensure_knot(knot)


@pytest.mark.parametrize("vpc", ["default", "new"])
def test_a_pars_and_a_knot_are_made_in_few_calls(account: Account, vpc: str) -> None:
    """12 and less, beside the looks; found again by 4."""
    aws = CountedAws()
    client = account.provision(aws)
    asked = ParsOptions.of(account.name, vpc=vpc)
    knot = KnotOptions.of(account.name, pars=account.name, spot=True)
    shared = client.ensure_pars(asked)
    made = client.ensure_knot(knot, shared.outputs)
    beside = {name: count for name, count in aws.calls.items() if name not in LOOKS}
    assert sum(beside.values()) <= 12, beside
    aws.calls.clear()
    assert client.ensure_pars(asked) == shared
    assert client.ensure_knot(knot) == made
    assert aws.calls.total() <= 4, aws.calls
    (queue,) = account.client("batch").describe_job_queues(jobQueues=[made.outputs.queue])[
        "jobQueues"
    ]
    assert (queue["state"], queue["status"]) == ("ENABLED", "VALID")
    assert queue["tags"]["bundlerun:knot"] == account.name


def test_a_knot_is_found_by_its_name_from_any_machine(account: Account) -> None:
    """With the options that it was made of, and what was left out as it is."""
    shared, made = make(account, memory_mib=4096, max_vcpus=8)
    other = account.provision()
    assert other.ensure_knot(KnotOptions.of(account.name)) == made
    assert made.options.memory_mib == 4096
    found = other.find_pars(account.name)
    assert found == shared
    assert other.knots_of(account.name) == [account.name]


def test_asked_and_found_that_differ_are_both_shown(account: Account) -> None:
    """And nothing is changed."""
    make(account, max_vcpus=8)
    before = account.all()
    with pytest.raises(Conflict, match="max_vcpus: asked 16, found 8"):
        account.provision().ensure_knot(KnotOptions.of(account.name, max_vcpus=16))
    with pytest.raises(Conflict, match="vpc: asked 'new', found 'default'"):
        account.provision().ensure_pars(ParsOptions.of(account.name, vpc="new"))
    assert account.all() == before


@pytest.mark.parametrize("failed", sorted({**pars("new"), **pars("own names")}))
def test_of_a_pars_that_fails_nothing_is_left(account: Account, failed: str) -> None:
    """The first event with its reason is shown, whichever it is, and the name is free."""
    before = account.all()
    account.failing[failed] = f"{failed} is not allowed today"
    more = {"vpc": "new"} if failed in pars("new") else dict(spot_fleet_role=f"sf-{account.name}")
    if failed == "ServiceRole":
        more = {"batch_service_role": f"b-{account.name}"}
    options = ParsOptions.of(account.name, **more)
    with pytest.raises(CloudError, match=rf"{failed} \(AWS::.*{failed} is not allowed today"):
        account.provision().ensure_pars(options)
    # The stack is among them, so its name is free.
    assert account.all() == before


@pytest.mark.parametrize("failed", sorted(knot("default")))
def test_of_a_knot_that_fails_nothing_is_left(account: Account, failed: str) -> None:
    """Its Pars stays."""
    client = account.provision()
    shared = client.ensure_pars(ParsOptions.of(account.name)).outputs
    before = account.all()
    account.failing[failed] = f"{failed} is not allowed today"
    options = KnotOptions.of(account.name, pars=account.name)
    with pytest.raises(CloudError, match=rf"{failed} \(AWS::.*{failed} is not allowed today"):
        client.ensure_knot(options, shared)
    assert account.all() == before


def test_the_name_of_what_failed_is_free(account: Account) -> None:
    """The same command again, once the cause is mended."""
    account.failing["JobRole"] = "not today"
    client = account.provision()
    with pytest.raises(CloudError):
        client.ensure_pars(ParsOptions.of(account.name))
    account.failing.clear()
    assert client.ensure_pars(ParsOptions.of(account.name)).outputs.job_role


@pytest.mark.parametrize("name", ["default", "new", "new and dedicated"])
def test_each_set_of_options_can_be_made(account: Account, name: str) -> None:
    """All of their resources are ones that the sandbox knows, too."""
    options, _ = PARS[name]
    asked = {key: getattr(options, key) for key in options.given}
    account.provision().ensure_pars(ParsOptions.of(account.name, **asked))


@pytest.mark.parametrize("fate", Fate)
def test_the_first_call_of_each_kind_may_stumble(account: Account, fate: Fate) -> None:
    """Answers are lost, or AWS asks to slow down: there is one stack each, and they are deleted."""
    before = account.all()
    account.calls.befall_first(fate)
    client = account.provision()
    shared = client.ensure_pars(ParsOptions.of(account.name)).outputs
    client.ensure_knot(KnotOptions.of(account.name, pars=account.name), shared)
    assert client.find_knot(account.name) is not None
    asked = account.calls.had
    account.calls.befall_first(None)
    stacks = {each for each in account.all() if each.startswith("Stacks") and account.name in each}
    assert len(stacks) == 2
    account.calls.befall_first(fate)
    client.delete_knot(account.name, repository=True)
    client.delete_pars(account.name, bucket=True)
    asked |= account.calls.had
    assert asked >= CALLS, (CALLS - asked, asked)
    account.calls.befall_first(None)
    assert account.all() == before


CALLS = {
    *("CreateStack", "DeleteStack", "DescribeStacks", "DescribeStackEvents", "GetTemplate"),
    *("GetCallerIdentity", "HeadBucket", "GetBucketTagging", "DeleteBucket"),
    *("DescribeVpcs", "DescribeSubnets"),
    *("DescribeRepositories", "DeleteRepository", "ListTagsForResource"),
    *("ListJobs", "DescribeJobDefinitions"),
}
"""What is asked of AWS to make, find and delete a Pars and a Knot."""


def test_two_at_once_make_one_stack(account: Account) -> None:
    """Both are given it."""
    options = ParsOptions.of(account.name)
    clients = [CountedAws() for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda aws: account.provision(aws).ensure_pars(options), clients))
    assert len({each.stack_id for each in made}) == 1


def test_two_at_once_are_both_told_of_a_failure(account: Account) -> None:
    """The one that began it, and the one that waited for it; nothing is left."""
    before = account.all()
    account.failing["JobRole"] = "not today"

    def attempt(_: int) -> str:
        with pytest.raises(CloudError) as raised:
            account.provision().ensure_pars(ParsOptions.of(account.name))
        return raised.value.message

    with ThreadPoolExecutor() as pool:
        said = list(pool.map(attempt, range(2)))
    assert all("JobRole" in each and "not today" in each for each in said)
    assert account.all() == before


CLIENT = """
import sys
from bundlerun.aws.session import Aws
from bundlerun.progress import Lines
from bundlerun.provision.ensure import Provision
from bundlerun.provision.options import ParsOptions

told = Lines(lambda line: print(line, flush=True))
Provision(Aws(), progress=told).ensure_pars(ParsOptions.of(sys.argv[1], vpc="new"))
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_client_that_is_killed_is_no_hindrance(account: Account, fails: bool) -> None:
    """What it began goes on and is used; what failed while nobody looked is deleted, and made."""
    if fails:
        account.failing["JobRole"] = "not today"
    program = [sys.executable, "-c", CLIENT, account.name]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert "making" in client.stdout.readline()
        client.kill()
    other = account.provision()
    while fails and "IN_PROGRESS" in state(other, account.name):
        time.sleep(0.02)
    begun = other.stacks.find(ensure.pars_stack(account.name))
    account.failing.clear()
    made = other.ensure_pars(ParsOptions.of(account.name, vpc="new"))
    assert made.outputs.job_role
    # A client that was slow to die has deleted it itself.
    assert fails or (begun and begun.id == made.stack_id)


def state(client: ensure.Provision, name: str) -> str:
    """The status of a Pars's stack."""
    found = client.stacks.find(ensure.pars_stack(name))
    return found.status if found else ""


@pytest.mark.parametrize("fails", [False, True])
def test_a_stack_of_somebody_else_is_left_alone(account: Account, fails: bool) -> None:
    """It is neither used nor deleted, not even one that was rolled back."""
    name = ensure.pars_stack(account.name)
    if fails:
        account.failing["L"] = "not today"
    logs = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": account.name}}
    cfn = account.client("cloudformation")
    made = cfn.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"L": logs}}))
    client = account.provision()
    while "IN_PROGRESS" in state(client, account.name):
        time.sleep(0.02)
    with pytest.raises(Conflict, match="did not make it"):
        client.ensure_pars(ParsOptions.of(account.name))
    with pytest.raises(Conflict, match="nothing was deleted"):
        client.delete_pars(account.name)
    found = client.stacks.find(name)
    assert found
    assert found.id == made["StackId"]
    cfn.delete_stack(StackName=name)


def test_what_cannot_be_deleted_is_told_and_holds_the_name(account: Account) -> None:
    """The next one of this name says what to do; once it can be deleted, it goes."""
    make(account)
    iam = account.client("iam")
    client = account.provision()
    client.delete_knot(account.name)
    role = client.get_pars(account.name).outputs.job_role.rpartition("/")[2]
    iam.create_instance_profile(InstanceProfileName=account.name)
    iam.add_role_to_instance_profile(InstanceProfileName=account.name, RoleName=role)
    left = {each.id: each.why for each in client.delete_pars(account.name)}
    assert role in left
    assert left[role] != "it is kept"
    with pytest.raises(Conflict) as raised:
        client.ensure_pars(ParsOptions.of(account.name))
    assert raised.value.hint == f"bundlerun aws down --pars {account.name}"
    iam.remove_role_from_instance_profile(InstanceProfileName=account.name, RoleName=role)
    assert role not in {each.id for each in client.delete_pars(account.name)}
    assert client.stacks.find(ensure.pars_stack(account.name)) is None


def test_deleting_is_idempotent_and_tells_what_stays(account: Account) -> None:
    """The bucket and the repository, which hold what the user made; all else is gone."""
    before = account.all()
    shared, _ = make(account)
    client = account.provision()
    left = client.delete_knot(account.name)
    assert [(each.what, each.id) for each in left] == [
        ("AWS::ECR::Repository", f"bundlerun/{account.name}")
    ]
    left = client.delete_pars(account.name)
    assert [(each.what, each.id) for each in left] == [("AWS::S3::Bucket", shared.outputs.bucket)]
    assert client.delete_knot(account.name) == client.delete_pars(account.name) == ()
    assert account.all() - before == {
        f"Buckets: {shared.outputs.bucket}",
        f"repositories: bundlerun/{account.name}",
    }


def test_what_stayed_is_adopted_when_it_is_made_again(account: Account) -> None:
    """And stays once more, as its own: it was not there before bundlerun."""
    shared, made = make(account)
    client = account.provision()
    client.delete_knot(account.name)
    client.delete_pars(account.name)
    again, knot_again = make(account)
    assert again.outputs.bucket == shared.outputs.bucket
    assert knot_again.outputs.repository == made.outputs.repository
    left = (*client.delete_knot(account.name), *client.delete_pars(account.name))
    assert [each.why for each in left] == ["it is kept"] * 2
    assert f"Buckets: {shared.outputs.bucket}" in account.all()


@pytest.mark.parametrize("times", [1, 2])
def test_bucket_and_repository_go_when_they_are_asked_to(account: Account, times: int) -> None:
    """With all they have, also where they stayed from an earlier time: they are its own by tag."""
    before = account.all()
    client = account.provision()
    for _ in range(times):
        client.delete_knot(account.name)
        client.delete_pars(account.name)
        shared, _ = make(account)
    account.client("s3").put_object(Bucket=shared.outputs.bucket, Key="k", Body=b"x")
    assert client.delete_knot(account.name, repository=True) == ()
    assert client.delete_pars(account.name, bucket=True) == ()
    assert account.all() == before


def test_what_exists_is_adopted_and_never_deleted(account: Account) -> None:
    """Roles, a bucket and a repository, with all that they have."""
    iam, name = account.client("iam"), account.name
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    for role in ("job", "machine", "batch"):
        iam.create_role(RoleName=f"{role}-{name}", AssumeRolePolicyDocument=trust)
    iam.create_instance_profile(InstanceProfileName=f"machine-{name}")
    iam.add_role_to_instance_profile(
        InstanceProfileName=f"machine-{name}", RoleName=f"machine-{name}"
    )
    account.client("s3").create_bucket(Bucket=f"mine-{name}")
    account.client("ecr").create_repository(repositoryName=f"mine/{name}")
    before = account.all()
    client = account.provision()
    made = client.ensure_pars(
        ParsOptions.of(
            name,
            job_role=f"job-{name}",
            instance_role=f"machine-{name}",
            batch_service_role=f"batch-{name}",
            bucket=f"mine-{name}/data",
        )
    )
    assert made.outputs.remote == f"s3://mine-{name}/data"
    client.ensure_knot(KnotOptions.of(name, pars=name, repository=f"mine/{name}"))
    (left,) = client.delete_knot(name, repository=True)
    assert (left.id, left.why) == (f"mine/{name}", "it was there before")
    assert {each.what for each in client.delete_pars(name, bucket=True)} == {
        "AWS::S3::Bucket",
        "AWS::IAM::Role",
        "AWS::IAM::InstanceProfile",
    }
    assert account.all() == before


def test_what_exists_is_not_changed(account: Account) -> None:
    """Policies for a role of somebody's are refused, and a role that must exist is not made."""
    iam = account.client("iam")
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    arn = iam.create_role(RoleName=account.name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    before = account.all()
    client = account.provision()
    given = {"job_role": arn, "policies": ["AmazonS3ReadOnlyAccess"]}
    with pytest.raises(UsageError, match="what exists is not changed"):
        client.ensure_pars(ParsOptions.of(account.name, **given))
    with pytest.raises(NotFound, match="there is no role"):
        client.ensure_pars(ParsOptions.of(account.name, job_role=f"{arn}x"))
    with pytest.raises(NotFound, match="VPC"):
        client.ensure_pars(ParsOptions.of(account.name, vpc="vpc-0123456789abcdef0"))
    assert account.all() == before


def test_jobs_end_with_their_knot(account: Account) -> None:
    """Those that run, and those that wait."""
    _, made = make(account)
    batch = account.client("batch")
    container = {"image": "any", "vcpus": 1, "memory": 128}
    definition = batch.register_job_definition(
        jobDefinitionName=account.name, type="container", containerProperties=container
    )["jobDefinitionArn"]
    asked = {"jobQueue": made.outputs.queue, "jobDefinition": definition}
    jobs = [batch.submit_job(jobName=f"job-{n}", **asked)["jobId"] for n in range(2)]
    account.provision().delete_knot(account.name)
    end_s = time.monotonic() + 30
    while {row["status"] for row in batch.describe_jobs(jobs=jobs)["jobs"]} != {"FAILED"}:
        assert time.monotonic() < end_s
        time.sleep(0.05)
    rows = batch.describe_jobs(jobs=jobs)["jobs"]
    assert {row["statusReason"] for row in rows} == {"its Knot is deleted"}


def test_a_pars_in_use_is_not_deleted(account: Account) -> None:
    """The Knot is named."""
    make(account)
    with pytest.raises(Conflict, match=f"is used by {account.name}"):
        account.provision().delete_pars(account.name)


def test_a_knot_without_its_pars_is_not_made(account: Account) -> None:
    """The cure is named, and nothing was begun."""
    before = account.all()
    with pytest.raises(NotFound, match="there is no Pars none"):
        account.provision().ensure_knot(KnotOptions.of(account.name, pars="none"))
    assert account.all() == before


def test_a_stack_deleted_outside_is_made_again(account: Account) -> None:
    """Its name is known no more."""
    _, made = make(account)
    account.client("cloudformation").delete_stack(StackName=made.stack_id)
    again = account.provision().ensure_knot(KnotOptions.of(account.name, pars=account.name))
    assert again.stack_id != made.stack_id


def test_the_work_is_told(account: Account) -> None:
    """A line for each thing."""
    account.provision().ensure_pars(ParsOptions.of(account.name))
    assert "JobRole (AWS::IAM::Role): making" in account.lines
