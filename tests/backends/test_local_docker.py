"""What the local engine does beyond the common promises."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bundlerun.backends.job import Failure, JobHandle, JobSpec, JobState, RemoteAccess, Resources
from bundlerun.backends.local_docker import LocalDocker
from bundlerun.backends.local_docker_containers import has_registry, lines
from bundlerun.backends.local_docker_options import RUN_LABEL, environment
from bundlerun.backends.local_docker_state import job_status, unix_s
from bundlerun.docker_engine import DockerHost, docker_host
from bundlerun.errors import Conflict, EngineError, ImagePull
from tests.backends.harness import LocalHarness
from tests.faults.proxy import Fault, FaultProxy


def output(local: LocalHarness, spec: JobSpec) -> list[str]:
    """The log of a job that succeeds."""
    handle = local.submit(spec)
    status = local.end(handle)
    said = list(local.backend().logs(handle))
    assert status.state is JobState.SUCCEEDED, (status, said)
    return said


def test_a_last_line_without_its_end_swallows_no_line_of_the_other_stream(
    local: LocalHarness,
) -> None:
    """And a long line comes whole, though Docker keeps it in parts."""
    code = (
        "import sys; print('x' * 100_000); sys.stdout.write('last of stdout');"
        " sys.stdout.flush(); sys.stderr.write('last of stderr')"
    )
    said = output(local, local.spec(code))
    assert said[0] == "x" * 100_000
    assert sorted(said[1:]) == ["last of stderr", "last of stdout"]


def containers_of(engine: Any, run_id: str) -> list[Any]:
    """All containers of a run, stopped ones too."""
    found: list[Any] = engine.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run_id}"})
    return found


def test_memory_limit_kills(local: LocalHarness) -> None:
    """200 MB in a 64 MiB job is OutOfMemory: killed by the kernel, swap included."""
    spec = local.spec("x = bytearray(200 << 20); print(len(x))", resources=Resources(1, 64))
    handle = local.submit(spec)
    status = local.end(handle)
    assert (status.state, status.failure) == (JobState.FAILED, Failure.OUT_OF_MEMORY)
    assert status.exit_code == 137
    assert list(local.backend().logs(handle)) == []


def test_memory_limit_kills_under_a_deadline_too(local: LocalHarness) -> None:
    """The wrapper that keeps the deadline does not hide the reason."""
    spec = local.spec("x = bytearray(200 << 20)", resources=Resources(1, 64), timeout_s=60)
    assert local.end(local.submit(spec)).failure is Failure.OUT_OF_MEMORY


def test_job_has_no_privileges(local: LocalHarness) -> None:
    """Not root, no capability, and no way to gain one."""
    program = (
        "import os\n"
        "print(os.getuid(), os.getgid())\n"
        "for line in open('/proc/self/status'):\n"
        "    if line.startswith(('CapEff', 'CapBnd', 'NoNewPrivs')): print(*line.split())"
    )
    zero = "0" * 16
    assert output(local, local.spec(program)) == [
        "1000 1000",
        f"CapEff: {zero}",
        f"CapBnd: {zero}",
        "NoNewPrivs: 1",
    ]


def test_job_runs_as_the_user_that_is_asked_for(local: LocalHarness) -> None:
    """``user`` is uid:gid; else the caller's own, and for root that of an ordinary user."""
    program = "import os; print(os.getuid(), os.getgid())"
    mine = f"{os.getuid()} {os.getgid()}" if os.getuid() else "1000 1000"
    assert output(local, local.spec(program)) == [mine]
    local.user = "4321:1234"
    assert output(local, local.spec(program)) == ["4321 1234"]


