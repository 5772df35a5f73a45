"""Values of every kind have the digests that they always had: the format does not move."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import Lineage
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord
from bundlerun.bundles.value import encode_value
from bundlerun.bundles.value.files import Directory, File
from tests.bundles.memory import Memory

_ZONED = dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
_NAMED = dt.time(1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET"))


def _file(folder: Path) -> File:
    path = folder / "run.sh"
    path.write_bytes(b"echo\n")
    path.chmod(0o755)
    return File(path)


def _directory(folder: Path) -> Directory:
    inside = folder / "images"
    (inside / "empty").mkdir(parents=True)
    for at in range(70):
        (inside / f"{at}.png").write_bytes(b"%d" % at)
    return Directory(inside)


def _bundle(folder: Path) -> BundleRecord:
    id = "01920000-0000-7000-8000-000000000001"
    return BundleRecord(id, "inner", Link(digest_of(b"root"), 4), {"p": "1"}, {"t": "2"}, Lineage())


GOLDEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "plain": (lambda _: [None, True, 1, -(2**63), "é"],
        "861495c0357fe54cd5ac04e80ebbf4f00fd7455582fdaeeb6b995a12c06852b7"),
    "integers over 64 bits": (lambda _: [2**63, -(2**80)],
        "7be1f6fa4fae08b0fd054ab42126e71787a4d376af5e6fee75da5f414f95210f"),
    "floats": (lambda _: [0.1, -0.0, 1e300, float("nan"), float("-inf")],
        "9472dafe2547948e8bbde0047e5b24b54ae0fa8ca4bd260662a7d6d998327be3"),
    "texts": (lambda _: ["", "\x00", "\ud800", "long " * 2_000],
        "62534db9e69e700a6137f1cd38eab71a47ef4c8a0e4d9bbbcb6bc83694d47c42"),
    "bytes": (lambda _: [b"", bytes(range(256)), bytes(5_000)],
        "49faff44e9fe7febb49cbed5f2a60c0f0fd9cc4249bfa475f20c43c12f68437f"),
    "moments": (lambda _: [_ZONED, _NAMED, dt.date(1, 2, 3), dt.timedelta(-1, 2, 3)],
        "26ea65882a4e4b40cefd2c4c44cd9cb6616594d5800cf3dfb845f186d5693398"),
    "decimals": (lambda _: [Decimal("1.50"), Decimal("-0E+3"), Decimal("sNaN12")],
        "b0686c31e50b51ffabc00438e3589b08c126788f0e4303b5be9298179ebce1c9"),
    "sequences": (lambda _: [[], (), ((1,), [2])],
        "8df7c8ec60bc796a9e80c4696a9c6d8086dcf31a74443cb0ee392d46700919e0"),
    "mappings": (lambda _: [{"b": 1, 2: None, b"k": {}}, Counter("abca")],
        "7e60536acf99c8f09b0a9e274da9fb14de48397d075d4d5b2f42bd580737f076"),
    "a long list": (lambda _: [str(at) for at in range(5_000)],
        "e2ef637b9acf73841cf377686e309757392f7fafc47789fbc1345fb3f4fb7bfe"),
    "a long dict": (lambda _: {at: [at] * 3 for at in range(3_000)},
        "130b53706522c9fb5ac94f2f30b87f574d42af2f365384fa101a1b2494660d96"),
    "a large entry": (lambda _: [["x" * 90] * 40, 1],
        "94c3dd155afeb773d7e5b1d35be0b11d15f09233ae8e57ff99d588d73118dbc4"),
    "a file": (_file,
        "4133ae627e0146ccabf5b931edb379812e8620065f37565b3d41f9ffb6d6b2e8"),
    "a directory": (_directory,
        "513192364c5c84db9e04aec34d1f61d6d1950fbf3f84cef44b90ff99cf562921"),
    "a bundle": (_bundle,
        "e6a10535362e87264bfc45ab40fca3f1a2bc6a17eeb55aea39424602c872889e"),
    "numpy's scalars": (lambda _: [np.float32(1.5), np.datetime64("2024-01-01", "s")],
        "9a38b8848ecb63a7e91c96e7bf64935b09850694cbac85d41253a3840f33115c"),
    "an array": (lambda _: np.arange(12, dtype="<f8").reshape(3, 4),
        "3e5c69b123668aba839ae9f203d673444c997546129b16d50aca042d005f19b7"),
    "an array of records": (lambda _: np.zeros(2, [("a", "<i4"), ("b", "<U3")]),
        "12b7a761e3b58d52aa8955f77b1473423b28ff76bbcdf43b507437dbd886d94a"),
}  # fmt: skip
"""A value of each kind, made in an empty folder, and its digest."""

TABLES: dict[str, tuple[Callable[[], Any], str]] = {
    "pandas": (lambda: pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "[2,2]"),
    "a column of pandas": (lambda: pd.Series([1, 2, 3], name="a"), "[3,1]"),
    "polars": (lambda: pl.DataFrame({"a": [1, 2]}), "[2,1]"),
    "arrow": (lambda: pa.table({"a": [1, 2]}), "[2,1]"),
}
"""Tables, whose bytes the libraries write: the term around them."""


@pytest.mark.parametrize("name", GOLDEN)
def test_a_value_has_the_digest_that_it_always_had(
    name: str, tmp_path: Path, memory: Memory
) -> None:
    """Of each kind of value, and of each form that its terms have."""
    make, digest = GOLDEN[name]
    assert encode_value(make(tmp_path), memory).digest == digest


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_term_that_it_always_had(name: str, memory: Memory) -> None:
    """A link to one Arrow file, whose frame it is, and its rows and columns."""
    make, about = TABLES[name]
    root = encode_value(make(), memory)
    ((digest, data),) = [each for each in memory.objects.items() if each[0] != root.digest]
    library = name.rpartition(" ")[2]
    table = f'{{"table":["{digest}",{len(data)}],"as":"{library}","about":{about}}}'
    assert memory.objects[root.digest].decode() == f'{{"format":1,"value":{table}}}'
