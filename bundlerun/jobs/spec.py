"""What remote work is: one container's worth of it, described without saying where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Resources:
    """What a job may use. ``memory_mib`` is in MiB (2**20 bytes)."""

    vcpus: float = 1
    memory_mib: int = 2048
    gpus: int = 0


@dataclass(frozen=True)
class Mount:
    """A folder of the client's machine inside the container; only a local engine can do it."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class JobSpec:
    """One job.

    ``name`` is the job definition's base name (``bundlerun-pkg-module``); ``env`` reaches this
    job alone; names in ``secret`` are never logged; ``host_network`` lets a local container
    reach a server on the client's loopback; ``user`` is ``uid:gid``; ``timeout_s`` None: no limit.
    ``secrets`` are variables that the service fills in, by the ARN of each; ``options`` are those
    of the backend's own that were given for this job.
    """

    run_id: str
    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secret: frozenset[str] = frozenset()
    resources: Resources = field(default_factory=Resources)
    timeout_s: int | None = None
    retries: int = 0
    mounts: tuple[Mount, ...] = ()
    host_network: bool = False
    user: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobHandle:
    """A submitted job: which backend has it, and under what id. Survives in the journal as JSON."""

    backend: str
    id: str
    run_id: str
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The JSON form."""
        return {
            "backend": self.backend,
            "id": self.id,
            "run_id": self.run_id,
            "extra": dict(self.extra),
        }

    @staticmethod
    def from_json(found: Mapping[str, object]) -> JobHandle:
        """The inverse of ``to_json``."""
        extra = found.get("extra")
        return JobHandle(
            backend=str(found["backend"]),
            id=str(found["id"]),
            run_id=str(found["run_id"]),
            extra={str(k): str(v) for k, v in extra.items()} if isinstance(extra, dict) else {},
        )
