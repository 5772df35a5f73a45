"""Giving versions up on a remote, and freeing their space: on a folder, and on real S3."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.lineage import Lineage, Parent, ReuseKey
from bundlerun.bundles.value.files import Directory
from bundlerun.errors import BundleNotFound, Conflict, IntegrityError, RemoteChanged, RemoteError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.condemned import CondemnedRecord
from bundlerun.remotes.fetch import fetcher, localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.gc.sweep import KEPT_LISTS, collect
from bundlerun.remotes.identity import WINDOW_S
from bundlerun.remotes.keys import bundle_key, removed_key, run_index_key, version_key
from bundlerun.remotes.pull import pull_all, pull_id, pull_latest
from bundlerun.remotes.push import find_reuse, push
from bundlerun.remotes.remove import forget, look_for
from bundlerun.remotes.staging import OverlayRemote, publish
from bundlerun.remotes.versions import newest_number
from bundlerun.store.reports import GcReport
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store
from tests.remotes.conftest import Client, remote_at
from tests.remotes.watched import Counting

MakeClient = Callable[[str], Client]

TWO_WINDOWS_S = 2 * WINDOW_S + 5
DAYS_S = 86_400


class Later(Counting):
    """A remote whose clock is ahead: its keys are older by so much."""

    def __init__(self, inner: Remote, ahead_s: float) -> None:
        super().__init__(inner)
        self.ahead_s = ahead_s

    def now_s(self) -> float:
        return super().now_s() + self.ahead_s


def sent(client: Client, name: str, value: object, **options: object) -> Entry:
    """A pushed bundle."""
    store, context, remote = client
    entry = store.add(context, name, value, **{"commit": True, **options})  # type: ignore[arg-type]
    push(Binding.of(store, context, remote), [entry])
    return store.catalog.by_id(context, entry.bundle.id) or entry


def removed(client: Client, *entries: Entry) -> list[Entry]:
    """Remove versions everywhere."""
    return forget(Binding.of(*client), entries)


def swept(client: Client, later_s: float = 2.0, **options: object) -> GcReport:
    """Clean up, ``later_s`` from now: S3 tells whole seconds only."""
    _, context, remote = client
    return collect(
        Later(remote.inner, later_s),
        context.remote_uuid or "",
        **{"grace_s": 0.0, "delete": True, **options},  # type: ignore[arg-type]
    )


def keys(client: Client, prefix: str) -> list[str]:
    return [entry.key for entry in client[2].inner.list(prefix)]


def value_of(client: Client, entry: Entry) -> object:
    """The value, once every byte of it was brought."""
    store, _, remote = client
    localise(store, remote, [entry.bundle])
    return store.value(entry.bundle)


def kinds(report: GcReport) -> dict[str, int]:
    return {each.kind: each.count for each in report.swept}


def test_a_removed_version_is_skipped_by_everybody(client: MakeClient) -> None:
    """Here at once, elsewhere at the next pull; the number stays taken, and again is no error."""
    one, two, three = client("one"), client("two"), client("three")
    first, second = sent(one, "x", 1), sent(one, "x", 2)
    assert pull_latest(Binding.of(*two), "x").bundle.id == second.bundle.id
    pull_all(Binding.of(*three), all_versions=True)
    removed(one, second)
    assert one[0].catalog.by_id(one[1], second.bundle.id) is None
    assert one[0].catalog.get(one[1], "x").bundle.id == first.bundle.id
    assert pull_latest(Binding.of(*two), "x").bundle.id == first.bundle.id
    assert [e.bundle.id for e in pull_all(Binding.of(*three))] == [first.bundle.id]
    assert three[0].catalog.get(three[1], "x").bundle.id == first.bundle.id
    assert keys(one, "v/x/") == sorted(
        [version_key("x", 2), removed_key("x", 2), version_key("x", 1)]
    )
    assert sent(one, "x", 3).version == 3
    # Whoever did not hear of it may say it again.
    known = two[0].catalog.by_id(two[1], second.bundle.id)
    assert known is not None
    assert [e.bundle.id for e in removed(two, known)] == [second.bundle.id]
    assert newest_number(one[2], "x") == 3


def test_a_removal_by_full_id_can_be_said_again(client: MakeClient) -> None:
    """Also from a machine that never had it, or has it no more; and all versions at once."""
    one, two = client("one"), client("two")
    entry, other = sent(one, "x", 1), sent(one, "x", 2)
    removed(one, entry)
    look_for(Binding.of(*one), f"x@{entry.bundle.id}", False)
    again = one[0].catalog.by_id(one[1], entry.bundle.id)
    assert again is not None
    assert again.version == 1
    removed(one, again)
    look_for(Binding.of(*two), "x", True)
    left = two[0].catalog.search(two[1], name="x")
    assert [e.bundle.id for e in left] == [other.bundle.id]
    removed(two, *left)
    with pytest.raises(BundleNotFound):
        pull_latest(Binding.of(*one), "x")
    look_for(Binding.of(*two), "never-pushed", True)
    look_for(Binding.of(*two), "never-pushed", False)


def test_a_command_that_died_is_simply_repeated(client: MakeClient) -> None:
    """The remote hears of it first, and only then is anything changed here: the same version is
    meant by the same name."""
    one = client("one")
    first, second = sent(one, "x", 1), sent(one, "x", 2)

    class Dying(Counting):
        def put_new(self, key: str, data: bytes) -> bool:
            super().put_new(key, data)
            raise RemoteError("killed")

    with pytest.raises(RemoteError, match="killed"):
        forget(Binding.of(one[0], one[1], Dying(one[2])), [second])
    assert one[0].catalog.get(one[1], "x").bundle.id == second.bundle.id
    removed(one, one[0].catalog.get(one[1], "x"))
    assert one[0].catalog.get(one[1], "x").bundle.id == first.bundle.id


def test_what_was_made_of_a_removed_bundle_keeps_its_lineage(client: MakeClient) -> None:
    """Parent by name, id and root, before and after its bytes are gone; reuse finds it no more."""
    one, two = client("one"), client("two")
    key = ReuseKey({"pipe": "m.P", "source": "s"})
    parent = sent(one, "raw", [1, 2], lineage=Lineage(task=key))
    mention = Parent("in", "raw", parent.bundle.id, parent.bundle.root.digest)
    child = sent(one, "made", [3], lineage=Lineage(pipe="m.Q", parents=(mention,)))
    assert find_reuse(one[2], key) == parent.bundle.id
    removed(one, parent)
    assert find_reuse(one[2], key) is None
    swept(one)
    swept(one, TWO_WINDOWS_S)
    assert one[2].inner.get(bundle_key(parent.bundle.id)) is None
    found = pull_latest(Binding.of(*two), "made")
    assert found.bundle == child.bundle
    assert found.bundle.lineage.parents == (mention,)
    assert value_of(two, found) == [3]


def test_a_bundle_that_only_a_run_names_is_not_removed(client: MakeClient) -> None:
    """A record without a version has no number that could be given up; scratch goes here alone."""
    one, two = client("one"), client("two")
    entry = sent(one, "x", 1)
    one[2].inner.delete([version_key("x", 1)])
    alone = pull_id(Binding.of(*two), entry.bundle.id)
    with pytest.raises(Conflict, match="no version"):
        removed(two, alone)
    scratch = two[0].add(two[1], "x", 5)
    assert removed(two, scratch) == [scratch]
    assert two[0].catalog.by_id(two[1], scratch.bundle.id) is None


def test_dead_packs_go_in_two_steps(client: MakeClient) -> None:
    """Condemned by the first clean-up, deleted by one two windows later; what is used stays, and
    version numbers have no hole."""
    one, two = client("one"), client("two")
    shared = os.urandom(300_000)
    dead = sent(one, "x", {"mine": os.urandom(200_000)})
    kept = sent(one, "x", {"shared": shared})
    dead_packs = {share.pack.uuid for share in shares(one, dead)}
    removed(one, dead)
    report = swept(one, delete=False)
    assert report.count == 0
    assert report.condemned is not None
    assert report.condemned.count == 1
    assert not report.deleted
    assert not keys(one, "meta/condemned-")

    assert swept(one).condemned == report.condemned
    assert len(keys(one, "meta/condemned-")) == 1
    early = swept(one, WINDOW_S)
    assert early.waiting == report.condemned
    assert (early.count, early.condemned) == (0, None)
    assert dead_packs <= {key.removeprefix("packs/") for key in keys(one, "packs/")}

    late = swept(one, TWO_WINDOWS_S, delete=False)
    assert kinds(late) == {"packs": 1, "bundle records": 1}
    assert late.bytes > 200_000
    assert swept(one, TWO_WINDOWS_S).swept == late.swept
    assert dead_packs.isdisjoint(key.removeprefix("packs/") for key in keys(one, "packs/"))
    assert swept(one, TWO_WINDOWS_S).count == 0
    assert [e.version for e in pull_all(Binding.of(*two), all_versions=True)] == [2]
    assert value_of(two, kept) == {"shared": shared}
    assert newest_number(one[2], "x") == 2
    assert keys(one, "v/x/")[-2:] == [version_key("x", 1), removed_key("x", 1)]


def shares(client: Client, entry: Entry) -> list[object]:
    store, context, _ = client
    found = store.known.noted_value(context.remote_uuid or "", entry.bundle.root.digest)
    return list(found or [])  # type: ignore[return-value]


def test_what_is_young_is_kept(client: MakeClient) -> None:
    """By the remote's clock, for seven days unless told otherwise."""
    one = client("one")
    removed(one, sent(one, "x", os.urandom(5000)))
    assert swept(one, 6 * DAYS_S, grace_s=7 * DAYS_S).condemned is None
    condemned = swept(one, 8 * DAYS_S, grace_s=7 * DAYS_S, delete=False).condemned
    assert condemned is not None


