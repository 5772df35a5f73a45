"""Jobs as containers of a Docker engine, this machine's or the Docker CLI's.

What a job is lives in the engine alone (a label, a name), so any process finds it again. The
deadline is inside the container (``timeout`` around the command), so it holds when the client is
gone. A cancelled job's container is renamed, since labels cannot be changed: that is the mark.
"""

from __future__ import annotations

import codecs
import os
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundlerun.backends.base import Backend, Check, ImageAt, Traits, checked
from bundlerun.backends.job import (
    SIZES,
    JobHandle,
    JobSpec,
    JobState,
    JobStatus,
    RemoteAccess,
    Resources,
)
from bundlerun.backends.local_docker_state import job_status
from bundlerun.docker_engine import DockerHost, connect, docker_host, reason, translated
from bundlerun.errors import Conflict, EngineError, ImagePull, UsageError
from bundlerun.settings import Settings

RUN_LABEL = "org.bundlerun.run"
JOB_LABEL = "org.bundlerun.job"
TIMEOUT_LABEL = "org.bundlerun.timeout-s"
CANCELLED = "-cancelled"
STOP_GRACE_S = 2
KILL_AFTER_S = 10
SHOWN_WITHIN_S = 10.0
REMOTE_INSIDE = Path("/bundlerun/remote")
STAGING_INSIDE = Path("/bundlerun/staging")
"""The folders in a container for a remote that is a folder, and for its staging."""

JOB_UID = 1000
"""The user of containers when the caller is root: Debian's first ordinary user."""

_MIB = 2**20
_NEEDED = {
    "HOME": "/tmp",
    "USER": "bundlerun",
    "LOGNAME": "bundlerun",
    "MPLCONFIGDIR": "/tmp/.matplotlib",
    "XDG_CACHE_HOME": "/tmp/.cache",
    "PYTHONUNBUFFERED": "1",
}


