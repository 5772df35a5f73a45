"""A Pars and a Knot in the caller's hand: made, found again, mapped on, clobbered."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.aws.session import Aws
from bundlerun.sandbox.batch_attempt import Attempt
from tests.provision.conftest import LOOKS, Account

pytestmark = pytest.mark.heavy

LONG_S = 120
ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("batch", "cloudformation", "ec2", "ecr", "iam", "logs", "s3", "sts")


def double(x: int) -> int:
    """What is mapped."""
    return x * 2


def says(x: int, sleeps: bool = False) -> int:
    """What is mapped where its log is read."""
    print("says", x)
    if sleeps:
        time.sleep(x)
    return x


def works(attempt: Attempt) -> int:
    """A job in a process of its own, without its image."""
    command = [sys.executable, *attempt.container["command"][1:]]
    worker = subprocess.Popen(command, env={**os.environ, **attempt.environment})
    attempt.on_stop(lambda grace_s: worker.terminate())
    return worker.wait(LONG_S)


@pytest.fixture(scope="module")
def work() -> Callable[[Attempt], int]:
    """Jobs of this module work."""
    return works


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


def test_a_job_that_no_machine_of_the_knot_can_have_is_refused(
    account: Account, workspace: br.Workspace
) -> None:
    """Before anything is built or sent: in the queue it would wait for ever."""
    knot = br.Knot(
        account.name,
        double,
        br.Pars(account.name, workspace=workspace),
        max_vcpus=4,
        workspace=workspace,
    )
    with pytest.raises(errors.UsageError, match="vcpus=8 never starts where max_vcpus=4") as raised:
        knot.map([1], vcpus=8)
    assert "max_vcpus=8" in str(raised.value.hint)
    with pytest.raises(errors.UsageError, match="no machine with a GPU"):
        knot.starmap([(1,)], gpus=1)
    assert knot.jobs() == []


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
    """Also one that another process clobbered, before anything is sent."""
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    other = br.Knot(account.name, double, workspace=workspace, image="any")
    run = other.map([3])
    assert list(run.results(LONG_S)) == [6]
    with pytest.raises(errors.UsageError, match="the bucket is that of the Pars"):
        knot.clobber(bucket=True)
    left = knot.clobber()
    assert [str(each) for each in left] == [
        f"bundlerun/{account.name} (AWS::ECR::Repository): it is kept"
    ]
    for each in (knot, other):
        for use in (lambda k: k.map([1]), lambda k: k.starmap([(1,)]), lambda k: k.view_jobs()):
            with pytest.raises(errors.Conflict, match=f"the Knot {account.name} is clobbered") as e:
                use(each)
            assert f"br.Knot('{account.name}')" in (e.value.hint or "")
    assert len(workspace.jobs()) == 1
    assert workspace.jobs(run.run_id)[0].state.value == "succeeded"


def test_an_image_that_cannot_be_removed_remains(
    account: Account, workspace: br.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Knot is gone all the same, and the reason is told."""
    knot = br.Knot(
        account.name,
        double,
        br.Pars(account.name, workspace=workspace),
        requirements=[],
        workspace=workspace,
    )
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    kept, image = knot.clobber(image=True)
    assert kept.what == "AWS::ECR::Repository"
    assert (image.what, image.id) == ("image on the engine here", knot.outputs.repository)
    assert "nowhere.sock" in image.why
    with pytest.raises(errors.Conflict, match="is clobbered"):
        knot.map([1])


def test_a_map_on_a_knot_that_goes_meanwhile_says_so(
    account: Account, workspace: br.Workspace
) -> None:
    """Its first map trusts the look of a moment ago, and is told by Batch."""
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    account.provision().delete_knot(account.name)
    with pytest.raises(errors.Conflict, match="is clobbered"):
        knot.map([1])


