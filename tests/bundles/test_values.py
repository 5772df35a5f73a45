"""Plain values come back equal, or are refused by their path."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import pathlib
import tempfile
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.bundles.lineage import CodeVersion, Lineage, Parent, ReuseKey
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.bundles.value import decode_value, encode_value, links, outline
from bundlerun.errors import BadValue
from tests.bundles.memory import Memory
from tests.bundles.sameness import same

Back = Callable[[Any], Any]

texts = st.one_of(
    st.text(),
    # Lone surrogates, as os.fsdecode makes them.
    st.text(st.characters(codec=None, categories=("Cs", "L", "Cc"))),
    st.sampled_from(
        ["", "\x00", '"\\/', "\u2028", "e\u0301", "é", "null", '{"node":1}', "x" * 5000]
    ),
)
zones = st.one_of(
    st.none(),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), dt.timezone.utc]),
    st.builds(
        dt.timezone,
        st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)),
    ),
    st.builds(dt.timezone, st.just(dt.timedelta(hours=1)), st.sampled_from(["CET", "", "é"])),
)
moments = st.one_of(
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.times(timezones=zones),
    st.dates(),
    st.timedeltas(),
).flatmap(lambda m: st.sampled_from([m, m.replace(fold=1)]) if hasattr(m, "fold") else st.just(m))
keys = st.one_of(
    texts,
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
    st.binary(max_size=40),
    moments,
)
scalars = st.one_of(
    keys,
    st.floats(),
    st.integers(-(2**200), 2**200),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, -0.0, 5e-324]),
    st.binary(max_size=3000),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
    ),
    max_leaves=30,
)


@given(trees)
@pytest.mark.heavy
def test_any_tree_comes_back_the_same(value: Any) -> None:
    """Types, order, gaps, signs and zones are kept, and the root is the same a second time."""
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Path(folder))
        root = encode_value(value, memory)
        found = decode_value(root, memory)
        assert same(value, found)
        assert encode_value(found, memory) == root
        assert {link.digest for link, _ in links(root, memory.read)} == set(memory.objects)
        outline(root, memory.read)


@given(st.lists(scalars, max_size=20), st.integers(1, 60), st.sampled_from([list, tuple]))
def test_long_containers_come_back_the_same(
    some: list[Any], times: int, kind: Callable[[Any], Any]
) -> None:
    """Also those that are cut into nodes, equal entries again and again among them."""
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Path(folder))
        for value in (kind(some * times), dict(enumerate(some * times))):
            assert same(value, decode_value(encode_value(value, memory), memory))


@pytest.mark.parametrize("micros", [1, -1, 999_999, -61_000_001])
@pytest.mark.parametrize("name", [(), ("LMT",)])
def test_offsets_of_less_than_a_second_are_kept(back: Back, micros: int, name: tuple[str]) -> None:
    """Python's own reading of ISO 8601 takes some of them for UTC."""
    zone = dt.timezone(dt.timedelta(microseconds=micros), *name)
    for moment in (dt.datetime(2020, 1, 1, tzinfo=zone), dt.time(1, 2, tzinfo=zone)):
        assert same(moment, back(moment))


@pytest.mark.heavy
def test_a_list_of_equal_entries_stays_small_however_long(memory: Memory, back: Back) -> None:
    """Equal entries cut nowhere or everywhere; neither may make many nodes."""
    for entry in range(100):
        assert back([entry] * 20_000) == [entry] * 20_000
    assert len(memory.objects) < 100 * 12


def test_a_deep_value_comes_back(back: Back) -> None:
    """A hundred containers within each other, each too large for its parent's node."""
    value: Any = "end"
    for _ in range(100):
        value = {"inner": value, "padding": "x" * 2500}
    assert back(value) == value


def test_an_integer_of_any_length_comes_back(back: Back) -> None:
    """Also past the digits that Python turns into decimal text, as value and as key."""
    assert back([10**5000, {-(10**5000): 1}]) == [10**5000, {-(10**5000): 1}]


def test_a_bundle_inside_a_value_comes_back_and_its_objects_count(memory: Memory) -> None:
    """The record is kept, and what it names is reachable."""
    root = encode_value({"big": b"x" * 5000}, memory)
    parent = Parent("pipeline_input", "in", new_id(), root.digest)
    lineage = Lineage(
        pipe="a.B",
        parents=(parent,),
        code=CodeVersion(root.digest, "c0ffee", True),
        task=ReuseKey({"pipe": "a.B"}),
        started_s=1.25,
    )
    bundle = BundleRecord(new_id(), "inner", root, {"p": "1"}, {"t": "é"}, lineage)
    outer = encode_value([bundle], memory)
    assert decode_value(outer, memory) == [bundle]
    assert {link.digest for link, _ in links(outer, memory.read)} == set(memory.objects)


class _Colour(enum.IntEnum):
    RED = 1


class _Pair(NamedTuple):
    a: int


