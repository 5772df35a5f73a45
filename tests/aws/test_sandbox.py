"""The AWS in a box: started once, found again, set up anew, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bundlerun.errors import CloudError, SettingsError
from bundlerun.sandbox import server
from bundlerun.sandbox.server import SandboxInfo
from bundlerun.store.store import Store

pytestmark = [pytest.mark.service, pytest.mark.batch]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A sandbox's folder; what runs there is ended."""
    path = tmp_path / "sandbox"
    yield path
    server.down(path)


def in_a_shell(info: SandboxInfo, program: str, **more: str) -> str:
    """What a program prints that has what is to be exported in its environment."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **more, **info.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ASK = """
import json
import os
from bundlerun.aws import batch
from bundlerun.aws.session import Aws
from bundlerun.settings import read_settings
settings = read_settings()
aws = Aws(settings.aws)
print(json.dumps({
    "account": aws.account(),
    "region": aws.region,
    "buckets": [row["Name"] for row in aws.client("s3").list_buckets()["Buckets"]],
    "problem": batch.queue_problem(aws.client("batch"), os.environ["BUNDLERUN_AWS_BATCH_QUEUE"]),
    "session": bool(aws.narrowed(settings.aws.session_role_arn, 900, {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}],
    })["AWS_SESSION_TOKEN"]),
    "token": aws.credentials_env().get("AWS_SESSION_TOKEN"),
}))
"""


def asked(info: SandboxInfo, **more: str) -> dict[str, Any]:
    """What a program finds in the sandbox."""
    found: dict[str, Any] = json.loads(in_a_shell(info, ASK, **more))
    return found


def test_sandbox_has_all_that_a_run_needs(folder: Path) -> None:
    """What is exported leads to a bucket, a healthy queue and a role to take."""
    info = server.up(folder)
    assert info.endpoint.startswith("http://127.0.0.1:")
    found = asked(info)
    assert found == {
        "account": "123456789012",
        "region": "us-east-1",
        "buckets": [info.bucket],
        "problem": None,
        "session": True,
        "token": None,
    }


def test_exports_win_over_a_users_own_aws(folder: Path) -> None:
    """A profile, a session token and a region of the user's do not get in between."""
    info = server.up(folder)
    found = asked(
        info,
        AWS_PROFILE="team-that-is-not-configured",
        AWS_SESSION_TOKEN="old",
        AWS_DEFAULT_REGION="eu-central-1",
        AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true",
    )
    assert (found["region"], found["token"]) == ("us-east-1", None)


def test_second_up_finds_the_running_one(folder: Path) -> None:
    """The same process, with what was put there meanwhile; up works beside any AWS_PROFILE."""
    first = server.up(folder)
    in_a_shell(
        first,
        "from bundlerun.aws.session import Aws\n"
        f"Aws().client('s3').put_object(Bucket={first.bucket!r}, Key='kept', Body=b'x')",
    )
    assert server.up(folder) == first
    assert server.status(folder) == first
    keys = in_a_shell(
        first,
        "from bundlerun.aws.session import Aws\n"
        f"print(Aws().client('s3').list_objects_v2(Bucket={first.bucket!r})['KeyCount'])",
    )
    assert keys == "1"


