"""Disks that fill up in the middle: one clear line, everything whole, and on with it once there is
space. The disks are file systems in memory with a size."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bundlerun as br
from bundlerun.bundles.packs import TRAILER, members_of
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BundlerunError, RemoteUnreachable
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.pull import pull_latest
from bundlerun.remotes.push import push
from bundlerun.store.remote_cache import PackInfo
from bundlerun.store.store import Store
from tests.faults.damaged import held

pytestmark = pytest.mark.service

Disk = Callable[[str], Path]

PIPE = """
import os
import bundlerun as br

class Grow(br.Pipe):
    def pipe_run(self, pipeline_input):
        path = self.scratch / "grown"
        path.write_bytes(os.urandom(pipeline_input))
        return {"grown": br.File(path)}
"""


def grow(disk: Path, size: str = "80m") -> None:
    """More space."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def fill_up(disk: Path) -> Path:
    """A file that takes all the space that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk has no end")


def check_line(error: BundlerunError, place: Path) -> None:
    """One line, which says what is full, and what to type."""
    said = str(error)
    assert "\n" not in said
    assert "no space left" in said.lower()
    assert str(place) in said


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[FileRemote]:
    """A folder remote with "large" (one file, 24 MiB) and "many" (9 MiB of small files)."""
    remote = FileRemote(f"file://{tmp_path}/remote")
    (tmp_path / "large").write_bytes(os.urandom(24 << 20))
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / f"{number:03}").write_bytes(os.urandom(30_000))
    store = Store.open(tmp_path / "writer")
    context = bind(store, store.contexts.create("work"), remote)
    for name, value in (
        ("large", {"file": File(tmp_path / "large")}),
        ("many", Directory(tmp_path / "many")),
    ):
        push(Binding.of(store, context, remote), [store.add(context, name, value, commit=True)])
    yield remote
    store.close()


@pytest.mark.parametrize("name", ["large", "many"])
def test_a_pull_that_does_not_fit(
    small_disk: Disk, remote: FileRemote, tmp_path: Path, name: str
) -> None:
    """The record is kept, of the bytes only right ones; with space the same command completes."""
    disk = small_disk("size=4m")
    store = Store.open(disk / "store")
    context = bind(store, store.contexts.create("work"), remote)
    kept = store.add(context, "kept", [1, 2, 3], commit=True)
    bundle = pull_latest(Binding.of(store, context, remote), name).bundle
    with pytest.raises(BundlerunError) as caught:
        localise(store, remote, [bundle])
    check_line(caught.value, disk)
    held(store)
    assert store.value(kept.bundle) == [1, 2, 3]
    grow(disk)
    localise(store, remote, [bundle])
    value = store.value(bundle)
    if name == "large":
        assert isinstance(value, dict)
        assert value["file"].read_bytes() == (tmp_path / "large").read_bytes()
    else:
        assert value == Directory(tmp_path / "many")
    store.close()


def test_a_push_to_a_full_folder(small_disk: Disk, tmp_path: Path) -> None:
    """No version is there; with space the same push completes."""
    disk = small_disk("size=1m")
    remote = FileRemote(f"file://{disk}/remote")
    store = Store.open(tmp_path / "store")
    context = bind(store, store.contexts.create("work"), remote)
    entry = store.add(context, "x", os.urandom(2_000_000), commit=True)
    with pytest.raises(RemoteUnreachable) as caught:
        push(Binding.of(store, context, remote), [entry])
    check_line(caught.value, disk)
    assert caught.value.hint == f"df -h {disk}/remote"
    assert list(remote.list("v/")) == list(remote.list("b/")) == []
    grow(disk)
    assert len(push(Binding.of(store, context, remote), [entry]).bundles) == 1


def test_a_push_from_a_full_disk(small_disk: Disk, tmp_path: Path) -> None:
    """What cannot be noted here is an error; with space the push goes on, and the value is there
    once."""
    disk = small_disk("size=40m")
    remote = FileRemote(f"file://{tmp_path}/remote")
    store = Store.open(disk / "store")
    context = bind(store, store.contexts.create("work"), remote)
    value = [os.urandom(100_000) for _ in range(50)]
    entry = store.add(context, "x", value, commit=True)
    store.close()
    filler = fill_up(disk)
    with pytest.raises(BundlerunError) as caught:
        push(Binding.of(store, context, remote), [entry])
    check_line(caught.value, disk)
    filler.unlink()
    assert len(push(Binding.of(store, context, remote), [entry]).bundles) == 1
    assert [e.key for e in remote.list("v/x/")] == ["v/x/9999999998"]
    other = Store.open(tmp_path / "other")
    its = bind(other, other.contexts.create("work"), remote)
    bundle = pull_latest(Binding.of(other, its, remote), "x").bundle
    localise(other, remote, [bundle])
    assert other.value(bundle) == value
    other.close()
    store.close()


def test_a_push_to_a_full_folder_remote(small_disk: Disk, tmp_path: Path) -> None:
    """No version is there, nor a half pack; with space the pushes go on and leave nothing aside."""
    disk = small_disk("size=3m")
    remote = FileRemote(f"file://{disk}/remote")
    store = Store.open(tmp_path / "store")
    context = bind(store, store.contexts.create("work"), remote)
    (tmp_path / "large").write_bytes(os.urandom(20 << 20))
    entries = [
        store.add(context, "many", [os.urandom(100_000) for _ in range(50)], commit=True),
        store.add(context, "large", File(tmp_path / "large"), commit=True),
    ]
    for entry in entries:
        with pytest.raises(RemoteUnreachable) as caught:
            push(Binding.of(store, context, remote), [entry])
        check_line(caught.value, disk)
        for pack in remote.list("packs/"):
            check_pack(remote, pack.key, pack.size)
        assert [*remote.list("b/"), *remote.list("v/")] == []
    grow(disk)
    assert len(push(Binding.of(store, context, remote), entries).bundles) == 2
    assert [path for path in disk.rglob(".aside/*")] == []
    store.close()


def check_pack(remote: FileRemote, key: str, size: int) -> None:
    """A whole pack: its trailer says where its index is, and that has its members."""
    tail = remote.get(key, size - TRAILER.size) or b""
    _, start, length, _ = TRAILER.unpack(tail)
    index_length = length + TRAILER.size
    info = PackInfo(key.removeprefix("packs/"), size, index_length)
    assert members_of(info, remote.get(key, start) or b"")


def test_push_and_pull_use_no_space_for_temporary_files(
    small_disk: Disk, remote: FileRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both work where the folder for temporary files is full."""
    disk = small_disk("size=64k")
    fill_up(disk)
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    store = Store.open(tmp_path / "store")
    context = bind(store, store.contexts.create("work"), remote)
    for name in ("large", "many"):
        bundle = pull_latest(Binding.of(store, context, remote), name).bundle
        localise(store, remote, [bundle])
    again = FileRemote(f"file://{tmp_path}/again")
    other = bind(store, store.contexts.create("other"), again)
    (tmp_path / "new").write_bytes(os.urandom(20 << 20))
    value = {"new": File(tmp_path / "new"), "small": [os.urandom(50_000) for _ in range(50)]}
    entry = store.add(other, "x", value, commit=True)
    assert len(push(Binding.of(store, other, again), [entry]).bundles) == 1
    store.close()


