"""What cannot be meant by a map is refused before anything is sent, with the cure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import bundlerun as br
from bundlerun import errors
from tests.runs.calls.conftest import Lab


def double(x: int) -> int:
    """What is mapped."""
    return x * 2


def generated(x: int) -> Iterator[int]:
    """A generator function."""
    yield x


async def awaited(x: int) -> int:
    """A coroutine function."""
    return x


ITEMS = [1, 2]

REFUSED: Mapping[str, tuple[tuple[Any, ...], Mapping[str, Any], str]] = {
    "not callable": ((3, ITEMS), {}, "function"),
    "a generator function": ((generated, ITEMS), {}, "return list"),
    "a coroutine function": ((awaited, ITEMS), {}, "asyncio.run"),
    "no items": ((double,), {}, "items"),
    "items that are not iterable": ((double, 5), {}, r"\[item"),
    "too many iterables": ((double, ITEMS, ITEMS), {}, "kwargs"),
    "a keyword that the function does not take": ((double, ITEMS), {"kwargs": {"y": 1}}, "kwargs"),
    "an unknown option": ((double, ITEMS), {"memory": 5}, "memory_mib"),
    "options that are a dict": ((double, ITEMS), {"options": {"retries": 0}}, "by its name"),
    "an unknown backend": ((double, ITEMS), {"backend": "Cloud"}, "backend"),
    "no backend": ((double, ITEMS), {"backend": None}, "NAME"),
    "kwargs that are a list": ((double, ITEMS), {"kwargs": [1]}, "name"),
    "no chunk": ((double, ITEMS), {"chunksize": 0}, "chunksize=10"),
    "half a chunk": ((double, ITEMS), {"chunksize": 1.5}, "chunksize=10"),
    "a variable that is a number": ((double, ITEMS), {"env": {"A": 1}}, r'"A"'),
    "a variable with a wrong name": ((double, ITEMS), {"env": {"A B": "1"}}, "NAME"),
    "a variable of bundlerun": ((double, ITEMS), {"env": {"BUNDLERUN_RUN_KEY": "1"}}, "another"),
    "a variable of AWS Batch": (
        (double, ITEMS),
        {"env": {"AWS_BATCH_X": "1"}, "backend": "AWSBatch"},
        "MY_AWS_BATCH_X",
    ),
    "a limit of nothing": ((double, ITEMS), {"timeout_s": 0}, "timeout_s=3600"),
    "a limit that is no number": ((double, ITEMS), {"timeout_s": float("nan")}, "timeout_s=3600"),
    "fewer retries than none": ((double, ITEMS), {"retries": -1}, "retries=0"),
    "retries that the backend has not": ((double, ITEMS), {"retries": 2}, "retries=0"),
    "no CPU": ((double, ITEMS), {"vcpus": 0}, "vcpus=2"),
    "CPUs that are none": ((double, ITEMS), {"vcpus": None}, "leave out vcpus"),
    "no memory": ((double, ITEMS), {"memory_mib": 0}, "memory_mib=4096"),
    "memory that is text": ((double, ITEMS), {"memory_mib": "4G"}, "memory_mib=4096"),
    "fewer GPUs than none": ((double, ITEMS), {"gpus": -1}, "gpus=1"),
    "GPUs that the backend has not": ((double, ITEMS), {"gpus": 1}, "leave out gpus"),
    "less memory after too little": ((double, ITEMS), {"memory_factor": 0.5}, "memory_factor=2"),
    "an output without a name": ((double, ITEMS), {"output": ""}, "."),
    "tags on no output": ((double, ITEMS), {"tags": {"a": "b"}}, "output="),
    "a tag that is a number": ((double, ITEMS), {"output": "o", "tags": {"a": 1}}, "key:value"),
    "a price that nobody knows": (
        (double, ITEMS),
        {"max_cost": 5.0, "timeout_s": 60},
        "price_per_vcpu_hour",
    ),
    "a most cost without a limit": ((double, ITEMS), {"max_cost": 5.0}, "timeout_s=3600"),
    "a most cost of nothing": ((double, ITEMS), {"max_cost": 0}, "max_cost=20"),
    "an image and requirements": (
        (double, ITEMS),
        {"image": "i:1", "requirements": ["numpy"]},
        "leave out requirements",
    ),
    "an image that is a number": ((double, ITEMS), {"image": 5}, "image="),
    "requirements that are numbers": ((double, ITEMS), {"requirements": [1]}, "numpy=="),
    "requirements where there is no image": (
        (double, ITEMS),
        {"requirements": ["numpy"]},
        "leave out requirements",
    ),
}


def test_what_cannot_be_meant_is_refused(lab: Lab) -> None:
    """A UsageError with its cure; no run begins, and nothing goes to the remote."""
    for what, (arguments, options, cure) in REFUSED.items():
        with pytest.raises(errors.UsageError, match=cure) as refused:
            br.map(*arguments, **{"backend": "Processes", **options})
        assert refused.value.hint, what
        # Options of a command are no arguments of this call.
        assert "--" not in refused.value.hint, what
    assert br.jobs() == []
    assert not (lab.remote / "runs").exists()


def test_items_of_starmap_are_tuples(lab: Lab) -> None:
    """One that is not is named by its number, and nothing stays of those before it."""
    with pytest.raises(errors.UsageError, match="item 1 must be a tuple"):
        br.starmap(double, [(1,), 2], backend="Processes")  # type: ignore[list-item]
    assert br.jobs() == []
    assert not [path for path in (lab.remote / "runs").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ((1, "open"), "item 0: argument 2: a value of type _io.TextIOWrapper cannot be pickled"),
        (("open",), "item 0: a value of type _io.TextIOWrapper cannot be pickled"),
        (({"a": "open"},), "item 0: a value of type dict cannot be pickled"),
    ],
)
def test_an_argument_that_cannot_travel_is_named(
    lab: Lab, item: tuple[Any, ...], said: str
) -> None:
    """By what it is, and which of several it is: not by the tuple that is made of them."""
    with open(__file__) as file:
        given = tuple(
            {"a": file} if type(each) is dict else file if each == "open" else each for each in item
        )
        with pytest.raises(errors.BadValue) as refused:
            br.starmap(double, [given], backend="Processes")
    assert refused.value.message.startswith(said)
    assert br.jobs() == []


def test_a_backend_that_sees_no_folder_is_refused_a_folder(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS Batch has no way to a folder of this machine."""
    monkeypatch.setenv("BUNDLERUN_AWS_BATCH_QUEUE", "queue")
    with pytest.raises(errors.UsageError, match="s3://bucket/prefix"):
        br.map(double, ITEMS, backend="AWSBatch")


