"""What a map may cost at most, as far as the backend enforces it."""

from __future__ import annotations

import itertools

import pytest

from bundlerun.errors import UsageError
from bundlerun.runs.calls.cost import Budget, Worst, affordable


def one(count: int) -> int:
    """An item a job."""
    return 1


def test_a_job_counts_with_its_own_limit() -> None:
    """It is two minutes above that of its items, and never below a minute."""
    assert Worst(3480, 1, 1).vcpu_hours(10, 1) == 10
    assert Worst(0.5, 1, 1).vcpu_hours(1, 1) == 121 / 3600


def test_items_that_share_a_job_share_the_margin() -> None:
    """Three jobs for ten items, the last of which is counted whole."""
    assert Worst(60, 1, 1).vcpu_hours(10, 4) == 3 * (240 + 120) / 3600


def test_attempts_and_vcpus_multiply() -> None:
    """Each attempt may take the whole limit."""
    assert Worst(3480, 4, 2).vcpu_hours(10, 1) == 80


def test_what_goes_again_with_more_memory_is_counted() -> None:
    """Every item may, in a job of its own."""
    assert Worst(3480, 2, 1, repeats=3).vcpu_hours(10, 1) == 10 * 2 * 4


@pytest.mark.parametrize(("max_cost", "is_enough"), [(5.0, True), (4.99, False)])
def test_the_budget_is_the_most_that_is_taken(max_cost: float, is_enough: bool) -> None:
    """What costs as much as that is not refused."""
    budget, worst = Budget(max_cost, 0.5), Worst(3480, 1, 1)
    if is_enough:
        assert affordable(range(10), budget, worst, one) == list(range(10))
        return
    with pytest.raises(UsageError, match=r"10 items may cost 5\.00") as refused:
        affordable(range(10), budget, worst, one)
    assert refused.value.hint


def test_nothing_costs_nothing() -> None:
    """However small the budget."""
    assert affordable([], Budget(0.001, 99.0), Worst(1, 1, 1), one) == []


def test_an_iterable_without_an_end_is_read_no_further_than_tells() -> None:
    """The count that is named is the least that it has."""
    items = itertools.count()
    with pytest.raises(UsageError, match="or more items"):
        affordable(items, Budget(5.0, 0.5), Worst(3600, 1, 1), one)
    assert next(items) < 20