class LocalDocker(Backend):
    """Containers on a Docker engine, by ``docker``'s own contexts and DOCKER_HOST.

    ``JobSpec.retries`` is for machines that are taken away under a job (AWS Batch). Here the engine
    never moves a job, a restarted one would repeat the pipe's own mistake, and a deadline or a
    cancel would start it again: so nothing is retried, and retries are refused.
    """

    name = "Local"
    traits = Traits(
        waits=True,
        image=ImageAt.ENGINE,
        sees_folders=True,
        private_variables=True,
        keeps_logs=False,
        sizes=SIZES,
    )

    def __init__(self, settings: Settings, *, user: str | None = None) -> None:
        """Keep the settings, and ``user``, the ``uid:gid`` of the containers.

        None for ``user``: the caller's, and an ordinary user's for root.
        """
        super().__init__(settings)
        self._user = user or job_user()
        self._lock = threading.Lock()
        self._connected: tuple[DockerHost, Any] | None = None

    def submit(self, spec: JobSpec) -> JobHandle:
        """Create and start the container of ``spec``, one for each ``run_id``.

        The same ``run_id`` finds the same container. Raises ImagePull when the image is neither
        here nor to be pulled, EngineError when the engine does not answer or refuses, UsageError as
        check_limits does.
        """
        self.check(spec)
        self._let_write(spec.access)
        try:
            return self._submitted(spec)
        except EngineError as error:
            if not _without_answer(error):
                raise
        # It may have been done all the same: what is there is found then.
        return self._submitted(spec)

    def check_resources(self, resources: Resources, asked: Collection[str] = ()) -> None:
        """Refuse more than the engine has; see Backend.check_resources.

        What was not asked for by name is a limit that it cannot reach. GPUs are for the engine
        itself to refuse.
        """
        super().check_resources(resources, asked)
        if not {"vcpus", "memory_mib"} & set(asked):
            return
        with self._engine("what the engine has") as client:
            info = client.info()
        cpus, memory_mib = int(info.get("NCPU") or 1), int(info.get("MemTotal") or 0) // _MIB
        if "vcpus" in asked and resources.vcpus > cpus:
            raise UsageError(
                f"this engine has {cpus} CPUs, not {resources.vcpus:g}", hint=f"--vcpus {cpus}"
            )
        if "memory_mib" in asked and 0 < memory_mib < resources.memory_mib:
            raise UsageError(
                f"this engine has {memory_mib} MiB of memory, not {resources.memory_mib}",
                hint=f"--memory-mib {memory_mib}",
            )

    def _let_write(self, access: RemoteAccess | None) -> None:
        """The staging folder is the container's user's, whatever the umask."""
        if access is None or access.staging is None or not access.staging.is_dir():
            return
        access.staging.chmod(0o755)
        if os.getuid() == 0:
            uid, gid = map(int, self._user.split(":"))
            os.chown(access.staging, uid, gid)

    def _submitted(self, spec: JobSpec) -> JobHandle:
        with self._engine(f"the container of run {spec.run_id}") as client:
            found = self._find(client, spec.run_id)
            container = found or self._create(client, spec)
            if not container.name.endswith(CANCELLED):
                self._start(container, spec.run_id)
            return self._handle(client, container, spec.run_id)

    def find(self, run_id: str, name: str) -> JobHandle | None:
        """The run's container, by its label; see Backend.find.

        One whose client died before it started it is started.
        """
        with self._engine(f"the container of run {run_id}") as client:
            container = self._find(client, run_id)
            if container is None:
                return None
            if not container.name.endswith(CANCELLED):
                self._start(container, run_id)
            return self._handle(client, container, run_id)

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The status of each handle, by one inspection a handle; see Backend.poll.

        A container of another engine is ELSEWHERE, the reason naming its host.
        """
        with self._engine("the state of a container") as client:
            return {handle.id: self._status(client, handle) for handle in handles}

    def logs(self, handle: JobHandle, *, follow: bool = False) -> Iterator[str]:
        """Lines of stdout and stderr as they came; see Backend.logs."""
        with self._engine("the log of a container") as client:
            container = self._get(client, handle)
            if container is None:
                return
            stream = container.logs(stream=True, follow=follow, stdout=True, stderr=True)
            try:
                yield from lines(stream)
            finally:
                # A reader that stops must not leave a connection to the engine behind.
                stream.close()

    def cancel(self, handle: JobHandle, reason: str) -> None:
        """SIGTERM, then SIGKILL after 2 s; ``reason`` stays with the caller's journal."""
        from docker.errors import APIError, NotFound

        with self._engine("cancelling a container") as client:
            container = self._get(client, handle)
            if container is None or self._status(client, handle).state.final:
                return
            try:
                # The mark comes first: a look that sees the end must be able to tell why.
                if not container.name.endswith(CANCELLED):
                    container.rename(container.name + CANCELLED)
                container.stop(timeout=STOP_GRACE_S)
            except NotFound:
                return
            except APIError as error:
                if not self._status(client, handle).state.final:
                    raise EngineError(
                        f"the container {handle.id[:12]} does not stop: {error}",
                        hint=f"docker kill {handle.id[:12]}",
                    ) from error

    def release(self, handle: JobHandle) -> None:
        """Remove the container and its anonymous volumes, running or not."""
        from docker.errors import APIError

        with self._engine("removing a container") as client:
            container = self._get(client, handle)
            if container is None:
                return
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                # 404: gone meanwhile; 409: another process is removing it.
                if error.status_code not in (404, 409):
                    raise

    def staging(self, handle: JobHandle) -> Path | None:
        """See Backend.staging."""
        with self._engine("the folders of a container") as client:
            container = self._get(client, handle)
            mounts = [] if container is None else container.attrs.get("Mounts") or []
        found = [
            mount["Source"] for mount in mounts if mount.get("Destination") == str(STAGING_INSIDE)
        ]
        return Path(found[0]) if found else None

    def checks(self) -> Iterator[Check]:
        """See Backend.checks."""
        yield checked("engine", self._version)

    def _version(self) -> str:
        with self._engine("the engine's version") as client:
            return f"Docker {client.version()['Version']}"

    def _handle(self, client: Any, container: Any, run_id: str) -> JobHandle:
        """With the engine's own id, and its host's name for people."""
        info = client.info()
        at = {"engine": str(info.get("ID") or ""), "host": str(info.get("Name") or "")}
        return JobHandle(self.name, str(container.id), run_id, at)

    def _status(self, client: Any, handle: JobHandle) -> JobStatus:
        from docker.errors import NotFound

        try:
            found = client.api.inspect_container(handle.id)
        except NotFound:
            host = _other_host(client, handle)
            if host:
                return JobStatus(JobState.ELSEWHERE, reason=f"a container on {host}")
            return JobStatus(JobState.LOST, reason="the engine has no such container")
        labels = found["Config"].get("Labels") or {}
        if labels.get(RUN_LABEL) != handle.run_id:
            return JobStatus(JobState.LOST, reason="its container is one of another run")
        timeout = labels.get(TIMEOUT_LABEL)
        return job_status(
            found["State"],
            cancelled=str(found["Name"]).endswith(CANCELLED),
            timeout_s=int(timeout) if timeout else None,
        )

    def _find(self, client: Any, run_id: str) -> Any:
        wanted = {"label": f"{RUN_LABEL}={run_id}"}
        found = client.containers.list(all=True, filters=wanted, ignore_removed=True)
        return found[0] if found else None

    def _get(self, client: Any, handle: JobHandle) -> Any:
        """The container, None when it is gone.

        Raises Conflict for one that is of another run, EngineError for one of another engine.
        """
        from docker.errors import NotFound

        try:
            container = client.containers.get(handle.id)
        except NotFound:
            host = _other_host(client, handle)
            if host is None:
                return None
            short = handle.run_id[:13]
            raise EngineError(
                f"run {short} is a container on {host}, not on this engine",
                hint=f"the same command on {host}",
            ) from None
        if container.labels.get(RUN_LABEL) != handle.run_id:
            raise Conflict(
                f"the container {handle.id[:12]} is not one of run {handle.run_id}: nothing was"
                " done to it",
                hint=f"bundlerun jobs {handle.run_id[:13]}",
            )
        return container

    def _create(self, client: Any, spec: JobSpec) -> Any:
        from docker.errors import APIError

        image = self._image(client, spec.image)
        cpus = int(client.info().get("NCPU") or 1)
        options = container_options(spec, image, self._user, host_cpus=cpus)
        try:
            return client.containers.create(spec.image, **options)
        except APIError as error:
            # Another process submits the same run at this moment, and was first.
            if error.status_code != 409 or (found := self._awaited(client, spec.run_id)) is None:
                raise
            return found

    def _awaited(self, client: Any, run_id: str) -> Any:
        """The engine takes a name some moments before it shows the container."""
        until = time.monotonic() + SHOWN_WITHIN_S
        while (found := self._find(client, run_id)) is None and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def _start(self, container: Any, run_id: str) -> None:
        """Start a container that was never started.

        One that cannot start is removed. Raises EngineError.
        """
        from docker.errors import APIError

        container.reload()
        if container.status != "created":
            return
        try:
            container.start()
        except APIError as error:
            container.remove(force=True, v=True)
            raise EngineError(
                f"the engine cannot start the container of run {run_id}: {reason(error)}",
                hint="docker info",
            ) from error

    def _image(self, client: Any, name: str) -> Any:
        from docker.errors import APIError, ImageNotFound

        try:
            return client.images.get(name)
        except ImageNotFound:
            pass
        if not has_registry(name):
            raise ImagePull(
                f"the image {name} is not on this engine",
                hint="bundlerun dockerize PIPE_ROOT PKG.MODULE.PIPE",
            )
        try:
            client.images.pull(name)
            return client.images.get(name)
        except APIError as error:
            raise ImagePull(
                f"the image {name} is not on this engine and cannot be pulled: {reason(error)}",
                hint="bundlerun dockerize --push PIPE_ROOT PKG.MODULE.PIPE",
            ) from error

    @contextmanager
    def _engine(self, what: str) -> Iterator[Any]:
        """The engine's client; what it and its SDK raise becomes EngineError."""
        host, client = self._connection()
        with translated(f"{what}: the engine refuses", host):
            yield client

    def _connection(self) -> tuple[DockerHost, Any]:
        with self._lock:
            if self._connected is None:
                host = docker_host()
                self._connected = (host, connect(host))
            return self._connected