def test_up_needs_no_aws_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that does not exist and a proxy disturb neither up nor down."""
    monkeypatch.setenv("AWS_PROFILE", "team-that-is-not-configured")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.up(folder)
    assert server.down(folder)


def test_sandbox_that_died_is_set_up_anew(folder: Path) -> None:
    """After a kill -9 the next up has all again, at the same address."""
    first = server.up(folder)
    os.kill(first.pid, signal.SIGKILL)
    second = server.up(folder)
    assert second.pid != first.pid
    assert second.endpoint == first.endpoint
    assert asked(second)["problem"] is None


def test_up_never_ends_a_server_that_is_slow_to_answer(folder: Path) -> None:
    """A living server keeps its process and its data; what to do is told instead."""
    first = server.up(folder)
    in_a_shell(
        first,
        "from bundlerun.aws.session import Aws\n"
        f"Aws().client('s3').put_object(Bucket={first.bucket!r}, Key='kept', Body=b'x')",
    )
    os.kill(first.pid, signal.SIGSTOP)
    try:
        # Its listening socket still takes connections: only an answer in time tells.
        with pytest.raises(CloudError, match="bundlerun sandbox down"):
            server.up(folder, patience_s=0.3)
        slow = server.status(folder, patience_s=0.3)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert slow is not None
    assert (slow.pid, slow.answers) == (first.pid, False)
    assert server.up(folder) == first
    keys = in_a_shell(
        first,
        "from bundlerun.aws.session import Aws\n"
        f"print(Aws().client('s3').list_objects_v2(Bucket={first.bucket!r})['KeyCount'])",
    )
    assert keys == "1"


SLOW_DUMP = """
import http.server, sys, time
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "data" in self.path:
            time.sleep(60)
        self.send_response(200)
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_server_that_holds_much_is_up_all_the_same(tmp_path: Path) -> None:
    """A dump of all that it holds may take longer than anybody waits: none is asked for."""
    slow = subprocess.Popen([sys.executable, "-c", SLOW_DUMP], stdout=subprocess.PIPE, text=True)
    try:
        assert slow.stdout is not None
        port = int(slow.stdout.readline())
        started = Path(f"/proc/{slow.pid}/stat").read_text().rpartition(")")[2].split()[19]
        record = {"pid": slow.pid, "started": started, "port": port}
        (tmp_path / "sandbox.json").write_text(json.dumps(record))
        found = server.status(tmp_path)
        assert found is not None
        assert found.answers
    finally:
        slow.kill()
        slow.wait()


def commanded(folder: Path) -> dict[str, str]:
    """The environment of a shell whose sandbox is that of ``folder``."""
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "BUNDLERUN_HOME": str(folder.parent), "PATH": binaries}


def servers_of(folder: Path) -> list[int]:
    """The sandbox's servers that run in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"bundlerun.sandbox.app" in words and (process / "cwd").resolve() == folder:
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_up_leaves_no_server(folder: Path, sign: signal.Signals) -> None:
    """Ctrl-C, a kill and a closed terminal end the server that was being started."""
    process = subprocess.Popen(
        ["bundlerun", "sandbox", "up"],
        env=commanded(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 20
    while not servers_of(folder) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(servers_of(folder)) == 1
    process.send_signal(sign)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if sign == signal.SIGINT else 128 + sign)
    assert said == ""
    assert servers_of(folder) == []
    assert server.status(folder) is None


SIGNALLED_IN_POPEN = """
import os
import subprocess
import sys

from bundlerun.cli.main import main


class Popen(subprocess.Popen):
    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        os.kill(os.getpid(), SIGN)