def test_unknown_uid_has_a_home_and_a_name(local: LocalHarness) -> None:
    """Home, caches and the working folder are writable, and the user has a name."""
    program = (
        "import getpass, os, pathlib, tempfile\n"
        "for folder in (pathlib.Path.home(), pathlib.Path.cwd(), os.environ['MPLCONFIGDIR'],\n"
        "               os.environ['XDG_CACHE_HOME'], tempfile.gettempdir()):\n"
        "    os.makedirs(folder, exist_ok=True)\n"
        "    (pathlib.Path(folder) / 'probe').write_text('x')\n"
        "print(getpass.getuser())"
    )
    local.user = "4321:4321"
    assert output(local, local.spec(program)) == ["bundlerun"]


def test_variables_stay_in_their_container(local: LocalHarness) -> None:
    """Another job beside it sees nothing of a job's credentials."""
    sleeper = local.spec("import time; time.sleep(20)", env={"AWS_SECRET_ACCESS_KEY": "s3cr3t"})
    handle = local.submit(sleeper)
    local.until(handle, JobState.RUNNING)
    program = (
        "import glob, os\n"
        "print('s3cr3t' in str(dict(os.environ)))\n"
        "found = 0\n"
        "for path in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: found += b's3cr3t' in open(path, 'rb').read()\n"
        "    except OSError: pass\n"
        "print(found)"
    )
    assert output(local, local.spec(program)) == ["False", "0"]


def test_deadline_holds_when_the_client_is_killed(local: LocalHarness) -> None:
    """The client dies by SIGKILL right after submit; the job still ends at its deadline."""
    spec = local.spec("import time; time.sleep(60)", timeout_s=3)
    client = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from bundlerun.backends.local_docker import LocalDocker\n"
        "from bundlerun.backends.job import JobSpec\n"
        "from bundlerun.settings import Settings\n"
        f"spec = JobSpec({spec.run_id!r}, {spec.name!r}, {spec.image!r}, {spec.command!r},\n"
        "    timeout_s=3)\n"
        "handle = LocalDocker(Settings(Path('/nowhere'), Path('/nowhere'))).submit(spec)\n"
        "print(handle.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", client], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    handle = JobHandle("Local", done.stdout.strip(), spec.run_id)
    local.handles.append(handle)
    status = local.end(handle)
    assert (status.state, status.failure) == (JobState.FAILED, Failure.TIMED_OUT)
    assert status.started_s is not None
    assert status.finished_s is not None
    # The engine may note the start a moment late, never the end early.
    assert 0 < status.finished_s - status.started_s < 10


