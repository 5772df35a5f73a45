"""numpy's arrays and scalars come back with dtype, shape and order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from bundlerun.bundles.value import decode_value, encode_value, outline
from bundlerun.errors import BadValue
from tests.bundles.memory import Memory
from tests.sampled import sampled

Back = Callable[[Any], Any]

DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", "F", "D"),
    *(">i4", ">f8", ">M8[s]", "M8[ns]", "M8[D]", "M8", "m8[us]", "S7", "U5", ">U3", "V6"),
    [("a", "i4"), ("b", "U3"), ("c", "f8", (2, 2))],
    [("é☃", "u1"), ("in", [("x", "M8[ms]")])],
    {"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8], "itemsize": 24},
]


def _same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    if a.dtype.char in "gG":
        # Their last bytes are padding; compared as numbers, signs of zero included.
        np.testing.assert_array_equal(a, b)
        assert (np.signbit(a.real) == np.signbit(b.real)).all()
    elif a.dtype.names is None:
        assert a.tobytes() == b.tobytes()
    for name in a.dtype.names or ():
        _same(np.asarray(a[name]), np.asarray(b[name]))


@pytest.mark.parametrize("mapping", ["file", "buffer", "none"])
@pytest.mark.parametrize("dtype", sampled(DTYPES, each=3), ids=str)
def test_every_dtype_comes_back(dtype: Any, mapping: str, tmp_path: Path) -> None:
    """Numbers, moments, texts and records, of either byte order, however the leaf is read."""
    memory = Memory(tmp_path, mapping)
    raw = np.arange(6 * np.dtype(dtype).itemsize, dtype="u1") % 2
    whole = np.frombuffer(raw.tobytes(), dtype=dtype).reshape(2, 3)
    for value in (whole, whole[:0], whole[0], whole[:, ::2], whole[0, 0:1].reshape(())):
        _same(decode_value(encode_value(value, memory), memory), value)


def test_what_lies_between_the_fields_of_a_record_is_not_kept(memory: Memory) -> None:
    """It is whatever the memory had: unequal roots of equal arrays, and perhaps a secret."""
    dtype = np.dtype([("a", "u1"), ("in", [("b", "u1"), ("c", "f8")])], align=True)
    roots = set()
    for fill in (b"\x00", b"secret!!"):
        value = np.frombuffer((fill * 90)[: 3 * dtype.itemsize], dtype=dtype).copy()
        for field in (value["a"], value["in"]["b"], value["in"]["c"]):
            field[...] = 1
        roots |= {encode_value(each, memory) for each in (value, value[:1])}
    assert len(roots) == 2
    assert not any(b"secret" in data for data in memory.objects.values())


def test_order_and_shape_come_back(back: Back) -> None:
    """Fortran order stays, what is not contiguous becomes so, no dimension is lost."""
    fortran = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    assert back(fortran).flags.f_contiguous
    assert not back(fortran).flags.c_contiguous
    for value in (fortran, fortran.T, fortran[::2, ::-1], np.array(7), np.empty((0, 3, 0))):
        _same(back(value), value)


def test_what_comes_back_can_be_written_to_and_the_object_stays(memory: Memory) -> None:
    """The mapping is private: a pipe that works in place harms nobody."""
    root = encode_value(np.arange(5), memory)
    found: Any = decode_value(root, memory)
    found += 1
    assert found.tolist() == [1, 2, 3, 4, 5]
    again: Any = decode_value(root, memory)
    assert again.tolist() == [0, 1, 2, 3, 4]


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)))
def test_any_array_comes_back(back: Back, value: Any) -> None:
    """Whatever dtype and shape."""
    _same(back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        *(np.bool_(True), np.int8(-3), np.uint64(2**64 - 1), np.float16(0.1), np.float32("nan")),
        *(
            np.float64(-0.0),
            np.longdouble(1) / 3,
            np.complex64(1 + 2j),
            np.str_("é"),
            np.bytes_(b"x"),
        ),
        *(np.datetime64("NaT"), np.datetime64("2020-01-01T00:00", "m"), np.timedelta64(5, "W")),
        np.array([(1, "x")], dtype=[("a", "i4"), ("b", "U2")])[0],
    ],
    ids=lambda value: f"{value.dtype}",
)
def test_every_scalar_comes_back(value: Any, back: Back) -> None:
    """A numpy scalar is no Python number, and stays none."""
    found = back([value])[0]
    _same(np.asarray(found), np.asarray(value))
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "x"], dtype=object),
        np.ma.array([1]),
        np.array([(1,)], dtype=[("a", object)]),
        np.rec.array([(1,)], dtype=[("a", "i4")]),
        np.str_("x\x00"),
        np.dtype("i4"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_need_pickle_or_a_subclass_is_refused(value: Any, memory: Memory) -> None:
    """By its path."""
    with pytest.raises(BadValue, match=r'value\["x"\]'):
        encode_value({"x": value}, memory)


def test_the_outline_tells_dtype_and_shape(memory: Memory) -> None:
    """Without reading the array."""
    found = outline(encode_value(np.zeros((2, 3), "f4"), memory), memory.read)
    assert (found["type"], found["dtype"], found["shape"]) == ("array", "<f4", [2, 3])


@pytest.mark.heavy
def test_a_large_array_goes_through_a_file(memory: Memory) -> None:
    """And comes back all the same."""
    large = np.arange((33 << 20) // 8)
    _same(decode_value(encode_value(large, memory), memory), large)


def test_padding_of_long_numbers_makes_no_other_bundle(tmp_path: Path) -> None:
    """Equal numbers, equal root, whatever memory held in the bytes between them."""
    memory = Memory(tmp_path, "none")
    one = np.array([1, 2], np.longdouble) / 3
    other = one.copy()
    if np.finfo(np.longdouble).nmant == 63:
        other.view("u1").reshape(-1, 16)[:, 10:] = 7
    assert encode_value(one, memory) == encode_value(other, memory)
