"""The pack's layout, and what its reader refuses."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundlerun.bundles.digest import Digest, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import (
    LARGE_BYTES,
    MAX_PACK_BYTES,
    check_claims,
    groups_of,
    laid_out,
    members_of,
)
from bundlerun.errors import IntegrityError
from bundlerun.store.remote_cache import PackInfo

ROW = struct.Struct(">32sQQ")


def link(size: int, seed: int = 0) -> Link:
    """A link to bytes that nobody has."""
    return Link(digest_of(b"%d %d" % (size, seed)), size)


def tail_of(rows: Sequence[tuple[Digest, int, int]], start: int) -> tuple[PackInfo, bytes]:
    """An index with a right trailer over whatever rows."""
    index = b"".join(ROW.pack(bytes.fromhex(d), offset, length) for d, offset, length in rows)
    digest = bytes.fromhex(digest_of(index))
    tail = index + struct.pack(">8sQQ32s", b"BRPACK\0\1", start, len(index), digest)
    return PackInfo("p", start + len(tail), len(tail)), tail


@given(st.lists(st.integers(0, LARGE_BYTES), min_size=1, max_size=40))
def test_what_is_laid_out_is_read_back(sizes: list[int]) -> None:
    """Every group is one pack within the limit, and its index names each member once, in order."""
    links = [link(size, seed) for seed, size in enumerate(sizes)]
    groups = list(groups_of(links))
    assert [each for group in groups for each in group] == links
    for group in groups:
        pack, members, tail = laid_out(group)
        assert members_of(pack, tail) == members
        assert [(m.digest, m.length) for m in members] == [(g.digest, g.size) for g in group]
        assert pack.size == sum(g.size for g in group) + len(tail) <= MAX_PACK_BYTES


def test_a_large_object_goes_alone() -> None:
    """The small ones around it stay together."""
    small, large = link(10), link(LARGE_BYTES + 1)
    other = link(20)
    assert list(groups_of([small, large, other])) == [[large], [small, other]]
    pack, members, tail = laid_out([large])
    assert members_of(pack, tail) == members


@pytest.mark.parametrize("spoil", ["bit", "short", "long", "magic", "moved"])
def test_a_damaged_index_is_refused(spoil: str) -> None:
    """A changed bit anywhere, missing or additional bytes, another format, another place."""
    pack, _, tail = laid_out([link(10), link(20)])
    if spoil == "bit":
        tails = [tail[:i] + bytes([tail[i] ^ 1]) + tail[i + 1 :] for i in range(len(tail))]
    elif spoil == "moved":
        tails, pack = [tail], replace(pack, size=pack.size + 5)
    else:
        tails = {
            "short": [tail[1:], tail[:-1], b""],
            "long": [b"\0" + tail],
            "magic": [tail[:-56] + b"BRPACK\0\2" + tail[-48:]],
        }[spoil]
    for damaged in tails:
        with pytest.raises(IntegrityError):
            members_of(pack, damaged)


A, B = digest_of(b"a"), digest_of(b"b")


@pytest.mark.parametrize(
    ("rows", "start"),
    [
        ([(A, 0, 10), (B, 5, 10)], 15),
        ([(A, 0, 10), (B, 12, 3)], 15),
        ([(A, 0, 10), (A, 10, 5)], 15),
        ([(A, 0, 10), (B, 10, 6)], 15),
        ([(A, 0, 10)], 15),
        ([(A, 0, 1 << 63)], 15),
        ([(A, 1 << 63, 10), (B, 0, 15)], 15),
        ([(B, 10, 5), (A, 0, 10)], 15),
    ],
)
def test_a_lying_index_is_refused(rows: list[tuple[Digest, int, int]], start: int) -> None:
    """Overlaps, gaps, twins, huge claims, members out of order: none of them reads anything."""
    with pytest.raises(IntegrityError, match="pack p"):
        members_of(*tail_of(rows, start))


@pytest.mark.parametrize(
    ("size", "index_length"),
    [(1 << 60, 104), (MAX_PACK_BYTES + 1, 152), (200, 105), (100, 104), (200, 56), (200, 0)],
)
def test_claims_that_no_pack_has_are_refused(size: int, index_length: int) -> None:
    """Before memory is asked for them."""
    with pytest.raises(IntegrityError, match="cannot have"):
        check_claims(PackInfo("p", size, index_length))
