"""Files that did not change are not read again, and every file that may have changed is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bundlerun.bundles.links import Directory, File, Link
from bundlerun.bundles.places import Stamp, stamp_of
from bundlerun.store import statindex
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

LARGE = 300_000

ADDING = """
import sys
from pathlib import Path
from bundlerun.bundles.links import Directory
from bundlerun.store.store import Store

store_path, folder = sys.argv[1:]
opened = []
sys.addaudithook(
    lambda event, args: opened.append(str(args[0]))
    if event == "open" and str(args[0]).startswith(folder + "/")
    else None
)
store = Store.open(Path(store_path))
entry = store.add(store.contexts.get("work"), "x", Directory(folder))
print(entry.bundle.root.digest, *sorted(name.removeprefix(folder + "/") for name in opened))
"""


class Adding:
    """Adds a folder in a process of its own and tells which of its files were opened."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._command = [sys.executable, "-c", ADDING, str(store.path), str(folder)]
        self.root = ""

    def __call__(self) -> list[str]:
        done = subprocess.run(self._command, check=True, capture_output=True, text=True)
        self.root, *opened = done.stdout.split()
        return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small and large files, one of them executable, and a link; a moment old."""
    made = tmp_path / "data"
    (made / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (made / name).write_bytes(name.encode() * 50)
    (made / "large").write_bytes(b"l" * LARGE)
    (made / "b").chmod(0o755)
    (made / "link").symlink_to("a")
    return made


@pytest.fixture
def adding(store: Store, context: Context, folder: Path) -> Adding:
    """Adds the folder to the store."""
    return Adding(store, folder)


def old_enough() -> None:
    """Wait until what was written before is trusted."""
    time.sleep(statindex.YOUNG_NS / 1e9 + 0.1)


def rows(store: Store) -> int:
    """How many files the index knows."""
    with store._database.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM stats").fetchone()[0])


def test_unchanged_files_are_not_opened_and_changed_ones_are(adding: Adding, folder: Path) -> None:
    """In a process of its own each; one changed file is the one that is read."""
    old_enough()
    assert adding() == ["a", "b", "large", "link", "sub/c"]
    first = adding.root
    assert adding() == []
    assert adding.root == first
    (folder / "sub" / "c").write_bytes(b"new")
    (folder / "sub" / "d").write_bytes(b"more")
    assert adding() == ["sub/c", "sub/d"]
    assert adding.root != first


def test_a_file_younger_than_two_seconds_is_read_each_time(adding: Adding, folder: Path) -> None:
    """It may change once more within the same tick of the clock, and nobody would see it."""
    assert len(adding()) == 5
    assert len(adding()) == 5
    old_enough()
    assert len(adding()) == 5
    assert adding() == []
    (folder / "a").write_bytes(b"A" * 50)
    assert adding() == ["a", "link"]
    assert adding() == ["a", "link"]


def test_a_change_that_hides_its_size_and_time_is_found(
    adding: Adding, folder: Path, tmp_path: Path
) -> None:
    """mtime can be set by anybody, ctime by nobody; and another inode is another file."""
    old_enough()
    adding()
    roots = {adding.root}
    before = (folder / "a").stat()
    (folder / "a").write_bytes(b"z" * before.st_size)
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert adding() == ["a", "link"]
    roots.add(adding.root)
    before = (folder / "b").stat()
    (tmp_path / "other").write_bytes(b"y" * before.st_size)
    os.utime(tmp_path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "other", folder / "b")
    assert "b" in adding()
    roots.add(adding.root)
    assert len(roots) == 3


def test_the_mode_is_asked_anew_each_time(adding: Adding, folder: Path) -> None:
    """The index says what a file holds, not whether it may be run."""
    old_enough()
    adding()
    first = adding.root
    (folder / "a").chmod(0o755)
    assert adding() == ["a", "link"], "ctime changed"
    assert adding.root != first
    (folder / "a").chmod(0o644)
    adding()
    assert adding.root == first


def test_hard_links_cost_a_read_and_never_the_truth(
    store: Store, context: Context, adding: Adding, folder: Path, tmp_path: Path
) -> None:
    """Each link changes ctime. A value that came out and goes in again is the same value."""
    old_enough()
    adding()
    first = adding.root
    os.link(folder / "large", tmp_path / "second name")
    assert adding() == ["large"]
    assert adding.root == first
    value = store.value(store.catalog.get(context, "x").bundle)
    assert isinstance(value, Directory)
    again = store.add(context, "again", Directory(value.path)).bundle
    assert again.root.digest == first
    # A second name for the same object.
    link = Link(store.objects.put_file(folder / "large").digest, LARGE)
    other = store.objects.localise(link, "another name")
    twice = store.add(context, "twice", [File(other), File(other, name="large")]).bundle
    assert store.value(twice) == [
        File(folder / "large", name="another name"),
        File(other, name="large"),
    ]
    assert store.add(context, "again", Directory(value.path)).bundle.root.digest == first


@pytest.mark.parametrize("lost", ["row", "file"])
def test_a_file_whose_bytes_left_the_store_is_read_again(
    store: Store, context: Context, adding: Adding, folder: Path, lost: str
) -> None:
    """The index alone proves nothing: what it names has to be there."""
    old_enough()
    adding()
    name = "a" if lost == "row" else "large"
    link = store.objects.put_file(folder / name)
    if lost == "row":
        with store._database.writing() as tx:
            tx.execute("DELETE FROM objects WHERE digest = ?", (bytes.fromhex(link.digest),))
    else:
        store.objects.path(link).unlink()
    assert set(adding()) == ({"a", "link"} if lost == "row" else {"large"})
    value = store.value(store.catalog.get(context, "x").bundle)
    assert value == Directory(folder)


def test_the_parts_of_a_large_file_are_remembered(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Over 8 MiB a link names the digests of its parts too; it is the same link without a read."""
    big = tmp_path / "big"
    big.write_bytes(os.urandom(9 << 20))
    old_enough()
    first = store.add(context, "x", File(big)).bundle.root
    assert rows(store) == 1
    assert store.add(context, "x", File(big)).bundle.root == first
    stamp = _stamp(big)
    (found,) = store.stats.find([stamp])
    assert found is not None
    assert (found.size, found.parts is not None) == (9 << 20, True)