SIGN = int(sys.argv.pop())
sys.argv[1:] = ["sandbox", "up"]
subprocess.Popen = Popen
main()
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_in_the_moment_of_the_start_leaves_no_server(
    folder: Path, sign: signal.Signals
) -> None:
    """One that comes after the server has begun and before anybody has its process."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_IN_POPEN, str(int(sign))],
        env=commanded(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == (130 if sign == signal.SIGINT else 128 + sign), done.stderr
    assert servers_of(folder) == []


IN_AND_OUT = """
export AWS_REGION=eu-west-1 AWS_PROFILE="my team's"
unset AWS_DEFAULT_REGION AWS_SECRET_ACCESS_KEY
env | sort >before
eval "$(bundlerun sandbox up)"
eval "$(bundlerun sandbox up)"
{middle}
eval "$(bundlerun sandbox down)"
env | sort >after
diff before after && echo as before
"""


@pytest.mark.parametrize("how", ["down", "dead"])
def test_down_gives_the_shell_its_own_aws_back(folder: Path, tmp_path: Path, how: str) -> None:
    """What up exported is undone: set again to what it was, or unset; also after the sandbox died,
    and after two ups."""
    kill = "kill -9 $(grep -oP '\"pid\": \\K[0-9]+' sandbox/sandbox.json)"
    done = subprocess.run(
        ["bash", "-euc", IN_AND_OUT.format(middle=kill if how == "dead" else "")],
        cwd=tmp_path,
        env=commanded(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "as before\n", done.stderr


def test_an_error_against_a_dead_sandbox_says_so(folder: Path, tmp_path: Path) -> None:
    """It names the sandbox, not botocore's words alone, and how to get out."""
    info = server.up(folder)
    server.down(folder)
    Store.open(tmp_path / "store").contexts.create("c")
    done = subprocess.run(
        ["bundlerun", "remote", "c", f"s3://{info.bucket}/x"],
        env={**commanded(folder), **info.env, "BUNDLERUN_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6
    assert f"the sandbox at {info.endpoint} is down" in done.stderr
    assert 'eval "$(bundlerun sandbox down)"' in done.stderr


def test_down_ends_it_and_twice_is_no_error(folder: Path) -> None:
    """The process is gone; there is nothing more to end, and a folder that never was has none."""
    info = server.up(folder)
    assert server.down(folder)
    assert not Path(f"/proc/{info.pid}/cmdline").exists()
    assert not server.down(folder)
    assert not server.down(folder / "never")
    assert server.status(folder) is None


def test_server_outlives_the_process_that_started_it(folder: Path) -> None:
    """It is a session of its own: another process started it, ended, and it still answers."""
    program = (
        "from pathlib import Path\n"
        "from bundlerun.sandbox import server\n"
        f"print(server.up(Path({str(folder)!r})).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    pid = int(done.stdout)
    info = server.status(folder)
    assert info is not None
    assert info.pid == pid
    assert os.getsid(pid) == pid


def test_foreign_process_of_the_same_id_is_left_alone(folder: Path) -> None:
    """A pid that belongs to another process by now is no sandbox, and is not ended."""
    folder.mkdir()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = {"pid": other.pid, "started": "12345", "port": 1}
        (folder / "sandbox.json").write_text(json.dumps(record))
        assert server.status(folder) is None
        assert not server.down(folder)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_racing_ups_start_one_server(folder: Path) -> None:
    """Three at once get the same one."""
    with ThreadPoolExecutor(3) as pool:
        pids = {info.pid for info in pool.map(lambda _: server.up(folder), range(3))}
    assert len(pids) == 1


def test_port_that_is_taken_is_an_error(folder: Path, tmp_path: Path) -> None:
    """A port in use, by another or by this very sandbox on another, is told."""
    info = server.up(folder)
    port = int(info.endpoint.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"port {port}"):
        server.up(tmp_path / "other", port=port)
    with pytest.raises(SettingsError, match="sandbox down"):
        server.up(folder, port=port + 1)
    assert server.up(folder, port=port) == info


def test_without_moto_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install stands in the error."""
    monkeypatch.setitem(sys.modules, "moto", None)
    monkeypatch.setitem(sys.modules, "moto.server", None)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name.startswith("moto") else object()
    )
    with pytest.raises(SettingsError, match=r"pip install 'bundlerun\[sandbox\]'"):
        server.up(folder)


def test_keys_are_not_readable_by_others(folder: Path) -> None:
    """The folder is the user's own."""
    server.up(folder)
    assert folder.stat().st_mode & 0o077 == 0


def test_down_ends_the_containers_of_its_jobs(folder: Path, engine: Any, base_image: str) -> None:
    """A job that still runs is ended with the sandbox."""
    info = server.up(folder)
    name = f"bundlerun-test-{os.getpid()}"
    program = (
        "from bundlerun.aws import batch\n"
        "from bundlerun.aws.session import Aws\n"
        "client = Aws().client('batch')\n"
        "needs = [{'type': 'VCPU', 'value': '1'}, {'type': 'MEMORY', 'value': '128'}]\n"
        f"properties = {{'image': {base_image!r}, 'command': ['sleep', '60'],\n"
        "    'resourceRequirements': needs}\n"
        f"arn = batch.register_definition(client, {name!r}, {{'type': 'container',\n"
        "    'containerProperties': properties}, 'c')\n"
        f"batch.submit_job(client, {{'jobName': {name!r}, 'jobQueue': {info.queue!r},\n"
        "    'jobDefinition': arn})\n"
    )
    in_a_shell(info, program)
    until = time.monotonic() + 20
    while not engine.containers.list(filters={"name": name}) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(engine.containers.list(filters={"name": name})) == 1
    assert server.down(folder)
    assert engine.containers.list(all=True, filters={"name": name}) == []
