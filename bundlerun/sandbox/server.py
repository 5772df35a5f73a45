"""An AWS in a box: a server with a bucket, roles and a Batch queue.

It is for trying things out. Each Batch job is a real container on the local Docker engine. It is
not AWS: it enforces no IAM, gives containers no role's credentials, and keeps all it knows, the
objects of its S3 included, in its process's memory: what ends the process ends them
(docs/sandbox.md). It listens on the loopback alone, and asks nobody for a password.
"""

from __future__ import annotations

import fcntl
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundlerun.aws.sandbox_env import ENDPOINT
from bundlerun.child_processes import signals_held_back
from bundlerun.docker_engine import docker_host
from bundlerun.errors import CloudError, SettingsError
from bundlerun.progress import SILENT, Progress
from bundlerun.sandbox.contents import (
    BUCKET,
    QUEUE,
    REGION,
    SECRETS,
    Roles,
    furnish,
)

ADDRESS = "127.0.0.1"
START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0
"""How long a server may take to end the containers of its jobs and itself."""

PORTS_TRIED = 3
ANSWER_WITHIN_S = 5.0
PATIENCE_S = 15.0
"""How long `up` waits for a living server that is slow to answer."""

SESSION_S = 3600
"""How long the credentials of a job live, which it gets as variables."""


@dataclass(frozen=True)
class SandboxInfo:
    """A running sandbox.

    ``env`` is what to export; ``log`` is the server's own log; ``answers`` says whether the server
    answered in time. ``env`` has no job role: moto hands a container no credentials for one, so
    jobs get theirs as variables. A configured AWS profile is put out of the way by configuration
    files of the sandbox's own, as unsetting it is not a thing that an export can do.
    """

    endpoint: str
    bucket: str
    queue: str
    pid: int
    log: Path
    job_role_arn: str
    session_role_arn: str
    answers: bool = True
    env: dict[str, str] = field(default_factory=dict)


def up(
    folder: Path,
    *,
    port: int | None = None,
    patience_s: float = PATIENCE_S,
    progress: Progress = SILENT,
) -> SandboxInfo:
    """The sandbox of ``folder``, started and furnished if it is not running.

    A second call finds the running one. ``port`` None: the one of the last time, else a free one.
    What is interrupted while it starts a server ends that server. Raises SettingsError when moto is
    not installed or runs on another port than asked, CloudError when the server does not start, or
    when a running one has not answered for ``patience_s`` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder):
        found = _answering(folder, patience_s)
        if found is not None and port not in (None, found["port"]):
            raise SettingsError(
                f"the sandbox runs on port {found['port']} already", hint="bundlerun sandbox down"
            )
        if found is not None:
            return _furnished(folder, found)
        bar = progress.start("starting the sandbox", None, "s")
        try:
            return _furnished(folder, _started(folder, port))
        except BaseException:
            # Nobody knows of it yet, and nothing is in it.
            if (found := _running(folder)) is not None:
                _stop(int(found["pid"]), str(found["started"]))
            raise
        finally:
            progress.finish(bar)


def down(folder: Path) -> bool:
    """End the sandbox of ``folder``, its jobs and data; whether one was running."""
    if not folder.is_dir():
        return False
    with _alone(folder):
        found = _running(folder)
        if found is None:
            return False
        _stop(int(found["pid"]), str(found["started"]))
        return True


def status(folder: Path, *, patience_s: float = ANSWER_WITHIN_S) -> SandboxInfo | None:
    """The running sandbox of ``folder``, or None.

    One that has not answered within ``patience_s`` seconds runs all the same (``answers``).
    """
    found = _running(folder)
    if found is None:
        return None
    return _info(folder, found, Roles(), answers=_answers(found["port"], patience_s))


def answers(endpoint: str) -> bool:
    """Whether a sandbox's server answers at ``endpoint``, ``http://127.0.0.1:PORT``."""
    port = endpoint.rstrip("/").rpartition(":")[2]
    return port.isdecimal() and _answers(int(port))


def _endpoint(found: dict[str, Any]) -> str:
    return f"http://{ADDRESS}:{found['port']}"


def _furnished(folder: Path, found: dict[str, Any]) -> SandboxInfo:
    roles = furnish(_endpoint(found))
    _write_profile(folder, _endpoint(found))
    return _info(folder, found, roles)