def test_a_pusher_does_not_build_on_condemned_packs(client: MakeClient) -> None:
    """It knows that the bytes are there, reads that they may go, and sends them again; who never
    pushes reads past the pack that is gone."""
    one, two = client("one"), client("two")
    value = {"a": os.urandom(50_000)}
    first = sent(one, "x", value)
    old = pull_latest(Binding.of(*two), "x")
    assert value_of(two, old) == value
    removed(one, first)
    swept(one)
    one[2].forget()
    again = sent(one, "x", value)
    (before,), (after,) = shares(one, first), shares(one, again)
    assert before == after, "known by root: the newest"
    assert one[2].sent > 50_000
    # Nothing more is read or sent once the list was read.
    one[2].forget()
    sent(one, "y", value)
    assert [what for what, _ in one[2].requests] == ["list", "create", "create"]
    swept(one, TWO_WINDOWS_S)
    assert len(keys(one, "packs/")) == 1

    three = client("three")
    assert value_of(three, pull_latest(Binding.of(*three), "x")) == value


def test_bytes_that_lie_in_condemned_packs_alone_are_saved(client: MakeClient) -> None:
    """A version of somebody else's whose bytes never were here, used again in time."""
    one, two = client("one"), client("two")
    value = {"a": os.urandom(50_000), "b": [1] * 1000}
    first = sent(one, "x", value)
    known = pull_latest(Binding.of(*two), "x").bundle
    removed(one, first)
    swept(one)
    store, context, remote = two
    new = store.add_root(context, known.__class__(id_like(known.id), "z", known.root), commit=True)
    push(Binding.of(store, context, remote), [new])
    swept(one, TWO_WINDOWS_S)
    three = client("three")
    assert value_of(three, pull_latest(Binding.of(*three), "z")) == value


