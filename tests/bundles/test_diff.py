"""What differs between two values, and how little is read to find it."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.bundles.link import Link
from bundlerun.bundles.value import encode_value, tables
from bundlerun.bundles.value.diff import differences
from bundlerun.bundles.value.differences import Change, Differences
from bundlerun.bundles.value.files import Directory, File, entry_bytes
from bundlerun.bundles.value.nodes import cut, link_bytes, put_node
from bundlerun.bundles.value.scalars import text_term
from bundlerun.errors import IntegrityError
from tests.bundles.memory import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """Where values go and come from."""
    return Memory(tmp_path / "out")


def compared(memory: Memory, old: object, new: object, **more: Any) -> Differences:
    """The differences of two values."""
    left, right = encode_value(old, memory), encode_value(new, memory)
    memory.read_links.clear()

    def schema(link: Link) -> list[tuple[str, str]]:
        return tables.columns(memory.objects[link.digest])

    return differences(left, right, memory.read, schema=schema, **more)


def told(found: Differences) -> list[tuple[str, str]]:
    """What happened where."""
    return [(change.what, change.where) for change in found.changes]


def test_equal_values_are_equal_without_a_read(memory: Memory) -> None:
    """One root digest, one value."""
    found = compared(memory, {"a": [1, 2]}, {"a": [1, 2]})
    assert found.equal
    assert found.summary() == "equal"
    assert memory.read_links == []


def test_scalars_are_told_old_and_new(memory: Memory) -> None:
    """The path in the tree, and both values."""
    found = compared(memory, {"a": {"b": 1}, "c": (1, "x")}, {"a": {"b": 2.5}, "c": (1, "y")})
    assert found.changes == (
        Change(
            "changed",
            'value["a"]["b"]',
            {"type": "int", "value": 1},
            {"type": "float", "value": "2.5"},
        ),
        Change(
            "changed",
            'value["c"][1]',
            {"type": "str", "value": "x", "size": 1},
            {"type": "str", "value": "y", "size": 1},
        ),
    )


def test_true_is_not_one(memory: Memory) -> None:
    """Python thinks them equal, a bundle does not."""
    assert told(compared(memory, [1, 0], [True, 0])) == [("changed", "value[0]")]


def test_keys_come_go_and_move(memory: Memory) -> None:
    """A dict's entries by key; another order of the same entries is told too."""
    found = compared(memory, {"a": 1, 2: "b"}, {2: "b", (None): 3})
    assert told(found) == [("removed", 'value["a"]'), ("added", "value[None]")]
    assert found.summary() == "1 added, 1 removed"
    assert told(compared(memory, {"a": 1, "b": 2}, {"b": 2, "a": 1})) == [("moved", "value")]


def test_counters_and_decimals_are_compared_as_such(memory: Memory) -> None:
    """A Counter by its keys, a Decimal by its digits; a Counter is no dict."""
    found = compared(
        memory,
        {"c": Counter(a=1, b=2), "d": Decimal("1.1")},
        {"c": Counter(a=1, b=3), "d": Decimal("1.10")},
    )
    assert told(found) == [("changed", 'value["c"]["b"]'), ("changed", 'value["d"]')]
    assert found.changes[1].new == {"type": "Decimal", "value": "1.10"}
    assert told(compared(memory, Counter(a=1, b=2), Counter(b=2, a=1))) == [("moved", "value")]
    (change,) = compared(memory, [Counter(a=1)], [{"a": 1}]).changes
    assert (change.old, change.new) == (
        {"type": "Counter", "count": 1},
        {"type": "dict", "count": 1},
    )


def test_an_insertion_moves_nothing_else(memory: Memory) -> None:
    """The entries behind it are the same ones."""
    many = [f"entry {number}" for number in range(5000)]
    found = compared(memory, many, [*many[:2000], "new", *many[2000:]])
    assert told(found) == [("added", "value[2000]")]
    assert len(memory.read_links) < 20
    assert told(compared(memory, many, many[1:])) == [("removed", "value[0]")]


def test_another_kind_of_container_is_a_change(memory: Memory) -> None:
    """A list is no tuple; their counts are told."""
    (change,) = compared(memory, {"a": [1, 2]}, {"a": (1, 2)}).changes
    assert (change.old, change.new) == ({"type": "list", "count": 2}, {"type": "tuple", "count": 2})


def test_files_of_a_directory_by_their_digest(memory: Memory, tmp_path: Path) -> None:
    """Added, removed, changed, made executable; no file is read."""
    before, after = tmp_path / "a" / "d", tmp_path / "b" / "d"
    for folder in (before, after):
        (folder / "in").mkdir(parents=True)
        (folder / "same").write_text("same")
        (folder / "in" / "changed").write_text(folder.parent.name)
        (folder / "run").write_text("x")
    (before / "gone").write_text("gone")
    (after / "new").write_text("newer")
    (after / "run").chmod(0o755)
    found = compared(memory, {"d": Directory(before)}, {"d": Directory(after)})
    assert told(found) == [
        ("removed", 'value["d"]/gone'),
        ("changed", 'value["d"]/in/changed'),
        ("added", 'value["d"]/new'),
        ("changed", 'value["d"]/run'),
    ]
    assert (found.changes[2].new or {})["size"] == 5
    assert len(memory.read_links) == 2