def _info(
    folder: Path, found: dict[str, Any], roles: Roles, *, answers: bool = True
) -> SandboxInfo:
    endpoint = _endpoint(found)
    env = {
        "AWS_ENDPOINT_URL": endpoint,
        **SECRETS,
        # An old token of the user's would be sent along with these keys.
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PROFILE": "default",
        "AWS_CONFIG_FILE": str(folder.resolve() / "aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder.resolve() / "aws-credentials"),
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "BUNDLERUN_AWS_BATCH_QUEUE": QUEUE,
        "BUNDLERUN_SESSION_ROLE_ARN": roles.session,
        "BUNDLERUN_SESSION_SECONDS": str(SESSION_S),
        "BUNDLERUN_SANDBOX_BUCKET": BUCKET,
        ENDPOINT: endpoint,
    }
    return SandboxInfo(
        endpoint=endpoint,
        bucket=BUCKET,
        queue=QUEUE,
        pid=int(found["pid"]),
        log=folder / "moto.log",
        job_role_arn=roles.job,
        session_role_arn=roles.session,
        answers=answers,
        env=env,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time starts or stops this sandbox."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _started(folder: Path, port: int | None) -> dict[str, Any]:
    for module in ("moto.server", "flask", "docker"):
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        if not there:
            raise SettingsError(
                f"the sandbox needs {module.partition('.')[0]}, which is not installed",
                hint="pip install 'bundlerun[sandbox]'",
            )
    if port is not None and not _is_free(port):
        raise SettingsError(
            f"port {port} of {ADDRESS} is in use", hint="bundlerun sandbox up without a port"
        )
    for _ in range(PORTS_TRIED - 1):
        try:
            return _serving(folder, port or _free_port(_last_port(folder)))
        except CloudError:
            # A free port may be another's a moment later; one that was asked for is not exchanged.
            if port is not None:
                raise
    return _serving(folder, port or _free_port(None))


def _serving(folder: Path, chosen: int) -> dict[str, Any]:
    """A server of our own on that port.

    Raises CloudError when it does not start.
    """
    process = None
    try:
        with (folder / "moto.log").open("wb") as log, signals_held_back():
            process = subprocess.Popen(
                [sys.executable, "-m", "bundlerun.sandbox.app", "-H", ADDRESS, "-p", str(chosen)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=_server_env(),
                # A session of its own: Ctrl-C and a closed terminal do not reach it.
                start_new_session=True,
            )
        found = {"pid": process.pid, "started": _start_time(process.pid), "port": chosen}
        _await(process, chosen, folder)
        _write(folder / "sandbox.json", json.dumps(found))
    except BaseException:
        # Ctrl-C included, which the server's own session does not get.
        if process is not None:
            process.kill()
            process.wait()
        raise
    return found


def _await(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    """Wait until this very server serves.

    That something answers is not enough: another server may have taken the port meanwhile.
    """
    until = time.monotonic() + START_WITHIN_S
    while not (_says_it_runs(folder) and _answers(port)):
        if process.poll() is not None or time.monotonic() > until:
            tail = (folder / "moto.log").read_text(errors="replace").strip()[-500:]
            raise CloudError(
                f"the sandbox's server does not start on {ADDRESS}:{port}: {tail}",
                hint=f"less {folder / 'moto.log'}",
            )
        time.sleep(0.05)


def _says_it_runs(folder: Path) -> bool:
    # It says so in its log once it has bound the port.
    return "Running on http" in (folder / "moto.log").read_text(errors="replace")


def _server_env() -> dict[str, str]:
    """The server's environment: with the same engine as ours, and no other AWS."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    env.update(docker_host().environment())
    env["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    return env


def _running(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "sandbox.json").read_text())
        alive = _start_time(int(found["pid"])) == found["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if alive else None


def _answering(folder: Path, patience_s: float) -> dict[str, Any] | None:
    """The running server, once it answers; None without one, or when it dies.

    Raises CloudError for one that lives and does not answer. All that the sandbox holds is in that
    process, so only ``down`` ends it.
    """
    until = time.monotonic() + patience_s
    while (found := _running(folder)) is not None:
        if _answers(found["port"], min(patience_s, ANSWER_WITHIN_S)):
            return found
        if time.monotonic() > until:
            raise CloudError(
                f"the sandbox at {_endpoint(found)} (process {found['pid']}) runs, but has not"
                f" answered within {patience_s:g} s; it may be busy",
                hint="the same command later, or bundlerun sandbox down, which deletes all that"
                " is in it",
            )
        time.sleep(0.05)
    return None


def _start_time(pid: int) -> str | None:
    """The start time of a process by the kernel; None when there is none of this id.

    A pid alone may be another process's by now.
    """
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        told = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return told.stdout.strip() or None
    try:
        # The command's name, in parentheses, may hold spaces.
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _stop(pid: int, started: str) -> None:
    for sign, seconds in ((signal.SIGTERM, STOP_WITHIN_S), (signal.SIGKILL, STOP_WITHIN_S)):
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            _reap(pid)
            if _start_time(pid) != started:
                return
            time.sleep(0.02)
    raise CloudError(f"the sandbox's process {pid} did not end", hint=f"kill -9 {pid}")


def _reap(pid: int) -> None:
    """A server that this very process started stays a zombie until it is waited for."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _answers(port: int, within_s: float = ANSWER_WITHIN_S) -> bool:
    link = http.client.HTTPConnection(ADDRESS, port, timeout=within_s)
    try:
        # A page of its own that tells nothing of what moto holds: a dump of that takes seconds.
        link.request("GET", "/moto-api/")
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def _last_port(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / "sandbox.json").read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
    return True


def _free_port(wanted: int | None) -> int:
    """``wanted`` where it is free, so that what a shell has exported fits again."""
    # A killed server's last thread may hold its port for a moment.
    until = time.monotonic() + 2.0
    while wanted is not None and time.monotonic() < until:
        if _is_free(wanted):
            return wanted
        time.sleep(0.05)
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _write_profile(folder: Path, endpoint: str) -> None:
    _write(folder / "aws-config", f"[default]\nregion = {REGION}\nendpoint_url = {endpoint}\n")
    keys = "".join(f"{name.lower()} = {text}\n" for name, text in SECRETS.items())
    _write(folder / "aws-credentials", f"[default]\n{keys}")


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(text)
    os.replace(partial, path)
