"""``bundlerun aws``: resources are made, found again, led to, and deleted.

The account is the sandbox's, which says nothing of what IAM allows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.backends.open import open_backend
from bundlerun.connections import Connections
from bundlerun.errors import SettingsError
from bundlerun.settings import read_settings
from tests.cli.conftest import Said
from tests.provision.conftest import Account

pytestmark = pytest.mark.heavy

Cli = Callable[..., Said]


def variables(said: Said) -> dict[str, str]:
    """What a shell that evaluates standard output gets: nothing else is printed there."""
    lines = said.out.splitlines()
    assert all(line.startswith("export ") for line in lines), said.out
    return dict(line.removeprefix("export ").split("=", 1) for line in lines)


def config() -> Path:
    """The settings file of the test's home."""
    return Path(os.environ["BUNDLERUN_HOME"]) / "config.toml"


def test_up_makes_a_knot_and_prints_what_leads_there(account: Account, ok: Cli) -> None:
    """Exports alone on standard output; a line a resource, and the remote, beside it."""
    name = account.name
    said = ok("aws", "up", name, "--pars", name, "--memory-mib", 4096, "--spot")
    told = variables(said)
    assert told["BUNDLERUN_AWS_BATCH_QUEUE"] == f"bundlerun-{name}"
    assert told["BUNDLERUN_LOG_GROUP"] == f"/bundlerun/knot/{name}"
    assert told["BUNDLERUN_AWS_BATCH_PLATFORM"] == "linux/amd64"
    assert told["BUNDLERUN_REGISTRY"] == "ecr"
    assert told["BUNDLERUN_JOB_ROLE_ARN"].startswith("arn:aws:iam::")
    assert f"making the stack bundlerun-pars-{name}: some minutes" in said.err
    assert "Queue (AWS::Batch::JobQueue): making" in said.err
    assert told["BUNDLERUN_BUCKET"].startswith(f"s3://br-{name}-")
    assert f"bundlerun remote default {told['BUNDLERUN_BUCKET']}" in said.err
    assert "[run] memory_mib = 4096" in said.err, "what no variable says is named"
    again = ok("aws", "up", name)
    assert variables(again) == told
    assert "making" not in again.err
    assert br.Knot(name).outputs.queue == told["BUNDLERUN_AWS_BATCH_QUEUE"], "the same in Python"


def test_options_go_to_the_pars_and_the_knot(account: Account, ok: Cli) -> None:
    """Repeated ones, tags of both, and a bucket of one's own with its prefix."""
    name = account.name
    account.client("s3").create_bucket(Bucket=f"own-{name}")
    found = ok(
        *("aws", "up", name, "--pars", name, "--bucket", f"own-{name}/p", "-t", "team:x"),
        *("--instance-types", "m6g", "--instance-types", "c6g", "--max-vcpus", 8, "--json"),
    ).json
    assert found["outputs"]["remote"] == f"s3://own-{name}/p"
    assert found["variables"]["BUNDLERUN_AWS_BATCH_PLATFORM"] == "linux/arm64"
    assert (found["knot"], found["pars"], found["saved"]) == (name, name, [])
    (made,) = account.client("batch").describe_compute_environments(
        computeEnvironments=[f"bundlerun-{name}"]
    )["computeEnvironments"]
    assert made["computeResources"]["instanceTypes"] == ["m6g", "c6g"]
    assert made["tags"]["team"] == "x"


def test_save_writes_the_settings_and_keeps_the_rest(account: Account, ok: Cli) -> None:
    """What was there before is told, and a variable that wins over the file is named."""
    name = account.name
    config().parent.mkdir(parents=True, exist_ok=True)
    config().write_text('# ours\n[backends.AWSBatch]\nqueue = "old"  # last year\n')
    said = ok("aws", "up", name, "--pars", name, "--timeout-s", 600, "--save")
    assert f'[backends.AWSBatch] queue = "bundlerun-{name}"  (was "old")' in said.out
    text = config().read_text()
    assert text.startswith(f'# ours\n[backends.AWSBatch]\nqueue = "bundlerun-{name}"  # last year')
    found = read_settings()
    assert found.run.timeout_s == 600
    assert found.images.registry == "ecr"
    assert str(found.run.bucket).startswith(f"s3://br-{name}-")
    assert found.backends["AWSBatch"]["log_group"] == f"/bundlerun/knot/{name}"
    os.environ["BUNDLERUN_AWS_BATCH_QUEUE"] = "shells-own"
    try:
        said = ok("aws", "up", name, "--save")
    finally:
        del os.environ["BUNDLERUN_AWS_BATCH_QUEUE"]
    assert "nothing to change" in said.out
    assert "unset BUNDLERUN_AWS_BATCH_QUEUE" in said.err
    assert config().read_text() == text


