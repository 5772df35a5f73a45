"""The clean-up of a store: what no bundle uses goes, all else stays, whoever adds meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BundleNotFound, IntegrityError, StoreBusy, UsageError
from bundlerun.store import locks
from bundlerun.store.contexts import Context
from bundlerun.store.database import Database
from bundlerun.store.gc import mark
from bundlerun.store.gc.sweep import sweep
from bundlerun.store.reports import GcReport
from bundlerun.store.store import Store
from bundlerun.store.visibility import Visibility


def swept(store: Store, **options: object) -> GcReport:
    """Delete what nothing uses, however young."""
    return sweep(store, **{"grace_s": 0.0, "delete": True, **options})  # type: ignore[arg-type]


def counts(report: GcReport) -> dict[str, int]:
    return {each.kind: each.count for each in report.swept}


def files(store: Store, folder: str) -> set[str]:
    """Every file below a folder of the store."""
    top = store.path / folder
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def remove(store: Store, context: Context, *bundles: BundleRecord) -> None:
    store.catalog.remove(context, [bundle.id for bundle in bundles])


def age(path: Path, seconds: float) -> None:
    """Make a file or folder look as if nobody had touched it for so long."""
    then = time.time() - seconds
    for each in (path, *path.rglob("*")):
        os.utime(each, (then, then), follow_symlinks=False)


def many_files(folder: Path, count: int, size: int) -> Directory:
    folder.mkdir()
    for n in range(count):
        (folder / str(n)).write_bytes(os.urandom(size))
    return Directory(folder)


def test_what_no_bundle_uses_goes_and_the_rest_stays(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Small and large objects; what two bundles share stays as long as one of them does."""
    shared = os.urandom(400_000)
    (tmp_path / "large").write_bytes(os.urandom(700_000))
    kept = store.add(context, "kept", {"shared": shared, "n": os.urandom(5000)}).bundle
    gone = store.add(
        context, "gone", {"shared": shared, "mine": os.urandom(6000), "f": File(tmp_path / "large")}
    ).bundle
    assert swept(store).count == 0
    remove(store, context, gone)
    plan = swept(store, delete=False)
    assert not plan.deleted
    assert counts(plan) == {"small objects": 2, "large objects": 1}
    assert plan.bytes > 706_000
    assert len(files(store, "objects")) == 2
    assert swept(store).swept == plan.swept
    assert len(files(store, "objects")) == 1
    assert swept(store).count == 0
    assert store.value(kept)["shared"] == shared  # type: ignore[index]


def test_every_context_counts_and_what_lies_within_values(store: Store, context: Context) -> None:
    """A bundle in a value, another context, a version that the remote gave up; a deleted context
    counts no more."""
    other = store.contexts.create("other")
    inner = store.add(context, "inner", os.urandom(5000)).bundle
    outer = store.add(context, "outer", {"of": inner}).bundle
    theirs = store.add(other, "theirs", os.urandom(7000)).bundle
    remove(store, context, inner)
    assert swept(store).count == 0
    assert store.value(store.value(outer)["of"])  # type: ignore[index]
    assert store.value(theirs)
    store.contexts.delete("other")
    assert counts(swept(store)) == {"small objects": 2}


def test_what_is_young_is_kept(store: Store, context: Context) -> None:
    """For seven days unless another grace is set; the age is that of the bytes."""
    remove(store, context, store.add(context, "x", os.urandom(5000)).bundle)
    assert sweep(store, delete=True).count == 0
    assert swept(store, grace_s=60.0).count == 0
    connection = sqlite3.connect(store.path / "store.sqlite")
    connection.execute("UPDATE objects SET added_s = added_s - 8 * 86400")
    connection.commit()
    connection.close()
    assert sweep(store, delete=True).count == 2
    with pytest.raises(UsageError, match="grace"):
        sweep(store, grace_s=-1.0)


