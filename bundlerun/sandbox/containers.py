"""Attempts of AWS Batch jobs as containers of the user's Docker engine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from bundlerun.docker_engine import connect, docker_host, reason, translated
from bundlerun.errors import EngineError
from bundlerun.sandbox.batch_attempt import NOT_STARTED, Attempt, Exit
from bundlerun.sandbox.batch_submit import needs

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
"""ECS developer guide, "Stopped tasks error codes"."""

_MIB = 2**20


class Containers:
    """A runner of containers.

    They are on the host's network, as those of AWS Batch on EC2 are (user guide, "Job definition
    parameters"), so they reach a server on this machine's loopback.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    def __call__(self, attempt: Attempt) -> Exit:
        """Run it to its end; the container is removed."""
        try:
            with translated("the container engine refuses"):
                container = self._created(attempt)
        except EngineError as error:
            return Exit(None, _not_pulled(error, attempt), NOT_STARTED)
        try:
            with translated("the container engine refuses"):
                # From before the start, as the engine's log of an ended container may lack the end.
                pieces = container.attach(stream=True, demux=True)
                container.start()
                attempt.running()
                attempt.on_stop(lambda grace_s: _stop(container, grace_s))
                _follow(pieces, attempt)
                code = int(container.wait()["StatusCode"])
                container.reload()
                killed = container.attrs["State"].get("OOMKilled")
                return Exit(code, OUT_OF_MEMORY if killed else "")
        except EngineError as error:
            return Exit(None, f"CannotStartContainerError: {error.message}", NOT_STARTED)
        finally:
            with suppress(EngineError), translated("the container engine refuses"):
                container.remove(force=True, v=True)

    def _created(self, attempt: Attempt) -> Any:
        client, given = self._connected(), attempt.container
        try:
            with translated("the image is not here"):
                client.images.get(given["image"])
        except EngineError as error:
            if getattr(error.__cause__, "status_code", None) != 404:
                raise
            client.images.pull(given["image"])
        wanted = needs(given)
        memory = int(wanted.get("MEMORY", 2048)) * _MIB
        sources = {
            row["name"]: (row.get("host") or {}).get("sourcePath")
            for row in given.get("volumes") or ()
        }
        return client.containers.create(
            given["image"],
            list(given.get("command") or ()) or None,
            name=f"{attempt.job_name}-{attempt.job_id.replace(':', '-')}-{attempt.number}",
            environment=attempt.environment,
            network_mode="host",
            # Shares, and a hard limit of memory (API, ResourceRequirement; ContainerProperties).
            cpu_shares=1024 * attempt.vcpus,
            mem_limit=memory,
            memswap_limit=memory,
            init=bool((given.get("linuxParameters") or {}).get("initProcessEnabled")),
            privileged=bool(given.get("privileged")),
            read_only=bool(given.get("readonlyRootFilesystem")),
            user=given.get("user"),
            volumes={
                sources[row["sourceVolume"]]: {
                    "bind": row["containerPath"],
                    "mode": "ro" if row.get("readOnly") else "rw",
                }
                for row in given.get("mountPoints") or ()
            },
            # Whatever driver is the engine's default: it may be one that cannot be read back.
            log_config={"type": "json-file"},
        )

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = connect(docker_host())
            return self._client


def _follow(pieces: Iterable[Sequence[bytes | None]], attempt: Attempt) -> None:
    """Log the lines of what a container writes to standard output and standard error.

    The two are kept apart: a last line without its end would swallow one of the other's.
    """
    rest = [b"", b""]
    for pair in pieces:
        for number, piece in enumerate(pair):
            *whole, rest[number] = (rest[number] + (piece or b"")).split(b"\n")
            for line in whole:
                attempt.log(line.decode(errors="replace").removesuffix("\r"))
    for line in filter(None, rest):
        attempt.log(line.decode(errors="replace"))


def _stop(container: Any, grace_s: float) -> None:
    # It may have ended by itself.
    with suppress(EngineError), translated("the container engine refuses"):
        container.stop(timeout=int(grace_s))


def _not_pulled(error: EngineError, attempt: Attempt) -> str:
    """The words of ECS for an image that is nowhere.

    ECS developer guide, "Stopped tasks error codes".
    """
    said = reason(error.__cause__ or error)
    image = attempt.container["image"]
    return f"CannotPullContainerError: Error response from daemon: {said} ({image})"