def id_like(id: str) -> str:
    """Another id of the same time."""
    return id[:-4] + ("0000" if id[-4:] != "0000" else "0001")


def test_a_reader_gets_past_packs_that_are_gone(client: MakeClient, tmp_path: Path) -> None:
    """Who knows bytes in a pack that a clean-up took finds them where the record says."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(50):
        (folder / str(n)).write_bytes(os.urandom(3000))
    one, two = client("one"), client("two")
    first = sent(one, "x", Directory(folder))
    bundle = pull_latest(Binding.of(*two), "x").bundle
    # The indexes of its packs are read, its files are not.
    store, _, remote = two
    for link in store.absent(bundle.root):
        fetcher(store, remote, bundle)([link])
        break
    removed(one, first)
    swept(one)
    (folder / "new").write_bytes(b"new")
    sent(one, "x", Directory(folder))
    swept(one, TWO_WINDOWS_S)
    assert value_of(two, pull_latest(Binding.of(*two), "x")) == Directory(folder)


def test_a_store_that_was_away_trusts_nothing_that_may_be_gone(
    client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old lists go once all of their packs are gone; who missed them sends its bytes again."""
    monkeypatch.setattr("bundlerun.remotes.gc.sweep.KEPT_LISTS", 1)
    assert KEPT_LISTS >= 50
    one, away = client("one"), client("away")
    values = [{"n": n, "bytes": os.urandom(5000)} for n in range(3)]
    theirs = sent(away, "x", values[0])
    # It gives the version up, and hears nothing more.
    removed(one, pull_latest(Binding.of(*one), "x"))
    for n in (1, 2):
        swept(one)
        swept(one, TWO_WINDOWS_S)
        removed(one, sent(one, "x", values[n]))
    swept(one)
    swept(one, TWO_WINDOWS_S)
    swept(one, TWO_WINDOWS_S)
    assert [key[-1] for key in keys(one, "meta/condemned-")] == ["3"]
    assert not keys(one, "packs/")
    assert theirs.version == 1
    sent(away, "y", values[0])
    assert value_of(one, pull_latest(Binding.of(*one), "y")) == values[0]


