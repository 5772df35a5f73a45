"""Why jobs wait in a queue: a pure function of what AWS tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Machines:
    """A compute environment: vCPUs at least, now and at most, and what it starts."""

    name: str
    state: str
    status: str
    reason: str
    min_vcpus: int
    desired_vcpus: int
    max_vcpus: int
    spot: bool
    instance_types: tuple[str, ...]

    @classmethod
    def of(cls, found: Json) -> Machines:
        """The environment of a description."""
        resources = found.get("computeResources") or {}
        return cls(
            name=str(found["computeEnvironmentName"]),
            state=str(found.get("state")),
            status=str(found.get("status")),
            reason=str(found.get("statusReason") or ""),
            min_vcpus=int(resources.get("minvCpus") or 0),
            desired_vcpus=int(resources.get("desiredvCpus") or 0),
            max_vcpus=int(resources.get("maxvCpus") or 0),
            spot=resources.get("type") == "SPOT",
            instance_types=tuple(resources.get("instanceTypes") or ()),
        )


@dataclass(frozen=True)
class Quota:
    """The vCPUs of a kind of machines that the account may run at once in the region.

    ``vcpus`` is None where it could not be asked for; ``why`` says why.
    """

    kind: str
    code: str
    vcpus: int | None
    why: str = ""

    def __str__(self) -> str:
        told = f"{self.vcpus:,} vCPUs" if self.vcpus is not None else f"unknown: {self.why}"
        return f"{self.kind} ({self.code}): {told}"


@dataclass(frozen=True)
class Size:
    """vCPUs, memory in MiB and GPUs: of a machine, or what a job needs."""

    vcpus: int
    memory_mib: int
    gpus: int = 0

    @classmethod
    def of_machine(cls, found: Json) -> Size:
        """The size of a type, of DescribeInstanceTypes."""
        gpus = (found.get("GpuInfo") or {}).get("Gpus") or ()
        return cls(
            int(found["VCpuInfo"]["DefaultVCpus"]),
            int(found["MemoryInfo"]["SizeInMiB"]),
            sum(int(each.get("Count") or 0) for each in gpus),
        )

    @classmethod
    def of_job(cls, job: Json) -> Size:
        """What a job of DescribeJobs needs."""
        container = job.get("container") or {}
        needs = {"VCPU": container.get("vcpus"), "MEMORY": container.get("memory")}
        for row in container.get("resourceRequirements") or ():
            needs[row["type"]] = row["value"]
        return cls(*(int(float(needs.get(kind) or 0)) for kind in ("VCPU", "MEMORY", "GPU")))

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        return f"{self.vcpus} vCPUs, {self.memory_mib} MiB{gpus}"

    def fits(self, other: Size) -> bool:
        """Whether it has room in ``other``."""
        return (
            self.vcpus <= other.vcpus
            and self.memory_mib <= other.memory_mib
            and self.gpus <= other.gpus
        )


def reasons(
    front: Sequence[Json], machines: Machines, quotas: Sequence[Quota], types: Sequence[Json]
) -> tuple[str, ...]:
    """Why the jobs at the front of a queue do not start, the surest first.

    ``front`` are jobs of DescribeJobs, the next one to start first; ``types`` the machines that may
    start, of DescribeInstanceTypes; none where they are not known.
    """
    found = [*_said(front), *_broken(machines), *_too_large(front, machines, quotas, types)]
    return tuple(found or _scaling(machines, quotas))


def _said(front: Sequence[Json]) -> Iterator[str]:
    """AWS Batch's own words, which it gives for the first job of a queue."""
    said: dict[str, list[str]] = {}
    for job in front:
        if job.get("statusReason"):
            said.setdefault(str(job["statusReason"]), []).append(str(job["jobName"]))
    for words, names in said.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}: {words}"


def _broken(machines: Machines) -> Iterator[str]:
    if (machines.state, machines.status) != ("ENABLED", "VALID"):
        # Of a valid one the reason says that it is well.
        said = f": {machines.reason}" if machines.reason and machines.status != "VALID" else ""
        yield (
            f"the compute environment {machines.name} is {machines.state} and"
            f" {machines.status}{said}"
        )


def _too_large(
    front: Sequence[Json], machines: Machines, quotas: Sequence[Quota], types: Sequence[Json]
) -> Iterator[str]:
    sizes = [Size.of_machine(each) for each in types]
    for job in front:
        needs, name = Size.of_job(job), job["jobName"]
        if needs.vcpus > machines.max_vcpus:
            yield f"{name} needs {needs.vcpus} vCPUs, and max_vcpus is {machines.max_vcpus}"
        elif sizes and not any(needs.fits(each) for each in sizes):
            yield f"{name} needs {needs}, which no machine has of {_listed(machines)}"
        elif quotas and all(each.vcpus is not None and needs.vcpus > each.vcpus for each in quotas):
            most = max(each.vcpus or 0 for each in quotas)
            yield f"{name} needs {needs.vcpus} vCPUs, and the account's quota is {most}"


def _scaling(machines: Machines, quotas: Sequence[Quota]) -> Iterator[str]:
    told = [each.vcpus for each in quotas]
    quota = sum(each or 0 for each in told) if told and None not in told else None
    if machines.desired_vcpus == 0 and machines.max_vcpus:
        yield "no machine runs yet: AWS Batch starts some, which takes minutes"
    elif quota is not None and quota <= machines.desired_vcpus < machines.max_vcpus:
        yield f"the account's quota of {quota} vCPUs is in use"
    elif machines.desired_vcpus >= machines.max_vcpus:
        yield f"all {machines.max_vcpus} vCPUs of max_vcpus are in use or starting"
    else:
        yield (
            f"{machines.desired_vcpus} of {machines.max_vcpus} vCPUs are in use or starting:"
            " AWS Batch starts more as it needs them"
        )


def _listed(machines: Machines) -> str:
    return ", ".join(machines.instance_types)
