"""Adding a value and having it back."""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion, Lineage, Parent, ReuseKey
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import (
    BadName,
    BadPath,
    BadValue,
    BundleNotFound,
    Conflict,
    ContextNotFound,
)
from bundlerun.progress import Silent
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store


def test_a_value_comes_back_equal_from_a_store_that_was_opened_anew(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Types, order and files are those that went in."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    value = {"raw": File(tmp_path / "a.csv"), "n": (1, None, 2.5), "at": datetime.date(2020, 2, 3)}
    store.add(context, "flights", value, commit=True)
    store.close()
    again = Store.open(store.path)
    entry = again.catalog.get(again.contexts.get("work"), "flights")
    assert again.value(entry.bundle) == value


def test_params_tags_and_lineage_are_kept(store: Store, context: Context) -> None:
    """The record is that of the bundle, field by field."""
    lineage = Lineage(
        pipe="pkg.mod.Pipe",
        parents=(Parent("pipeline_input", "raw", new_id(), digest_of(b"r")),),
        code=CodeVersion(digest_of(b"s"), "abc", True),
        image="img@sha256:0",
        run="r1",
        task=ReuseKey({"pipe": "p"}),
        request=ReuseKey({"pipe": "q"}),
        started_s=1.5,
        finished_s=2.5,
    )
    added = store.add(
        context, "out", 1, params={"top": "5"}, tags={"year": "2013"}, lineage=lineage
    )
    found = store.catalog.get(context, "out")
    assert found == added
    assert found.bundle.lineage == lineage
    assert (found.bundle.params, found.bundle.tags) == ({"top": "5"}, {"year": "2013"})


def test_a_bundle_gets_the_id_that_was_promised_and_no_second_one_may_have_it(
    store: Store, context: Context
) -> None:
    """An id is of one bundle of a context."""
    promised = new_id()
    assert store.add(context, "out", 1, id=promised).bundle.id == promised
    with pytest.raises(Conflict, match=promised):
        store.add(context, "out", 2, id=promised)
    assert store.value(store.catalog.get(context, "out").bundle) == 1


def test_the_same_bytes_are_stored_once(store: Store, context: Context, tmp_path: Path) -> None:
    """Under two names, in two contexts, small and large."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"s" * 1000)
    large.write_bytes(os.urandom(400_000))
    store.add(context, "a", [File(small), File(large)])
    kept = {p: p.stat().st_mtime_ns for p in (store.path / "objects").rglob("*") if p.is_file()}
    assert len(kept) == 1
    other = store.contexts.create("other")
    again = store.add(other, "b", {"x": File(small), "y": [File(large)]})
    now = {p: p.stat().st_mtime_ns for p in (store.path / "objects").rglob("*") if p.is_file()}
    assert now == kept
    assert store.value(again.bundle)["y"][0].path.read_bytes() == large.read_bytes()  # type: ignore[index]


def test_large_objects_are_files_that_nobody_writes_and_small_ones_are_none(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """256 KiB is the border; the mode is 0444 whatever the umask."""
    before = os.umask(0o077)
    try:
        for size in (256 * 1024 - 1, 256 * 1024):
            path = tmp_path / str(size)
            path.write_bytes(b"\x07" * size)
            store.add(context, "x", File(path))
    finally:
        os.umask(before)
    (only,) = [p for p in (store.path / "objects").rglob("*") if p.is_file()]
    assert (only.stat().st_size, only.stat().st_mode & 0o777) == (256 * 1024, 0o444)
    assert only.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.heavy
def test_many_small_objects_wait_in_bounded_memory(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """More than 16 MiB of small files arrive whole all the same."""
    for n in range(90):
        (tmp_path / f"f{n}").write_bytes(bytes([n]) * 200_000)
    entry = store.add(context, "many", [File(tmp_path / f"f{n}") for n in range(90)])
    assert store.absent(entry.bundle.root) == []
    back = store.value(entry.bundle)
    assert isinstance(back, list)
    assert [f.read_bytes()[0] for f in back] == list(range(90))


def test_a_large_file_that_changes_while_it_is_read_is_refused(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Half an old and half a new file is nobody's data."""
    path = tmp_path / "growing"
    path.write_bytes(b"x" * 700_000)

    class Meddler(Silent):
        """Writes to the file when the first bytes of it were hashed."""

        def advance(self, bar: int, steps: int) -> None:
            path.write_bytes(b"y" * 700_001)

    with pytest.raises(BadPath, match=r"growing changed while it was read"):
        store.add(context, "x", File(path), progress=Meddler())
    assert store.catalog.find(context, "x") is None
    assert [p for p in (store.path / "objects").rglob("*") if p.is_file()] == []


def test_a_small_file_that_changes_while_it_is_read_is_refused(
    store: Store, tmp_path: Path
) -> None:
    """Of many tries against a busy writer, one meets the change."""
    path = tmp_path / "busy"
    path.write_bytes(b"x" * 1000)
    done = threading.Event()
    writer = threading.Thread(target=_rewrite, args=(path, done))
    writer.start()
    try:
        with pytest.raises(BadPath, match="changed"):
            _put_often(store, path)
    finally:
        done.set()
        writer.join()


def _put_often(store: Store, path: Path) -> None:
    for _ in range(100_000):
        store.objects.put_file(path)


def _rewrite(path: Path, done: threading.Event) -> None:
    while not done.is_set():
        with path.open("ab") as file:
            file.write(b"y")
        with path.open("r+b") as file:
            file.truncate(1000)


def test_a_named_pipe_is_refused_at_once(store: Store, tmp_path: Path) -> None:
    """It would be waited for for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadPath, match="not a regular file"):
        store.objects.put_file(tmp_path / "pipe")


def test_what_is_refused_leaves_nothing(store: Store, context: Context) -> None:
    """Bad names, tags, params and values make no bundle."""
    with pytest.raises(BadName):
        store.add(context, "a b", 1)
    with pytest.raises(BadName):
        store.add(context, "a", 1, tags={"k": "line\nbreak"})
    with pytest.raises(BadName):
        store.add(context, "a", 1, tags={"": "v"})
    with pytest.raises(BadValue, match="Unicode"):
        store.add(context, "a", 1, params={"k": "\ud800"})
    with pytest.raises(BadValue, match=r'value\["x"\]'):
        store.add(context, "a", {"x": object()})
    assert store.catalog.search(context) == []


def test_a_deleted_context_takes_nothing_more(store: Store, context: Context) -> None:
    """Whoever still holds it is told."""
    store.contexts.delete("work")
    with pytest.raises(ContextNotFound, match="bundlerun context work"):
        store.add(context, "x", 1)
    fresh = store.contexts.create("work")
    assert fresh.id != context.id
    assert store.catalog.search(fresh) == []


def test_a_value_can_get_a_second_record(store: Store, context: Context) -> None:
    """A new version over the same root stores no bytes."""
    first = store.add(context, "in", {"n": 1}, commit=True)
    again = store.add_root(context, BundleRecord(new_id(), "out", first.bundle.root), commit=True)
    assert store.value(again.bundle) == {"n": 1}
    assert store.catalog.get(context, "out") == again


def test_removed_bundles_are_gone_and_the_one_before_is_the_latest(
    store: Store, context: Context
) -> None:
    """All or none are removed."""
    first, second = (store.add(context, "x", n, commit=True) for n in range(2))
    with pytest.raises(BundleNotFound):
        store.catalog.remove(context, [second.bundle.id, new_id()])
    assert store.catalog.remove(context, [second.bundle.id]) == [second]
    assert store.catalog.get(context, "x") == first


def test_a_directory_and_a_nested_bundle_come_back(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Leaves that are made of other objects."""
    folder = tmp_path / "d"
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o755)
    inner = store.add(context, "inner", [1, 2])
    entry = store.add(context, "outer", {"d": Directory(folder), "b": inner.bundle})
    back = store.value(entry.bundle)
    assert isinstance(back, dict)
    assert back["d"] == Directory(folder)
    assert os.access(back["d"].path / "sub" / "run.sh", os.X_OK)
    assert (back["d"].path / "empty").is_dir()
    assert store.value(back["b"]) == [1, 2]