def test_old_runs_and_stray_look_ups_go(client: MakeClient) -> None:
    """Runs by the grace period, those without a result later; a look-up that leads to nothing."""
    one = client("one")
    remote = one[2].inner
    remote.put("runs/ended/plan.json", b"{}")
    remote.put("runs/ended/0/result.1.json", b"{}")
    remote.put("runs/open/plan.json", b"{}")
    remote.put(run_index_key("ended", 1, "mark"), b"")
    remote.put(run_index_key("open", 2, "mark"), b"")
    remote.put(f"k/{'0' * 64}/nobody", b"")
    sent(one, "x", 1, lineage=Lineage(task=ReuseKey({"pipe": "m.P"})))
    assert kinds(swept(one, 6 * DAYS_S, grace_s=7 * DAYS_S)) == {"reuse look-ups": 1}
    assert kinds(swept(one, 8 * DAYS_S, grace_s=7 * DAYS_S)) == {"files of runs": 3}
    assert keys(one, "runs/") == ["runs/open/plan.json"]
    assert keys(one, "r/") == [run_index_key("open", 2, "mark")]
    assert kinds(swept(one, 31 * DAYS_S)) == {"files of runs": 2}
    assert keys(one, "r/") == []
    assert len(keys(one, "k/")) == 1


def test_an_open_call_keeps_its_files_and_the_packs_that_its_items_name(
    client: MakeClient,
) -> None:
    """However long it runs after its first results; once it is settled, for the grace period."""
    one = client("one")
    remote = one[2].inner
    for key in ("f", "plan.json", "h/0000", "e/000000000.1.0.1.0"):
        remote.put(f"runs/call/{key}", b"{}")
    remote.put("packs/of-a-result", b"bytes")
    report = swept(one, 20 * DAYS_S, grace_s=7 * DAYS_S)
    assert (kinds(report), report.condemned) == ({}, None)
    assert len(keys(one, "runs/call/")) == 4
    remote.put("runs/call/0/result.1.json", b"{}")
    report = swept(one, 8 * DAYS_S, grace_s=7 * DAYS_S)
    assert kinds(report) == {"files of runs": 5}
    assert report.condemned is not None
    assert report.condemned.count == 1


