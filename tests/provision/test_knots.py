"""A Pars and a Knot in the caller's hand: made, found again, mapped on, clobbered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.aws.session import Aws
from bundlerun.sandbox.batch_attempt import Attempt, in_process
from tests.provision.conftest import LOOKS, Account
from tests.services import aws_in_process

pytestmark = pytest.mark.heavy

LONG_S = 120
SERVICES = ("batch", "cloudformation", "ec2", "ecr", "iam", "logs", "s3", "sts")


def double(x: int) -> int:
    """What is mapped."""
    return x * 2


def works(attempt: Attempt) -> int:
    """A job in a process of its own, without its image."""
    command = [sys.executable, *attempt.container["command"][1:]]
    worker = subprocess.Popen(command, env={**os.environ, **attempt.environment})
    attempt.on_stop(lambda grace_s: worker.terminate())
    return worker.wait(LONG_S)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, dict[str, str]]]:
    """One AWS for all tests of this module, whose jobs work."""
    failing: dict[str, str] = {}
    with aws_in_process(in_process(works), failing=failing) as (_, endpoint):
        yield endpoint, failing


@pytest.fixture
def workspace(account: Account, tmp_path: Path) -> Iterator[br.Workspace]:
    """A store whose context has no remote."""
    with br.open(tmp_path / "store", context="work") as opened:
        yield opened


def counted(workspace: br.Workspace) -> Counter[str]:
    """The requests of the workspace's identity from now on, as ``service Operation``."""
    aws, calls = Aws.of(workspace.scope.connections), Counter[str]()

    def count(model: Any, **_: Any) -> None:
        calls[f"{model.service_model.service_name} {model.name}"] += 1

    for service in SERVICES:
        aws.client(service).meta.events.register("before-call", count)
    return calls


def beside(calls: Counter[str], *services: str) -> dict[str, int]:
    """Those that are neither looks nor of these services."""
    return {
        name: count
        for name, count in calls.items()
        if name.partition(" ")[0] not in services and name.partition(" ")[2] not in LOOKS
    }


def test_a_knot_maps_on_machines_of_its_own(account: Account, workspace: br.Workspace) -> None:
    """On its queue, in its log group, as its role; the context gets the remote of its Pars."""
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(
        account.name,
        double,
        pars,
        image="any",
        memory_mib=512,
        tags={"team": "x"},
        workspace=workspace,
    )
    run = knot.map(range(3), vcpus=2)
    assert list(run.results(LONG_S)) == [0, 2, 4]
    assert list(knot.starmap([(1,), (2,)]).results(LONG_S)) == [2, 4]
    assert workspace.contexts()[-1].remote_url == knot.outputs.remote == pars.outputs.remote
    assert [record.run_id for record in knot.jobs()][1] == run.run_id
    (record,) = workspace.jobs(run.run_id)
    (job,) = account.client("batch").describe_jobs(jobs=[record.handles[0].id])["jobs"]
    assert job["jobQueue"].endswith(f"/{knot.outputs.queue}")
    assert job["jobDefinition"].rpartition(":")[0].endswith(f"/bundlerun-{account.name}")
    needs = {row["type"]: row["value"] for row in job["container"]["resourceRequirements"]}
    assert (needs["VCPU"], needs["MEMORY"]) == ("2", "512")
    assert job["container"]["jobRoleArn"] == pars.outputs.job_role


def test_a_pars_and_a_knot_take_few_calls(account: Account, workspace: br.Workspace) -> None:
    """12 and less, beside the looks; 4 where they are found again; a map 5, and then 2."""
    calls = counted(workspace)

    def made() -> br.Knot:
        pars = br.Pars(account.name, workspace=workspace)
        return br.Knot(account.name, double, pars, image="any", workspace=workspace)

    made()
    assert sum(beside(calls).values()) <= 12, calls
    calls.clear()
    knot = made()
    assert calls.total() <= 4, calls
    calls.clear()
    run = knot.map([1])
    cold = beside(calls, "s3", "sts")
    assert list(run.results(LONG_S)) == [2]
    calls.clear()
    run = knot.map([2])
    warm = beside(calls, "s3", "sts")
    assert list(run.results(LONG_S)) == [4]
    warm.pop("batch DescribeJobs", None)
    cold.pop("batch DescribeJobs", None)
    assert sum(cold.values()) <= 5, cold
    assert sum(warm.values()) <= 2, warm


def test_a_clobbered_knot_says_so(account: Account, workspace: br.Workspace) -> None:
    """Also one that another process clobbered, before anything is sent; and twice is no error."""
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    other = br.Knot(account.name, double, workspace=workspace, image="any")
    other.jobs()
    left = knot.clobber(pars=True)
    assert [each.what for each in left] == ["AWS::ECR::Repository", "AWS::S3::Bucket"]
    for each in (knot, other):
        for use in (lambda k: k.map([1]), lambda k: k.starmap([(1,)]), lambda k: k.jobs()):
            with pytest.raises(errors.Conflict, match=f"the Knot {account.name} is clobbered"):
                use(each)
    knot.clobber(pars=True)
