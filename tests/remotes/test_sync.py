"""Push and pull between stores that share nothing but a remote: a folder, and real S3."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bundlerun.bundles.lineage import Lineage, Parent, ReuseKey
from bundlerun.bundles.record import new_id
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import (
    BundleNotFound,
    IntegrityError,
    NoRemote,
    NotCommitted,
    OtherRemote,
    RemoteChanged,
    RemoteUnreachable,
)
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import fetcher, localise
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all, pull_id, pull_latest
from bundlerun.remotes.push import find_reuse, in_order, push
from bundlerun.remotes.versions import newest_number
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store
from tests.remotes.conftest import Client, remote_at
from tests.remotes.watched import Lossy
from tests.remotes.withdraw import withdraw

MakeClient = Callable[[str], Client]


def add(client: Client, name: str, value: object, **options: object) -> Entry:
    """A committed bundle."""
    store, context, _ = client
    return store.add(context, name, value, **{"commit": True, **options})  # type: ignore[arg-type]


def send(client: Client, *entries: Entry) -> list[str]:
    """Push; the ids that became versions."""
    store, context, remote = client
    return [bundle.id for bundle in push(Binding.of(store, context, remote), entries).bundles]


def value_of(client: Client, entry: Entry) -> object:
    """The value, once every byte of it was brought."""
    store, _, remote = client
    localise(store, remote, [entry.bundle])
    return store.value(entry.bundle)


def versions(client: Client, name: str) -> list[int]:
    """The numbers on the remote, newest first."""
    return [standing.n for standing in version_infos(client[2], name)]


def folder_of_files(path: Path, count: int, size: int) -> Path:
    """A folder of files with different random bytes."""
    path.mkdir()
    for number in range(count):
        (path / f"{number:04}.bin").write_bytes(os.urandom(size))
    return path


def test_a_value_goes_there_and_comes_back_equal(client: MakeClient, tmp_path: Path) -> None:
    """Another machine gets by name what this one pushed: record, lineage, tags and bytes."""
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(9 << 20))
    value = {
        "numbers": list(range(1000)),
        "text": "x" * 100_000,
        "none": None,
        "empty": File(write(tmp_path / "empty", b"")),
        "file": File(write(tmp_path / "a.txt", b"content")),
        "large": File(large),
        "folder": Directory(folder_of_files(tmp_path / "folder", 5, 1000)),
    }
    one, two = client("one"), client("two")
    entry = add(one, "data", value, tags={"year": "2013"}, lineage=Lineage(pipe="m.Pipe"))
    assert send(one, entry) == [entry.bundle.id]
    pulled = pull_latest(Binding.of(*two), "data")
    assert pulled.bundle == entry.bundle
    assert (pulled.version, pulled.pushed, pulled.committed) == (1, True, True)
    assert two[0].absent(pulled.bundle.root)
    assert value_of(two, pulled) == value
    assert not two[0].absent(pulled.bundle.root)


def test_bytes_come_when_they_are_touched(client: MakeClient, tmp_path: Path) -> None:
    """Without localise a value is read through its fetcher, and large files stay away till then."""
    large = write(tmp_path / "large.bin", os.urandom(20 << 20))
    one, two = client("one"), client("two")
    send(one, add(one, "data", {"worst": 3.2, "large": File(large)}))
    store, context, remote = two
    bundle = pull_latest(Binding.of(store, context, remote), "data").bundle
    remote.forget()
    value = store.value(bundle, fetcher(store, remote, bundle))
    assert value["worst"] == 3.2  # type: ignore[index]
    assert remote.received < 10_000
    assert value["large"].read_bytes() == large.read_bytes()  # type: ignore[index]


def test_requests_and_bytes_stay_within_what_is_promised(
    client: MakeClient, tmp_path: Path
) -> None:
    """1,000 files: 4 requests there, then 1 for nothing; 4 and 30 KB for one change; few back."""
    folder = folder_of_files(tmp_path / "folder", 1000, 10_240)
    one = client("one")
    first = add(one, "data", Directory(folder))
    send(one, first)
    assert len(one[2].requests) == 4
    one[2].forget()
    assert send(one, first) == []
    assert one[2].requests == [("list", "meta/")]

    (folder / "0500.bin").write_bytes(os.urandom(10_240))
    second = add(one, "data", Directory(folder))
    one[2].forget()
    send(one, second)
    assert len(one[2].requests) == 4
    assert one[2].sent <= 30_000

    two = client("two")
    pulled = pull_latest(Binding.of(*two), "data")
    assert len(two[2].requests) == 3
    assert value_of(two, pulled) == Directory(folder)
    assert len(two[2].requests) <= 8
    two[2].forget()
    localise(two[0], two[2], [pulled.bundle])
    assert two[2].requests == []


def test_the_second_version_downloads_only_its_change(client: MakeClient, tmp_path: Path) -> None:
    """Who has version 1 fetches what is new in version 2."""
    folder = folder_of_files(tmp_path / "folder", 200, 10_240)
    one, two = client("one"), client("two")
    send(one, add(one, "data", Directory(folder)))
    value_of(two, pull_latest(Binding.of(*two), "data"))
    (folder / "0100.bin").write_bytes(b"new")
    send(one, add(one, "data", Directory(folder)))
    two[2].forget()
    assert value_of(two, pull_latest(Binding.of(*two), "data")) == Directory(folder)
    assert two[2].received < 60_000


def test_more_bundles_cost_two_requests_each(client: MakeClient) -> None:
    """Ten bundles go in one pack: meta, pack, and two for each."""
    one = client("one")
    entries = [add(one, f"name-{n}", {"n": n}) for n in range(10)]
    assert len(send(one, *entries)) == 10
    assert len(one[2].requests) == 2 + 2 * 10


def test_older_versions_and_ancestors_go_first(client: MakeClient) -> None:
    """The versions of a name in commit order, what a bundle was made of before it, all at once."""
    one = client("one")
    raw = add(one, "raw", 1)
    old = add(one, "out", 0)
    parents = (
        Parent("pipeline_input", "raw", raw.bundle.id, raw.bundle.root.digest),
        Parent("gone", "never", new_id(), raw.bundle.root.digest),
    )
    out = add(one, "out", 2, lineage=Lineage(pipe="m.P", parents=parents))
    assert send(one, out) == [old.bundle.id, raw.bundle.id, out.bundle.id]
    assert versions(one, "out") == [2, 1]
    two = client("two")
    assert {e.bundle.id for e in pull_all(Binding.of(*two))} == {raw.bundle.id, out.bundle.id}


def test_a_long_chain_of_ancestors_is_put_in_order(tmp_path: Path) -> None:
    """Each bundle made of the one before it, deeper than Python recurses."""
    store = Store.open(tmp_path / "store")
    context = store.contexts.create("work")
    entry = store.add(context, "n", 0, commit=True)
    ids = [entry.bundle.id]
    for number in range(1, 1100):
        parent = Parent("before", entry.bundle.name, entry.bundle.id, entry.bundle.root.digest)
        lineage = Lineage(pipe="m.P", parents=(parent,))
        made = replace(entry.bundle, id=new_id(), name=f"n{number}", lineage=lineage)
        entry = store.add_root(context, made, commit=True)
        ids.append(made.id)
    assert [found.bundle.id for found in in_order(store, context, [entry])] == ids


def test_only_committed_bundles_leave(client: MakeClient) -> None:
    """An uncommitted one is refused with the command that commits it, and nothing is asked."""
    one = client("one")
    scratch = add(one, "data", 1, commit=False)
    with pytest.raises(NotCommitted, match="bundlerun commit data"):
        send(one, scratch)
    assert one[2].requests == []


def test_a_context_without_a_remote_says_how_to_bind_one(client: MakeClient) -> None:
    """Push and pull name the command."""
    store, _, remote = client("one")
    alone = store.contexts.create("alone")
    with pytest.raises(NoRemote, match="bundlerun remote alone"):
        push(Binding.of(store, alone, remote), [])
    with pytest.raises(NoRemote, match="bundlerun remote alone"):
        pull_latest(Binding.of(store, alone, remote), "data")


def test_names_are_exact_on_a_remote(client: MakeClient) -> None:
    """Dots, quotes, percent signs, slashes and capitals: each its own name, none a prefix."""
    names = ["a", "A", "a.b", "a/b", "..", "a%2Fb", "it's", 'q"', "ä", "a+x", "a*"]
    one, two = client("one"), client("two")
    send(one, *(add(one, name, name) for name in names))
    for name in names:
        assert value_of(two, pull_latest(Binding.of(*two), name)) == name
    assert sorted(e.bundle.name for e in pull_all(Binding.of(*client("three")))) == sorted(names)
    with pytest.raises(BundleNotFound, match="has no bundle 'b'"):
        pull_latest(Binding.of(*two), "b")


def test_latest_is_the_highest_version_then_ones_own(client: MakeClient) -> None:
    """Two machines: what is on the remote counts for both, what is unpushed for its own."""
    one, two = client("one"), client("two")
    send(one, add(one, "data", "one"))
    pulled = pull_latest(Binding.of(*two), "data")
    mine = add(two, "data", "two")
    assert two[0].catalog.get(two[1], "data").bundle.id == mine.bundle.id
    send(one, add(one, "data", "one again"))
    assert pull_latest(Binding.of(*two), "data").version == 2
    assert two[0].catalog.get(two[1], "data").bundle.id == mine.bundle.id
    send(two, mine)
    assert versions(one, "data") == [3, 2, 1]
    assert pull_latest(Binding.of(*one), "data").bundle.id == mine.bundle.id
    assert one[0].catalog.get(one[1], "data").bundle.id == mine.bundle.id
    assert pulled.version == 1


def test_a_removed_version_is_never_the_latest_again(client: MakeClient) -> None:
    """For the one who removed it and for others, who had it; its number is not used anew."""
    one, two = client("one"), client("two")
    first, second = add(one, "data", 1), add(one, "data", 2)
    send(one, second)
    pull_latest(Binding.of(*two), "data")
    withdraw(*one, one[0].catalog.by_id(one[1], second.bundle.id))  # type: ignore[arg-type]
    assert pull_latest(Binding.of(*two), "data").bundle.id == first.bundle.id
    assert two[0].catalog.get(two[1], "data").bundle.id == first.bundle.id
    send(two, add(two, "data", 3))
    assert versions(two, "data") == [3, 2, 1]


def test_tags_set_later_reach_others(client: MakeClient) -> None:
    """Tags of several machines come together; the push of tags alone sends no bytes."""
    one, two, three = client("one"), client("two"), client("three")
    entry = add(one, "data", 1, tags={"a": "1"})
    send(one, entry)
    pull_latest(Binding.of(*two), "data")
    one[0].catalog.tag(one[1], entry.bundle.id, {"b": "2"})
    two[0].catalog.tag(two[1], entry.bundle.id, {"c": "3", "a": "9"})
    for client_ in (one, two):
        store, context, _ = client_
        send(client_, store.catalog.get(context, "data"))
    one[2].forget()
    send(one, one[0].catalog.get(one[1], "data"))
    assert len(one[2].requests) == 1
    for client_ in (three, one):
        tags = pull_latest(Binding.of(*client_), "data").bundle.tags
        assert tags == {"a": "9", "b": "2", "c": "3"}
        assert pull_all(Binding.of(*client_))[0].bundle.tags == tags


def test_a_bundle_is_pulled_by_its_id(client: MakeClient) -> None:
    """With its version number, so that it is never pushed as another; an unknown id is an error."""
    one, two = client("one"), client("two")
    entries = [add(one, "data", n) for n in range(4)]
    send(one, *entries)
    for n, entry in enumerate(entries, start=1):
        pulled = pull_id(Binding.of(*two), entry.bundle.id)
        assert (pulled.version, pulled.bundle) == (n, entry.bundle)
    assert two[0].catalog.unpushed(two[1], "data") == []
    with pytest.raises(BundleNotFound):
        pull_id(Binding.of(*two), new_id())


def test_all_versions_come_when_they_are_asked_for(client: MakeClient) -> None:
    """Else the newest of each name; the second time only the listing is read."""
    one, two = client("one"), client("two")
    send(one, *(add(one, name, n) for n in range(3) for name in ("a", "b")))
    latest = pull_all(Binding.of(*two))
    assert sorted((e.bundle.name, e.version) for e in latest) == [("a", 3), ("b", 3)]
    every = pull_all(Binding.of(*two), all_versions=True)
    assert len(every) == 6
    two[2].forget()
    assert len(pull_all(Binding.of(*two), all_versions=True)) == 6
    assert two[2].requests == [("list", "meta/"), ("list", "v/")]


def test_a_value_that_is_there_is_a_new_version_without_bytes(client: MakeClient) -> None:
    """A new bundle over the root of a pulled one: no pack goes, and others can read it."""
    one, two, three = client("one"), client("two"), client("three")
    send(one, add(one, "data", {"x": "y" * 100_000}))
    pulled = pull_latest(Binding.of(*two), "data")
    again = two[0].add_root(
        two[1], replace(pulled.bundle, id=new_id(), name="other", tags={}), commit=True
    )
    two[2].forget()
    send(two, again)
    assert [verb for verb, _ in two[2].requests] == ["list", "create", "create"]
    assert value_of(three, pull_latest(Binding.of(*three), "other")) == {"x": "y" * 100_000}
    assert value_of(two, again) == {"x": "y" * 100_000}


def test_a_bundle_inside_a_value_goes_along(client: MakeClient) -> None:
    """Its bytes are reachable, so they are pushed and localised with the value."""
    one, two, three = client("one"), client("two"), client("three")
    inner = add(one, "inner", {"text": "inner" * 10_000})
    send(one, inner)
    pulled = pull_latest(Binding.of(*two), "inner")
    outer = add(two, "outer", {"made of": pulled.bundle, "n": 1})
    send(two, outer)
    found = value_of(three, pull_latest(Binding.of(*three), "outer"))
    assert found == {"made of": pulled.bundle, "n": 1}
    assert not three[0].absent(inner.bundle.root)


def test_equal_work_is_found_by_its_key(client: MakeClient) -> None:
    """By the task's key and by the request's; the newest wins; unknown keys give nothing."""
    one = client("one")
    task, request = ReuseKey({"pipe": "m.P", "input": "1"}), ReuseKey({"pipe": "m.P"})
    lineage = Lineage(pipe="m.P", task=task, request=request)
    first = add(one, "out", 1, lineage=lineage)
    send(one, first)
    assert find_reuse(one[2], task) == find_reuse(one[2], request) == first.bundle.id
    second = add(one, "out", 2, lineage=replace(lineage, request=None))
    send(one, second)
    assert find_reuse(one[2], task) == second.bundle.id
    assert find_reuse(one[2], request) == first.bundle.id
    assert find_reuse(one[2], ReuseKey({"pipe": "m.Q"})) is None


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("prefix", ["b/", "v/"])
def test_a_lost_answer_makes_no_second_version(
    client: MakeClient, prefix: str, repeats: bool
) -> None:
    """The write was done, its answer lost: the same push or the next one finds its own work."""
    one = client("one")
    entry = add(one, "data", {"n": 1})
    lossy = Lossy(one[2].inner, prefix, repeats=repeats)
    if repeats:
        push(Binding.of(one[0], one[1], lossy), [entry])
    else:
        with pytest.raises(RemoteUnreachable):
            push(Binding.of(one[0], one[1], lossy), [entry])
        # Meanwhile somebody else writes versions of the name.
        other = client("other")
        send(other, add(other, "data", "other"), add(other, "data", "another"))
        send(one, entry)
    ids = [pull_id(Binding.of(*client("two")), entry.bundle.id).version]
    assert len(ids) == 1
    every = pull_all(Binding.of(*client("three")), all_versions=True)
    assert [e.bundle.id for e in every].count(entry.bundle.id) == 1
    assert sorted(e.version or 0 for e in every) == list(range(1, len(every) + 1))
    assert one[0].catalog.unpushed(one[1], "data") == []


def test_a_retried_job_adopts_what_its_first_attempt_wrote(client: MakeClient) -> None:
    """Two attempts at one promised id with different results: the first stands for both."""
    one, two = client("one"), client("two")
    id = new_id()
    first = add(one, "out", "first attempt", id=id)
    send(one, first)
    second = add(two, "out", "second attempt", id=id)
    assert push(Binding.of(*two[:3]), [second]).bundles[0].root == first.bundle.root
    assert versions(one, "out") == [1]
    kept = two[0].catalog.by_id(two[1], id)
    assert kept is not None
    assert (kept.bundle.root, kept.version) == (first.bundle.root, 1)
    assert value_of(two, kept) == "first attempt"


def test_a_push_that_broke_off_sends_the_rest_only(client: MakeClient, tmp_path: Path) -> None:
    """Packs that arrived are not sent again."""
    one = client("one")
    large = write(tmp_path / "large", os.urandom(9 << 20))
    entry = add(one, "data", {"large": File(large)})
    lossy = Lossy(one[2].inner, "b/", repeats=False)
    with pytest.raises(RemoteUnreachable):
        push(Binding.of(one[0], one[1], lossy), [entry])
    report = push(Binding.of(*one), [entry])
    assert (report.packs, report.bytes) == (0, 0)
    assert [bundle.id for bundle in report.bundles] == [entry.bundle.id]


def test_many_small_pushes_are_gathered_into_one_pack(client: MakeClient) -> None:
    """A version in more than 16 thin packs is sent anew as one, so pulling it stays cheap."""
    one, two = client("one"), client("two")
    value: dict[str, bytes] = {}
    for n in range(20):
        value[f"part-{n}"] = os.urandom(3000)
        send(one, add(one, "data", dict(value)))
    pulled = pull_latest(Binding.of(*two), "data")
    two[2].forget()
    assert value_of(two, pulled) == value
    packs = {key for _, key in two[2].requests if key.startswith("packs/")}
    assert len(packs) <= 17


def write_versions(url: str, store: Path, count: int) -> None:
    """What each process of the next test does: ``count`` versions, pushed one by one."""
    opened = Store.open(store)
    remote = remote_at(url)
    context = bind(opened, opened.contexts.create("work"), remote)
    for number in range(count):
        value = f"{store.name} {number}"
        push(Binding.of(opened, context, remote), [opened.add(context, "data", value, commit=True)])
    opened.close()


def test_eight_processes_write_one_name_without_loss(
    client: MakeClient, url: str, tmp_path: Path
) -> None:
    """All versions are there, each once, with numbers from 1 without a hole."""
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=write_versions, args=(url, tmp_path / f"writer-{n}", 3))
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    reader = client("reader")
    every = pull_all(Binding.of(*reader), all_versions=True)
    assert sorted(entry.version or 0 for entry in every) == list(range(1, 25))
    found = {value_of(reader, entry) for entry in every}
    assert found == {f"writer-{n} {k}" for n in range(8) for k in range(3)}
    assert newest_number(reader[2], "data") == 24


def test_a_vanished_remote_is_an_error_even_with_nothing_to_send(
    client: MakeClient, url: str, request: pytest.FixtureRequest
) -> None:
    """A folder or a bucket that is gone never looks like "all is there"."""
    one = client("one")
    entry = add(one, "data", 1)
    send(one, entry)
    remove_place(url, request)
    for act in (
        lambda: push(Binding.of(*one), []),
        lambda: push(Binding.of(*one), [entry]),
        lambda: pull_latest(Binding.of(*one), "data"),
        lambda: pull_all(Binding.of(*one)),
    ):
        with pytest.raises(RemoteUnreachable):
            act()


def test_an_emptied_or_other_remote_is_noticed(
    client: MakeClient, url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nothing there, then another remote at the same address: told, and nothing is written."""
    one = client("one")
    entry = add(one, "data", 1)
    send(one, entry)
    one[2].inner.delete([found.key for found in one[2].inner.list("")])
    for act in (
        lambda: push(Binding.of(*one), [entry]),
        lambda: pull_latest(Binding.of(*one), "data"),
    ):
        with pytest.raises(RemoteChanged, match="bundlerun remote"):
            act()
    other = client("other")
    send(other, add(other, "data", "other"))
    store, context, remote = one
    fresh = add(one, "data", 2)
    for act in (
        lambda: push(Binding.of(store, context, remote), [fresh]),
        lambda: pull_latest(Binding.of(store, context, remote), "data"),
        lambda: pull_all(Binding.of(store, context, remote)),
        lambda: pull_id(Binding.of(store, context, remote), entry.bundle.id),
    ):
        with pytest.raises(RemoteChanged):
            act()
    assert versions(other, "data") == [1]
    with pytest.raises(OtherRemote, match="another remote than the one now at"):
        bind(store, context, remote)
    again = bind(store, context, remote, rebind=True)
    assert len(push(Binding.of(store, again, remote), [fresh]).bundles) == 2
    assert versions(other, "data") == [3, 2, 1]


