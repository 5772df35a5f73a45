"""The keys of equal work, and parameters as a client writes them."""

from __future__ import annotations

from typing import Any

import pytest

from bundlerun.bundles.digest import Digest
from bundlerun.errors import BadParameter
from bundlerun.pipelines.reuse_key import request_key, task_key
from bundlerun.pipelines.schema import normalised, significant

A, B = Digest("a" * 64), Digest("b" * 64)


def row(type: str, default: str | None = None, **more: Any) -> dict[str, Any]:
    """A parameter as describe records it."""
    required = default is None
    return {"type": type, "default": default, "required": required, "significant": True, **more}


SCHEMA = {
    "name": "pkg.flow.Top",
    "params": {
        "n": row("int"),
        "rate": row("float", "0.5"),
        "flag": row("bool", "False"),
        "day": row("date", "2013-01-02"),
        "word": row("str", ""),
        "kind": row("choice", "1", choice_type="int", choices=["1", "2"]),
        "free": row("other", required=False),
        "note": row("str", "x", significant=False),
    },
}


def task(**change: Any) -> str:
    """The digest of a task key with one part changed."""
    parts: dict[str, Any] = {
        "pipe": "pkg.flow.Top",
        "source": A,
        "params": {"n": "1", "m": "2"},
        "input_root": A,
        "dependencies": {"x": A},
        "environment": "e",
    }
    return task_key(**{**parts, **change}).digest


def test_each_part_of_a_task_key_counts() -> None:
    """Whatever changes, it is other work."""
    changes: list[dict[str, Any]] = [
        {},
        {"pipe": "other.flow.Top"},
        {"source": B},
        {"params": {"n": "1", "m": "3"}},
        {"input_root": None},
        {"input_root": B},
        {"dependencies": {"x": B}},
        {"dependencies": {"y": A}},
        {"environment": "f"},
    ]
    assert len({task(**change) for change in changes}) == len(changes)


def test_the_order_of_params_and_dependencies_does_not_count() -> None:
    """They are sets of names."""
    assert task(params={"m": "2", "n": "1"}) == task()


def test_long_parts_are_kept_as_digests() -> None:
    """A key lies in every record; and long ones still differ."""
    one = task_key(
        pipe="p", source=A, params={"x": "y" * 9999}, input_root=A, dependencies={}, environment=""
    )
    assert all(len(part) < 200 for part in one.parts.values())
    assert task(params={"x": "y" * 9999}) != task(params={"x": "y" * 9998})


def test_a_request_is_never_taken_for_a_task() -> None:
    """A request says nothing of dependencies."""
    request = request_key(pipe="pkg.flow.Top", source=A, params={}, input_root=A, environment="e")
    assert request.digest != task(params={}, dependencies={})


def test_recorded_defaults_fill_what_is_missing() -> None:
    """A parameter that needs none and has no text stays out."""
    assert normalised(SCHEMA, {"n": "3"}) == {
        "n": "3",
        "rate": "0.5",
        "flag": "False",
        "day": "2013-01-02",
        "word": "",
        "kind": "1",
        "note": "x",
    }


@pytest.mark.parametrize(
    ("key", "typed", "written"),
    [
        ("n", " 05", "5"),
        ("n", "-1", "-1"),
        ("rate", "1e2", "100.0"),
        ("rate", "3", "3.0"),
        ("flag", "TRUE", "True"),
        ("day", "2013-1-2", "2013-01-02"),
        ("word", " as is ", " as is "),
        ("kind", "02", "2"),
        ("free", "[1,  2]", "[1,  2]"),
    ],
)
def test_equal_values_are_written_alike(key: str, typed: str, written: str) -> None:
    """So equal requests have equal keys, however they were typed."""
    assert normalised(SCHEMA, {"n": "1", key: typed})[key] == written


@pytest.mark.parametrize(
    ("key", "typed"),
    [("n", "x"), ("n", "1.5"), ("rate", ""), ("flag", "yes"), ("day", "2.1.2013"), ("kind", "3")],
)
def test_what_does_not_parse_is_refused_by_name(key: str, typed: str) -> None:
    """With the pipe, the parameter and the text."""
    with pytest.raises(BadParameter, match=rf"pkg\.flow\.Top: .*{key}"):
        normalised(SCHEMA, {"n": "1", key: typed})


def test_unknown_and_missing_parameters_are_refused() -> None:
    """An unknown one with those that there are, a missing one with how to give it."""
    with pytest.raises(BadParameter, match=r"no parameter 'm'; it has: n, rate"):
        normalised(SCHEMA, {"n": "1", "m": "2"})
    with pytest.raises(BadParameter, match=r"needs the parameter 'n'; try: --n VALUE"):
        normalised(SCHEMA, {})


def test_insignificant_parameters_are_left_out_of_keys() -> None:
    """They make no difference to the result."""
    assert "note" not in significant(SCHEMA, normalised(SCHEMA, {"n": "1", "note": "y"}))
