"""Bytes by digest, files under names of their own, and bytes that are somewhere else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BadPath, BundleNotFound, IntegrityError
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

LARGE = 300_000


def link_of(data: bytes) -> Link:
    """The link of some bytes."""
    return Link(digest_of(data), len(data))


@pytest.mark.parametrize("data", [b"", b"small", b"l" * LARGE])
def test_bytes_come_back_by_their_link(store: Store, data: bytes) -> None:
    """Read whole, by the hundred, as a file."""
    link = store.objects.put_bytes(data)
    assert link == link_of(data)
    assert store.objects.has(link.digest)
    assert store.objects.read(link) == data
    assert list(store.objects.many([link, link])) == [(link, data)] * 2
    assert store.objects.path(link).read_bytes() == data


def test_what_is_missing_is_said(store: Store) -> None:
    """Of thousands at once, too."""
    links = [store.objects.put_bytes(b"%d" % n) for n in range(3)]
    gone = [link_of(b"gone %d" % n) for n in range(1500)]
    missing = store.objects.missing(link.digest for link in [*links, *gone])
    assert missing == {link.digest for link in gone}
    assert not store.objects.has(gone[0].digest)
    assert store.objects.find(gone[0]) is None
    with pytest.raises(BundleNotFound, match="pull NAME --localize"):
        store.objects.read(gone[0])
    with pytest.raises(BundleNotFound):
        list(store.objects.many([*links, gone[0]]))


def test_many_keeps_the_order_over_hundreds_of_small_and_large_ones(store: Store) -> None:
    """As asked for, not as stored."""
    datas = [b"%d" % n for n in range(1100)] + [b"z" * LARGE]
    links = [link_of(data) for data in datas]
    store.objects.put_all(zip(links, datas, strict=True))
    turned = list(reversed(links))
    assert [link for link, _ in store.objects.many(turned)] == turned
    assert [data for _, data in store.objects.many(turned)] == datas[::-1]


@pytest.mark.parametrize("size", [10, LARGE])
def test_bytes_from_elsewhere_are_hashed_before_they_are_kept(
    store: Store, tmp_path: Path, size: int
) -> None:
    """As bytes or as a file that is moved in; wrong ones leave nothing."""
    good, bad = os.urandom(size), os.urandom(size)
    with pytest.raises(IntegrityError, match=link_of(good).digest):
        store.objects.put_verified(link_of(good), bad)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(bad)
    with pytest.raises(IntegrityError):
        store.objects.put_verified(link_of(good), wrong)
    with pytest.raises(IntegrityError):
        store.objects.put_verified(Link(link_of(good).digest, size + 1), good)
    assert store.objects.missing([link_of(good).digest, link_of(bad).digest]) == {
        link_of(good).digest,
        link_of(bad).digest,
    }
    assert [p for p in (store.path / "objects").rglob("*") if p.is_file()] == []
    moved = tmp_path / "moved"
    moved.write_bytes(good)
    store.objects.put_verified(link_of(good), moved)
    assert store.objects.read(link_of(good)) == good
    assert not moved.exists()


def test_a_link_that_lies_about_the_length_is_refused(store: Store) -> None:
    """A hostile record cannot make us read more or less."""
    link = store.objects.put_bytes(b"12345")
    with pytest.raises(IntegrityError, match="5 bytes here, not 6"):
        store.objects.read(Link(link.digest, 6))


def test_a_large_object_that_was_cut_or_deleted_is_noticed(store: Store) -> None:
    """With the file that is to blame, and the cure."""
    link = store.objects.put_bytes(b"l" * LARGE)
    path = store.objects.path(link)
    path.chmod(0o644)
    os.truncate(path, 10)
    with pytest.raises(IntegrityError, match=str(path)):
        store.objects.read(link)
    path.unlink()
    with pytest.raises(IntegrityError, match="is gone") as caught:
        store.objects.read(link)
    assert "fsck --repair" in str(caught.value.hint)


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("executable", [False, True])
def test_a_named_file_is_read_only_and_is_made_anew_when_somebody_changed_it(
    store: Store, size: int, executable: bool
) -> None:
    """It is a copy of the object, never the truth."""
    data = os.urandom(size)
    link = store.objects.put_bytes(data)
    path = store.objects.localise(link, "wei rd%.csv", executable)
    assert path.name == "wei rd%.csv"
    assert path.stat().st_mode & 0o777 == (0o555 if executable else 0o444)
    before = path.stat().st_ino
    assert store.objects.localise(link, "wei rd%.csv", executable) == path
    assert path.stat().st_ino == before
    other = store.objects.localise(link, "wei rd%.csv", not executable)
    assert os.access(other, os.X_OK) == (not executable) or os.getuid() == 0
    assert other.stat().st_mode & 0o111 == (0 if executable else 0o111)
    path.unlink()
    path.write_bytes(b"changed")
    path.chmod(0o555 if executable else 0o444)
    assert store.objects.localise(link, "wei rd%.csv", executable).read_bytes() == data


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/x", "a\x00b", "a\\b"])
def test_no_name_leads_out_of_the_store(store: Store, name: str) -> None:
    """Whoever wrote the record."""
    link = store.objects.put_bytes(b"x")
    with pytest.raises(BadPath):
        store.objects.localise(link, name)


def test_a_folder_is_made_whole_once_and_again_when_it_was_changed(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Changed, missing and additional files are noticed."""
    folder = tmp_path / "d"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"a")
    (folder / "sub" / "b").write_bytes(os.urandom(LARGE))
    entry = store.add(context, "x", Directory(folder))

    def made() -> Path:
        found = store.value(entry.bundle)
        assert isinstance(found, Directory)
        return found.path

    first = made()
    number = first.stat().st_ino
    assert made().stat().st_ino == number
    for spoil in (
        lambda: (first / "a").unlink(),
        lambda: (first / "c").write_bytes(b"new"),
        lambda: _overwrite(first / "a", b"b"),
    ):
        spoil()
        assert Directory(made()).files() == ["a", "sub/b"]
        assert (made() / "a").read_bytes() == b"a"
    assert [p.name for p in first.parent.iterdir()] == ["d"], "no litter stays beside it"