def test_a_context_that_jobs_cannot_read_is_named(
    account: Account, ok: Cli, tmp_path: Path
) -> None:
    """Bound elsewhere: said. Bound to the remote, or below: nothing to say."""
    name = account.name
    ok("remote", "default", f"file://{tmp_path}/remote")
    said = ok("aws", "up", name, "--pars", name)
    assert "where the jobs' role cannot read" in said.err
    remote = said.err.split()[-1]
    ok("context", "lab")
    ok("-c", "lab", "remote", "lab", f"{remote}/below")
    assert "bundlerun remote" not in ok("-c", "lab", "aws", "up", name).err


def test_down_lists_what_remains_and_why(account: Account, ok: Cli) -> None:
    """A Knot, then its Pars; twice is as good as once."""
    name = account.name
    before = account.all()
    ok("aws", "up", name, "--pars", name)
    said = ok("aws", "down", name)
    assert f"deleted the Knot {name}" in said.out
    assert f"remains: bundlerun/{name} (AWS::ECR::Repository): it is kept" in said.out
    unused = f"no Knot uses the Pars {name}: bundlerun aws down --pars {name}"
    assert unused in said.err, "the Pars that it leaves behind is named"
    again = ok("aws", "down", name)
    assert f"there is no Knot {name}" in again.err
    assert f"bundlerun aws down --pars {name}" in again.err, "a Pars that no Knot uses is named"
    said = ok("aws", "down", name, "--pars", name)
    assert f"deleted the Pars {name}" in said.out
    assert "(AWS::S3::Bucket): it is kept" in said.out
    said = ok("aws", "down", name, "--pars", name)
    assert said.out == ""
    kept = {each.partition(": ")[0] for each in account.all() - before}
    assert kept == {"Buckets", "repositories"}


def test_a_bucket_goes_with_its_data_when_it_is_said_twice(account: Account, ok: Cli) -> None:
    """--bucket alone shows; --yes deletes. Nothing is left then."""
    name = account.name
    before = account.all()
    found = ok("aws", "up", name, "--pars", name, "--json").json
    bucket = found["outputs"]["remote"].split("/")[2]
    account.client("s3").put_object(Bucket=bucket, Key="a/b", Body=b"x")
    made = account.all()
    everything = ("aws", "down", name, "--pars", name, "--repository", "--bucket")
    said = ok(*everything)
    assert f"would delete the bucket {bucket} with all its data" in said.out
    assert f"bundlerun {' '.join(everything)} --yes  does it" in said.out
    assert account.all() == made
    said = ok(*everything, "--yes")
    assert f"deleted the bucket {bucket}" in said.out
    assert "remains" not in said.out
    assert account.all() == before


def test_what_an_earlier_deletion_kept_is_deleted_by_its_name(account: Account, ok: Cli) -> None:
    """The Knot and the Pars are gone; their repository and bucket are still theirs."""
    name = account.name
    before = account.all()
    ok("aws", "up", name, "--pars", name)
    ok("aws", "down", name, "--pars", name)
    said = ok("aws", "down", name, "--repository")
    assert f"there is no Knot {name}" in said.err
    assert f"deleted the repository bundlerun/{name}" in said.out
    everything = ("aws", "down", name, "--pars", name, "--bucket")
    assert "would delete the bucket" in ok(*everything).out
    assert "deleted the bucket" in ok(*everything, "--yes").out
    assert account.all() == before
    assert ok(*everything, "--yes", "--repository").out == ""


def test_a_bucket_of_others_is_never_deleted(account: Account, ok: Cli) -> None:
    """It was there before: nothing to confirm, and it is listed."""
    name = account.name
    account.client("s3").create_bucket(Bucket=f"own-{name}")
    ok("aws", "up", name, "--pars", name, "--bucket", f"own-{name}")
    said = ok("aws", "down", name, "--pars", name, "--bucket")
    assert f"remains: own-{name} (AWS::S3::Bucket): it was there before" in said.out
    assert "deleted the bucket" not in said.out


def test_a_pars_that_others_use_stays_and_so_does_the_knot(
    account: Account, ok: Cli, bundlerun: Cli
) -> None:
    """What cannot be done whole is not begun."""
    name = account.name
    ok("aws", "up", name, "--pars", name)
    ok("aws", "up", f"{name}-2", "--pars", name)
    said = bundlerun("aws", "down", name, "--pars", name)
    assert said.code == 5
    assert f"used by {name}-2 too: nothing was deleted" in said.err
    assert ok("aws", "up", name).out
    ok("aws", "down", f"{name}-2")
    ok("aws", "down", name, "--pars", name)