@pytest.mark.heavy
def test_local_packs_go_once_all_of_them_is_dead(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """A pack of which a little is used stays, and is reported as mostly dead."""
    folder = many_files(tmp_path / "folder", 600, 60_000)
    whole = store.add(context, "whole", folder).bundle
    packs = files(store, "packs")
    assert packs
    few = tmp_path / "few"
    few.mkdir()
    (few / "0").write_bytes((tmp_path / "folder" / "0").read_bytes())
    part = store.add(context, "part", Directory(few)).bundle
    remove(store, context, whole)
    report = swept(store)
    assert counts(report)["packs"] == len(packs) - 1
    assert report.bytes > (len(packs) - 1) * (15 << 20)
    (left,) = files(store, "packs")
    (mostly,) = report.mostly_dead
    assert mostly.pack == left
    assert 60_000 < mostly.live < 100_000
    assert store.value(part) == Directory(few)
    remove(store, context, part)
    assert counts(swept(store))["packs"] == 1
    assert files(store, "packs") == set()


@pytest.mark.heavy
def test_the_stores_file_gets_smaller(store: Store, context: Context) -> None:
    """Where more than a quarter of it is free."""
    bundles = [store.add(context, "x", os.urandom(200_000)).bundle for _ in range(50)]
    remove(store, context, *bundles[:5])
    assert swept(store).returned == 0
    before = (store.path / "store.sqlite").stat().st_size
    remove(store, context, *bundles[5:40])
    report = swept(store)
    after = (store.path / "store.sqlite").stat().st_size
    assert report.returned == before - after
    assert after < 0.4 * before
    assert store.value(bundles[49])


def test_localised_files_go_with_what_they_show(
    store: Store, context: Context, tmp_path: Path
) -> None:
    """Files and folders under their own names: those of bundles that are there stay."""
    for name in ("kept", "gone"):
        (tmp_path / name).write_bytes(os.urandom(2000))
    small, big = many_files(tmp_path / "d1", 3, 10), many_files(tmp_path / "d2", 300, 10)
    dead = many_files(tmp_path / "d3", 3, 10)
    kept = store.add(context, "kept", {"f": File(tmp_path / "kept"), "d": small, "e": [big]}).bundle
    gone = store.add(context, "gone", {"f": File(tmp_path / "gone"), "d": dead}).bundle
    paths = []
    for bundle in (kept, gone):
        value = store.value(bundle)
        for part in (value["f"], value["d"]):  # type: ignore[index]
            paths.append(part.path)
    paths.insert(2, store.value(kept)["e"][0].path)  # type: ignore[index]
    remove(store, context, gone)
    assert counts(swept(store, grace_s=600.0)) == {}
    assert counts(swept(store))["localised files"] == 2
    assert [path.exists() for path in paths] == [True, True, True, False, False]
    assert store.value(kept)["d"] == small  # type: ignore[index]


def test_what_a_crash_left_goes(store: Store, context: Context) -> None:
    """Files without a row, writes aside, broken transfers; not what is locked, and not what was
    written to within the hour, whatever the grace period."""
    store.add(context, "x", os.urandom(400_000))
    digest = digest_of(b"nobody")
    stray = store.path / "objects" / digest[:2] / digest[2:]
    stray.parent.mkdir(exist_ok=True)
    litter = [
        stray,
        store.path / "packs" / "00000000-0000-4000-8000-000000000000",
        store.path / "objects" / "tmp" / "abc",
        store.path / "objects" / "partial" / digest,
    ]
    for path in litter:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert counts(swept(store, grace_s=60.0)) == {}
    assert counts(swept(store, delete=False)) == {"litter": 2}
    for path in litter:
        age(path, 8 * 86_400)
    with litter[-1].open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        report = sweep(store, delete=True)
        assert counts(report) == {"litter": 3}
        assert report.bytes == 12
    assert [path.exists() for path in litter] == [False, False, False, True]
    assert counts(sweep(store, delete=True)) == {"litter": 1}


def test_staging_folders_of_settled_runs_go(store: Store, context: Context) -> None:
    """Those of open runs stay; those that no run knows go once they are old."""
    for id, run in (("done", {"settled": True}), ("open", {"settled": False})):
        store.journal.add(context, {"id": id, **run})
    for id in ("done", "open", "unknown", "forgotten"):
        folder = store.path / "staging" / id / "packs"
        folder.mkdir(parents=True)
        (folder / "p").write_bytes(b"x" * 1000)
    age(store.path / "staging" / "forgotten", 8 * 86_400)
    age(store.path / "staging" / "open", 8 * 86_400)
    report = sweep(store, delete=True)
    assert counts(report) == {"staging folders": 2}
    assert report.bytes == 2000
    assert {path.name for path in (store.path / "staging").iterdir()} == {"open", "unknown"}


def test_damage_stops_a_sweep(store: Store, context: Context) -> None:
    """What is below a damaged node is unknown: nothing is deleted, and fsck is named."""
    remove(store, context, store.add(context, "gone", os.urandom(5000)).bundle)
    bundle = store.add(context, "x", list(range(5000))).bundle
    connection = sqlite3.connect(store.path / "store.sqlite")
    raw = bytes.fromhex(bundle.root.digest)
    connection.execute("UPDATE objects SET data = zeroblob(size) WHERE digest = ?", (raw,))
    connection.commit()
    before = connection.execute("SELECT count(*) FROM objects").fetchone()
    with pytest.raises(IntegrityError, match="nothing was deleted") as caught:
        swept(store)
    assert caught.value.hint == "bundlerun fsck --repair"
    connection.execute("UPDATE bundles SET record = 'rotten'")
    connection.commit()
    with pytest.raises(IntegrityError, match="nothing was deleted"):
        swept(store)
    assert connection.execute("SELECT count(*) FROM objects").fetchone() == before
    connection.close()


def test_what_is_added_while_a_sweep_looks_is_kept(
    store: Store, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that takes up bytes which were dead a moment ago: they are looked for once more."""
    data = os.urandom(400_000)
    remove(store, context, store.add(context, "x", data).bundle)
    looks = []

    def look(live: mark.Live) -> None:
        original(live)
        looks.append(store.add(context, "y", data).bundle if not looks else None)

    original = mark.Live.look
    monkeypatch.setattr(mark.Live, "look", look)
    assert swept(store).count == 0
    assert len(looks) == 2
    assert looks[0] is not None
    assert store.value(looks[0]) == data


def test_a_value_that_was_swept_is_not_built_upon(store: Store, context: Context) -> None:
    """Found by whoever reuses it, then removed and swept: the new bundle is refused."""
    found = store.add(context, "x", os.urandom(5000)).bundle
    new = replace(found, id=new_id(), name="y")
    store.add_root(context, replace(new, id=new_id()), commit=True)
    remove(store, context, *(entry.bundle for entry in store.catalog.search(context)))
    swept(store)
    with pytest.raises(BundleNotFound, match="'y'"):
        store.add_root(context, new, commit=True)
    store.known.note_value("u", found.root.digest, [])
    assert store.add_root(context, new, commit=True).bundle == new


def test_a_sweep_waits_for_those_who_add_and_they_for_it(
    store: Store, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an end; sharing within sharing does not wait for a sweep that waits for it."""
    monkeypatch.setattr(locks, "BUSY_S", 0.3)
    other = locks.Guard(store.path)
    with other.sharing():
        with pytest.raises(StoreBusy):
            swept(store)
        store.add(context, "x", 1)
        assert swept(store, delete=False).count == 0
    with other.alone():
        with pytest.raises(StoreBusy, match="cleaned up"):
            store.add(context, "x", 1)
        with pytest.raises(StoreBusy):
            store.objects.put_bytes(b"x")
    assert swept(store).deleted


@pytest.mark.heavy
def test_a_sweep_gets_its_turn(store: Store, context: Context) -> None:
    """However many share the lock without a pause between them."""
    stop = multiprocessing.get_context("spawn").Event()
    sharers = [
        multiprocessing.get_context("spawn").Process(target=_share_on, args=(store.path, stop))
        for _ in range(3)
    ]
    for process in sharers:
        process.start()
    time.sleep(1.0)
    try:
        for _ in range(3):
            assert swept(store).deleted
    finally:
        stop.set()
        for process in sharers:
            process.join()


def _share_on(path: Path, stop: object) -> None:
    mine = locks.Guard(path)
    while not stop.is_set():  # type: ignore[attr-defined]
        with mine.sharing():
            time.sleep(0.02)


def _add_and_remove(path: Path, name: str, count: int) -> None:
    """One process of the race. All take up the same bytes again and again."""
    store = Store.open(path)
    context = store.contexts.get("work")
    shared = [bytes([n]) * size for n, size in enumerate((2000, 300_000, 9000, 600_000))]
    before: list[BundleRecord] = []
    for n in range(count):
        value = {"a": shared[n % 4], "b": shared[(n * 3 + 1) % 4], "n": [name, n % 5]}
        before.append(store.add(context, "x", value, commit=True).bundle)
        if n % 4:
            remove(store, context, before.pop(0))
    store.close()


@pytest.mark.timeout(240)
@pytest.mark.heavy
def test_adds_beside_sweeps_lose_nothing(store: Store, context: Context) -> None:
    """Four processes add and remove while this one deletes with no grace: what is left is whole."""
    spawn = multiprocessing.get_context("spawn")
    adders = [
        spawn.Process(target=_add_and_remove, args=(store.path, f"p{n}", 60)) for n in range(4)
    ]
    for process in adders:
        process.start()
    deleted = rounds = 0
    while any(process.is_alive() for process in adders):
        deleted += swept(store).count
        rounds += 1
        time.sleep(0.02)
    assert [process.exitcode for process in adders] == [0] * 4
    assert deleted > 0
    assert rounds >= 3
    swept(store)
    entries = store.catalog.search(context)
    assert len(entries) == 4 * 15
    for entry in entries:
        assert not store.absent(entry.bundle.root)
        assert set(store.value(entry.bundle)) == {"a", "b", "n"}  # type: ignore[call-overload]
    assert len(files(store, "objects")) == 2


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.heavy
def test_a_sweep_that_dies_leaves_litter_and_no_lie(
    store: Store,
    context: Context,
    tmp_path: Path,
    at: int,
) -> None:
    """At each of its deletions: rows name what is there, and the next sweep ends the work."""
    kept = store.add(context, "kept", {"n": os.urandom(300_000)}).bundle
    big = many_files(tmp_path / "d", 300, 60_000)
    gone = store.add(context, "gone", [os.urandom(300_000), os.urandom(900), big]).bundle
    (tmp_path / "lone").write_bytes(os.urandom(500_000))
    store.objects.localise(store.objects.put_file(tmp_path / "lone"), "name")
    remove(store, context, gone)
    alive_again = dying_after(at)
    try:
        with pytest.raises(_Killed):
            swept(store)
    finally:
        alive_again()
    connection = sqlite3.connect(store.path / "store.sqlite")
    rows = connection.execute(
        "SELECT lower(hex(digest)) FROM objects WHERE data IS NULL AND pack IS NULL"
    ).fetchall()
    for (digest,) in rows:
        assert (store.path / "objects" / digest[:2] / digest[2:]).exists()
    for (uuid,) in connection.execute("SELECT uuid FROM local_packs").fetchall():
        assert (store.path / "packs" / uuid).exists()
    connection.close()
    swept(store)
    assert swept(store).count == 0
    assert len(files(store, "objects")) == 1
    assert files(store, "packs") == files(store, "files") == set()
    assert store.value(kept)


class _Killed(BaseException):
    pass


def dying_after(at: int) -> Callable[[], None]:
    """The ``at``-th deletion, of rows or of a file, is the last thing that a sweep does."""
    left = at
    patch = pytest.MonkeyPatch()
    unlink, writing = Path.unlink, Database.writing

    def count() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise _Killed

    def dying_unlink(path: Path, missing_ok: bool = False) -> None:
        count()
        unlink(path, missing_ok)

    @contextlib.contextmanager
    def dying_writing(database: Database) -> Iterator[sqlite3.Connection]:
        count()
        with writing(database) as tx:
            yield tx

    patch.setattr(Path, "unlink", dying_unlink)
    patch.setattr(Database, "writing", dying_writing)
    return patch.undo


def test_what_pipes_of_a_killed_apply_made_goes_after_a_month(
    store: Store, context: Context
) -> None:
    """It is seen by nobody, and waits for an end that does not come."""
    pipe = Visibility("a/b/", "m.Top", frozenset())
    inner = store.seen_from(pipe)
    inner.add(context, "young", 1)
    inner.add(context, "old", 2)
    with store._database.writing() as tx:
        tx.execute(
            "UPDATE inner_bundles SET added_s = added_s - 40 * 86400 WHERE bundle ="
            " (SELECT seq FROM bundles WHERE name = 'old')"
        )
    assert store.catalog.search(context) == []
    sweep(store, delete=True)
    assert [entry.bundle.name for entry in inner.catalog.search(context)] == ["young"]