def test_clobber_again_takes_what_the_first_left(account: Account, workspace: br.Workspace) -> None:
    """The repository, the Pars, its bucket with the data; and a Knot made meanwhile stays."""
    before = account.all()
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    assert list(knot.map([1]).results(LONG_S)) == [2]
    knot.clobber()
    again = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    assert knot.clobber(repository=True) == ()
    assert list(again.map([1]).results(LONG_S)) == [2]
    assert [each.what for each in again.clobber()] == ["AWS::ECR::Repository"]
    assert [each.what for each in again.clobber(pars=True)] == [
        "AWS::ECR::Repository",
        "AWS::S3::Bucket",
    ]
    assert [each.what for each in again.clobber(pars=True, repository=True)] == ["AWS::S3::Bucket"]
    assert again.clobber(pars=True, bucket=True) == ()
    assert pars.clobber() == ()
    assert account.all() == before


def test_a_pars_of_other_knots_is_not_clobbered(account: Account, workspace: br.Workspace) -> None:
    """Then nothing is; and the name of a stack of another owner is refused."""
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    other = br.Knot(f"{account.name}2", pars=account.name, workspace=workspace)
    with pytest.raises(errors.Conflict, match=rf"is used by {other.name}; nothing was deleted"):
        knot.clobber(pars=True)
    assert list(knot.map([1]).results(LONG_S)) == [2]
    with pytest.raises(errors.UsageError, match="was given nothing to call"):
        other.map([1])
    other.clobber(repository=True)
    template = '{"Resources": {"G": {"Type": "AWS::Logs::LogGroup"}}}'
    client, name = account.client("cloudformation"), f"bundlerun-knot-{account.name}3"
    client.create_stack(StackName=name, TemplateBody=template)
    with pytest.raises(errors.Conflict, match="bundlerun did not make it"):
        br.Knot(f"{account.name}3", double, pars, workspace=workspace)
    client.delete_stack(StackName=name)


def test_what_fails_is_shown_and_the_name_is_free(
    account: Account, workspace: br.Workspace
) -> None:
    """The first event, with its reason; without a Pars that of the name default is made."""
    account.failing["Queue"] = "no queue today"
    with pytest.raises(errors.CloudError, match=r"Queue \(AWS::Batch::JobQueue\).*no queue today"):
        br.Knot(account.name, double, image="any", workspace=workspace)
    account.failing.clear()
    knot = br.Knot(account.name, double, image="any", workspace=workspace)
    assert knot.options.pars == "default"
    assert list(knot.map([1]).results(LONG_S)) == [2]
    knot.clobber(pars=True, repository=True, bucket=True)


MAKES = """
import sys
import bundlerun as br
with br.open(sys.argv[2], context="work") as workspace:
    made = br.Knot(sys.argv[1], pars=sys.argv[1], workspace=workspace, max_vcpus=8)
    print(made._made.stack_id, made.options.memory_mib, made.outputs.queue)
"""


def test_processes_make_one_knot_and_find_it(
    account: Account, workspace: br.Workspace, tmp_path: Path
) -> None:
    """Two at once are given one stack; a third, later, one with the options that it has."""
    br.Pars(account.name, workspace=workspace)
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", MAKES, account.name, str(tmp_path / f"of-{each}")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for each in range(2)
    )
    said = {first.communicate(timeout=LONG_S)[0], second.communicate(timeout=LONG_S)[0]}
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(said) == 1
    knot = br.Knot(account.name, workspace=workspace)
    assert knot.outputs.queue in next(iter(said))
    assert knot.options.max_vcpus == 8
    with pytest.raises(errors.Conflict, match="max_vcpus: asked 9, found 8"):
        br.Knot(account.name, max_vcpus=9, workspace=workspace)


