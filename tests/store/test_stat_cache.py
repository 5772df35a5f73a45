"""Files that did not change are not read again, and every file that may have changed is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bundlerun.bundles.link import Link
from bundlerun.bundles.storage import Stamp, stamp_of
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import SettingsError
from bundlerun.settings import StoreSettings
from bundlerun.store import stat_cache
from bundlerun.store.contexts import Context
from bundlerun.store.mounts import IN_MEMORY, file_system, is_shared
from bundlerun.store.store import Store
from tests.conftest import Disk

pytestmark = pytest.mark.heavy

LARGE = 300_000

ADDING = """
import sys
from pathlib import Path
from bundlerun.bundles.value.files import Directory
from bundlerun.settings import StoreSettings
from bundlerun.store.store import Store

store_path, folder, trust_times = sys.argv[1:]
opened = []
sys.addaudithook(
    lambda event, args: opened.append(str(args[0]))
    if event == "open" and str(args[0]).startswith(folder + "/")
    else None
)
store = Store.open(Path(store_path), StoreSettings(trust_times=trust_times))
entry = store.add(store.contexts.get("work"), "x", Directory(folder))
print(entry.bundle.root.digest, *sorted(name.removeprefix(folder + "/") for name in opened))
"""


class Adding:
    """Adds a folder in a process of its own and tells which of its files were opened."""

    def __init__(self, store: Store, folder: Path, trust_times: str = "") -> None:
        self._command = [sys.executable, "-c", ADDING, str(store.path), str(folder), trust_times]
        self.root = ""

    def __call__(self) -> list[str]:
        done = subprocess.run(self._command, check=True, capture_output=True, text=True)
        self.root, *opened = done.stdout.split()
        return opened


@pytest.fixture
def store(tmp_path: Path, disk: Disk) -> Iterator[Store]:
    """An empty store that believes the times of the disk."""
    opened = Store.open(tmp_path / "store", disk.settings)
    yield opened
    opened.close()


@pytest.fixture
def folder(disk: Disk) -> Path:
    """Small and large files, one of them executable, and a link; a moment old."""
    return filled(disk.path / "data")


def filled(made: Path) -> Path:
    """The files of ``folder``, in ``made``."""
    (made / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (made / name).write_bytes(name.encode() * 50)
    (made / "large").write_bytes(b"l" * LARGE)
    (made / "b").chmod(0o755)
    (made / "link").symlink_to("a")
    return made


@pytest.fixture
def adding(store: Store, context: Context, folder: Path, disk: Disk) -> Adding:
    """Adds the folder to the store."""
    return Adding(store, folder, disk.settings.trust_times)


def old_enough() -> None:
    """Wait until what was written before is trusted."""
    time.sleep(stat_cache.YOUNG_NS / 1e9 + 0.1)


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
    adding: Adding, folder: Path, disk: Disk
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
    (disk.path / "other").write_bytes(b"y" * before.st_size)
    os.utime(disk.path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(disk.path / "other", folder / "b")
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
    store: Store, context: Context, adding: Adding, folder: Path, disk: Disk
) -> None:
    """Each link changes ctime. A value that came out and goes in again is the same value."""
    old_enough()
    adding()
    first = adding.root
    os.link(folder / "large", disk.path / "second name")
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
    store: Store, context: Context, disk: Disk
) -> None:
    """Over 8 MiB a link names the digests of its parts too; it is the same link without a read."""
    big = disk.path / "big"
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
    monkeypatch.setattr(stat_cache, "MOST_ROWS", 10)
    monkeypatch.setattr(stat_cache, "YOUNG_NS", 0)
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
    monkeypatch.setattr(stat_cache, "YOUNG_NS", 0)
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


WRITING = """
import sys
files = [open(path, "r+b") for path in sys.argv[1:]]
generation = 0
while True:
    generation += 1
    halves = [(file, file.seek(0, 2) // 2) for file in files]
    for file, half in halves:
        file.seek(0)
        file.write(b"%d" % (generation % 10) * half)
        file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    for file, half in halves:
        file.write(b"%d" % (generation % 10) * half)
        file.flush()
    print("whole", flush=True)
    sys.stdin.readline()
"""

ADDING_MEANWHILE = """
import subprocess, sys
from pathlib import Path
from bundlerun.bundles.value.files import Directory
from bundlerun.errors import BadPath
from bundlerun.store.store import Store

store_path, folder, often, writing = sys.argv[1:]
files = sorted(str(path) for path in Path(folder).iterdir())
writer = subprocess.Popen([sys.executable, "-c", writing, *files], stdin=-1, stdout=-1, text=True)
left = int(often)

def step():
    writer.stdin.write("on\\n")
    writer.stdin.flush()
    writer.stdout.readline()

def hook(event, args):
    # The last file has been read, and its copy gets its name.
    global left
    if event == "os.rename" and "/objects/tmp/" in str(args[0]) and left:
        left -= 1
        step()

writer.stdout.readline()
sys.addaudithook(hook)
store = Store.open(Path(store_path))
try:
    store.add(store.contexts.get("work"), "x", Directory(folder))
    print("accepted")
except BadPath as error:
    print(error.message)
writer.kill()
"""


def added_meanwhile(store: Store, folder: Path, often: int) -> str:
    """Add a folder of which another process has written half of each file, in place; it goes on,
    by half of them, ``often`` times when they have been read."""
    command = [sys.executable, "-c", ADDING_MEANWHILE, str(store.path), str(folder), str(often)]
    return subprocess.run(
        [*command, WRITING], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def rewritten(tmp_path: Path) -> Path:
    """A small and a large file, for somebody to rewrite in place."""
    made = tmp_path / "rewritten"
    made.mkdir()
    (made / "a").write_bytes(b"0" * 1000)
    (made / "b").write_bytes(b"0" * LARGE)
    return made


def test_a_file_that_is_written_to_in_place_is_read_again(
    store: Store, context: Context, rewritten: Path
) -> None:
    """Half old and half new when it was read, and whole a moment later: whole it is kept."""
    assert added_meanwhile(store, rewritten, 1) == "accepted"
    value = store.value(store.catalog.get(context, "x").bundle)
    assert isinstance(value, Directory)
    assert {name: set((value.path / name).read_bytes()) for name in ("a", "b")} == {
        "a": {ord("1")},
        "b": {ord("1")},
    }


def test_a_file_that_is_written_to_all_the_while_is_refused(
    store: Store, context: Context, rewritten: Path
) -> None:
    """It is named, and nothing is kept."""
    told = added_meanwhile(store, rewritten, 1000)
    assert told.startswith(str(rewritten))
    assert "keeps changing" in told
    assert store.catalog.search(context) == []


def test_young_files_cost_one_look_together(store: Store, context: Context, tmp_path: Path) -> None:
    """A hundred large ones that were just written are read once, and small ones, which nobody has
    open for writing, are not waited for."""
    large = tmp_path / "large"
    large.mkdir()
    for number in range(100):
        (large / f"{number}").write_bytes(b"%d" % number * LARGE)
    found = Adding(store, large)()
    assert len(found) == 100
    (large / "small").write_bytes(b"s")
    assert Adding(store, large)().count("small") == 1


def test_an_mmap_in_memory_is_seen(store: Store, context: Context, in_memory: Path) -> None:
    """tmpfs touches no time for such a write, so nothing there is believed; other systems in
    memory neither."""
    path = in_memory / "m"
    mapped = np.memmap(path, dtype="i4", mode="w+", shape=(100_000,))
    mapped[:] = 1
    mapped.flush()
    old_enough()
    first = store.add(context, "x", File(path)).bundle.root
    mapped[:] = 2
    mapped.flush()
    second = store.add(context, "x", File(path)).bundle
    assert second.root != first
    kept = store.value(second)
    assert isinstance(kept, File)
    assert set(np.frombuffer(kept.read_bytes(), "i4")) == {2}
    for kind in IN_MEMORY:
        with pytest.raises(SettingsError, match=kind):
            Store.open(store.path, StoreSettings(trust_times=f"overlay, {kind}"))


@pytest.fixture
def in_memory(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder on tmpfs."""
    for place in (tmp_path, Path("/dev/shm")):
        if file_system(place) == "tmpfs":
            folder = Path(tempfile.mkdtemp(prefix="bundlerun-test-", dir=place))
            break
    else:
        pytest.fail("needs a folder on tmpfs: /dev/shm is none")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.service
def test_layers_are_believed_where_a_setting_says_so(
    store: Store, context: Context, disk: Disk, small_disk: Callable[[str], Path]
) -> None:
    """overlay: a layer below may change unseen."""
    memory, merged = small_disk("size=8m"), disk.path / "merged"
    for folder in (memory / "upper", memory / "work", memory / "lower", merged):
        folder.mkdir()
    layers = f"lowerdir={memory}/lower,upperdir={memory}/upper,workdir={memory}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", str(merged)], check=True)
    try:
        folder = filled(merged / "data")
        old_enough()
        doubting, trusting = Adding(store, folder), Adding(store, folder, "nfs4 overlay")
        assert [len(each()) for each in (doubting, doubting, trusting, trusting)] == [5, 5, 5, 0]
        assert doubting() != []
    finally:
        subprocess.run(["umount", "--lazy", str(merged)], check=True)


