"""The paths that a bundle gives out are copies: what writes to them changes no bundle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BundlerunError, IntegrityError
from bundlerun.settings import StoreSettings
from bundlerun.store.contexts import Context
from bundlerun.store.fsck import fsck
from bundlerun.store.gc.sweep import sweep
from bundlerun.store.store import Store

LARGE = 400_000

WRITING = """
import os, sys
os.chmod(sys.argv[1], 0o644)
with open(sys.argv[1], "r+b") as file:
    file.write(b"WRONG")
"""

GIVING = """
import sys
from pathlib import Path
from bundlerun.store.store import Store
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
store = Store.open(Path(sys.argv[1]))
bundle = store.catalog.get(store.contexts.get("work"), "x").bundle
path = store.value(bundle).path
print(path, *[name for name in opened if "/objects/" in name or "/large" in name])
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two large files, of which one may be run, and a small one."""
    made = tmp_path / "source"
    made.mkdir()
    (made / "large").write_bytes(os.urandom(LARGE))
    (made / "small").write_bytes(b"small")
    (made / "run").write_bytes(os.urandom(LARGE))
    (made / "run").chmod(0o755)
    return made


def kept_file(store: Store, context: Context, source: Path) -> File:
    """The large file as a value that came out of the store."""
    found = store.value(store.add(context, "x", File(source / "large"), commit=True).bundle)
    assert isinstance(found, File)
    return found


def kept_folder(store: Store, context: Context, source: Path) -> Directory:
    """The folder as a value that came out of the store."""
    found = store.value(store.add(context, "d", Directory(source), commit=True).bundle)
    assert isinstance(found, Directory)
    return found


def write_to(path: Path) -> None:
    """Another program makes a file writable and writes to it, in place."""
    subprocess.run([sys.executable, "-c", WRITING, str(path)], check=True)


def given(store: Store) -> list[str]:
    """The path that another process gets, and which objects and copies it opened."""
    command = [sys.executable, "-c", GIVING, str(store.path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def object_of(store: Store, path: Path) -> Path:
    """The store's own file of the bytes that are in ``path``."""
    digest = digest_of(path.read_bytes())
    return store.path / "objects" / digest[:2] / digest[2:]


def files(folder: Path) -> int:
    """How many files lie below a folder."""
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_write_to_a_path_changes_no_bundle(store: Store, context: Context, source: Path) -> None:
    """Neither to that of a file nor to one in a folder; the next get gives the right bytes."""
    file, folder = kept_file(store, context, source), kept_folder(store, context, source)
    for path in (file.path, folder.path / "large", folder.path / "small", folder.path / "run"):
        before = path.read_bytes()
        write_to(path)
        assert path.read_bytes() != before
    assert file.read_bytes() == (source / "large").read_bytes()
    assert kept_file(store, context, source).path.read_bytes() == file.read_bytes()
    again = kept_folder(store, context, source)
    assert again == Directory(source, name="source")
    assert os.access(again.path / "run", os.X_OK)
    assert {path.stat().st_nlink for path in again.path.iterdir()} == {1}
    assert fsck(store).whole


@pytest.mark.heavy
def test_a_copy_is_made_once_and_never_read_again(
    store: Store, context: Context, source: Path
) -> None:
    """It is known by its stamp. One that somebody wrote to is made again, from the object."""
    path = kept_file(store, context, source).path
    number = path.stat().st_ino
    assert given(store) == [str(path)]
    assert path.stat().st_ino == number
    write_to(path)
    where, *opened = given(store)
    assert (where, bool(opened)) == (str(path), True)
    assert path.read_bytes() == (source / "large").read_bytes()
    assert files(path.parent) == 1
    assert given(store) == [str(path)]


def test_in_a_folder_only_what_was_written_to_is_made_again(
    store: Store, context: Context, source: Path
) -> None:
    """The others keep their inodes: a folder of 500 GB is not copied for one file of it."""
    folder = kept_folder(store, context, source).path
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    write_to(folder / "large")
    (folder / "more").write_bytes(b"")
    (folder / "link").symlink_to("/")
    after = {
        path.name: path.stat().st_ino for path in kept_folder(store, context, source).path.iterdir()
    }
    changed = [name for name, number in after.items() if before[name] != number]
    assert (sorted(after), changed) == (["large", "run", "small"], ["large"])
    assert [path.name for path in folder.parent.iterdir()] == ["source"]


def test_reading_makes_no_copy(store: Store, context: Context, source: Path) -> None:
    """``open`` and ``read_*`` read the object itself."""
    for name in ("large", "small"):
        file = store.value(store.add(context, "x", File(source / name)).bundle)
        assert isinstance(file, File)
        with file.open() as opened:
            assert opened.read() == (source / name).read_bytes()
        assert file.read_bytes() == (source / name).read_bytes()
    (source / "text").write_text("grüß\ngott")
    text = store.value(store.add(context, "x", File(source / "text")).bundle)
    assert isinstance(text, File)
    assert text.read_text() == "grüß\ngott"
    assert files(store.path / "files") == 0


def test_a_file_that_goes_in_as_it_came_out_is_not_copied(
    store: Store, context: Context, source: Path
) -> None:
    """As from a pipe that returns its input; it keeps its name and that it may be run. One whose
    path was asked for, and written to, goes in as it was left."""
    for name in ("large", "run"):
        value = store.value(store.add(context, "x", File(source / name)).bundle)
        again = store.add(context, "x", value).bundle
        assert files(store.path / "files") == 0
        assert store.outline(again)["name"] == name
        found = store.value(again)
        assert isinstance(found, File)
        assert bool(found.path.stat().st_mode & 0o100) is (name == "run")
        write_to(found.path)
        changed = store.value(store.add(context, "x", found).bundle)
        assert isinstance(changed, File)
        assert changed.read_bytes() == b"WRONG" + (source / name).read_bytes()[5:]
        sweep(store, grace_s=0.0, delete=True)