def directory(memory: Memory, contents: dict[str, Link]) -> Link:
    """The root of a Directory of these files, whose bytes are nowhere."""
    entries = [
        entry_bytes(text_term(path), link_bytes(link), False)
        for path, link in sorted(contents.items())
    ]
    size = sum(link.size for link in contents.values())
    term = b'{"directory":%s,"name":"d","size":%d}' % (cut(entries, memory.put_bytes), size)
    return put_node(b'{"format":1,"value":%s}' % term, memory.put_bytes)


@pytest.mark.heavy
def test_one_change_among_100_000_files_reads_few_nodes(memory: Memory) -> None:
    """Only the nodes on the way to it, in each of the two."""
    digests = random.Random(1)
    files = {
        f"images/{number // 100:04}/{number:06}.png": Link(f"{digests.getrandbits(256):064x}", 9)  # type: ignore[arg-type]
        for number in range(100_000)
    }
    old = directory(memory, files)
    path = "images/0417/041763.png"
    new = directory(memory, {**files, path: Link(old.digest, 12)})
    memory.read_links.clear()
    found = differences(old, new, memory.read)
    assert told(found) == [("changed", f"value/{path}")]
    assert len(memory.read_links) <= 10
    assert sum(link.size for link in memory.read_links) < 200_000


def test_tables_tell_their_columns_and_rows(memory: Memory) -> None:
    """What was added, removed, retyped; the row counts are in the outline."""
    old = pa.table({"day": [1, 2], "sold": [1, 2], "note": ["a", "b"]})
    new = pa.table({"day": [1, 2, 3], "sold": [1.5, 2.5, 3.5], "shop": ["x", "y", "z"]})
    (change,) = compared(memory, {"t": old}, {"t": new}).changes
    assert change.columns == (
        ("sold", "int64", "double"),
        ("note", "string", None),
        ("shop", None, "string"),
    )
    assert ((change.old or {})["rows"], (change.new or {})["rows"]) == (2, 3)


def test_a_table_whose_bytes_are_elsewhere_tells_its_rows(memory: Memory) -> None:
    """Nobody knows the columns then, and no error comes of it."""
    left, right = (encode_value(pa.table({"a": rows}), memory) for rows in ([1], [1, 2]))
    (change,) = differences(left, right, memory.read, schema=lambda link: None).changes
    assert change.columns == ()
    assert (change.new or {})["rows"] == 2


def test_arrays_tell_dtype_and_shape(memory: Memory) -> None:
    """Without their bytes."""
    import numpy

    (change,) = compared(memory, numpy.zeros((2, 3)), numpy.zeros((4,), dtype="int8")).changes
    assert (change.old or {})["shape"] == [2, 3]
    assert (change.new or {})["dtype"] == "|i1"


def test_a_single_file_tells_name_and_size(memory: Memory, tmp_path: Path) -> None:
    """A renamed file is a change as well."""
    path = tmp_path / "a.txt"
    path.write_text("abc")
    found = compared(memory, File(path), File(path, name="b.txt"))
    assert [(c.old or {})["name"] for c in found.changes] == ["a.txt"]


def test_many_changes_are_counted_and_the_first_are_told(memory: Memory) -> None:
    """The counts are exact whatever is shown."""
    found = compared(memory, {}, {str(number): number for number in range(3000)}, most=10)
    assert found.counts == {"added": 3000}
    assert (len(found.changes), found.more) == (10, 2990)
    assert found.to_json()["more"] == 2990


def test_a_count_that_lies_is_refused(memory: Memory) -> None:
    """The node has fewer entries than its parent says."""
    node = put_node(b'{"level":0,"entries":[1,2,3]}', memory.put_bytes)
    other = put_node(b'{"level":0,"entries":[1,2,4]}', memory.put_bytes)
    roots = [
        put_node(
            b'{"format":1,"value":{"list":{"level":1,"entries":[["%s",%d,%d]]}}}'
            % (link.digest.encode(), link.size, 7),
            memory.put_bytes,
        )
        for link in (node, other)
    ]
    with pytest.raises(IntegrityError, match="does not have the entries"):
        differences(*roots, memory.read)


VALUES = st.recursive(
    st.integers(-3, 3) | st.booleans() | st.text(max_size=3) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=70)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 9), inner, max_size=8)
    ),
    max_leaves=120,
)


@given(old=VALUES, new=VALUES)
@pytest.mark.heavy
def test_values_are_equal_when_nothing_differs_and_only_then(old: object, new: object) -> None:
    """Whatever their form; and the other way round."""
    memory = Memory(Path("unused"))
    same = encode_value(old, memory) == encode_value(new, memory)
    assert compared(memory, old, new).equal is same
    assert compared(memory, new, old).equal is same