def test_down_again_takes_no_other_pars(account: Account, ok: Cli, bundlerun: Cli) -> None:
    """Also where one is called as the Knot was; and a Knot goes with no Pars but its own."""
    name, shared = account.name, f"{account.name}-s"
    ok("aws", "up", name, "--pars", shared)
    ok("aws", "up", f"{name}-2", "--pars", name)
    ok("aws", "down", f"{name}-2")
    said = bundlerun("aws", "down", name, "--pars", name, "--bucket", "--yes")
    assert said.code == 5
    assert f"is in the Pars {shared}, not in {name}: nothing was deleted" in said.err
    assert f"bundlerun aws down {name} --pars {shared}" in said.err
    for _ in range(2):
        ok("aws", "down", name, "--pars", shared, "--bucket", "--yes")
    assert [each["name"] for each in ok("aws", "status", name, "--json").json["pars"]] == [name]
    ok("aws", "down", "--pars", name, "--bucket", "--yes")
    assert not {each for each in account.all() if name in each and "bundlerun/" not in each}


def test_settings_that_lead_to_a_deleted_queue_are_named(account: Account, ok: Cli) -> None:
    """The next run would be refused by AWS alone."""
    name = account.name
    ok("aws", "up", name, "--pars", name, "--save")
    assert "the settings still lead jobs to its queue" in ok("aws", "down", name).err


def test_asked_and_found_are_shown_where_they_differ(
    account: Account, ok: Cli, bundlerun: Cli
) -> None:
    """Exit code 5, and how to get the other one."""
    name = account.name
    ok("aws", "up", name, "--pars", name, "--max-vcpus", 8)
    said = bundlerun("aws", "up", name, "--max-vcpus", 9)
    assert said.code == 5
    assert "max_vcpus: asked 9, found 8" in said.err
    said = bundlerun("aws", "up", name, "--vpc", "new")
    assert "vpc: asked 'new', found 'default'" in said.err
    assert f"bundlerun aws down --pars {name} first" in said.err


def test_a_knot_that_is_refused_makes_no_pars(account: Account, ok: Cli, bundlerun: Cli) -> None:
    """One that stands in another Pars: what is asked for is compared before anything is made."""
    name = account.name
    ok("aws", "up", name, "--pars", name)
    said = bundlerun("aws", "up", name, "--pars", f"{name}-b")
    assert said.code == 5
    assert f"pars: asked '{name}-b', found '{name}'" in said.err
    assert "making" not in said.err
    assert bundlerun("aws", "status", f"{name}-b").code == 4


def test_a_stack_of_others_is_left_alone(account: Account, bundlerun: Cli) -> None:
    """A name that is not ours: refused by up and by down, exit code 5."""
    client = account.client("cloudformation")
    template = '{"Resources": {"L": {"Type": "AWS::Logs::LogGroup"}}}'
    stack = f"bundlerun-knot-{account.name}"
    client.create_stack(StackName=stack, TemplateBody=template)
    client.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.1})
    try:
        for verb in ("up", "down"):
            said = bundlerun("aws", verb, account.name)
            assert said.code == 5, said
            assert "bundlerun did not make it" in said.err
            assert "try:" in said.err
        assert client.describe_stacks(StackName=stack)["Stacks"]
    finally:
        client.delete_stack(StackName=stack)


def test_what_a_stack_may_not_make_leads_to_the_policy(account: Account, bundlerun: Cli) -> None:
    """CloudFormation's own words name the action; the hint is the policy that has them all."""
    denied = "User: arn:aws:iam::1:user/u is not authorized to perform: ec2:CreateSecurityGroup"
    account.failing["SecurityGroup"] = denied
    said = bundlerun("aws", "up", account.name, "--pars", account.name)
    assert said.code == 9
    assert "ec2:CreateSecurityGroup" in said.err
    assert "try: bundlerun aws policy provision" in said.err