def test_a_table_where_temporary_files_do_not_fit(
    small_disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is kept as long as it fits into the store itself, or the error is one line."""
    disk = small_disk("size=64k")
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    table = pd.DataFrame({"n": np.arange(200_000), "x": np.random.default_rng(1).random(200_000)})
    with closing(br.open(store=tmp_path / "store")) as workspace:
        try:
            workspace.add("t", table)
        except BundlerunError as error:
            check_line(error, disk)
        else:
            assert workspace.get("t").equals(table)
    assert list(disk.iterdir()) == []


def test_an_apply_whose_output_does_not_fit(small_disk: Disk, tmp_path: Path) -> None:
    """The pipe ran, its output could not be kept: one line, no half version; with space it is."""
    (tmp_path / "growpipes.py").write_text(PIPE)
    disk = small_disk("size=4m")
    with closing(br.open(store=disk / "store")) as workspace:
        workspace.add("size", 20 << 20, commit=True)
        with pytest.raises(BundlerunError) as caught:
            workspace.apply("size", "out", "growpipes.Grow", pipe_root=tmp_path)
        assert "no space left" in str(caught.value)
        assert workspace.ls("out") == []
        grow(disk)
        workspace.apply("size", "out", "growpipes.Grow", pipe_root=tmp_path)
        assert workspace.get("out")["grown"].path.stat().st_size == 20 << 20
