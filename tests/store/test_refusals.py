"""Disks that are full or read-only, and files that are no store."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.value.files import File
from bundlerun.errors import BundlerunError, IntegrityError, StoreReadOnly
from bundlerun.store import database
from bundlerun.store.contexts import Context
from bundlerun.store.mounts import file_system
from bundlerun.store.store import Store


@pytest.mark.service
@pytest.mark.parametrize("pieces", [1, 40])
def test_a_full_disk_is_one_line_and_nothing_half_written(
    small_disk: Callable[[str], Path], tmp_path: Path, pieces: int
) -> None:
    """One large file, or many small ones, that do not fit."""
    store = Store.open(small_disk("size=3m") / "store")
    context = store.contexts.create("work")
    kept = store.add(context, "small", [1, 2, 3], commit=True)
    for n in range(pieces):
        (tmp_path / f"f{n}").write_bytes(os.urandom(8_000_000 // pieces))
    with pytest.raises(BundlerunError, match="no space left") as caught:
        store.add(context, "big", [File(tmp_path / f"f{n}") for n in range(pieces)])
    assert "\n" not in str(caught.value)
    assert "df -h" in str(caught.value)
    assert store.catalog.search(context) == [kept]
    assert [p for p in (store.path / "objects").rglob("*") if p.is_file()] == []
    assert store.value(kept.bundle) == [1, 2, 3]
    store.close()
    again = Store.open(store.path)
    assert again.catalog.get(context, "small") == kept
    assert again.value(kept.bundle) == [1, 2, 3]
    again.close()


@pytest.mark.service
def test_a_read_only_disk_is_one_line(small_disk: Callable[[str], Path]) -> None:
    """Both where a store is to be made and where there is one."""
    disk = small_disk("size=4m")
    store = Store.open(disk / "store")
    context = store.contexts.create("work")
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(BundlerunError, match="cannot be opened or written"):
        Store.open(disk / "other")
    with pytest.raises(StoreReadOnly, match="is read-only here") as caught:
        Store.open(disk / "store").add(context, "x", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.service
def test_a_file_is_copied_to_another_disk(small_disk: Callable[[str], Path], store: Store) -> None:
    """``files`` may be mounted apart."""
    disk = small_disk("size=4m")
    shutil.rmtree(store.path / "files")
    (store.path / "files").symlink_to(disk)
    link = store.objects.put_bytes(b"l" * 400_000)
    path = store.objects.localise(link, "x")
    assert path.read_bytes() == b"l" * 400_000
    assert path.stat().st_mode & 0o777 == 0o444
    assert store.objects.localise(link, "x") == path


def test_an_unknown_format_is_refused_with_the_version_that_is_needed(
    store: Store, context: Context
) -> None:
    """Nothing is read, nothing is written."""
    store.add(context, "x", 1)
    store.close()
    connection = sqlite3.connect(store.path / database.FILE)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    connection.execute("UPDATE meta SET value = '7.5' WHERE key = 'needs'")
    connection.commit()
    connection.close()
    with pytest.raises(IntegrityError, match=r"format '99', which needs bundlerun 7\.5 or later"):
        Store.open(store.path)


def test_a_store_of_an_older_format_is_refused_with_the_way_on(
    store: Store, context: Context
) -> None:
    """A newer bundlerun would not help: its remote still holds what was pushed."""
    store.add(context, "x", 1)
    store.close()
    connection = sqlite3.connect(store.path / database.FILE)
    connection.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(IntegrityError, match="made by an older bundlerun") as refused:
        Store.open(store.path)
    assert f"mv {store.path} {store.path}.old" in str(refused.value.hint)
    assert "upgrade" not in str(refused.value)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """Damaged, empty, or another program's."""
    for number, content in enumerate((b"", b"SQLite format 3\0" + b"x" * 4096, b"hello" * 1000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / database.FILE).write_bytes(content)
        with pytest.raises(IntegrityError, match=f"{folder} is damaged"):
            Store.open(folder)


def test_a_store_that_was_deleted_under_us_is_not_made_anew(store: Store) -> None:
    """An empty store would look like lost data."""
    store.close()
    shutil.rmtree(store.path)
    with pytest.raises(BundlerunError, match="cannot be opened"):
        store.contexts.list()
    assert not store.path.exists()


def test_opening_and_making_is_durable_and_in_wal_mode(store: Store, context: Context) -> None:
    """What promise 1 of the format says of SQLite."""
    with store._database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_network_file_system_gets_a_rollback_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines that share a folder share no memory; adding works all the same."""
    monkeypatch.setattr(database, "file_system", lambda folder: "nfs4")
    store = Store.open(tmp_path / "store")
    context = store.contexts.create("work")
    entry = store.add(context, "x", [1])
    with store._database.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)
    assert store.value(entry.bundle) == [1]
    store.close()


def test_the_file_system_of_a_folder_is_the_mount_it_lies_in() -> None:
    """The innermost one counts."""
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/dev/shm")) == "tmpfs"
