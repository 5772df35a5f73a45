"""Which parts of a value a path means, and what is read to find them."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bundlerun.bundles.link import Link
from bundlerun.bundles.value import decode_value, encode_value, links, pick, view
from bundlerun.bundles.value.files import Directory, File
from bundlerun.bundles.value.view import MappingView, SequenceView, View
from bundlerun.errors import IntegrityError
from tests.bundles.memory import Memory, node


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """Where values go and come from."""
    return Memory(tmp_path / "memory")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images and a note."""
    made = tmp_path / "data"
    (made / "images" / "old").mkdir(parents=True)
    for name in ("images/a.png", "images/b.png", "images/old/c.png", "note.txt"):
        (made / name).write_bytes(name.encode())
    return made


def texts(memory: Memory, root: Link, *patterns: str) -> list[str]:
    """The picked objects as text."""
    found = pick(root, lambda link: memory.objects.get(link.digest), patterns)
    assert not found.absent
    return sorted(memory.objects[digest].decode() for digest in found.links)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("raw/images/*", ["images/a.png", "images/b.png", "images/old/c.png"]),
        ("raw/images", ["images/a.png", "images/b.png", "images/old/c.png"]),
        ("raw/images/", ["images/a.png", "images/b.png", "images/old/c.png"]),
        ("raw/images/old/c.png", ["images/old/c.png"]),
        ("*.txt", ["note.txt"]),
        ("raw/images/[ab].png", ["images/a.png", "images/b.png"]),
        ("list/1", ["note.txt"]),
        ("list/1/deep", ["note.txt"]),
        ("?aw/note*", ["note.txt"]),
        ("*", ["images/a.png", "images/b.png", "images/old/c.png", "note.txt"]),
    ],
)
def test_a_path_is_keys_indexes_and_what_is_in_a_folder(
    memory: Memory, folder: Path, pattern: str, expected: list[str]
) -> None:
    """Joined by slashes; what contains it is enough."""
    value = {
        "raw": Directory(folder),
        "list": [File(folder / "images" / "a.png"), {"deep": File(folder / "note.txt")}],
        3: None,
    }
    assert texts(memory, encode_value(value, memory), pattern) == expected


def test_a_single_thing_has_its_name_as_path(memory: Memory, folder: Path) -> None:
    """A file its own, a folder at the top none."""
    assert texts(memory, encode_value(File(folder / "note.txt"), memory), "note.txt") == [
        "note.txt"
    ]
    assert texts(memory, encode_value(Directory(folder), memory), "note.txt") == ["note.txt"]
    table = encode_value(pd.DataFrame({"a": [1]}), memory)
    assert len(pick(table, lambda link: memory.objects.get(link.digest), ["value"]).links) == 1
    missed = pick(table, lambda link: memory.objects.get(link.digest), ["table"])
    assert (missed.unmatched, missed.there) == (["table"], ["value"])


def test_what_fits_nothing_is_told_with_what_is_there(memory: Memory, folder: Path) -> None:
    """Each pattern for itself."""
    root = encode_value({"raw": Directory(folder), "n": 1}, memory)
    found = pick(root, lambda link: memory.objects.get(link.digest), ["raw/note.txt", "rwa/*", "N"])
    assert found.unmatched == ["rwa/*", "N"]
    assert len(found.links) == 1
    assert {"n", "raw/images/a.png"} <= set(found.there)
    found = pick(root, lambda link: memory.objects.get(link.digest), ["raw", "raw/no", "n"])
    assert found.unmatched == ["raw/no"]


def test_nodes_that_cannot_lead_there_are_not_read(memory: Memory) -> None:
    """Of twenty branches that have nodes of their own, one."""
    value = {f"branch{n}": {f"k{k}": b"%d" % n * 2000 for k in range(500)} for n in range(20)}
    root = encode_value(value, memory)
    seen: list[Link] = []

    def read(link: Link) -> bytes | None:
        seen.append(link)
        return memory.objects.get(link.digest)

    assert len(pick(root, read, ["branch7/k13"]).links) == 1
    few = len(seen)
    seen.clear()
    list(links(root, read))
    assert few < len(seen) / 5


def test_nodes_that_are_not_here_are_asked_for_level_by_level(memory: Memory) -> None:
    """Until all that leads there is known."""
    value = {"many": {f"k{k}": b"x%d" % k * 1500 for k in range(3000)}, "long": b"y" * 5000}
    root = encode_value(value, memory)
    here: dict[str, bytes] = {}
    rounds = 0
    while (found := pick(root, lambda link: here.get(link.digest), ["many/k17"])).absent:
        here.update((digest, memory.objects[digest]) for digest in found.absent)
        rounds += 1
    assert 2 <= rounds <= 5
    (digest,) = found.links
    assert memory.objects[digest] == b"x17" * 1500


def test_long_keys_and_list_indexes_past_a_cut_are_paths_too(memory: Memory) -> None:
    """A key of 5,000 letters is an object of its own."""
    value = {"k" * 5000: b"a" * 2000, "list": [b"%d" % n * 2000 for n in range(300)]}
    root = encode_value(value, memory)
    found = texts(memory, root, "k" * 4000 + "*")
    assert found == ["a" * 2000]
    assert texts(memory, root, "list/277") == ["277" * 2000]