def _overwrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)
    path.chmod(0o444)


class Elsewhere:
    """Another store as the remote; keeps what it was asked for."""

    def __init__(self, origin: Store, here: Store) -> None:
        self.origin, self.here = origin, here
        self.asked: list[Link] = []

    def __call__(self, links: Sequence[Link]) -> None:
        self.asked += links
        for link in links:
            self.here.objects.put_verified(link, self.origin.objects.read(link))


def test_only_files_that_are_touched_are_brought(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """The value's tree comes first, a file when its path is asked for."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * LARGE)
    origin = Store.open(tmp_path / "origin")
    there = origin.contexts.create("there")
    bundle = origin.add(there, "x", {n: File(tmp_path / n) for n in "ab"}, commit=True).bundle
    store.catalog.adopt(context, bundle, version=1)
    elsewhere = Elsewhere(origin, store)
    value = store.value(bundle, elsewhere)
    assert isinstance(value, dict)
    assert [link for link in elsewhere.asked if link.size >= LARGE] == []
    assert value["b"].path.read_bytes() == b"b" * LARGE
    assert [link.size for link in elsewhere.asked if link.size >= LARGE] == [LARGE]
    assert [link.digest for link in store.absent(bundle.root)] == [digest_of(b"a" * LARGE)]
    count = len(elsewhere.asked)
    again = store.value(bundle, elsewhere)
    assert isinstance(again, dict)
    assert again["b"].path.read_bytes() == b"b" * LARGE
    assert len(elsewhere.asked) == count


def test_absent_bytes_without_a_way_to_bring_them_name_the_command(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """And a way that brings nothing is found out."""
    origin = Store.open(tmp_path / "origin")
    bundle = origin.add(origin.contexts.create("there"), "x", [1], commit=True).bundle
    store.catalog.adopt(context, bundle, version=1)
    with pytest.raises(BundleNotFound, match="bundlerun pull x --localize"):
        store.value(bundle)
    with pytest.raises(IntegrityError, match="not brought"):
        store.value(bundle, lambda links: None)


@pytest.mark.heavy
def test_absent_objects_are_told_level_by_level_until_none_is_absent(
    store: Store, tmp_path: Path
) -> None:
    """A large dict has nodes below nodes."""
    origin = Store.open(tmp_path / "origin")
    context = origin.contexts.create("there")
    value = {f"key{n}": ["v" * 1500, n] for n in range(3000)}
    root = origin.add(context, "x", value).bundle.root
    rounds = 0
    while gone := store.absent(root):
        assert len({link.digest for link in gone}) == len(gone)
        Elsewhere(origin, store)(gone)
        rounds += 1
    assert 2 <= rounds <= 6
    assert store.objects.missing(link.digest for link in [root]) == set()
