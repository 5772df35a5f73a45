"""Jobs as containers of a Docker engine, this machine's or the Docker CLI's.

What a job is lives in the engine alone (labels, a name), so any process finds it again: by its run,
its part and its index. The jobs of an array are made before the first of them starts, so an array
that is not whole has not begun. The deadline is inside the container (``timeout`` around the
command), so it holds when the client is gone. A cancelled job's container is renamed, since labels
cannot be changed: that is the mark.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bundlerun.backends import local_docker_containers as containers
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
from bundlerun.backends.local_docker_options import (
    MIB,
    RUN_LABEL,
    STAGING_INSIDE,
    array_name,
    job_user,
)
from bundlerun.backends.local_docker_state import Row, array_status, inspected_status
from bundlerun.docker_engine import DockerHost, connect, docker_host, translated
from bundlerun.errors import EngineError, UsageError
from bundlerun.settings import Settings

LARGEST_ARRAY = 256
"""The engine starts all containers of an array at once, and queues none."""

AT_ONCE = 8
"""Requests to the engine side by side."""

T = TypeVar("T")


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
        largest_array=LARGEST_ARRAY,
    )

    def __init__(self, settings: Settings, *, user: str | None = None) -> None:
        """Keep the settings, and ``user``, the ``uid:gid`` of the containers.

        None for ``user``: the caller's, and an ordinary user's for root.
        """
        super().__init__(settings)
        self._user = user or job_user()
        self._lock = threading.Lock()
        self._connected: tuple[DockerHost, Any] | None = None
        self._pid = 0

    def submit(self, spec: JobSpec) -> JobHandle:
        """Create and start the containers of ``spec``, one for each of its jobs.

        The same ``run_id`` and ``part`` find the same containers, and make what is missing of them.
        Raises ImagePull when the image is neither here nor to be pulled, EngineError when the
        engine does not answer or refuses, UsageError as check_limits does.
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
        cpus, memory_mib = self._has()
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

    def room(self, resources: Resources) -> int:
        """By the engine's CPUs and memory; see Backend.room."""
        cpus, memory_mib = self._has()
        by_cpus = int(cpus // min(resources.vcpus, cpus))
        by_memory = memory_mib // resources.memory_mib if memory_mib else by_cpus
        return max(1, min(by_cpus, by_memory, LARGEST_ARRAY))

    def _has(self) -> tuple[int, int]:
        """The engine's CPUs, and its memory in MiB (0: it does not say)."""
        with self._engine("what the engine has") as client:
            info = client.info()
        return int(info.get("NCPU") or 1), int(info.get("MemTotal") or 0) // MIB

    def _submitted(self, spec: JobSpec) -> JobHandle:
        from docker.errors import APIError

        with self._engine(f"the containers of run {spec.run_id}") as client:
            ids = {row.index: row.id for row in containers.part_of(client, spec.run_id, spec.part)}
            own: list[str] = []
            try:
                for index, made in containers.created(client, spec, self._user, ids):
                    ids[index] = made
                    own.append(made)
                for index in range(spec.array):
                    own += self._start(client, ids[index], spec.run_id)
            except (APIError, EngineError):
                # Nobody is told of a part of an array.
                _each(lambda id: containers.remove(client, id), dict.fromkeys(own))
                raise
            return self._handle(client, ids[0], spec.run_id, spec.part, spec.array)

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        """The run's containers, by their labels; see Backend.find.

        Those whose client died before it started them are started.
        """
        with self._engine(f"the containers of run {run_id}") as client:
            rows = containers.part_of(client, run_id, part)
            if not rows or len(rows) < rows[0].array:
                return None
            for row in rows:
                self._start(client, row.id, run_id)
            return self._handle(client, rows[0].id, run_id, part, rows[0].array)

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """The status of each handle, by one inspection a job; see Backend.poll.

        All arrays together take one listing, and no inspection. A container of another engine is
        ELSEWHERE, the reason naming its host.
        """
        with self._engine("the state of a container") as client:
            runs = {handle.run_id for handle in handles if handle.array > 1}
            # The engine lists what has all of the labels that it is asked for, never any of them.
            label = f"{RUN_LABEL}={min(runs)}" if len(runs) == 1 else RUN_LABEL
            rows = containers.listed(client, label=label) if runs else []
            return {
                handle.id: self._status(client, handle)
                if handle.array == 1
                else self._array_status(client, handle, rows)
                for handle in handles
            }

    def failed(self, handle: JobHandle) -> Mapping[int, JobStatus]:
        """A listing, and an inspection for each job without success; see Backend.failed."""
        if handle.array == 1:
            return super().failed(handle)
        with self._engine("the state of a container") as client:
            rows = {row.index: row for row in self._rows(client, handle)}
            gone = JobStatus(JobState.LOST, reason="the engine has no such container")
            found = {}
            for index in handle.indices():
                row = rows.get(index)
                status = gone if row is None else self._failure(client, row)
                if status is not None:
                    found[index] = status
            return found

    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of stdout and stderr as they came; see Backend.logs."""
        with self._engine("the log of a container") as client:
            for row in self._rows(client, handle, index):
                stream = client.api.logs(
                    row.id, stream=True, follow=follow, stdout=True, stderr=True
                )
                try:
                    yield from containers.lines(containers.unmixed(stream))
                finally:
                    # A reader that stops must not leave a connection to the engine behind.
                    stream.close()

    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        """SIGTERM, then SIGKILL after 2 s; ``reason`` stays with the caller's journal."""
        with self._engine("cancelling a container") as client:
            found = self._rows(client, handle, index)
            rows = [row for row in found if not row.state.final]
            # The marks come first: a look that sees the end must be able to tell why.
            _each(lambda row: containers.mark(client, row), rows)
            _each(lambda row: containers.stop(client, row), rows)

    def release(self, handle: JobHandle) -> None:
        """Remove the containers and their anonymous volumes, running or not."""
        with self._engine("removing a container") as client:
            _each(lambda row: containers.remove(client, row.id), self._rows(client, handle))

    def variable(self, handle: JobHandle, name: str) -> str | None:
        """See Backend.variable."""
        config = self._record(handle).get("Config") or {}
        found = [row.partition("=") for row in config.get("Env") or ()]
        return next((text for key, _, text in found if key == name), None)

    def staging(self, handle: JobHandle) -> Path | None:
        """See Backend.staging."""
        mounts = self._record(handle).get("Mounts") or []
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

    def _handle(self, client: Any, first: str, run_id: str, part: int, array: int) -> JobHandle:
        """The handle of a job or an array, with the engine's own id, and its host's name.

        ``first`` is the container at the index 0.
        """
        info = client.info()
        at = {"engine": str(info.get("ID") or ""), "host": str(info.get("Name") or "")}
        id = first if array == 1 else array_name(run_id, part)
        return JobHandle(self.name, id, run_id, at, part, array)

    def _status(self, client: Any, handle: JobHandle) -> JobStatus:
        from docker.errors import NotFound

        try:
            found = client.api.inspect_container(handle.id)
        except NotFound:
            return _not_here(client, handle, "the engine has no such container")
        if (found["Config"].get("Labels") or {}).get(RUN_LABEL) != handle.run_id:
            return JobStatus(JobState.LOST, reason="its container is one of another run")
        return inspected_status(found)

    def _array_status(self, client: Any, handle: JobHandle, rows: Sequence[Row]) -> JobStatus:
        own = [row for row in rows if (row.run_id, row.part) == (handle.run_id, handle.part)]
        if not own:
            return _not_here(client, handle, "the engine has none of its containers")
        return array_status(own, own[0].array)

    def _failure(self, client: Any, row: Row) -> JobStatus | None:
        """The status of a job that ended without success, None of another."""
        from docker.errors import NotFound

        if not row.state.final or row.state is JobState.SUCCEEDED:
            return None
        try:
            return inspected_status(client.api.inspect_container(row.id))
        except NotFound:
            return JobStatus(JobState.LOST, reason="the engine has no such container")

    def _rows(self, client: Any, handle: JobHandle, index: int | None = None) -> list[Row]:
        """The containers that are meant, by index; one that is gone is left out.

        Raises Conflict for one of another run, EngineError where all are of another engine.
        """
        wanted = handle.indices(index)
        if handle.array > 1:
            there = containers.part_of(client, handle.run_id, handle.part)
            rows = [row for row in there if row.index in wanted]
        else:
            rows = containers.single(client, handle)
        host = None if rows else containers.other_host(client, handle)
        if host is not None:
            raise EngineError(
                f"run {handle.run_id[:13]} is a container on {host}, not on this engine",
                hint=f"the same command on {host}",
            )
        return rows

    def _record(self, handle: JobHandle) -> Mapping[str, Any]:
        """The engine's record of the (first) container of a job; empty where it is gone."""
        from docker.errors import NotFound

        with self._engine("the record of a container") as client:
            rows = self._rows(client, handle)
            try:
                found: Mapping[str, Any] = client.api.inspect_container(rows[0].id) if rows else {}
            except NotFound:
                return {}
            return found

    def _start(self, client: Any, id: str, run_id: str) -> list[str]:
        return containers.start(client, id, run_id)

    @contextmanager
    def _engine(self, what: str) -> Iterator[Any]:
        """The engine's client; what it and its SDK raise becomes EngineError."""
        host, client = self._connection()
        with translated(f"{what}: the engine refuses", host):
            yield client

    def _connection(self) -> tuple[DockerHost, Any]:
        with self._lock:
            # A forked process that used its parent's connection would read the parent's answers.
            if self._connected is None or self._pid != os.getpid():
                host = docker_host()
                self._connected, self._pid = (host, connect(host)), os.getpid()
            return self._connected


def _without_answer(error: EngineError) -> bool:
    """Whether a connection to the engine broke off before its answer came."""
    from requests.exceptions import RequestException

    return isinstance(error.__cause__, (RequestException, OSError))


def _each(act: Callable[[T], None], rows: Iterable[T]) -> None:
    """Act on each row, on some side by side; the first error is raised after the last."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = [pool.submit(act, row) for row in rows]
    for one in done:
        one.result()


def _not_here(client: Any, handle: JobHandle, reason: str) -> JobStatus:
    """The status of what this engine does not have."""
    host = containers.other_host(client, handle)
    if host:
        return JobStatus(JobState.ELSEWHERE, reason=f"a container on {host}")
    tally = {JobState.LOST: handle.array} if handle.array > 1 else None
    return JobStatus(JobState.LOST, reason=reason, tally=tally)
