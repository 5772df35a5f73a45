"""``diff`` and ``fsck`` for Python callers: what is fetched, what is found."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.api.workspace import Workspace
from bundlerun.store.reports import Kind


@pytest.fixture
def remote(tmp_path: Path) -> str:
    """A folder as a remote."""
    (tmp_path / "remote").mkdir()
    return f"file://{tmp_path / 'remote'}"


def opened(tmp_path: Path, name: str, remote: str | None = None) -> Workspace:
    """A workspace of a machine of its own."""
    return br.open(store=tmp_path / name, remote=remote, context="work")


def test_two_versions_are_compared_by_name_and_id(tmp_path: Path) -> None:
    """``name`` is the latest, ``name@id`` a version."""
    workspace = opened(tmp_path, "store")
    old = workspace.add("x", {"a": 1})
    workspace.add("x", {"a": 2})
    found = workspace.diff(f"x@{old.id}", "x")
    assert [change.where for change in found.changes] == ['value["a"]']
    assert workspace.diff("x", "x").equal


def test_bytes_of_files_are_not_fetched_to_compare(tmp_path: Path, remote: str) -> None:
    """Nodes are, and a small table for its columns."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(3_000_000))
    writer = opened(tmp_path, "writer", remote)
    first = {"folder": br.Directory(folder), "table": pa.table({"a": [1]})}
    old = writer.add("x", first, commit=True)
    writer.push()
    (folder / "large").write_bytes(os.urandom(3_000_000))
    new = writer.add(
        "x", {"folder": br.Directory(folder), "table": pa.table({"b": [1]})}, commit=True
    )
    writer.push()
    reader = opened(tmp_path, "reader", remote)
    reader.pull(all_versions=True)
    found = reader.diff(old, new)
    assert [c.where for c in found.changes] == ['value["folder"]/large', 'value["table"]']
    assert found.changes[1].columns == (("a", "int64", None), ("b", None, "int64"))
    files = [path for path in (tmp_path / "reader").rglob("*") if path.is_file()]
    kept = sum(path.stat().st_size for path in files if path.name != "spare")
    assert kept < 1_000_000


def test_what_is_nowhere_is_an_error_with_its_cure(tmp_path: Path, remote: str) -> None:
    """Records without bytes, and no remote any more."""
    writer = opened(tmp_path, "writer", remote)
    old, new = (writer.add("x", list(range(n)), commit=True) for n in (300, 400))
    writer.push()
    reader = opened(tmp_path, "reader", remote)
    reader.pull(all_versions=True)
    reader.scope.store.contexts.bind(reader.scope.context(), None, None)
    with pytest.raises(errors.BundleNotFound, match="no remote"):
        reader.diff(old, new)


def test_a_store_is_mended_from_its_remote(tmp_path: Path, remote: str) -> None:
    """Damage found, mended, gone."""
    workspace = opened(tmp_path, "store", remote)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(400_000))
    workspace.add("x", br.File(path), commit=True)
    workspace.push()
    (held,) = (tmp_path / "store" / "objects").glob("??/*")
    held.unlink()
    assert not workspace.fsck().whole
    proof = workspace.fsck(repair=True)
    assert proof.whole
    assert [finding.mended for finding in proof.findings] == [True]
    assert workspace.get("x").path.read_bytes() == path.read_bytes()


def test_a_remote_is_mended_from_a_store(tmp_path: Path, remote: str) -> None:
    """A pack that is gone is sent again."""
    workspace = opened(tmp_path, "store", remote)
    workspace.add("x", ["x" * 9000], commit=True)
    workspace.push()
    (pack,) = (tmp_path / "remote" / "packs").iterdir()
    data = pack.read_bytes()
    pack.unlink()
    (finding,) = workspace.fsck(remote=True).findings
    assert (finding.kind, finding.where) == (Kind.MISSING, f"packs/{pack.name}")
    assert workspace.fsck(remote=True, repair=True).whole
    assert pack.read_bytes() == data
    assert workspace.fsck(remote=True).findings == ()


def test_a_remote_is_needed_to_prove_one(tmp_path: Path) -> None:
    """With the command that binds one."""
    with pytest.raises(errors.NoRemote):
        opened(tmp_path, "store").fsck(remote=True)
