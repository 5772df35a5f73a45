"""What a map may cost at most, and its refusal before anything is sent.

A program that ends leaves its map to the backend, so the bound is of what the backend enforces
alone: a job's own limit and its attempts, not the limit of an item, which is kept inside of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from bundlerun.errors import UsageError
from bundlerun.runs.limits import limit_of


@dataclass(frozen=True)
class Budget:
    """The most that a map may cost, and the price of its vCPUs.

    ``max_cost`` is in the currency of ``price_per_vcpu_hour``.
    """

    max_cost: float
    price_per_vcpu_hour: float


@dataclass(frozen=True)
class Worst:
    """The most work that the backend does for an item, or for a job of several.

    ``timeout_s`` is the limit of one item, in seconds; ``attempts`` are those of a job, ``repeats``
    how often an item may go again in a job of its own, after it ran out of memory.
    """

    timeout_s: float
    attempts: int
    vcpus: float
    repeats: int = 0

    def vcpu_hours(self, items: int, chunk: int) -> float:
        """The most vCPU-hours of ``items`` items, ``chunk`` a job."""
        jobs = -(-items // chunk)
        seconds = jobs * (limit_of(self.timeout_s, chunk) or 0)
        seconds += self.repeats * items * (limit_of(self.timeout_s, 1) or 0)
        return seconds * self.attempts * self.vcpus / 3600


def affordable(
    items: Iterable[object], budget: Budget, worst: Worst, chunk_of: Callable[[int], int]
) -> list[object]:
    """The items, which the budget is enough for.

    No more of them are taken than tell that it is not. ``chunk_of`` says how many share a job, by
    how many there are. Raises UsageError, and whatever the iterable raises.
    """
    least = budget.price_per_vcpu_hour * worst.timeout_s * worst.attempts * worst.vcpus / 3600
    most = int(budget.max_cost / least) + 1
    taken = list(islice(items, most + 1))
    if not taken:
        return taken
    chunk = chunk_of(len(taken))
    cost = worst.vcpu_hours(len(taken), chunk) * budget.price_per_vcpu_hour
    if len(taken) <= most and cost <= budget.max_cost:
        return taken
    more = " or more" if len(taken) > most else ""
    jobs, limit_s = -(-len(taken) // chunk), limit_of(worst.timeout_s, chunk)
    again = f" and {worst.repeats} more of each item" if worst.repeats else ""
    raise UsageError(
        f"{len(taken)}{more} items may cost {cost:,.2f}, and max_cost={budget.max_cost:g}:"
        f" {jobs} jobs{again}, {worst.attempts} attempts, {limit_s} s each,"
        f" {worst.vcpus:g} vCPUs at {budget.price_per_vcpu_hour:g} an hour",
        hint="fewer items or retries, a shorter timeout_s, a larger chunksize or max_cost",
    )