def test_status_shows_what_stands(account: Account, ok: Cli, bundlerun: Cli) -> None:
    """A Knot by its name, with its Pars; max_vcpus; and that a name is not there."""
    name = account.name
    ok("aws", "up", name, "--pars", name, "--max-vcpus", 8)
    said = ok("aws", "status", name)
    assert f"Pars {name}: CREATE_COMPLETE" in said.out
    assert f"Knot {name} of the Pars {name}: CREATE_COMPLETE" in said.out
    assert f"queue bundlerun-{name}: ENABLED, VALID" in said.out
    assert "vCPUs: 0 now, 0 to 8, on demand" in said.out
    (found,) = ok("aws", "status", name, "--json").json["knots"]
    assert (found["name"], found["machines"]["max_vcpus"], found["uncounted"]) == (name, 8, [])
    assert name in {each["name"] for each in ok("aws", "status", "--json").json["pars"]}
    said = bundlerun("aws", "status", f"{name}-not")
    assert said.code == 4
    assert f"try: bundlerun aws up {name}-not" in said.err


def test_gc_shows_and_then_deletes_what_no_stack_has(account: Account, ok: Cli) -> None:
    """Dry by default; what holds data goes when it is said, and what a Knot has never."""
    name = account.name
    # What other tests left is theirs no more.
    ok("aws", "gc", "--delete", "--data")
    ok("aws", "up", f"{name}-2", "--pars", f"{name}-2")
    standing = account.all()
    try:
        ok("aws", "up", name, "--pars", name)
        bucket = ok("aws", "up", name, "--json").json["outputs"]["remote"].split("/")[2]
        account.client("s3").put_object(Bucket=bucket, Key="a", Body=b"x")
        ok("aws", "down", name, "--pars", name)
        before = account.all()
        said = ok("aws", "gc")
        assert bucket in said.out
        assert f"bundlerun/{name}" in said.out
        assert f"{name}-2" not in said.out, "it has a stack"
        assert "bundlerun aws gc --delete  does it" in said.out
        assert account.all() == before
        said = ok("aws", "gc", "--delete")
        assert f"remains: {bucket}" in said.out
        assert {each.partition(": ")[2] for each in account.all() - standing} == {bucket}
        found = ok("aws", "gc", "--delete", "--data", "--json").json
        assert (found["deleted"], found["left"]) == (True, [])
        assert account.all() == standing
        assert ok("aws", "gc").out == "nothing to delete\n"
    finally:
        ok("aws", "down", f"{name}-2", "--pars", f"{name}-2", "--repository", "--bucket", "--yes")


def test_a_policy_is_json_and_nothing_else(account: Account, ok: Cli, bundlerun: Cli) -> None:
    """For a Knot it names that Knot's things; for options what `up` would make with them."""
    name = account.name
    ok("aws", "up", name, "--pars", name)
    rows = ok("aws", "policy", "run", name).json["Statement"]
    (submit,) = [row for row in rows if "batch:SubmitJob" in row["Action"]]
    assert any(arn.endswith(f":job-queue/bundlerun-{name}") for arn in submit["Resource"])
    assert any(arn.endswith(f":job-definition/bundlerun-{name}*") for arn in submit["Resource"])
    assert bundlerun("aws", "policy", "run", f"{name}-not").code == 4
    rows = ok("aws", "policy", "provision", "new", "--pars", "p2", "--queue-name", "mine").json
    assert "job-queue/mine" in str(rows)
    assert "stack/bundlerun-pars-p2/*" in str(rows)


def test_a_policy_of_any_account_needs_no_credentials(ok: Cli, bundlerun: Cli) -> None:
    """It says so, beside the JSON."""
    for which in ("run", "provision"):
        said = ok("aws", "policy", which)
        assert said.json["Version"] == "2012-10-17"
        assert "for any account and region" in said.err
    said = bundlerun("aws", "policy", "provision", "--spot")
    assert said.code == 2
    assert "try: bundlerun aws policy provision NAME" in said.err