def test_a_run_on_a_knot_is_known_without_its_settings(
    account: Account, workspace: br.Workspace, tmp_path: Path
) -> None:
    """Listed, waited for, its log read, attached to and cancelled, in the store that submitted and
    in another."""
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, says, pars, image="any", workspace=workspace)
    run = knot.map([1, 2])
    assert list(run.results(LONG_S)) == [1, 2]
    workspace.wait(run.run_id)
    assert f"{run.run_id[:13]}  succeeded  2: 2 succeeded" in repr(knot.view_jobs())
    assert "<table>" in (knot.view_jobs()._repr_html_())
    with br.open(tmp_path / "other", knot.outputs.remote, "work") as other:
        for each in (workspace, other):
            assert [record.run_id for record in each.jobs(run.run_id)] == [run.run_id]
            assert each.wait(run.run_id).record.state.value == "succeeded"
            assert "says 2" in list(each.logs(f"{run.run_id}:1"))
            assert list(each.attach(run.run_id).results(LONG_S)) == [1, 2]
        long = knot.map([60, 60], kwargs={"sleeps": True})
        other.cancel(long.run_id)
        with pytest.raises(errors.Cancelled):
            workspace.wait(long.run_id)


DIES = """
import os, sys
import bundlerun as br
from bundlerun.aws.session import Aws
from tests.provision.test_knots import double
name, store, when = sys.argv[1:]
with br.open(store, context="work") as workspace:
    knot = br.Knot(name, double, image="any", workspace=workspace)
    client = Aws.of(workspace.scope.connections).client("batch")
    client.meta.events.register(f"{when}.batch.SubmitJob", lambda **_: os.kill(os.getpid(), 9))
    knot.map([1, 2])
"""


@pytest.mark.parametrize("when", ["before-call", "after-call"])
def test_a_submit_to_a_knot_that_was_killed_goes_on_there(
    account: Account, workspace: br.Workspace, tmp_path: Path, when: str
) -> None:
    """From a workspace that leads to another queue, or to none: each item runs once."""
    br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars=account.name, workspace=workspace)
    store = tmp_path / "killed"
    command = [sys.executable, "-c", DIES, account.name, str(store), when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode == -9, done.stderr
    with br.open(store, context="work") as plain:
        (record,) = plain.jobs()
        assert list(plain.attach(record.run_id).results(LONG_S)) == [2, 4]
    batch = account.client("batch")
    told = {"name": "AFTER_CREATED_AT", "values": ["0"]}
    jobs = batch.list_jobs(jobQueue=knot.outputs.queue, filters=[told])["jobSummaryList"]
    assert len(jobs) == 1
    (job,) = batch.describe_jobs(jobs=[jobs[0]["jobId"]])["jobs"]
    assert job["tags"]["bundlerun:knot"] == account.name
    assert f"/bundlerun-{account.name}:" in job["jobDefinition"]


def test_what_jobs_leave_carries_the_tags_of_its_knot(
    account: Account, workspace: br.Workspace
) -> None:
    """Jobs and their definitions, which go with the Knot; another's revisions stay."""
    pars = br.Pars(account.name, workspace=workspace)
    name = f"d-{account.name}"
    knot = br.Knot(
        account.name,
        double,
        pars,
        image="any",
        job_definition_name=name,
        tags={"team": "x y", "who": "a=b"},
        workspace=workspace,
    )
    run = knot.map([1])
    assert list(run.results(LONG_S)) == [2]
    batch = account.client("batch")
    (job,) = batch.describe_jobs(jobs=[workspace.jobs(run.run_id)[0].handles[0].id])["jobs"]
    batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties={"image": "theirs", "vcpus": 1, "memory": 128},
    )

    def active() -> list[dict[str, Any]]:
        answer = batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
        found: list[dict[str, Any]] = answer["jobDefinitions"]
        return sorted(found, key=lambda each: int(each["revision"]))

    own, theirs = active()
    wanted = {"bundlerun:knot": account.name, "team": "x y", "who": "a=b"}.items()
    assert wanted <= own["tags"].items()
    assert wanted <= job["tags"].items()
    knot.clobber()
    assert active() == [theirs]