class _Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "bad",
    [
        {1, 2},
        frozenset(),
        bytearray(b"x"),
        1j,
        object(),
        print,
        int,
        _Colour.RED,
        _Pair(1),
        _Text("x"),
        collections.OrderedDict(a=1),
        collections.defaultdict(list),
        pathlib.Path("x"),
        range(3),
        iter([]),
        memoryview(b"x"),
        dt.datetime(2020, 1, 1, tzinfo=type("Z", (dt.tzinfo,), {"utcoffset": lambda s, d: None})()),
    ],
    ids=lambda bad: type(bad).__name__,
)
def test_other_types_are_refused_by_their_path(bad: Any, memory: Memory) -> None:
    """Subclasses too: they would not come back as what they were."""
    with pytest.raises(BadValue) as told:
        encode_value({"a": [0, 1, 2, bad]}, memory)
    assert 'value["a"][3]' in str(told.value)


@pytest.mark.parametrize(
    "key",
    [(1, 2), _Colour.RED, frozenset(), _Text("x"), object()],
    ids=lambda key: type(key).__name__,
)
def test_other_keys_are_refused(key: Any, memory: Memory) -> None:
    """A dict's key is a single value of an exact type."""
    with pytest.raises(BadValue, match=r'value\["in"\]: the key'):
        encode_value({"in": {key: 1}}, memory)


def test_a_value_that_contains_itself_is_refused(memory: Memory) -> None:
    """By name, not by running out of stack."""
    value: list[Any] = [1]
    value.append({"again": value})
    with pytest.raises(BadValue, match=r'value\[1\]\["again"\] contains itself'):
        encode_value(value, memory)


def test_one_object_twice_is_no_cycle(back: Back) -> None:
    """It comes back as two equal ones."""
    shared = [1]
    assert back([shared, shared, {"a": shared}]) == [[1], [1], {"a": [1]}]


def test_too_deep_a_value_is_refused(memory: Memory) -> None:
    """Containers nest a hundred deep."""
    value: Any = []
    for _ in range(100):
        value = [value]
    with pytest.raises(BadValue, match="deeper than 100"):
        encode_value(value, memory)


def test_a_value_that_unfolds_without_end_is_refused(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty lists that each hold the next one twice are 2**40 values."""
    monkeypatch.setattr("bundlerun.bundles.value.encode.MAX_VALUES", 10_000)
    value: Any = 1
    for _ in range(40):
        value = [value, value]
    with pytest.raises(BadValue, match="a bundle has 10000 at most"):
        encode_value(value, memory)


def test_equal_values_have_equal_roots_and_unequal_ones_do_not(memory: Memory) -> None:
    """The root is the value's name: 1, 1.0, True and "1" are four values."""
    values: list[Any] = [1, 1.0, True, "1", b"1", None, 0.0, -0.0, [], (), {}, [1], (1,), {1: 1}]
    values += [{"a": 1, "b": 2}, {"b": 2, "a": 1}, dt.date(2020, 1, 1), dt.datetime(2020, 1, 1)]
    roots = [encode_value(value, memory) for value in values]
    assert len(set(roots)) == len(values)
    assert roots == [encode_value(value, memory) for value in values]


def test_the_outline_shows_the_tree_and_fetches_no_leaf(memory: Memory) -> None:
    """Kinds, keys, sizes; long texts and bytes by their size."""
    value = {"n": 1, "long": "x" * 9000, "in": [None, 1.5], "many": list(range(5000))}
    root = encode_value(value, memory)
    nodes = {link for link, is_node in links(root, memory.read) if is_node}
    memory.read_links.clear()
    found = outline(root, memory.read)
    assert set(memory.read_links) <= nodes
    assert [each["key"] for each in found["entries"]] == list(value)
    assert found["entries"][0] == {"key": "n", "type": "int", "value": 1}
    assert found["entries"][1] == {"key": "long", "type": "str", "size": 9000}
    assert found["entries"][3]["count"] == 5000
    assert found["entries"][3]["more"] == 4900


def test_the_outline_shows_counters_and_decimals(memory: Memory) -> None:
    """A Counter by its entries, a Decimal by its digits."""
    found = outline(encode_value([Counter(a=1), Decimal("1.10")], memory), memory.read)
    assert found["entries"] == [
        {
            "type": "Counter",
            "count": 1,
            "entries": [{"key": "a", "type": "int", "value": 1}],
            "more": 0,
        },
        {"type": "Decimal", "value": "1.10"},
    ]


def test_links_leave_out_what_lies_below_a_node_that_is_not_here(memory: Memory) -> None:
    """A reader that gives None for a node asks for it later."""
    root = encode_value({"big": list(range(3000))}, memory)
    every = list(links(root, memory.read))
    assert every[0] == (root, True)
    assert list(links(root, lambda link: None)) == [(root, True)]
    assert len(list(links(root, lambda k: memory.read(k) if k == root else None))) < len(every)