def test_a_pack_that_the_items_of_an_open_call_name_is_used(client: MakeClient) -> None:
    """Though it is older than the call, and the only bundle that named it was removed."""
    one = client("one")
    remote = one[2].inner
    entry = sent(one, "x", b"of a bundle, and of an item" * 100)
    (pack,) = keys(one, "packs/")
    for key in ("i/000000", "f", "plan.json", pack.replace("packs/", "p/")):
        remote.put(f"runs/call/{key}", b"{}")
    removed(one, entry)
    for _ in range(3):
        swept(one, 8 * DAYS_S, grace_s=0)
        assert keys(one, "packs/") == [pack]
    remote.delete(keys(one, "runs/call/"))
    for _ in range(2):
        swept(one, 8 * DAYS_S, grace_s=0)
    assert keys(one, "packs/") == []


def test_writes_that_broke_off_go(client: MakeClient, url: str) -> None:
    """Uploads in parts, and files aside, a day old at least."""
    one = client("one")
    remote = one[2].inner
    upload = remote.begin("packs/half", 8 << 20)
    assert upload is not None
    remote.put_part(upload, 1, b"x" * (5 << 20))
    assert kinds(swept(one)) == {}
    count = kinds(swept(aged(one, 2 * DAYS_S), 0.0))["broken writes"]
    assert count >= 1
    assert remote.parts(upload) is None


def aged(client: Client, ahead_s: float) -> Client:
    """The same client, of a remote all of whose clocks are ahead."""
    store, context, remote = client

    class Old(Counting):
        def litter(self, older_than_s: float) -> object:  # type: ignore[override]
            return self.inner.litter(older_than_s - ahead_s)

    return store, context, Counting(Old(remote.inner))


def test_packs_of_which_little_is_used_are_reported(client: MakeClient, tmp_path: Path) -> None:
    """They stay whole; how much of them is used is said."""
    one = client("one")
    folder = tmp_path / "folder"
    folder.mkdir()
    for n in range(20):
        (folder / str(n)).write_bytes(os.urandom(10_000))
    first = sent(one, "x", Directory(folder))
    for n in range(2, 20):
        (folder / str(n)).unlink()
    sent(one, "x", Directory(folder))
    assert swept(one).mostly_dead == ()
    removed(one, first)
    (found,) = swept(one).mostly_dead
    assert found.size > 200_000
    assert 20_000 <= found.live < 30_000


def test_small_packs_that_are_used_are_not_dead(client: MakeClient) -> None:
    """However much of them is index."""
    one = client("one")
    sent(one, "x", 1)
    sent(one, "x", 2)
    assert swept(one).mostly_dead == ()


def test_damage_stops_a_clean_up(client: MakeClient) -> None:
    """What a record that cannot be read uses is unknown: nothing is deleted. Nor elsewhere."""
    one = client("one")
    removed(one, sent(one, "x", os.urandom(2000)))
    kept = sent(one, "x", 2)
    swept(one)
    remote = one[2].inner
    good = remote.get(bundle_key(kept.bundle.id)) or b""
    remote.delete([bundle_key(kept.bundle.id)])
    remote.put(bundle_key(kept.bundle.id), good[:-5])
    before = keys(one, "")
    with pytest.raises(IntegrityError, match=kept.bundle.id):
        swept(one, TWO_WINDOWS_S)
    assert keys(one, "") == before
    with pytest.raises(RemoteChanged):
        collect(remote, "00000000-0000-4000-8000-000000000000", delete=True)