def test_deadline_is_kept_by_a_job_that_ignores_it(
    local: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ignored: SIGKILL follows, and it is a timeout still."""
    monkeypatch.setattr("bundlerun.backends.local_docker_options.KILL_AFTER_S", 1)
    program = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)"
    status = local.end(local.submit(local.spec(program, timeout_s=2)))
    assert status.failure is Failure.TIMED_OUT


def test_own_exit_code_124_is_no_timeout(local: LocalHarness) -> None:
    """A job that itself exits as ``timeout`` does, in time, is the pipe's own failure."""
    status = local.end(local.submit(local.spec("raise SystemExit(124)", timeout_s=60)))
    assert (status.failure, status.exit_code) == (Failure.USER_ERROR, 124)


def test_job_that_ignores_sigterm_is_cancelled_soon(local: LocalHarness) -> None:
    """Two seconds of grace, then SIGKILL."""
    program = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('on')\ntime.sleep(60)"
    handle = local.submit(local.spec(program))
    assert next(local.backend().logs(handle, follow=True)) == "on"
    local.backend().cancel(handle, "enough")
    status = local.end(handle)
    assert (status.state, status.exit_code) == (JobState.CANCELLED, 137)


def test_container_killed_from_outside_is_infrastructure(local: LocalHarness, engine: Any) -> None:
    """Somebody's ``docker kill`` is neither the pipe's fault nor our cancel."""
    handle = local.submit(local.spec("import time; time.sleep(60)"))
    local.until(handle, JobState.RUNNING)
    engine.containers.get(handle.id).kill()
    status = local.end(handle)
    assert (status.failure, status.exit_code) == (Failure.INFRA_ERROR, 137)
    assert "SIGKILL" in status.reason


def test_entrypoint_of_the_image_is_kept(local: LocalHarness, engine: Any) -> None:
    """The command are the entrypoint's arguments, with a deadline and without one."""
    name = f"bundlerun-test-entrypoint:{uuid.uuid4().hex[:8]}"
    container = engine.containers.create(local.image, ["true"])
    entrypoint = json.dumps(["python3", "-c", "import sys; print(sys.argv[1:])", "first"])
    engine.api.commit(
        container.id,
        repository=name.partition(":")[0],
        tag=name.partition(":")[2],
        changes=[f"ENTRYPOINT {entrypoint}"],
    )
    try:
        spec = local.spec("", image=name, command=("a b",))
        assert output(local, spec) == ["['first', 'a b']"]
        spec = local.spec("", image=name, command=("a b",), timeout_s=60)
        assert output(local, spec) == ["['first', 'a b']"]
    finally:
        for handle in local.handles:
            local.backend().release(handle)
        local.handles.clear()
        container.remove()
        engine.images.remove(name)


def test_same_run_submitted_by_many_at_once_is_one_container(
    local: LocalHarness, engine: Any
) -> None:
    """Eight submissions of one run race: one container, one handle."""
    spec = local.spec("import time; time.sleep(1); print('once')")
    with ThreadPoolExecutor(8) as pool:
        handles = set(pool.map(lambda _: local.backend().submit(spec).id, range(8)))
    assert len(handles) == 1
    handle = local.submit(spec)
    assert {handle.id} == handles
    assert len(containers_of(engine, spec.run_id)) == 1
    assert local.end(handle).state is JobState.SUCCEEDED
    assert local.submit(spec) == handle
    assert list(local.backend().logs(handle)) == ["once"]


def test_job_of_a_client_that_died_before_the_start_is_started(local: LocalHarness) -> None:
    """The same run submitted again starts the container that the first client made."""
    spec = local.spec("print('after all')")
    with local.submit_queued(spec) as queued:
        handle = local.submit(spec)
    assert handle == queued
    assert local.end(handle).state is JobState.SUCCEEDED


def test_cancelled_run_does_not_start_again(local: LocalHarness) -> None:
    """Submitting a cancelled run finds the cancelled job."""
    spec = local.spec("import time; time.sleep(60)")
    handle = local.submit(spec)
    local.backend().cancel(handle, "enough")
    assert local.submit(spec) == handle
    assert local.end(handle).state is JobState.CANCELLED


def test_released_job_leaves_nothing(local: LocalHarness, engine: Any) -> None:
    """The container is gone, and its state is LOST."""
    spec = local.spec("print(1)")
    handle = local.submit(spec)
    local.end(handle)
    local.backend().release(handle)
    assert containers_of(engine, spec.run_id) == []
    assert local.backend().poll([handle])[handle.id].state is JobState.LOST


def folder_access(folder: Path) -> RemoteAccess:
    """Access to a remote that is a folder."""
    source, target = folder / "in", folder / "out"
    source.mkdir()
    target.mkdir()
    # The path down to a test's own folder is closed to others; a mount does not care.
    source.chmod(0o777)
    return RemoteAccess(source.as_uri(), source, target)


def test_a_job_reads_the_folder_of_its_remote_and_writes_to_its_own(
    local: LocalHarness, tmp_path: Path
) -> None:
    """It is told where it sees them; the remote itself cannot be written."""
    access = folder_access(tmp_path)
    (tmp_path / "in" / "data").write_text("42")
    program = (
        "import sys\n"
        "from urllib.parse import urlsplit\n"
        "source, target = urlsplit(sys.argv[2]).path, sys.argv[4]\n"
        "open(target + '/copy', 'w').write(open(source + '/data').read())\n"
        "try: open(source + '/more', 'w')\n"
        "except OSError as error: print(sys.argv[1], sys.argv[3], error.strerror)"
    )
    said = output(local, local.spec(program, access=access))
    assert said == ["--remote --staging Read-only file system"]
    assert (tmp_path / "out" / "copy").read_text() == "42"


def test_missing_mount_is_an_error_and_makes_no_folder(
    local: LocalHarness, engine: Any, tmp_path: Path
) -> None:
    """A folder that is not there is named; none is made, and no container stays."""
    missing = tmp_path / "missing"
    access = RemoteAccess(missing.as_uri(), missing, tmp_path)
    spec = local.spec("print(1)", access=access)
    with pytest.raises(EngineError, match="missing"):
        local.submit(spec)
    assert not missing.exists()
    assert containers_of(engine, spec.run_id) == []


def test_host_network_reaches_a_server_on_the_loopback(local: LocalHarness) -> None:
    """A job whose remote answers on the client's 127.0.0.1 reaches it; another one does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            connection, _ = server.accept()
            connection.sendall(b"hello")
            connection.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        program = (
            "import socket\n"
            f"try: print(socket.create_connection(('127.0.0.1', {port}), 5).recv(5).decode())\n"
            "except OSError: print('nobody')"
        )
        assert output(local, local.spec(program)) == ["nobody"]
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        access = RemoteAccess("s3://bucket/prefix", variables=endpoint)
        assert output(local, local.spec(program, access=access)) == ["hello"]
        thread.join(5)


def test_more_cpus_than_there_are_is_all_of_them(local: LocalHarness, engine: Any) -> None:
    """The engine refuses more than it has; a job that asks for 64 gets what there is."""
    handle = local.submit(local.spec("print(1)", resources=Resources(64, 128)))
    limits = engine.api.inspect_container(handle.id)["HostConfig"]
    assert limits["NanoCpus"] == engine.info()["NCPU"] * 10**9
    assert limits["Memory"] == limits["MemorySwap"] == 128 * 2**20
    assert local.end(handle).state is JobState.SUCCEEDED


def test_unreachable_registry_is_an_image_pull(local: LocalHarness) -> None:
    """A name with a registry is pulled first; the error has the registry's answer."""
    with pytest.raises(ImagePull, match="cannot be pulled"):
        local.submit(local.spec("", image="127.0.0.1:1/bundlerun-x:latest"))


def test_command_that_is_not_in_the_image_is_a_failure(local: LocalHarness) -> None:
    """The init process runs, the command does not: exit code 127, and the log names it."""
    handle = local.submit(local.spec("", command=("no-such-command",)))
    status = local.end(handle)
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert any("no-such-command" in line for line in local.backend().logs(handle))


def test_container_that_cannot_start_is_removed(local: LocalHarness, engine: Any) -> None:
    """The engine's reason is told at submit, and no container stays."""
    local.user = "no-such-user"
    spec = local.spec("print(1)")
    with pytest.raises(EngineError, match="no-such-user"):
        local.submit(spec)
    assert containers_of(engine, spec.run_id) == []


def test_no_engine_is_one_line_with_a_cure(
    local: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that does not answer is named, with what to do."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(EngineError, match=r"unix:///nowhere/docker.sock.*DOCKER_HOST") as caught:
        local.backend().submit(local.spec(""))
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError):
        local.backend().poll([JobHandle("Local", "x", "y")])


def test_what_the_image_says_of_its_user_counts() -> None:
    """Only what neither the image nor the job sets is filled in."""
    spec = JobSpec("run", "name", "image", (), env={"USER": "me"})
    found = environment(spec, 0, ["HOME=/home/it", "PATH=/bin"])
    assert "HOME" not in found
    assert (found["USER"], found["LOGNAME"]) == ("me", "bundlerun")


@pytest.fixture
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Docker CLI configuration with two contexts: the engine under test, and one that is away."""
    real = docker_host(os.environ).base_url
    for name, url in (("here", real), ("away", "unix:///nowhere/away.sock")):
        folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        meta = {"Name": name, "Endpoints": {"docker": {"Host": url, "SkipTLSVerify": False}}}
        (folder / "meta.json").write_text(json.dumps(meta))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def test_chosen_docker_context_is_used(
    local: LocalHarness, contexts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``docker context use`` counts for us as for the docker command."""
    (contexts / "config.json").write_text('{"currentContext": "here"}')
    assert output(local, local.spec("print(1)")) == ["1"]
    (contexts / "config.json").write_text('{"currentContext": "away"}')
    with pytest.raises(EngineError, match="context away"):
        local.backend().submit(local.spec("print(1)"))
    (contexts / "config.json").write_text('{"currentContext": "here"}')


def test_names_that_can_be_pulled() -> None:
    """A bare name is local; a registry or a digest says where the image is."""
    assert not has_registry("bundlerun-x:latest")
    assert not has_registry("team/bundlerun-x:latest")
    for name in ("localhost/x", "localhost:5000/x:1", "r.example/x", "x@sha256:" + "a" * 64):
        assert has_registry(name)


def test_lines_come_whole_from_pieces_cut_anywhere() -> None:
    """Cuts within a line, a character or an ending change nothing; bad bytes do not stop it."""
    data = "eins\nzwei ü\r\n\ndrei".encode() + b"\xff\nend"
    whole = ["eins", "zwei ü", "", "drei\ufffd", "end"]
    for size in range(1, len(data) + 1):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert list(lines(iter(pieces))) == whole
    assert list(lines(iter([b"one\n"]))) == ["one"]
    assert list(lines(iter([]))) == []


def test_engine_times_are_unix_seconds() -> None:
    """Nanoseconds, zones, none, and the year 1 of a time that has not come."""
    assert unix_s("1970-01-01T00:00:01.500000000Z") == 1.5
    assert unix_s("1970-01-01T01:00:01.25+01:00") == 1.25
    assert unix_s("1970-01-01T00:00:02Z") == 2.0
    assert unix_s("0001-01-01T00:00:00Z") is None
    assert unix_s(None) is None


@pytest.mark.parametrize(
    ("state", "found", "failure"),
    [
        ({"Status": "created"}, JobState.QUEUED, None),
        ({"Status": "restarting"}, JobState.STARTING, None),
        ({"Status": "paused"}, JobState.RUNNING, None),
        ({"Status": "dead", "ExitCode": 0}, JobState.FAILED, Failure.INFRA_ERROR),
        ({"Status": "exited", "ExitCode": 0, "OOMKilled": True}, JobState.SUCCEEDED, None),
        ({"Status": "exited", "ExitCode": 139}, JobState.FAILED, Failure.USER_ERROR),
        ({"Status": "exited", "ExitCode": 143}, JobState.FAILED, Failure.INFRA_ERROR),
    ],
)
def test_rare_container_states_have_a_meaning(
    state: dict[str, Any], found: JobState, failure: Failure | None
) -> None:
    """What the engine seldom says is mapped too."""
    status = job_status(state, cancelled=False, timeout_s=None)
    assert (status.state, status.failure) == (found, failure)


def test_start_that_the_engine_notes_late_is_not_after_the_end() -> None:
    """A container of a millisecond ends before its start is written down; no negative times."""
    state = {
        "Status": "exited",
        "ExitCode": 0,
        "StartedAt": "2026-01-01T00:00:00.040Z",
        "FinishedAt": "2026-01-01T00:00:00.039Z",
    }
    status = job_status(state, cancelled=False, timeout_s=None)
    assert status.started_s == status.finished_s == unix_s(state["FinishedAt"])


def test_backend_object_asks_nothing_when_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constructor only assigns: no engine is needed."""
    from bundlerun.settings import Settings

    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert LocalDocker(Settings(tmp_path, tmp_path / "store")).name == "Local"


def test_a_container_of_another_run_is_left_alone(local: LocalHarness) -> None:
    """The handle may come from a remote that lies: neither ended, nor removed, nor read."""
    own = local.submit(local.spec("import time; time.sleep(50)"))
    local.until(own, JobState.RUNNING)
    lie = JobHandle("Local", own.id, str(uuid.uuid4()))
    backend = local.backend()
    for act in (
        lambda: backend.cancel(lie, "a lie"),
        lambda: backend.release(lie),
        lambda: list(backend.logs(lie)),
    ):
        with pytest.raises(Conflict, match="nothing was done"):
            act()
    assert backend.poll([lie])[lie.id].state is JobState.LOST
    assert backend.poll([own])[own.id].state is JobState.RUNNING


def test_a_container_of_another_engine_is_elsewhere(local: LocalHarness) -> None:
    """Its host is named; an own one that is gone is lost."""
    own = local.submit(local.spec("print(1)"))
    local.end(own)
    assert own.extra["host"]
    far = JobHandle("Local", "0" * 64, own.run_id, {"engine": "another", "host": "far-host"})
    backend = local.backend()
    status = backend.poll([far, own])[far.id]
    assert (status.state, "far-host" in status.reason) == (JobState.ELSEWHERE, True)
    with pytest.raises(EngineError, match="far-host"):
        backend.cancel(far, "over")
    gone = JobHandle("Local", "0" * 64, own.run_id, own.extra)
    assert backend.poll([gone])[gone.id].state is JobState.LOST


def test_the_folder_that_a_job_writes_to_is_told(local: LocalHarness, tmp_path: Path) -> None:
    """By the engine's own record, while it has the container; a job without one has none."""
    handle = local.submit(local.spec("print(1)", access=folder_access(tmp_path)))
    other = local.submit(local.spec("print(1)"))
    local.end(handle)
    backend = local.backend()
    assert backend.staging(handle) == tmp_path / "out"
    assert backend.staging(other) is None
    backend.release(handle)
    assert backend.staging(handle) is None


class Relay(threading.Thread):
    """From a port of the loopback to where the engine listens, byte by byte."""

    def __init__(self, host: DockerHost) -> None:
        super().__init__(daemon=True)
        if host.tls:
            pytest.fail(f"needs an engine that is spoken to without TLS, not {host.base_url}")
        self.engine = urlsplit(host.base_url)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def run(self) -> None:
        """Until the server is closed."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.server.accept()
                far = self._dialled()
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _dialled(self) -> socket.socket:
        if self.engine.scheme != "unix":
            return socket.create_connection((self.engine.hostname, self.engine.port or 2375))
        far = socket.socket(socket.AF_UNIX)
        far.connect(self.engine.path)
        return far

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("step", ["/containers/create", "/start"])
@pytest.mark.parametrize("fault", [Fault.DROPPED, Fault.RESET])
def test_an_engine_whose_answer_is_lost_has_one_container_that_runs(
    local: LocalHarness, engine: Any, monkeypatch: pytest.MonkeyPatch, step: str, fault: Fault
) -> None:
    """Made or started, and nobody heard; or the request never arrived: the run is found again."""
    relay = Relay(docker_host())
    relay.start()
    lost: list[str] = []

    def choose(method: str, path: str) -> Fault:
        if lost or method != "POST" or not path.split("?")[0].endswith(step):
            return Fault.NONE
        lost.append(path)
        return fault

    spec = local.spec("print('once')")
    with FaultProxy(relay.url, choose) as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url.replace("http://", "tcp://"))
        handle = LocalDocker(local.settings).submit(spec)
        monkeypatch.delenv("DOCKER_HOST")
    relay.server.close()
    local.handles.append(handle)
    assert lost
    assert local.end(handle).state is JobState.SUCCEEDED
    assert list(local.backend().logs(handle)) == ["once"]
    assert len(containers_of(engine, spec.run_id)) == 1


def test_a_container_that_was_never_started_is_started_when_it_is_found(
    local: LocalHarness,
) -> None:
    """Its client died between the two: nobody waits for it for ever."""
    spec = local.spec("print('late')")
    with local.submit_queued(spec) as handle:
        found = local.backend().find(spec.run_id, spec.name)
    assert found == handle
    assert local.end(handle).state is JobState.SUCCEEDED
