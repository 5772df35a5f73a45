"""What stands of Pars and Knots, and why jobs wait.

States and reasons are AWS Batch's own words (AWS Batch user guide, "Jobs stuck in a RUNNABLE
status", "Compute environment states").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bundlerun.aws import batch, ec2, quotas
from bundlerun.aws.session import Aws
from bundlerun.errors import AccessDenied, CloudError, NotFound, RemoteUnreachable
from bundlerun.provision.stacks import Stack, Stacks
from bundlerun.provision.templates import KNOT_TAG, PARS_TAG
from bundlerun.provision.waiting import Machines, Quota, reasons

T = TypeVar("T")

STATES = (
    "SUBMITTED",
    "PENDING",
    "RUNNABLE",
    "STARTING",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
)
FRONT = 10
"""The most jobs of a queue that are asked why they wait: those that start next."""


@dataclass(frozen=True)
class ParsStatus:
    """A Pars: the state of its stack, with the reason, and its remote."""

    name: str
    stack: str
    reason: str
    remote: str

    def lines(self) -> list[str]:
        """What to show."""
        return [f"Pars {self.name}: {_with(self.stack, self.reason)}", *_row("remote", self.remote)]


@dataclass(frozen=True)
class QueueStatus:
    """A job queue: ``state`` is what is asked of it, ``status`` how it is."""

    name: str
    state: str
    status: str
    reason: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> QueueStatus:
        """The queue of a description."""
        return cls(
            str(found["jobQueueName"]),
            str(found.get("state")),
            str(found.get("status")),
            str(found.get("statusReason") or ""),
        )


@dataclass(frozen=True)
class KnotStatus:
    """A Knot: its stack, queue, machines and jobs.

    ``pars`` is empty where the stack was not made. ``jobs`` has the number of jobs by state, each
    child of an array one, where its state is told; in the states of ``uncounted`` there are more.
    ``waits`` are the reasons why jobs wait. What is None was not found or could not be asked for.
    """

    name: str
    pars: str
    stack: str
    reason: str
    queue: QueueStatus | None = None
    machines: Machines | None = None
    quotas: tuple[Quota, ...] = ()
    jobs: Mapping[str, int] = field(default_factory=dict)
    uncounted: frozenset[str] = frozenset()
    waits: tuple[str, ...] = ()

    @property
    def most_vcpus(self) -> int | None:
        """The vCPUs that may run at once: the smaller of max_vcpus and the quotas."""
        if self.machines is None:
            return None
        told = [each.vcpus for each in self.quotas if each.vcpus is not None]
        if not told or len(told) < len(self.quotas):
            return self.machines.max_vcpus
        return min(self.machines.max_vcpus, sum(told))

    def lines(self) -> list[str]:
        """What to show."""
        of = f" of the Pars {self.pars}" if self.pars else ""
        shown = [f"Knot {self.name}{of}: {_with(self.stack, self.reason)}"]
        if self.queue:
            words = _with(f"{self.queue.state}, {self.queue.status}", self.queue.reason)
            shown += _row(f"queue {self.queue.name}", words)
        if self.machines:
            shown += self._machines_lines(self.machines)
        counts = [
            f"{self.jobs[state]:,}{'+' if state in self.uncounted else ''} {state}"
            for state in STATES
            if self.jobs.get(state)
        ]
        shown += _row("jobs", ", ".join(counts) or ("none" if self.queue else ""))
        return [*shown, *(line for reason in self.waits for line in _row("waiting", reason))]

    def _machines_lines(self, machines: Machines) -> Iterator[str]:
        words = _with(f"{machines.state}, {machines.status}", machines.reason)
        yield from _row(f"machines {machines.name}", words)
        vcpus = f"{machines.desired_vcpus} now, {machines.min_vcpus} to {machines.max_vcpus}"
        yield from _row("vCPUs", f"{vcpus}, {'spot' if machines.spot else 'on demand'}")
        for quota in self.quotas:
            yield from _row("quota", str(quota))
        if self.most_vcpus is not None and self.most_vcpus < machines.max_vcpus:
            yield from _row(
                "quota",
                f"it is smaller than max_vcpus: at most {self.most_vcpus} vCPUs run at once",
            )


@dataclass(frozen=True)
class Status:
    """All that was asked for, and what could not be told, with the reasons."""

    pars: tuple[ParsStatus, ...]
    knots: tuple[KnotStatus, ...]
    unknown: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What to show, a line each."""
        return [
            *(line for pars in self.pars for line in pars.lines()),
            *(line for knot in self.knots for line in knot.lines()),
            *(f"unknown: {each}" for each in self.unknown),
        ]


def status(aws: Aws, name: str | None = None) -> Status:
    """What stands of the Pars and the Knot called ``name``; None: of all.

    The Pars of the Knot is told too. The stacks must be told; what else this identity may not ask
    for is named as unknown. Raises NotFound for a name that neither has, NoCredentials,
    AccessDenied, RemoteUnreachable.
    """
    stacks = Stacks(aws).all()
    knots = [each for each in stacks if KNOT_TAG in each.tags]
    pars = [each for each in stacks if PARS_TAG in each.tags]
    if name is not None:
        knots = [each for each in knots if each.tags[KNOT_TAG] == name]
        used = {name, *(each.outputs.get("Pars") for each in knots)}
        pars = [each for each in pars if each.tags[PARS_TAG] in used]
        if not knots and not pars:
            raise NotFound(
                f"there is neither a Knot nor a Pars {name} in {aws.region}",
                hint=f"bundlerun aws up {name}",
            )
    look = _Look(aws)
    return Status(
        pars=tuple(_pars(each) for each in sorted(pars, key=lambda each: each.name)),
        knots=tuple(look.knots(sorted(knots, key=lambda each: each.name))),
        unknown=tuple(look.unknown),
    )