def test_a_damaged_list_is_not_obeyed_nor_passed_over(client: MakeClient) -> None:
    """A flipped bit in it could hide a pack: push refuses, naming it."""
    one = client("one")
    record = CondemnedRecord(one[1].remote_uuid or "", 1, ("00000000-0000-4000-8000-000000000001",))
    data = record.to_bytes().replace(b"000001", b"000002", 1)
    one[2].inner.put(record.key, data)
    entry = one[0].add(one[1], "x", 1, commit=True)
    with pytest.raises(IntegrityError, match="condemned-0000000001"):
        push(Binding.of(*one), [entry])


def test_a_container_that_built_on_condemned_packs_is_published_whole(
    client: MakeClient, tmp_path: Path
) -> None:
    """Its staging waited while a clean-up went by: the packs it named are copied in time."""
    one, job = client("one"), client("job")
    value = {"a": os.urandom(20_000)}
    first = sent(one, "x", value)
    pull_latest(Binding.of(*job), "x")
    staging = FileRemote(f"file://{tmp_path}/staging/run")
    staging.root.mkdir(parents=True)
    store, context, remote = job
    localise(store, remote, [first.bundle])
    entry = store.add(context, "out", value, commit=True)
    push(Binding.of(store, context, OverlayRemote(remote, staging)), [entry])
    assert not list(staging.list("packs/")), "it built on what was there"
    removed(one, first)
    swept(one)
    assert publish(remote.inner, staging) == [entry.bundle.id]
    swept(one, TWO_WINDOWS_S)
    three = client("three")
    assert value_of(three, pull_latest(Binding.of(*three), "out")) == value


def _push_and_remove(folder: Path, url: str, name: str, count: int) -> None:
    """One machine of the race: what it pushes is used by others too, and given up at times."""
    store = Store.open(folder / name)
    remote = remote_at(url)
    context = bind(store, store.contexts.create("work"), remote)
    shared = [bytes([n]) * 20_000 for n in range(6)]
    mine: list[Entry] = []
    for n in range(count):
        value = {"a": shared[n % 6], "b": shared[(n * 5 + 1) % 6], "own": os.urandom(2000)}
        entry = store.add(context, "x", value, tags={"by": name}, commit=True)
        for _ in range(5):
            try:
                push(Binding.of(store, context, remote), [entry])
                break
            except RemoteError:
                continue  # too slow for so small a window
        mine.append(store.catalog.by_id(context, entry.bundle.id) or entry)
        if n % 3 != 2:
            forget(Binding.of(store, context, remote), [mine.pop(0)])
    store.close()


@pytest.mark.timeout(240)
def test_pushes_beside_clean_ups_lose_nothing(url: str, tmp_path: Path) -> None:
    """Four machines push and give up while another cleans up with no grace and a window of a
    second: at the end every version that is left is whole."""
    base = Store.open(tmp_path / "gc")
    remote = remote_at(url)
    context = bind(base, base.contexts.create("work"), remote, window_s=1)
    uuid = context.remote_uuid or ""
    fork = multiprocessing.get_context("spawn")
    pushers = [
        fork.Process(target=_push_and_remove, args=(tmp_path, url, f"m{n}", 15)) for n in range(4)
    ]
    for process in pushers:
        process.start()
    deleted = 0
    while any(process.is_alive() for process in pushers):
        report = collect(remote, uuid, grace_s=0.0, delete=True)
        deleted += sum(each.count for each in report.swept if each.kind == "packs")
        time.sleep(0.2)
    assert [process.exitcode for process in pushers] == [0] * 4
    for _ in range(2):
        time.sleep(4.5)
        report = collect(remote, uuid, grace_s=0.0, delete=True)
        deleted += sum(each.count for each in report.swept if each.kind == "packs")
    assert deleted > 0, "the clean-up had something to do"
    entries = pull_all(Binding.of(base, context, remote), all_versions=True)
    assert len(entries) == 4 * 5
    for entry in entries:
        localise(base, remote, [entry.bundle])
        assert set(base.value(entry.bundle)) == {"a", "b", "own"}  # type: ignore[call-overload]
    base.close()
