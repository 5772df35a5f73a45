"""What stands, and why jobs wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bundlerun.aws import quotas
from bundlerun.errors import NotFound
from bundlerun.provision.options import KnotOptions, ParsOptions
from bundlerun.provision.orphans import orphans, remove
from bundlerun.provision.status import KnotStatus, status
from bundlerun.provision.waiting import Machines, Quota, reasons
from tests.provision.conftest import Account, CountedAws

MACHINES = Machines("env", "ENABLED", "VALID", "", 0, 0, 16, False, ("m7g.large",))
LARGE = {"VCpuInfo": {"DefaultVCpus": 2}, "MemoryInfo": {"SizeInMiB": 8192}}


def job(vcpus: int = 1, memory_mib: int = 128, reason: str = "", name: str = "job") -> Any:
    """A job of DescribeJobs."""
    needs = [{"type": "VCPU", "value": str(vcpus)}, {"type": "MEMORY", "value": str(memory_mib)}]
    return {"jobName": name, "statusReason": reason, "container": {"resourceRequirements": needs}}


def machines(**more: Any) -> Machines:
    """A compute environment."""
    return Machines(**{**vars(MACHINES), **more})


WAITING = {
    "batch's own reason": (
        [job(reason="MISCONFIGURATION:X - too much", name="a"), job(name="b")],
        MACHINES,
        5,
        "a: MISCONFIGURATION:X - too much",
    ),
    "broken": (
        [job()],
        machines(status="INVALID", reason="no such role"),
        5,
        "the compute environment env is ENABLED and INVALID: no such role",
    ),
    "disabled": ([job()], machines(state="DISABLED"), 5, "env is DISABLED and VALID"),
    "over max_vcpus": ([job(vcpus=32)], MACHINES, 64, "needs 32 vCPUs, and max_vcpus is 16"),
    "over every machine": (
        [job(memory_mib=9000)],
        MACHINES,
        64,
        "needs 1 vCPUs, 9000 MiB, which no machine has of m7g.large",
    ),
    "over the quota": (
        [job(vcpus=2)],
        MACHINES,
        1,
        "needs 2 vCPUs, and the account's quota is 1",
    ),
    "no machine yet": ([job()], MACHINES, 64, "no machine runs yet"),
    "quota in use": ([job()], machines(desired_vcpus=5), 5, "quota of 5 vCPUs is in use"),
    "all in use": ([job()], machines(desired_vcpus=16), None, "all 16 vCPUs of max_vcpus"),
    "some in use": ([job()], machines(desired_vcpus=4), None, "4 of 16 vCPUs are in use"),
}


@pytest.mark.parametrize("case", WAITING)
def test_a_reason_is_told(case: str) -> None:
    """One alone, and the surest."""
    front, where, quota, said = WAITING[case]
    (told,) = reasons(front, where, [Quota("standard", "L-1", quota)], [LARGE])
    assert said in told


def test_what_is_smaller_is_what_may_run() -> None:
    """The quota or max_vcpus; an unknown quota is no limit that is told."""
    known, unknown = Quota("standard", "L-1", 5), Quota("standard", "L-1", None, "not allowed")
    knot = KnotStatus("k", "p", "CREATE_COMPLETE", "", machines=MACHINES, quotas=(known,))
    assert knot.most_vcpus == 5
    assert "at most 5 vCPUs run at once" in "\n".join(knot.lines())
    knot = KnotStatus("k", "p", "CREATE_COMPLETE", "", machines=MACHINES, quotas=(unknown,))
    assert knot.most_vcpus == 16
    assert "standard (L-1): unknown: not allowed" in "\n".join(knot.lines())


@pytest.mark.parametrize(
    ("instance_type", "kind"),
    [
        ("optimal", "standard"),
        ("default_arm64", "standard"),
        ("m7g", "standard"),
        ("im4gn.large", "standard"),
        ("g5.xlarge", "G and VT"),
        ("vt1.3xlarge", "G and VT"),
        ("p4d.24xlarge", "P"),
        ("inf1.xlarge", "Inf"),
        ("x2gd.medium", "X"),
        ("trn1.2xlarge", None),
        ("u-6tb1.56xlarge", None),
    ],
)
def test_a_type_counts_for_a_quota(instance_type: str, kind: str | None) -> None:
    """By the letters of its family."""
    assert quotas.kind_of(instance_type) == kind


def made(account: Account, **options: Any) -> str:
    """A Pars and a Knot called after the test; the queue."""
    client = account.provision()
    shared = client.ensure_pars(ParsOptions.of(account.name)).outputs
    knot = KnotOptions.of(account.name, pars=account.name, **options)
    return client.ensure_knot(knot, shared).outputs.queue


def submit(account: Account, queue: str, vcpus: int, **more: Any) -> str:
    """A job of that many vCPUs; its id."""
    batch = account.client("batch")
    definition = batch.register_job_definition(
        jobDefinitionName=account.name,
        type="container",
        containerProperties={"image": "any", "vcpus": vcpus, "memory": 128},
    )["jobDefinitionArn"]
    answer = batch.submit_job(jobName="wide", jobQueue=queue, jobDefinition=definition, **more)
    return str(answer["jobId"])


@contextmanager
def disabled(account: Account, queue: str) -> Iterator[None]:
    """A compute environment that begins nothing meanwhile."""
    batch = account.client("batch")
    batch.update_compute_environment(computeEnvironment=queue, state="DISABLED")
    yield
    batch.update_compute_environment(computeEnvironment=queue, state="ENABLED")


@pytest.mark.heavy
def test_a_knot_is_told_in_few_calls(account: Account) -> None:
    """Its stack, queue, machines and quota, and jobs by state: 11, and 2 more where some wait."""
    queue = made(account, max_vcpus=8, instance_types=["m5"])
    aws = CountedAws()
    told = status(aws, account.name)
    (knot,), (pars,) = told.knots, told.pars
    assert (pars.name, pars.stack, pars.remote[:5]) == (account.name, "CREATE_COMPLETE", "s3://")
    assert (knot.stack, knot.pars) == ("CREATE_COMPLETE", account.name)
    assert knot.queue is not None
    assert (knot.queue.state, knot.queue.status) == ("ENABLED", "VALID")
    assert knot.machines is not None
    assert (knot.machines.min_vcpus, knot.machines.max_vcpus) == (0, 8)
    assert knot.most_vcpus == 5
    assert (knot.jobs, knot.waits, told.unknown) == ({}, (), ())
    assert aws.calls.total() == 11, aws.calls
    with disabled(account, queue):
        submit(account, queue, 1, arrayProperties={"size": 3})
        aws = CountedAws()
        (knot,) = status(aws, account.name).knots
    assert knot.jobs == {"RUNNABLE": 3}
    assert knot.waits == (f"the compute environment {queue} is DISABLED and VALID",)
    assert aws.calls.total() == 14, aws.calls


@pytest.mark.heavy
def test_a_job_that_is_too_large_is_told(account: Account) -> None:
    """In AWS Batch's words and with the number to change."""
    queue = made(account, max_vcpus=2)
    job_id = submit(account, queue, 4)
    (knot,) = status(CountedAws(), account.name).knots
    assert [each.partition(" -")[0] for each in knot.waits] == [
        "wide: MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
        "wide needs 4 vCPUs, and max_vcpus is 2",
    ]
    account.client("batch").terminate_job(jobId=job_id, reason="the end")
    (knot,) = status(CountedAws(), account.name).knots
    assert (knot.jobs, knot.waits) == ({"FAILED": 1}, ())