def test_a_context_without_a_remote_is_refused(lab: Lab) -> None:
    """A map needs a place that its jobs can reach."""
    br.context("alone")
    br.switch("alone")
    with pytest.raises(errors.NoRemote):
        br.map(double, ITEMS, backend="Processes")


def test_an_option_left_out_is_the_setting_and_none_is_none(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gpus=None`` and ``retries=None`` are zero, ``timeout_s=None`` is no limit."""
    run = br.map(double, [], backend="Processes", gpus=None, retries=None, timeout_s=None)
    (record,) = br.jobs(run.run_id)
    assert record.failure is None


def test_gpus_of_the_settings_are_refused_where_there_are_none(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No job begins without the GPU that the settings promise it."""
    (lab.path / "config.toml").write_text("[run]\ngpus = 1\n")
    monkeypatch.setenv("BUNDLERUN_HOME", str(lab.path))
    with pytest.raises(errors.UsageError, match="gpus=0") as refused:
        br.map(double, ITEMS, backend="Processes")
    assert "gpus=0" in refused.value.hint


def test_a_map_that_may_cost_too_much_sends_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of an iterable without an end: it is read no further than tells the cost."""
    (lab.path / "config.toml").write_text("[run]\nprice_per_vcpu_hour = 3.6\nvcpus = 2\n")
    monkeypatch.setenv("BUNDLERUN_HOME", str(lab.path))
    options: dict[str, Any] = {"backend": "Processes", "timeout_s": 380, "chunksize": 1}
    taken = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    for items in (ITEMS, endless()):
        # A job has a margin over its item: 500 s x 2 vCPUs x 0.001.
        with pytest.raises(errors.UsageError, match="max_cost=1") as refused:
            br.map(double, items, max_cost=1.5, **options)
        assert "timeout_s" in refused.value.hint
    assert len(taken) < 10
    assert br.jobs() == []
    assert not (lab.remote / "runs").exists()
    assert list(br.map(double, ITEMS, max_cost=2.0, **options).results(60)) == [2, 4]
