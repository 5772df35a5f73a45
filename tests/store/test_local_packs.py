"""Many small objects of one add lie in a few files of this disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import MAX_PACK_BYTES
from bundlerun.bundles.value.files import Directory
from bundlerun.errors import IntegrityError
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

COUNT = 600
SIZE = 60_000


def folder(path: Path, count: int = COUNT) -> Directory:
    """Some 36 MB in small files: two packs and a rest."""
    path.mkdir()
    for number in range(count):
        (path / f"{number:04}").write_bytes(os.urandom(SIZE))
    return Directory(path)


def packs(store: Store) -> list[Path]:
    """The pack files."""
    return sorted((store.path / "packs").glob("*"))


def links_of(value: Directory) -> list[Link]:
    """The links of the files."""
    return [
        Link(digest_of(data), len(data))
        for data in ((value.path / name).read_bytes() for name in value.files())
    ]


def test_what_was_packed_comes_back_equal(store: Store, context: Context, tmp_path: Path) -> None:
    """One by one, by the hundred and as a folder; packs are read-only and of a bounded size."""
    value = folder(tmp_path / "folder")
    entry = store.add(context, "data", value)
    assert len(packs(store)) == 2
    assert all(path.stat().st_size <= MAX_PACK_BYTES for path in packs(store))
    assert {path.stat().st_mode & 0o777 for path in packs(store)} == {0o444}
    links = links_of(value)
    assert all(digest_of(store.objects.read(link)) == link.digest for link in links[::50])
    assert all(digest_of(data) == link.digest for link, data in store.objects.many(links))
    assert store.value(entry.bundle) == value
    assert store.absent(entry.bundle.root) == []
    rows = (store.path / "store.sqlite").stat().st_size
    assert rows < 10 << 20


@pytest.mark.heavy
def test_the_same_bytes_are_packed_once(store: Store, context: Context, tmp_path: Path) -> None:
    """Another name over the same files, and one file more: no new pack."""
    value = folder(tmp_path / "folder")
    store.add(context, "data", value)
    before = packs(store)
    (value.path / "more").write_bytes(b"more")
    for name in value.files():
        # Other stamps, so that every file is read again.
        os.utime(value.path / name, ns=(0, 0))
    entry = store.add(context, "other", value)
    assert packs(store) == before
    assert store.value(entry.bundle) == value


def test_few_bytes_need_no_pack(store: Store, context: Context, tmp_path: Path) -> None:
    """Up to 16 MiB they are rows."""
    store.add(context, "data", folder(tmp_path / "folder", 250))
    assert packs(store) == []


@pytest.mark.heavy
def test_an_add_that_fails_leaves_no_row_that_names_a_pack(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """A later part of the value cannot be kept: what was packed is whole, and used next time."""
    value = folder(tmp_path / "folder")
    with pytest.raises(BaseException, match="set"):
        store.add(context, "data", [value, {1, 2}])
    entry = store.add(context, "data", value)
    assert len(packs(store)) == 2
    assert store.value(entry.bundle) == value


@pytest.mark.parametrize("harm", ["gone", "cut"])
@pytest.mark.heavy
def test_a_pack_that_is_gone_or_cut_is_told(
    store: Store, context: Context, tmp_path: Path, harm: str
) -> None:
    """With the file that is to blame, and the cure."""
    value = folder(tmp_path / "folder")
    store.add(context, "data", value)
    for path in packs(store):
        path.chmod(0o644)
        if harm == "gone":
            path.unlink()
        else:
            os.truncate(path, 10)
    with pytest.raises(
        IntegrityError, match=f"{store.path}/packs/.* (is gone|was cut off)"
    ) as caught:
        list(store.objects.many(links_of(value)))
    assert "fsck --repair" in str(caught.value.hint)
    with pytest.raises(IntegrityError, match="pack"):
        store.objects.read(links_of(value)[1])
