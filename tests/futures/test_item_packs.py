"""Packs of items: every entry comes back, by two small reads, and no hostile table is believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.errors import BadValue, IntegrityError
from bundlerun.futures.item_packs import PACK_BYTES, Packer, entries_of, packed, read_entries

ENTRIES = st.lists(st.binary(max_size=20), max_size=20)


class Object:
    """An object of a remote, which counts how it is read."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, length: int) -> bytes | None:
        """As a ranged GET."""
        self.reads.append((start, length))
        return None if self.data is None else self.data[start : start + length]


@given(ENTRIES)
def test_a_pack_gives_back_its_entries(entries: list[bytes]) -> None:
    """In order, empty ones included."""
    assert entries_of(packed(entries)) == entries


@given(ENTRIES, st.data())
def test_any_neighbours_are_read_alone(entries: list[bytes], draw: st.DataObject) -> None:
    """By two reads at most, which ask for their slice of the table and their bytes alone."""
    first = draw.draw(st.integers(0, len(entries)))
    count = draw.draw(st.integers(0, len(entries) - first))
    held = Object(packed(entries))
    wanted = entries[first : first + count]
    assert read_entries(held.read, first, count) == wanted
    assert len(held.reads) <= 2
    asked = sum(length for _, length in held.reads)
    assert asked <= 8 + 8 * (count + 1) + sum(map(len, wanted))


@given(st.lists(st.binary(max_size=8), max_size=30))
def test_a_packer_keeps_the_order_and_loses_nothing(entries: list[bytes]) -> None:
    """Of small ones there is one pack."""
    packer = Packer()
    assert [packer.add(entry) for entry in entries] == [None] * len(entries)
    rest = packer.rest()
    assert ([] if rest is None else entries_of(rest)) == entries
    assert packer.rest() is None


def test_no_pack_is_larger_than_the_limit() -> None:
    """Ten entries of 5 MiB make four packs."""
    packer = Packer()
    found = [packer.add(bytes(5 << 20)) for _ in range(10)]
    packs = [pack for pack in (*found, packer.rest()) if pack is not None]
    assert [len(entries_of(pack)) for pack in packs] == [3, 3, 3, 1]
    assert max(map(len, packs)) <= PACK_BYTES


def test_an_entry_that_fits_in_no_pack_is_refused() -> None:
    """The largest that fits does fit."""
    largest = bytes(PACK_BYTES - 16)
    packer = Packer()
    assert packer.add(largest) is None
    assert len(packer.rest() or b"") == PACK_BYTES
    with pytest.raises(BadValue, match="more than a pack"):
        packer.add(largest + b"\0")


def test_every_cut_of_a_pack_is_refused() -> None:
    """Whole or in parts."""
    pack = packed([b"one", b"", b"three"])
    for end in range(len(pack)):
        with pytest.raises(IntegrityError):
            entries_of(pack[:end])
        with pytest.raises(IntegrityError):
            read_entries(Object(pack[:end]).read, 0, 3)
    with pytest.raises(IntegrityError):
        entries_of(pack + b"\0")


def test_a_pack_that_is_gone_is_refused() -> None:
    """Also where the read of its head still went well."""
    with pytest.raises(IntegrityError, match="not on the remote"):
        read_entries(Object(None).read, 0, 1)


@pytest.mark.parametrize("first", [0, 1])
def test_more_than_there_is_cannot_be_read(first: int) -> None:
    """The bytes of entries are not taken for a table."""
    with pytest.raises(IntegrityError):
        read_entries(Object(packed([b"a", b"b"])).read, first, 3)


@pytest.mark.parametrize(
    "ends",
    [[32, 28], [2**63, 2**63 + 4], [10, 32], [PACK_BYTES + 1, PACK_BYTES + 2]],
    ids=["backwards", "huge", "into the table", "over the limit"],
)
def test_a_table_that_lies_is_refused(ends: list[int]) -> None:
    """Before a byte more is asked for than a pack may have."""
    pack = struct.pack("<4sI2Q", b"BRP1", 2, *ends) + b"12345678"
    with pytest.raises(IntegrityError):
        entries_of(pack)
    held = Object(pack)
    with pytest.raises(IntegrityError):
        read_entries(held.read, 0, 2)
    assert len(held.reads) == 1


def test_a_count_that_lies_is_refused() -> None:
    """Four billion entries in forty bytes."""
    with pytest.raises(IntegrityError):
        entries_of(struct.pack("<4sI", b"BRP1", 2**32 - 1) + bytes(32))


def test_another_form_is_refused() -> None:
    """By its first bytes."""
    with pytest.raises(IntegrityError, match="unknown form"):
        entries_of(b"BRP2" + packed([b"a"])[4:])