def _without_answer(error: EngineError) -> bool:
    """Whether a connection to the engine broke off before its answer came."""
    from requests.exceptions import RequestException

    return isinstance(error.__cause__, (RequestException, OSError))


def _other_host(client: Any, handle: JobHandle) -> str | None:
    """The host of the handle's engine, None where that is the one that answers."""
    engine = handle.extra.get("engine")
    if not engine or engine == client.info().get("ID"):
        return None
    return handle.extra.get("host") or f"the engine {engine}"


def job_user() -> str:
    """``uid:gid`` of a container: the caller's, and an ordinary user's for root."""
    uid, gid = os.getuid(), os.getgid()
    return f"{uid}:{gid}" if uid else f"{JOB_UID}:{JOB_UID}"


def container_options(spec: JobSpec, image: Any, user: str, *, host_cpus: int) -> dict[str, Any]:
    """What ``containers.create`` is told about ``spec``, besides the image's name."""
    from docker.types import DeviceRequest, LogConfig

    config = image.attrs.get("Config") or {}
    entrypoint, command = (
        list(config.get("Entrypoint") or ()),
        list(spec.argv(REMOTE_INSIDE, STAGING_INSIDE)),
    )
    labels = {RUN_LABEL: spec.run_id, JOB_LABEL: spec.name}
    if spec.timeout_s is not None:
        # A new entrypoint makes the engine forget the image's own command.
        command = command or list(config.get("Cmd") or ())
        entrypoint = ["timeout", "-k", str(KILL_AFTER_S), str(spec.timeout_s), *entrypoint]
        labels[TIMEOUT_LABEL] = str(spec.timeout_s)
    limit = spec.resources.memory_mib * _MIB
    options: dict[str, Any] = {
        "name": container_name(spec.run_id),
        "command": command,
        "labels": labels,
        "environment": environment(spec, config.get("Env") or ()),
        "user": user,
        "working_dir": config.get("WorkingDir") or "/tmp",
        "init": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": limit,
        "memswap_limit": limit,
        "nano_cpus": int(min(spec.resources.vcpus, host_cpus) * 1e9),
        # Whatever driver is the engine's default: it may be one that cannot be read back.
        "log_config": LogConfig(type=LogConfig.types.JSON),
        "mounts": mounts(spec.access),
    }
    if spec.timeout_s is not None:
        options["entrypoint"] = entrypoint
    if any(_loopback(value) for value in spec.access.variables.values()) if spec.access else False:
        # A server on this machine alone is not to be seen from a network of the container's own.
        options["network_mode"] = "host"
    if spec.resources.gpus:
        wanted = DeviceRequest(count=spec.resources.gpus, capabilities=[["gpu"]])
        options["device_requests"] = [wanted]
    return options


