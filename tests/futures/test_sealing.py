"""Seals: what the run has not written as just that is refused, whatever was done to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.errors import IntegrityError
from bundlerun.futures.sealing import Seal, Sealed

KINDS = list(Sealed)


@given(st.sampled_from(KINDS), st.integers(0, 2**64 - 1), st.binary(max_size=100))
def test_what_was_sealed_opens_as_what_it_was(kind: Sealed, index: int, data: bytes) -> None:
    """Also by a seal that was made of the key's digits, as a job has them."""
    seal = Seal.new()
    sealed = seal.sealed(kind, index, data)
    assert Seal.from_hex(seal.hex()).opened(kind, index, sealed) == data
    assert len(sealed) == 32 + len(data)


@given(st.sampled_from(KINDS), st.binary(max_size=40), st.data())
def test_one_flipped_bit_is_refused(kind: Sealed, data: bytes, draw: st.DataObject) -> None:
    """Of the tag or of the data."""
    seal = Seal.new()
    sealed = bytearray(seal.sealed(kind, 3, data))
    bit = draw.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        seal.opened(kind, 3, bytes(sealed))


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_refused(kind: Sealed) -> None:
    """Nothing at all, half a tag, a tag without its data, and one byte more."""
    seal = Seal.new()
    sealed = seal.sealed(kind, 0, b"data")
    for end in range(len(sealed)):
        with pytest.raises(IntegrityError):
            seal.opened(kind, 0, sealed[:end])
    with pytest.raises(IntegrityError):
        seal.opened(kind, 0, sealed + b"\0")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("as_kind", KINDS)
@pytest.mark.parametrize("as_index", [7, 8])
def test_nothing_stands_in_for_another(kind: Sealed, as_kind: Sealed, as_index: int) -> None:
    """Swapped indices and kinds are refused, by name."""
    seal = Seal.new()
    sealed = seal.sealed(kind, 7, b"data")
    if (kind, 7) == (as_kind, as_index):
        assert seal.opened(as_kind, as_index, sealed) == b"data"
        return
    with pytest.raises(IntegrityError, match=f"{as_kind.value} {as_index} is wrong"):
        seal.opened(as_kind, as_index, sealed)


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_run_sealed_is_refused(kind: Sealed) -> None:
    """Its key is another."""
    with pytest.raises(IntegrityError):
        Seal.new().opened(kind, 0, Seal.new().sealed(kind, 0, b"data"))


def test_the_end_of_a_kind_is_not_the_beginning_of_the_data() -> None:
    """Kind, index and data have fixed places in what is hashed."""
    seal = Seal.new()
    assert seal.tag(Sealed.PLAN, 0, b"\0x") != seal.tag(Sealed.PLAN, 0, b"x")
    assert seal.tag(Sealed.ITEM, 256, b"") != seal.tag(Sealed.ITEM, 1, b"\0")


def test_a_seal_never_shows_its_key() -> None:
    """Neither in a repr, nor in the error for digits that are not a key."""
    seal = Seal.new()
    assert seal.hex() not in repr(seal)
    assert repr(seal.key) not in repr(seal)
    for text in (seal.hex()[:-1], seal.hex() + "00", "zz" + seal.hex()[2:], ""):
        with pytest.raises(IntegrityError) as caught:
            Seal.from_hex(text)
        assert not text or text not in str(caught.value)
        assert caught.value.__context__ is None


def test_two_runs_have_two_keys() -> None:
    """32 random bytes each."""
    keys = {Seal.new().key for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {32}
