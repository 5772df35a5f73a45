"""A call is submitted in parts, and what says so is believed by its seal alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bundlerun.backends.job import JobHandle
from bundlerun.bundles.record import new_id
from bundlerun.errors import IntegrityError, UsageError
from bundlerun.futures.sealing import Seal
from bundlerun.runs.calls.parts import Part, parts_of, repeat_of
from bundlerun.runs.calls.sealed_plan import checked_call, sealed_plan
from bundlerun.runs.keys import Written
from bundlerun.runs.plan import RunPlan
from tests.runs.scripted import plan_of
from tests.runs.test_task import call_of

RUN = new_id()
SEAL = Seal.new()


@pytest.mark.parametrize(
    ("items", "chunk", "largest", "children"),
    [
        (0, 1, 10_000, []),
        (1, 1, 10_000, [1]),
        (2, 1, 10_000, [2]),
        (101, 100, 10_000, [2]),
        (10_000, 1, 10_000, [10_000]),
        (10_001, 1, 10_000, [5_000, 5_001]),
        (10_001, 100, 10_000, [101]),
        (7, 3, 1, [1, 1, 1]),
        (25_000, 1, 10_000, [8_333, 8_333, 8_334]),
    ],
)
def test_the_parts_of_a_call_are_few_and_of_like_size(
    items: int, chunk: int, largest: int, children: list[int]
) -> None:
    """Every item is worked on by one child of one part, in order."""
    parts = parts_of(RUN, items, chunk, largest, memory_mib=100)
    assert [part.children for part in parts] == children
    dealt = [item for p in parts for child in range(p.children) for item in p.items_of(child)]
    assert dealt == list(range(items))
    assert [part.number for part in parts] == list(range(len(parts)))


def test_a_repeat_names_its_items() -> None:
    """Each has a job of its own, told that this is a further attempt."""
    part = repeat_of(RUN, 3, [40, 7], attempt=2, memory_mib=200)
    assert [list(part.items_of(child)) for child in range(part.children)] == [[7], [40]]
    assert (part.attempt, part.memory_mib) == (2, 200)
    with pytest.raises(IntegrityError, match="has 2 jobs, and this one is told"):
        part.items_of(2)


def test_a_chunk_has_an_item() -> None:
    """Zero is refused."""
    with pytest.raises(UsageError, match="one item at least"):
        parts_of(RUN, 3, 0, 10, memory_mib=100)


@pytest.mark.parametrize(
    "part",
    [
        Part(RUN, 2, 0, 7, 3, 100),
        replace(
            repeat_of(RUN, 2, [1, 5], 2, 200), handle=JobHandle("AWSBatch", "id", RUN, {"a": "b"})
        ),
    ],
)
def test_a_part_is_read_back_as_it_was_written(part: Part) -> None:
    """As the same part of the same run, under the same key alone."""
    data = part.to_sealed(SEAL)
    assert Part.from_sealed(data, SEAL, RUN, 2) == part
    for seal, run, number in [(Seal.new(), RUN, 2), (SEAL, RUN, 1), (SEAL, new_id(), 2)]:
        with pytest.raises(IntegrityError):
            Part.from_sealed(data, seal, run, number)
    with pytest.raises(IntegrityError):
        Part.from_sealed(data[:-1], SEAL, RUN, 2)


def test_a_plan_is_believed_by_its_seal() -> None:
    """What others change of it is noticed, and so is a plan of another run."""
    plan = sealed_plan(replace(plan_of("out"), task=call_of(timeout_s=2)), SEAL)
    read = RunPlan.from_bytes(plan.to_bytes())
    assert checked_call(read, SEAL) == read.task
    changed = [
        replace(read, image="mine"),
        replace(read, run_id=new_id()),
        replace(read, task=replace(checked_call(read, SEAL), func="os.system")),
        replace(read, task=replace(checked_call(read, SEAL), seal="")),
        replace(read, task=replace(checked_call(read, SEAL), seal="no hex")),
        plan_of("out"),
    ]
    for other in changed:
        with pytest.raises(IntegrityError):
            checked_call(other, SEAL)
    with pytest.raises(IntegrityError):
        checked_call(read, Seal.new())


def test_the_key_of_outcomes_says_whose_they_are() -> None:
    """They sort by their first item."""
    written = Written(first=12, attempt=2, part=10, items=100, failed=3)
    assert written.key(RUN) == f"runs/{RUN}/e/000000012.2.10.100.3"
    assert Written.of(written.key(RUN)) == written
    for other in (f"runs/{RUN}/e/12.2.10.100.3", f"runs/{RUN}/e/000000012.2.10.100", "e/x"):
        assert Written.of(other) is None