def test_a_context_elsewhere_is_refused_before_anything_is_sent(
    account: Account, workspace: br.Workspace
) -> None:
    """Jobs could not read there; both places are named. Below the remote they can."""
    client = account.client("s3")
    client.create_bucket(Bucket=f"b-{account.name}")
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    workspace.remote("work", f"s3://b-{account.name}/data")
    with pytest.raises(errors.Conflict, match=rf"s3://b-{account.name}/data.*alone") as refused:
        knot.map([1])
    assert knot.outputs.remote in refused.value.message
    workspace.remote("work", f"{knot.outputs.remote}/below", rebind=True)
    assert list(knot.map([1]).results(LONG_S)) == [2]


REFUSED: list[dict[str, Any]] = [
    {"instance_types": ["m6i", "m7g"]},
    {"instance_types": []},
    {"min_vcpus": -1},
    {"min_vcpus": 32},
    {"max_vcpus": 0},
    {"desired_vcpus": 99},
    {"spot": "yes"},
    {"bid_percentage": 50},
    {"spot": True, "bid_percentage": 101},
    {"volume_gib": 8},
    {"volume_type": "io2"},
    {"image_id": "mine"},
    {"priority": 1001},
    {"queue_name": "my queue"},
    {"job_definition_name": "a/b"},
    {"repository": "Upper"},
    {"vcpus": 0},
    {"vcpus": 17},
    {"memory_mib": 1},
    {"gpus": 1},
    {"retries": -1},
    {"retries": 10},
    {"timeout_s": 0},
    {"tags": {"a=b": "c"}},
    {"tags": {"aws:x": "y"}},
    {"tags": {"a\nb": "c"}},
    {"tags": {"a": "b\tc"}},
    {"tags": {" a": "b"}},
    {"tags": {"a": "b "}},
    {"pars": "Not A Name"},
    {"image": "there:1", "requirements": ["numpy"]},
    {"image": "there:1", "image_tags": ["v1"]},
    {"image_tags": ["not a tag"]},
    {"script_path": "fit.py"},
    {"func": "no function"},
    {"memory": 512},
]


@pytest.mark.parametrize("given", REFUSED, ids=str)
def test_what_cannot_be_meant_is_refused_before_any_call(
    workspace: br.Workspace, given: dict[str, Any]
) -> None:
    """Each with the cure."""
    calls = counted(workspace)
    with pytest.raises(errors.UsageError) as refused:
        br.Knot("k1", **{"func": double, "workspace": workspace, **given})
    assert refused.value.hint
    assert not calls


class Maps(br.Pipe):
    """A pipe that would make a Knot."""

    def pipe_run(self, pipeline_input: Any) -> Any:
        """See Pipe."""
        return br.Knot("k1", double).name


def test_inside_of_a_pipe_there_is_no_knot(workspace: br.Workspace) -> None:
    """As for a map."""
    calls = counted(workspace)

    with pytest.raises(errors.BundlerunError) as raised:
        workspace.apply(None, "out", Maps)
    assert "br.Knot cannot be used inside of a pipe" in str(raised.value)
    assert not calls


def test_an_image_of_nothing_and_a_map_elsewhere_are_refused(
    account: Account, workspace: br.Workspace
) -> None:
    """An option that would change nothing is named; a Knot's maps run on its queue."""
    calls = counted(workspace)
    for option in ({"requirements": ["numpy"]}, {"no_cache": True}, {"base_image": "python:3.11"}):
        with pytest.raises(errors.UsageError, match="the Knot is given none"):
            br.Knot("k1", workspace=workspace, **option)
    with pytest.raises(errors.UsageError, match="must be 2 to 32"):
        br.Pars("Not A Name", workspace=workspace)
    assert not calls
    pars = br.Pars(account.name, workspace=workspace)
    knot = br.Knot(account.name, double, pars, image="any", workspace=workspace)
    with pytest.raises(errors.UsageError, match="its own queue, not on Local"):
        knot.map([1], backend="Local")