def test_a_small_hostile_value_does_not_unfold_for_ever(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that name one node twice each, forty deep; and a node that is none."""
    from bundlerun.bundles.value import select

    monkeypatch.setattr(select, "MAX_VALUES", 10_000)
    link = node(memory, '{"term":1}')
    for _ in range(40):
        named = f'{{"node":["{link.digest}",{link.size}]}}'
        link = node(memory, f'{{"term":{{"list":[{named},{named}]}}}}')
    root = node(memory, f'{{"format":1,"value":{{"node":["{link.digest}",{link.size}]}}}}')
    with pytest.raises(IntegrityError, match="more than"):
        pick(root, lambda link: memory.objects.get(link.digest), ["0/*/no"])
    assert pick(root, lambda link: memory.objects.get(link.digest), ["*"]).links == {}
    bad = node(memory, '{"format":1,"value":{"nonsense":[1]}}')
    with pytest.raises(IntegrityError, match="malformed"):
        pick(bad, lambda link: memory.objects.get(link.digest), ["value"])


VALUE: Any = {
    "table": {"a": [1, 2, (3, None)]},
    "empty": {},
    5: "five",
    "list": [1.5, b"b", {"x": "y" * 5000}],
    "large": {f"k{n}": n for n in range(1000)},
}


def test_a_view_has_what_the_value_has(memory: Memory) -> None:
    """Keys, lengths, order, items, slices; and the whole on request."""
    seen = view(encode_value(VALUE, memory), memory)
    assert isinstance(seen, MappingView)
    assert list(seen) == list(VALUE)
    assert len(seen) == 5
    assert seen[5] == "five"
    assert "table" in seen
    assert 6 not in seen
    assert seen.get("nothing") is None
    with pytest.raises(KeyError):
        seen["nothing"]
    inner = seen["table"]["a"]
    assert isinstance(inner, SequenceView)
    assert inner[:2] == [1, 2]
    assert inner[-1].value == (3, None)
    assert type(inner[2].value) is tuple
    with pytest.raises(IndexError):
        inner[3]
    assert list(seen["list"])[:2] == [1.5, b"b"]
    assert seen["list"][2]["x"] == "y" * 5000
    assert list(seen["large"].items()) == list(VALUE["large"].items())
    assert seen.value == VALUE
    assert seen["table"].value == VALUE["table"]
    assert view(encode_value(7, memory), memory).value == 7
    assert "dict of 5" in repr(seen)


def test_a_view_of_a_counter_counts_what_is_not_there(memory: Memory) -> None:
    """As the Counter does; it is read where it is touched, and whole on request."""
    value = {"words": Counter(a=2, b=1), "price": Decimal("1.10")}
    seen = view(encode_value(value, memory), memory)
    assert isinstance(seen, MappingView)
    words = seen["words"]
    assert isinstance(words, MappingView)
    assert (words["a"], words["nothing"], words.get("nothing")) == (2, 0, None)
    assert "nothing" not in words
    assert type(words.value) is Counter
    assert words.value == value["words"]
    assert str(seen["price"]) == "1.10"


def test_entries_of_a_counter_have_paths(memory: Memory) -> None:
    """As those of a dict, past a cut too."""
    counts = Counter({f"k{n}": "x" * 5000 + str(n) for n in range(200)})
    root = encode_value({"words": counts, "p": Decimal(1)}, memory)
    (found,) = texts(memory, root, "words/k150")
    assert found.endswith("x150")
    assert pick(root, memory.read, ["p"]).unmatched == []


def test_a_view_reads_what_is_touched_and_makes_it_once(memory: Memory) -> None:
    """One node for what lies in the root; each leaf at its own touch."""
    value = {"a": pd.DataFrame({"x": [1]}), "b": np.arange(5), "c": {"d": b"z" * 3000}}
    root = encode_value(value, memory)
    memory.mapping = "none"
    memory.read_links.clear()
    seen = view(root, memory)
    assert isinstance(seen, MappingView)
    assert set(seen) == {"a", "b", "c"}
    assert len(memory.read_links) == 1
    first = seen["a"]
    assert first.equals(value["a"])
    assert len(memory.read_links) == 2
    assert seen["a"] is first
    assert len(memory.read_links) == 2
    assert not isinstance(seen["b"], View)


def test_a_view_cannot_be_changed(memory: Memory) -> None:
    """It is no dict and no list."""
    seen = view(encode_value({"a": [1]}, memory), memory)
    with pytest.raises(TypeError):
        seen["a"] = 2  # type: ignore[index]
    assert isinstance(seen, MappingView)
    with pytest.raises(TypeError):
        seen["a"][0] = 2
    seen.value["a"].append(2)
    assert seen.value == {"a": [1]} == decode_value(encode_value({"a": [1]}, memory), memory)


def test_a_malformed_dict_is_refused_at_the_touch(memory: Memory) -> None:
    """As by thaw."""
    twice = node(memory, '{"format":1,"value":{"dict":[["a",1],["a",2]]}}')
    seen = view(twice, memory)
    assert isinstance(seen, MappingView)
    with pytest.raises(IntegrityError, match="twice"):
        seen["a"]