@pytest.mark.heavy
def test_a_link_is_given_where_it_was_asked_for(store: Store, source: Path) -> None:
    """It takes no room and is no reason to hash its object; without the setting it is a copy."""
    linking = Store.open(store.path, StoreSettings(checkout="link"))
    context = linking.contexts.create("work")
    path = kept_file(linking, context, source).path
    kept = object_of(store, path)
    assert path.samefile(kept)
    assert given(store)[1:] != []
    linking.close()
    path = kept_file(store, context, source).path
    assert not path.samefile(kept)
    assert given(store) == [str(path)]


@pytest.mark.parametrize("restored", [False, True])
def test_an_object_that_was_written_to_is_not_believed(
    store: Store, context: Context, source: Path, restored: bool
) -> None:
    """Nor when its time was set back: get refuses, and adding the sound file heals it."""
    file = kept_file(store, context, source)
    kept = object_of(store, source / "large")
    before = kept.stat()
    write_to(kept)
    if restored:
        kept.chmod(0o444)
        os.utime(kept, ns=(before.st_atime_ns, before.st_mtime_ns))
    for read in (lambda: file.path, file.read_bytes, file.open):
        with pytest.raises(IntegrityError, match="changed after it was made") as caught:
            read()
        assert "bundlerun fsck --repair" in str(caught.value.hint)
    healed = kept_file(store, context, source)
    assert healed.path.read_bytes() == healed.read_bytes() == (source / "large").read_bytes()
    assert file.read_bytes() == healed.read_bytes()
    assert fsck(store).whole


@pytest.mark.heavy
def test_an_object_that_was_only_touched_is_hashed_once(
    store: Store, context: Context, source: Path
) -> None:
    """As by a backup that links or restores the store's files: it is opened for the copy and for
    the hash, then for neither."""
    path = kept_file(store, context, source).path
    os.utime(object_of(store, path))
    assert len(given(store)) == 2
    assert len(given(store)) == 1


def test_a_clean_up_frees_copies_first_and_counts_them(
    store: Store, context: Context, source: Path
) -> None:
    """Also those of bundles that are there: a path makes them again. What was given out within the
    grace period stays."""
    file, folder = kept_file(store, context, source), kept_folder(store, context, source)
    path, root = file.path, folder.path
    for each in (path.parent, root.parent, root):
        os.utime(each, (1, 1))
    assert file.path
    again = store.value(store.catalog.get(context, "x").bundle)
    assert isinstance(again, File)
    assert again.path == path
    report = sweep(store, grace_s=3600.0)
    (swept,) = report.swept
    assert (swept.kind, swept.count, swept.bytes) == ("localised files", 1, 2 * LARGE + 5)
    assert root.exists()
    sweep(store, grace_s=3600.0, delete=True)
    assert path.exists()
    assert not root.parent.exists()
    sweep(store, grace_s=0.0, delete=True)
    assert files(store.path / "files") == 0
    assert kept_folder(store, context, source) == Directory(source, name="source")
    assert fsck(store).whole


@pytest.mark.service
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_copy_that_has_no_room_is_not_begun(
    small_disk: Callable[[str], Path], source: Path, what: str
) -> None:
    """The size that is needed and the cure are told, and nothing is half written."""
    disk = small_disk("size=3m")
    store = Store.open(disk / "store")
    context = store.contexts.create("work")
    keep = kept_file if what == "file" else kept_folder
    value = keep(store, context, source)
    (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 300_000))
    with pytest.raises(BundlerunError, match=r"needs a copy of 0\.[48] MB.* left") as caught:
        assert value.path
    assert "bundlerun gc" in str(caught.value.hint)
    assert files(store.path / "files") == 0
    (disk / "ballast").unlink()
    assert value.path.exists()


@pytest.mark.service
def test_a_disk_that_does_not_say_its_size_takes_a_copy(
    small_disk: Callable[[str], Path], source: Path
) -> None:
    """As ramfs and some of FUSE do: no free byte of none at all is no full disk."""
    disk = small_disk("size=0")
    assert os.statvfs(disk).f_blocks == 0
    store = Store.open(disk / "store")
    found = kept_file(store, store.contexts.create("work"), source)
    assert found.path.read_bytes() == (source / "large").read_bytes()


@pytest.mark.service
def test_a_folder_that_has_no_room_is_refused_at_a_place_that_is_there(
    small_disk: Callable[[str], Path], source: Path
) -> None:
    """Whoever types `df` with the place that the message names sees the full disk."""
    disk = small_disk("size=3m")
    store = Store.open(disk / "store")
    value = kept_folder(store, store.contexts.create("work"), source)
    (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 300_000))
    with pytest.raises(BundlerunError) as caught:
        assert value.path
    (place,) = re.findall(r"the disk of (\S+) has", str(caught.value))
    assert Path(place).is_dir()


def test_a_clean_up_keeps_the_copy_of_an_object_that_was_written_to(
    store: Store, context: Context, source: Path
) -> None:
    """It may be the last one with the right bytes, and a repair takes them from it."""
    link = kept_file(store, context, source).link
    assert link is not None
    assert kept_file(store, context, source).path.exists()
    write_to(store.objects.path(link))
    sweep(store, grace_s=0.0, delete=True)
    assert fsck(store, repair=True).whole
    assert store.objects.read(link) == (source / "large").read_bytes()
    sweep(store, grace_s=0.0, delete=True)
    assert files(store.path / "files") == 0