def mounts(access: RemoteAccess | None) -> list[Any]:
    """A remote that is a folder, to read, and the folder that its job writes to."""
    from docker.types import Mount

    if access is None or access.folder is None or access.staging is None:
        return []
    return [
        Mount(str(REMOTE_INSIDE), str(access.folder), type="bind", read_only=True),
        Mount(str(STAGING_INSIDE), str(access.staging), type="bind", read_only=False),
    ]


def environment(spec: JobSpec, in_image: Sequence[str] = ()) -> dict[str, str]:
    """The job's variables, and those that a uid without a passwd entry needs.

    The latter stand where the image (``NAME=value`` rows) has none of its own. The scratch is the
    container's own /tmp, on disk: a tmpfs would count as the job's memory.
    """
    named = {row.partition("=")[0] for row in in_image}
    needed = {name: text for name, text in _NEEDED.items() if name not in named}
    return {**needed, **spec.environment}


def container_name(run_id: str) -> str:
    """The container's name, unique a run, so that the engine refuses a second one."""
    return "bundlerun-" + re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)


def has_registry(image: str) -> bool:
    """Whether ``image`` says where it comes from, so that a pull can be meant."""
    first, slash, _ = image.partition("/")
    return "@sha256:" in image or (
        bool(slash) and ("." in first or ":" in first or first == "localhost")
    )


def _loopback(value: str) -> bool:
    host = urlsplit(value).hostname if "://" in value else None
    return host is not None and (host == "localhost" or host.startswith("127.") or host == "::1")


def lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Whole lines, decoded, from pieces cut anywhere; the last may lack its newline."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in whole:
            yield line.removesuffix("\r")
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