class _Look:
    """The questions of one status, each asked once."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._quotas: dict[str, Quota] = {}
        self.unknown: list[str] = []

    def knots(self, stacks: Sequence[Stack]) -> Iterator[KnotStatus]:
        """The Knots of these stacks."""
        client = self._aws.client("batch")
        named = [each.outputs["Queue"] for each in stacks if "Queue" in each.outputs]
        found = self._asked(batch.describe_queues, client, named)
        queues = {row["jobQueueName"]: QueueStatus.of(row) for row in found or ()}
        told = "ComputeEnvironment"
        named = [each.outputs[told] for each in stacks if told in each.outputs]
        rows = self._asked(batch.describe_environments, client, named) or []
        machines = {row["computeEnvironmentName"]: Machines.of(row) for row in rows}
        for stack in stacks:
            name = stack.outputs.get("Queue", "")
            queue = queues.get(name)
            knot = self._knot(stack, queue, machines.get(stack.outputs.get(told, "")))
            if name and queue is None and found is not None:
                knot = replace(knot, waits=(f"the queue {name} does not exist any more",))
            yield knot

    def _knot(
        self, stack: Stack, queue: QueueStatus | None, machines: Machines | None
    ) -> KnotStatus:
        quotas_told = tuple(self._quota(*each) for each in _quotas_of(machines))
        knot = KnotStatus(
            name=stack.tags[KNOT_TAG],
            pars=stack.outputs.get("Pars", ""),
            stack=stack.status,
            reason=stack.reason,
            queue=queue,
            machines=machines,
            quotas=quotas_told,
        )
        return knot if queue is None else self._with_jobs(knot, queue)

    def _with_jobs(self, knot: KnotStatus, queue: QueueStatus) -> KnotStatus:
        client = self._aws.client("batch")
        jobs: Counter[str] = Counter()
        uncounted: set[str] = set()
        listed: list[str] = []
        for state in STATES:
            rows, more = self._asked(batch.jobs_in, client, queue.name, state) or ([], False)
            for row in rows:
                jobs.update(_counted(row, state))
            uncounted |= {state} if more else set()
            if state == "RUNNABLE":
                listed = [str(row["jobId"]) for row in reversed(rows)]
        knot = replace(knot, jobs=dict(+jobs), uncounted=frozenset(uncounted))
        if not jobs["RUNNABLE"]:
            return knot
        front = self._asked(batch.front_of, client, queue.name) or listed
        return replace(knot, waits=self._waits(queue, knot, front[:FRONT]))

    def _waits(self, queue: QueueStatus, knot: KnotStatus, front: list[str]) -> tuple[str, ...]:
        found: list[str] = []
        if (queue.state, queue.status) != ("ENABLED", "VALID"):
            words = _with(f"{queue.state} and {queue.status}", queue.reason)
            found.append(f"the queue {queue.name} is {words}")
        if knot.machines is None:
            return tuple(found)
        jobs = self._asked(batch.describe_jobs, self._aws.client("batch"), front) or {}
        rows = [jobs[each] for each in front if each in jobs]
        types = self._sizes(knot.machines)
        return (*found, *reasons(rows, knot.machines, knot.quotas, types))

    def _sizes(self, machines: Machines) -> list[Any]:
        """The types of machines that may start; none where AWS Batch chooses them."""
        chosen = [each for each in machines.instance_types if not _is_chosen_by_batch(each)]
        if len(chosen) < len(machines.instance_types):
            return []
        client = self._aws.client("ec2")
        return self._asked(ec2.instance_types, client, chosen) or []

    def _quota(self, kind: str, code: str) -> Quota:
        if not code:
            return Quota(kind, "no code", None, "aws service-quotas list-service-quotas tells it")
        if code not in self._quotas:
            client = self._aws.client("service-quotas")
            try:
                self._quotas[code] = Quota(kind, code, quotas.vcpus_quota(client, code))
            except (AccessDenied, CloudError, RemoteUnreachable) as error:
                self._quotas[code] = Quota(kind, code, None, error.message)
        return self._quotas[code]

    def _asked(self, ask: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return ask(*arguments)
        except (AccessDenied, CloudError, RemoteUnreachable) as error:
            if error.message not in self.unknown:
                self.unknown.append(error.message)
            return None


def _pars(stack: Stack) -> ParsStatus:
    remote = stack.outputs.get("Remote", "")
    return ParsStatus(stack.tags[PARS_TAG], stack.status, stack.reason, remote)


def _quotas_of(machines: Machines | None) -> Iterator[tuple[str, str]]:
    """The kinds and codes of the quotas that machines count for; others have no code."""
    if machines is None:
        return
    codes = quotas.SPOT if machines.spot else quotas.ON_DEMAND
    how = "spot" if machines.spot else "on demand"
    kinds = {quotas.kind_of(each) for each in machines.instance_types}
    for kind in sorted(each for each in kinds if each):
        yield f"{kind} machines, {how}", codes[kind]
    if None in kinds:
        yield f"other machines, {how}", ""


def _counted(row: Mapping[str, Any], state: str) -> Mapping[str, int]:
    """A listed job by state: the children of an array, where they are told."""
    array = row.get("arrayProperties") or {}
    return array.get("statusSummary") or {state: int(array.get("size") or 1)}


def _is_chosen_by_batch(instance_type: str) -> bool:
    return instance_type == "optimal" or instance_type.startswith("default_")


def _with(words: str, reason: str) -> str:
    return f"{words}: {reason}" if reason else words


def _row(what: str, words: str) -> list[str]:
    return [f"  {what}: {words}"] if words else []
