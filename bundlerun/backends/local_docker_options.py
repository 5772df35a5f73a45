"""The name, labels and options of a job's container."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundlerun.backends.base import INDEX
from bundlerun.backends.job import JobSpec, RemoteAccess

RUN_LABEL = "org.bundlerun.run"
PART_LABEL = "org.bundlerun.part"
INDEX_LABEL = "org.bundlerun.index"
ARRAY_LABEL = "org.bundlerun.array"
JOB_LABEL = "org.bundlerun.job"
TIMEOUT_LABEL = "org.bundlerun.timeout-s"
KILL_AFTER_S = 10
REMOTE_INSIDE = Path("/bundlerun/remote")
STAGING_INSIDE = Path("/bundlerun/staging")
"""The folders in a container for a remote that is a folder, and for its staging."""

JOB_UID = 1000
"""The user of containers when the caller is root: Debian's first ordinary user."""

MIB = 2**20
_NEEDED = {
    "HOME": "/tmp",
    "USER": "bundlerun",
    "LOGNAME": "bundlerun",
    "MPLCONFIGDIR": "/tmp/.matplotlib",
    "XDG_CACHE_HOME": "/tmp/.cache",
    "PYTHONUNBUFFERED": "1",
}


def job_user() -> str:
    """``uid:gid`` of a container: the caller's, and an ordinary user's for root."""
    uid, gid = os.getuid(), os.getgid()
    return f"{uid}:{gid}" if uid else f"{JOB_UID}:{JOB_UID}"


def container_options(
    spec: JobSpec, index: int, image: Any, user: str, *, host_cpus: int
) -> dict[str, Any]:
    """The options of ``containers.create`` for the job of ``spec`` at ``index``."""
    from docker.types import DeviceRequest, LogConfig

    config = image.attrs.get("Config") or {}
    entrypoint, command = (
        list(config.get("Entrypoint") or ()),
        list(spec.argv(REMOTE_INSIDE, STAGING_INSIDE)),
    )
    labels = {
        RUN_LABEL: spec.run_id,
        PART_LABEL: str(spec.part),
        INDEX_LABEL: str(index),
        ARRAY_LABEL: str(spec.array),
        JOB_LABEL: spec.name,
    }
    if spec.timeout_s is not None:
        # A new entrypoint makes the engine forget the image's own command.
        command = command or list(config.get("Cmd") or ())
        entrypoint = ["timeout", "-k", str(KILL_AFTER_S), str(spec.timeout_s), *entrypoint]
        labels[TIMEOUT_LABEL] = str(spec.timeout_s)
    limit = spec.resources.memory_mib * MIB
    options: dict[str, Any] = {
        "name": container_name(spec.run_id, spec.part, index),
        "command": command,
        "labels": labels,
        "environment": environment(spec, index, config.get("Env") or ()),
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


def environment(spec: JobSpec, index: int, in_image: Sequence[str] = ()) -> dict[str, str]:
    """The job's variables, and those that a uid without a passwd entry needs.

    Its ``index`` is among the former where it is one of an array. The latter stand where the image
    (``NAME=value`` rows) has none of its own. The scratch is the container's own /tmp, on disk: a
    tmpfs would count as the job's memory.
    """
    named = {row.partition("=")[0] for row in in_image}
    needed = {name: text for name, text in _NEEDED.items() if name not in named}
    told = {INDEX: str(index)} if spec.array > 1 else {}
    return {**needed, **spec.environment, **told}


def array_name(run_id: str, part: int) -> str:
    """The id of an array, in the names of all containers of one submission."""
    return f"bundlerun-{re.sub(r'[^A-Za-z0-9_.-]', '-', run_id)}.{part}"


def container_name(run_id: str, part: int, index: int) -> str:
    """The container's name, unique a job, so that the engine refuses a second one."""
    return f"{array_name(run_id, part)}.{index}"


def _loopback(value: str) -> bool:
    host = urlsplit(value).hostname if "://" in value else None
    return host is not None and (host == "localhost" or host.startswith("127.") or host == "::1")
