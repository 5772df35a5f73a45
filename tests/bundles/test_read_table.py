"""CSV, TSV, Parquet and JSON files are read as tables, by their suffix."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bundlerun.bundles.value.tables import read_table
from bundlerun.errors import BadPath, BadValue

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y, z"}]
CSV = b'a,b\n1,x\n2,"y, z"\n'
LINES = "\n".join(map(json.dumps, ROWS)).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", CSV),
        ("T.CSV", CSV),
        ("t.csv.gz", gzip.compress(CSV, mtime=0)),
        ("t.tsv", b"a\tb\n1\tx\n2\ty, z\n"),
        ("t.tsv.gz", gzip.compress(b"a\tb\n1\tx\n2\ty, z\n", mtime=0)),
        ("t.json", json.dumps(ROWS, indent=1).encode()),
        ("t.json", LINES),
        ("t.jsonl", LINES),
    ],
)
def test_every_kind_of_text_table_is_read(name: str, data: bytes, tmp_path: Path) -> None:
    """To the same rows."""
    path = tmp_path / name
    path.write_bytes(data)
    assert read_table(path).to_pylist() == ROWS


def test_parquet_is_read(tmp_path: Path) -> None:
    """With its types."""
    table = pa.table({"a": pa.array([1, None], pa.int16()), "d": pa.array([1, 2], pa.date32())})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").equals(table)


@pytest.mark.parametrize("name", ["no.csv", "t.xlsx", "csv", "folder.csv"])
def test_what_cannot_be_a_table_is_a_bad_path(name: str, tmp_path: Path) -> None:
    """Not there, no suffix that is known, or a folder."""
    (tmp_path / "t.xlsx").write_bytes(b"x")
    (tmp_path / "csv").write_bytes(b"x")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadPath):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", b""),
        ("t.csv", b"a,b\n1,2,3\n"),
        ("t.csv.gz", b"not gzip"),
        ("t.parquet", b"PAR1"),
        ("t.json", b"[1, 2]"),
        ("t.json", b"[{]"),
        ("t.jsonl", b"{"),
    ],
)
def test_what_does_not_parse_is_a_bad_value(name: str, data: bytes, tmp_path: Path) -> None:
    """Naming the file."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadValue, match=name):
        read_table(tmp_path / name)