class ForbiddenAws(CountedAws):
    """An identity that may not call some operations."""

    def __init__(self, *operations: str) -> None:
        super().__init__()
        self._forbidden = operations

    def _count(self, model: Any, **_: Any) -> None:
        from botocore.exceptions import ClientError

        if model.name in self._forbidden:
            said = {"Error": {"Code": "AccessDeniedException", "Message": "not you"}}
            raise ClientError(said, model.name)
        super()._count(model)


@pytest.mark.heavy
def test_what_may_not_be_asked_is_named(account: Account) -> None:
    """And all the rest is told; the front of the queue is guessed from the list."""
    queue = made(account, instance_types=["m5.large", "trn1.2xlarge"])
    aws = ForbiddenAws("GetServiceQuota", "GetJobQueueSnapshot")
    with disabled(account, queue):
        submit(account, queue, 1)
        told = status(aws, account.name)
    (knot,) = told.knots
    assert [each.vcpus for each in knot.quotas] == [None, None]
    assert "list-service-quotas" in knot.quotas[1].why
    assert "not you" in knot.quotas[0].why
    assert any("front of the queue" in each for each in told.unknown)
    assert knot.waits == (f"the compute environment {queue} is DISABLED and VALID",)
    assert knot.jobs == {"RUNNABLE": 1}
    told = status(ForbiddenAws("DescribeJobQueues"), account.name)
    assert told.knots[0].waits == ()
    assert any(line.startswith("unknown: asking for the job queue") for line in told.lines())


@pytest.mark.heavy
def test_a_queue_that_is_gone_is_told(account: Account) -> None:
    """It was deleted outside of its stack, and that hinders no deletion of the rest."""
    queue = made(account)
    batch = account.client("batch")
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    batch.delete_job_queue(jobQueue=queue)
    (knot,) = status(CountedAws(), account.name).knots
    assert knot.waits == (f"the queue {queue} does not exist any more",)
    account.provision().delete_knot(account.name)
    assert status(CountedAws(), account.name).knots == ()


@pytest.mark.heavy
def test_a_stack_that_was_not_made_is_told(account: Account) -> None:
    """With its state, and without things that it does not have."""
    account.client("cloudformation").create_stack(
        StackName=f"bundlerun-knot-{account.name}",
        TemplateBody='{"Resources": {"Queue": {"Type": "AWS::Batch::JobQueue", "Properties": {}}}}',
        Tags=[{"Key": "bundlerun:knot", "Value": account.name}],
    )
    end_s = time.monotonic() + 30
    knot = None
    while knot is None or knot.stack.endswith("_IN_PROGRESS"):
        assert time.monotonic() < end_s
        (knot,) = status(CountedAws(), account.name).knots
    assert knot.lines()[0].startswith(f"Knot {account.name}: ROLLBACK_COMPLETE")
    assert (knot.queue, knot.machines, knot.waits) == (None, None, ())
    (orphan,) = (each for each in orphans(CountedAws()).found if each.owner.endswith(account.name))
    assert (orphan.what, orphan.why) == ("AWS::CloudFormation::Stack", "it is ROLLBACK_COMPLETE")
    assert remove(CountedAws(), [orphan], sleep=lambda _: None) == ()
    assert account.provision().stacks.find(f"bundlerun-knot-{account.name}") is None


@pytest.mark.heavy
def test_a_name_that_nothing_has_is_refused(account: Account) -> None:
    """With the command that makes it."""
    with pytest.raises(NotFound) as raised:
        status(CountedAws(), "nothing-has-it")
    assert raised.value.hint == "bundlerun aws up nothing-has-it"
    told = status(CountedAws())
    assert account.name not in {each.name for each in (*told.knots, *told.pars)}
