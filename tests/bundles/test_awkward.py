"""Awkward values of every library come back equal, or are refused at their place with the cure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from bundlerun.bundles.value import encode_value
from bundlerun.errors import BadValue
from tests.bundles import awkward
from tests.bundles.awkward import EQUAL, REFUSED
from tests.bundles.memory import Memory
from tests.bundles.sameness import same
from tests.sampled import sampled

Back = Callable[[Any], Any]

_LIBRARIES = {"pandas": awkward.pd, "polars": awkward.pl, "pyarrow": awkward.pa}


def test_the_table_is_as_long_as_is_promised() -> None:
    """A row that goes missing is a promise that goes missing."""
    assert len(EQUAL) + len(REFUSED) >= 300
    assert len(EQUAL) >= 240


@pytest.mark.parametrize("name", sampled(EQUAL, each=4))
def test_an_awkward_value_comes_back_equal(name: str, back: Back, memory: Memory) -> None:
    """By itself and inside a tree; and what came back has the same root."""
    value = EQUAL[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = back(value)
    assert same(found, value)
    assert same(value, found)
    inside = back({"a": [value, 1]})
    assert same(inside["a"][0], value)
    assert encode_value(found, memory) == encode_value(value, memory)


@pytest.mark.parametrize("name", REFUSED)
def test_an_awkward_value_is_refused_at_its_place(name: str, memory: Memory) -> None:
    """With what to return instead, and nothing of it is kept as a value."""
    value, told, hint = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadValue) as error:
            encode_value(value, memory)
    assert told in error.value.message
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize("name", [name for name, row in REFUSED.items() if "it is a" in row[1]])
def test_the_cure_of_a_refused_value_is_kept(name: str, memory: Memory) -> None:
    """Where the hint is an expression, it can be evaluated, and bundlerun keeps what it gives."""
    value: Any = REFUSED[name][0]
    while type(value) in (dict, list, tuple):
        value = list(value.values() if type(value) is dict else value)[-1]
    with pytest.raises(BadValue) as error:
        encode_value(value, memory)
    first = (error.value.hint or "").removeprefix("a list: ").partition(", ")[0]
    try:
        code = compile(first.partition(" or ")[0], "hint", "eval")
    except SyntaxError:
        return  # words
    if "self." in first or "bundlerun." in first:
        return  # of a pipe, with a file
    encode_value(
        eval(code, {**vars(awkward), "value": value, "numpy": awkward.np} | _LIBRARIES), memory
    )