def test_a_remote_that_was_rolled_back_is_noticed(client: MakeClient) -> None:
    """Versions that were seen here and are gone there are no reason to go back silently."""
    one = client("one")
    send(one, add(one, "data", 1), add(one, "data", 2))
    newest = next(found.key for found in one[2].list("v/data/"))
    one[2].delete([newest])
    with pytest.raises(RemoteChanged, match="rolled back"):
        pull_latest(Binding.of(*one), "data")


def test_binding_twice_finds_the_same_remote(client: MakeClient) -> None:
    """The uuid is the remote's, whoever asks; what is checked leaves no litter but its marker."""
    one, two = client("one"), client("two")
    assert one[1].remote_uuid == two[1].remote_uuid
    assert len(list(one[2].list("meta/"))) == 3


def test_damaged_bytes_of_this_disk_are_not_sent(client: MakeClient, tmp_path: Path) -> None:
    """A large file that rotted here is found before it leaves, and no version is written."""
    one = client("one")
    entry = add(one, "data", {"large": File(write(tmp_path / "large", os.urandom(9 << 20)))})
    (file,) = [p for p in (one[0].path / "objects").glob("??/*") if p.stat().st_size > 9 << 19]
    file.chmod(0o644)
    with file.open("r+b") as handle:
        handle.write(b"rotten")
    with pytest.raises(IntegrityError, match="damaged"):
        send(one, entry)
    assert versions(one, "data") == []


def write(path: Path, data: bytes) -> Path:
    """The path, written."""
    path.write_bytes(data)
    return path


def remove_place(url: str, request: pytest.FixtureRequest) -> None:
    """The folder or the bucket goes away as a whole."""
    if url.startswith("file:"):
        folder = remote_at(url).root  # type: ignore[attr-defined]
        folder.rename(folder.with_name("moved away"))
        return
    from tests import services

    bucket = url.split("/")[2]
    services.empty_and_delete(request.getfixturevalue("s3_server").client(), bucket)
