"""Stores on disks that are completely full, or that may not be written: what is there can be read,
and on a full disk be removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bundlerun.bundles.value.files import Directory, File
from bundlerun.store.store import Store
from tests.faults.test_full_disk import fill_up

pytestmark = [pytest.mark.service, pytest.mark.slow]

Mount = Callable[[], Path]


@pytest.fixture(params=["tmpfs", "ext4"])
def roomy_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 120 MB, in memory and on a block device."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(folder)]
    if request.param == "ext4":
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(120 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(folder)]
    subprocess.run(command, check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def read_only_mount(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Mounts a folder once more, read-only: root too cannot write there."""
    mounted: list[Path] = []

    def mount(folder: Path) -> Path:
        where = tmp_path / f"archive{len(mounted)}"
        where.mkdir()
        subprocess.run(["mount", "--bind", str(folder), str(where)], check=True)
        mounted.append(where)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(where)], check=True)
        return where

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def said(
    store: Path, *arguments: str, stranger: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """What the command line says about ``store``."""
    return subprocess.run(
        [*stranger, Path(sys.executable).with_name("bundlerun"), *arguments],
        env={
            **os.environ,
            "BUNDLERUN_STORE": str(store),
            "BUNDLERUN_HOME": "/nonexistent",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def ok(store: Path, *arguments: str, stranger: Sequence[str] = ()) -> str:
    """What a command that succeeds prints."""
    done = said(store, *arguments, stranger=stranger)
    assert done.returncode == 0, done.stderr
    return done.stdout


def filled(folder: Path) -> Path:
    """A store with two versions of a value, one with a large file and a folder, and lineage."""
    path = folder / "store"
    store = Store.open(path)
    context = store.contexts.create("work")
    store.contexts.switch("work")
    source = folder / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(6_000_000))
    (source / "small").write_text("small")
    value = {"n": 1, "file": File(source / "large"), "folder": Directory(source)}
    store.add(context, "x", value, commit=True)
    store.add(context, "x", {"n": 2, "many": [os.urandom(200_000) for _ in range(20)]}, commit=True)
    store.close()
    shutil.rmtree(source)
    return path


def versions(text: str) -> int:
    """How many bundles `ls --all --json` shows."""
    return len(json.loads(text))


def test_a_full_disk_can_be_looked_at_and_freed(roomy_disk: Path) -> None:
    """ls, cat, rm, the removal of a context and gc --delete work with no byte left, twice: the
    spare file is made again."""
    store = filled(roomy_disk)
    for left in (1, 0):
        filler = fill_up(roomy_disk)
        assert versions(ok(store, "ls", "x", "--json")) == left + 1
        assert "n" in ok(store, "cat", "x")
        if left:
            ok(store, "rm", "x")
        else:
            ok(store, "context", "work", "-d", "--force")
        ok(store, "gc", "--delete", "--grace", "0")
        assert (store / "spare").stat().st_blocks * 512 >= 4 << 20
        filler.unlink()
    ok(store, "fsck")
    assert list((store / "objects").rglob("*/*")) == []


def test_a_full_disk_is_read_without_the_spare(roomy_disk: Path) -> None:
    """Reading takes no room, also after somebody took the spare file's; what is written is refused
    with the next command."""
    store = filled(roomy_disk)
    (store / "spare").unlink()
    fill_up(roomy_disk)
    assert versions(ok(store, "ls", "x", "--json")) == 2
    ok(store, "cat", "x")
    refused = said(store, "tag", "x", "a:b")
    assert refused.returncode == 1
    assert "no space left" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert "bundlerun gc --delete" in refused.stderr
    report = said(store, "doctor")
    assert report.returncode == 1
    assert f"no space left for the store {store}" in report.stdout


READ = """
import bundlerun as br
old = min(br.ls("x"), key=lambda bundle: bundle.id)
value = br.get(old)
assert value["n"] == 1
assert len(value["file"].read_bytes()) == 6_000_000
assert value["file"].path.read_bytes() == value["file"].read_bytes()
assert (value["folder"].path / "small").read_text() == "small"
assert len(br.get("x")["many"]) == 20
print("read")
"""


def check_readable(store: Path, stranger: Sequence[str] = ()) -> None:
    """Every verb that reads works on ``store``; one that writes names the cure; doctor reports."""
    assert versions(ok(store, "ls", "x", "--json", stranger=stranger)) == 2
    first, second = (f"x@{row['id']}" for row in json.loads(ok(store, "ls", "x", "--json")))
    ok(store, "cat", "x", stranger=stranger)
    ok(store, "lineage", "x", stranger=stranger)
    ok(store, "fsck", stranger=stranger)
    assert said(store, "diff", first, second, stranger=stranger).returncode in (0, 1)
    assert said(store, "diff", first, second, stranger=stranger).stderr == ""
    read = subprocess.run(
        [*stranger, sys.executable, "-c", READ],
        env={**os.environ, "BUNDLERUN_STORE": str(store), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.stdout == "read\n", read.stderr
    for verb in (
        ["tag", "x", "a:b"],
        ["rm", "x"],
        ["gc", "--delete"],
        ["fsck", "--repair"],
        ["add", "y", "/etc/hostname"],
    ):
        refused = said(store, *verb, stranger=stranger)
        assert refused.returncode == 5, (verb, refused.stderr)
        assert "is read-only" in refused.stderr
        assert "cp -a" in refused.stderr
    report = said(store, "doctor", stranger=stranger)
    assert "read-only" in report.stdout
    assert "engine" in report.stdout


def test_a_store_on_a_read_only_mount_is_read(
    tmp_path: Path, read_only_mount: Callable[[Path], Path]
) -> None:
    """An archive of a store that was closed: nothing is copied or written."""
    filled(tmp_path)
    check_readable(read_only_mount(tmp_path) / "store")


def crashed(folder: Path) -> Path:
    """A store whose process was killed: part of what it holds is in the log alone."""
    path = filled(folder)
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from bundlerun.store.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "store.add(store.contexts.get('work'), 'logged', 1, commit=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert (path / "store.sqlite-wal").stat().st_size > 0
    return path


def test_a_snapshot_with_a_log_is_read_with_its_log(
    tmp_path: Path, read_only_mount: Callable[[Path], Path]
) -> None:
    """What a killed process had committed to the log is there; the snapshot stays as it is."""
    path = crashed(tmp_path)
    before = {each: each.stat().st_mtime_ns for each in path.rglob("*") if each.is_file()}
    store = read_only_mount(tmp_path) / "store"
    assert json.loads(ok(store, "ls", "logged", "--json"))[0]["name"] == "logged"
    check_readable(store)
    assert before == {each: each.stat().st_mtime_ns for each in before}
    assert list(path.glob("*.new*")) == []


@pytest.mark.parametrize("make", [filled, crashed])
def test_a_store_of_another_user_is_read(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Who may not write it reads it, whether its process closed it or was killed."""
    store = make(tmp_path)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    tmp_path.chmod(0o755)
    # root without its right to pass over modes: a Python below /root is no use to another user.
    caps = "-dac_override,-dac_read_search,-fowner"
    check_readable(store, ["setpriv", f"--bounding-set={caps}"])


def test_a_read_only_store_shows_what_others_add_meanwhile(
    tmp_path: Path, read_only_mount: Callable[[Path], Path]
) -> None:
    """One process that keeps it open sees new bundles, read through a read-only mount."""
    path = filled(tmp_path)
    reader = Store.open(read_only_mount(tmp_path) / "store")
    writer = Store.open(path)
    context = writer.contexts.get("work")
    for number in range(3):
        writer.add(context, "new", number, commit=True)
        assert len(reader.catalog.search(reader.contexts.get("work"), name="new")) == number + 1
        if number == 1:
            writer.close()
    writer.close()
    assert len(reader.catalog.search(reader.contexts.get("work"), name="new")) == 3
    reader.close()