def test_what_several_machines_write_to_is_known_by_its_type() -> None:
    """FUSE and network file systems are not believed unless they are named."""
    shared = [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "fuse",
        "fuse.sshfs",
        "9p",
        "ceph",
        "lustre",
        "virtiofs",
    ]
    assert [kind for kind in shared if not is_shared(kind)] == []
    assert [kind for kind in ("ext4", "xfs", "btrfs", "zfs", "overlay") if is_shared(kind)] == []


def test_a_file_can_be_read_again_all_the_same(store: Store, context: Context, disk: Disk) -> None:
    """A write through mmap that the kernel has not written out yet shows in no stamp."""
    path = disk.path / "m"
    mapped = np.memmap(path, dtype="i4", mode="w+", shape=(100_000,))
    mapped[:] = 1
    old_enough()
    first = store.add(context, "x", File(path)).bundle.root
    mapped[:] = 2
    again = store.add(context, "x", File(path), reread=True).bundle
    assert again.root != first
    kept = store.value(again)
    assert isinstance(kept, File)
    assert set(np.frombuffer(kept.read_bytes(), "i4")) == {2}


@pytest.mark.slow
def test_adding_100_000_unchanged_files_again_takes_a_fraction(
    store: Store, context: Context, disk: Disk
) -> None:
    """No file is read, and what is asked of the catalog is asked by the hundred."""
    tmp_path = disk.path
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