@contextmanager
def refusing(message: str) -> Iterator[str]:
    """A server that denies whatever it is asked, as AWS's query APIs do."""

    class Denying(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = (
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
                f"<Message>{message}</Message></Error></ErrorResponse>"
            ).encode()
            self.send_response(403)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Denying)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def as_user(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """Some credentials and a region, and what else there is."""
    given = {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    for name, value in {**given, **more}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "message",
    ["User: u is not authorized to perform: cloudformation:DescribeStacks", "Access denied"],
)
def test_a_denied_call_names_its_action(
    message: str, monkeypatch: pytest.MonkeyPatch, bundlerun: Cli
) -> None:
    """Whether AWS says it or not; and the next command prints what must be allowed."""
    with refusing(message) as endpoint:
        as_user(monkeypatch, AWS_ENDPOINT_URL=endpoint)
        for verb in ("up", "down", "status"):
            said = bundlerun("aws", verb, "lab")
            assert said.code == 6
            assert "DescribeStacks" in said.err
            assert "try: bundlerun aws policy provision" in said.err


def test_without_credentials_or_a_region_the_cure_is_named(
    monkeypatch: pytest.MonkeyPatch, bundlerun: Cli
) -> None:
    """Nothing is asked of anybody."""
    for verb in ("up", "down", "status"):
        said = bundlerun("aws", verb, "lab")
        assert said.code == 3
        assert "try: export AWS_DEFAULT_REGION=REGION" in said.err
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    said = bundlerun("aws", "up", "lab")
    assert said.code == 6
    assert "try: aws configure" in said.err


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ("up Lab_1", "bundlerun aws up lab-1"),
        ("up lab --pars Lab_1", "--pars lab-1"),
        ("up lab --cidr 10.0.0.0/16", "--vpc new"),
        ("up lab --vpc new --tenancy host", "--tenancy dedicated"),
        ("up lab --bid-percentage 50", "--spot"),
        ("up lab --min-vcpus 4 --max-vcpus 2", "--max-vcpus 4"),
        ("up lab --gpus 1", "--instance-types g5"),
        ("up lab --instance-types m6i --instance-types m6g", "--instance-types m6i"),
        ("up lab --tag a!:x", "--tag project:x"),
        ("up lab --tag team=x", "team:x"),
        ("up lab --max-vcpus many", "bundlerun aws up -h"),
        ("down Lab_1", "bundlerun aws status"),
        ("policy run Lab_1", "bundlerun aws status"),
        ("down lab --bucket", "bundlerun aws down lab --pars NAME --bucket"),
        ("down", "bundlerun aws status"),
        ("down --pars lab --repository", "bundlerun aws down NAME --pars lab --repository"),
        ("up", "bundlerun aws up [OPTIONS] NAME"),
        ("", "bundlerun aws -h"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_flags(
    arguments: str, cure: str, bundlerun: Cli
) -> None:
    """Before any call: there are no credentials here."""
    said = bundlerun("aws", *arguments.split())
    assert said.code == 2, said
    assert f"try: {cure}" in said.err


def test_a_machine_without_a_queue_is_led_to_up() -> None:
    """By `doctor`, and by whoever wants to submit."""
    backend = open_backend("AWSBatch", Connections(read_settings()))
    (found,) = backend.checks()
    assert str(found.cure).startswith("bundlerun aws up NAME --save")
    with pytest.raises(SettingsError) as raised:
        backend.find("run", "name")
    assert str(raised.value.hint).startswith("bundlerun aws up NAME --save")


def test_ctrl_c_says_what_goes_on_and_how_to_look(account: Account, ok: Cli) -> None:
    """A stack that was begun is CloudFormation's; the same command follows it to its end."""
    name = account.name
    command = [sys.executable, "-m", "bundlerun", "aws", "up", name, "--pars", name]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    client, end_s = account.client("cloudformation"), time.monotonic() + 60
    while time.monotonic() < end_s and process.poll() is None:
        if any(name in row["StackName"] for row in client.describe_stacks()["Stacks"]):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert f"bundlerun aws status {name} shows it" in err
    assert "Traceback" not in err
    assert variables(ok("aws", "up", name, "--pars", name))


def test_what_others_use_is_refused_and_nothing_goes(
    account: Account, ok: Cli, bundlerun: Cli
) -> None:
    """A repository and a bucket that another Knot and Pars were given stay, with both."""
    name, other, shared = account.name, f"{account.name}-2", f"bundlerun/{account.name}"
    told = variables(ok("aws", "up", name, "--pars", name))
    bucket = told["BUNDLERUN_BUCKET"]
    ok("aws", "up", other, "--pars", other, "--bucket", f"{bucket}/x", "--repository", shared)
    before = account.all()
    try:
        said = bundlerun("aws", "down", name, "--repository")
        assert said.code != 0
        assert f"the repository {shared} is used by Knot {other} too: nothing" in said.err
        said = bundlerun("aws", "down", name, "--pars", name, "--bucket", "--yes")
        assert said.code != 0
        assert f"is used by Pars {other}, Knot {other} too: nothing was deleted" in said.err
        assert account.all() == before
        ok("aws", "down", name, "--pars", name)
        for flags in (["--repository"], ["--pars", name, "--bucket", "--yes"]):
            said = bundlerun("aws", "down", name, *flags)
            assert said.code != 0
            assert f"{other} too: nothing was deleted" in said.err
    finally:
        ok("aws", "down", other, "--pars", other, "--repository")
    ok("aws", "down", name, "--repository", "--pars", name, "--bucket", "--yes")
    assert not {each for each in account.all() if name in each}