def test_the_index_does_not_grow_without_end(
    store: Store, context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last recordings stay."""
    monkeypatch.setattr(statindex, "MOST_ROWS", 10)
    monkeypatch.setattr(statindex, "YOUNG_NS", 0)
    for number in range(7):
        for name in ("a", "b", "large"):
            (folder / name).write_bytes(b"%d" % number)
        (folder / f"new{number}").write_bytes(b"")
        time.sleep(0.02)
        store.add(context, "x", Directory(folder))
        assert rows(store) <= 10
    assert store.stats.find([_stamp(folder / "new6")]) != [None]


def test_an_add_that_fails_remembers_nothing(
    store: Store, context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is part of the one transaction."""
    monkeypatch.setattr(statindex, "YOUNG_NS", 0)
    time.sleep(0.02)
    entry = store.add(context, "x", [1])
    with pytest.raises(Exception, match=entry.bundle.id):
        store.add(context, "x", Directory(folder), id=entry.bundle.id)
    assert rows(store) == 0
    store.add(context, "x", Directory(folder))
    assert rows(store) == 4


def test_numbers_of_64_bits_are_kept(store: Store) -> None:
    """Some file systems hash their inodes; times can lie before 1970."""
    values = [0o100644, (1 << 64) - 3, 7, 1, 0, 0, 3, 0, -5, 0, 0, -5, 0]
    found = os.stat_result([*values, 0, -5_000_000_001, 1_999_999_999])
    stamp = stamp_of(found)
    other = stamp_of(os.stat_result([*values, 0, -5_000_000_001, 0]))
    link = store.objects.put_bytes(b"abc")
    with store._database.writing() as tx:
        store.stats.record(tx, [(stamp, link)])
    assert store.stats.find([stamp, other, stamp]) == [link, None, link]


@pytest.mark.slow
def test_adding_100_000_unchanged_files_again_takes_a_fraction(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """No file is read, and what is asked of the catalog is asked by the hundred."""
    for number in range(100_000):
        if number % 1000 == 0:
            (tmp_path / "data" / f"{number:06d}").mkdir(parents=True)
        (tmp_path / "data" / f"{number // 1000 * 1000:06d}" / f"{number}").write_bytes(
            b"%d" % number
        )
    old_enough()

    def add_s() -> float:
        start_s = time.process_time()
        roots.add(store.add(context, "x", Directory(tmp_path / "data")).bundle.root)
        return time.process_time() - start_s

    roots: set[Link] = set()
    first_s = add_s()
    asked: list[str] = []
    with store._database.reading() as connection:
        connection.set_trace_callback(asked.append)
    again_s = min(add_s(), add_s())
    assert len(roots) == 1
    assert len([each for each in asked if "FROM stats" in each]) < 2 * 250
    assert len([each for each in asked if each.startswith("BEGIN")]) == 2
    assert again_s < first_s * 0.6


def _stamp(path: Path) -> Stamp:
    return stamp_of(path.stat())
