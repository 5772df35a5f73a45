"""What is brought of a value, and at how many requests, however large the remote is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.bundles.value import links
from bundlerun.bundles.value.files import Directory, File
from bundlerun.bundles.value.view import MappingView
from bundlerun.errors import BundleNotFound
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import fetcher, localise_parts
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import bundle_key
from bundlerun.remotes.pull import pull_all, pull_latest
from bundlerun.remotes.push import push
from bundlerun.remotes.records import PushedBundle, VersionRecord
from bundlerun.store import stat_cache
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store
from tests.conftest import Disk
from tests.remotes.conftest import Client

MakeClient = Callable[[str], Client]


def sent(client: Client, name: str, value: object) -> Entry:
    """A committed bundle that was pushed."""
    store, context, remote = client
    entry = store.add(context, name, value, commit=True)
    push(Binding.of(store, context, remote), [entry])
    remote.forget()
    return entry


def folder_of_files(path: Path, count: int, size: int) -> Path:
    """A folder of folders of files with different random bytes."""
    for number in range(count):
        file = path / f"part{number % 10}" / f"{number:05}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(size))
    return path


def test_a_part_is_brought_and_not_the_rest(client: MakeClient, tmp_path: Path) -> None:
    """Of 10 MB the tenth that fits, with the nodes that lead there; again costs nothing."""
    folder = folder_of_files(tmp_path / "folder", 1000, 10_240)
    (tmp_path / "large.bin").write_bytes(os.urandom(9 << 20))
    one, two = client("one"), client("two")
    sent(one, "data", {"images": Directory(folder), "large": File(tmp_path / "large.bin")})
    store, context, remote = two
    bundle = pull_latest(Binding.of(store, context, remote), "data").bundle
    remote.forget()
    localise_parts(store, remote, bundle, ["images/part3/*"])
    assert remote.received < 1_500_000
    assert len(remote.requests) <= 8
    absent = store.absent(bundle.root)
    assert len([link for link in absent if link.size == 10_240]) == 900
    assert len([link for link in absent if link.size == 9 << 20]) == 1
    remote.forget()
    localise_parts(store, remote, bundle, ["images/part3/*", "images/part3/00013.bin"])
    assert remote.requests == []
    localise_parts(store, remote, bundle, ["large"])
    value = store.value(bundle)
    assert isinstance(value, dict)
    assert value["large"].read_bytes() == (tmp_path / "large.bin").read_bytes()
    with pytest.raises(BundleNotFound):
        value["images"].files()


def test_a_path_that_nothing_fits_brings_nothing_and_says_what_is_there(
    client: MakeClient, tmp_path: Path
) -> None:
    """One wrong pattern of two is enough."""
    one, two = client("one"), client("two")
    sent(one, "data", {"raw": {"flights.csv": b"f" * 5000}, "model": b"m" * 5000})
    store, context, remote = two
    bundle = pull_latest(Binding.of(store, context, remote), "data").bundle
    with pytest.raises(
        BundleNotFound, match=r"nothing at raw/flight.csv; it has .*raw/flights.csv"
    ):
        localise_parts(store, remote, bundle, ["model", "raw/flight.csv"])


def test_a_view_fetches_the_leaf_that_is_touched(client: MakeClient) -> None:
    """Of four large leaves one, at two requests beside those that find it."""
    one, two = client("one"), client("two")
    value = {name: os.urandom(3 << 20) for name in "abcd"}
    sent(one, "data", value)
    store, context, remote = two
    bundle = pull_latest(Binding.of(store, context, remote), "data").bundle
    remote.forget()
    seen = store.view(bundle, fetcher(store, remote, bundle))
    assert isinstance(seen, MappingView)
    assert list(seen) == list("abcd")
    assert remote.received < 100_000
    before = len(remote.requests)
    assert seen["c"] == value["c"]
    assert len(remote.requests) == before + 1
    assert 3 << 20 < remote.received < 4 << 20
    assert seen["c"] is seen["c"]
    assert seen.value == value
    remote.forget()
    assert store.view(bundle).value == value


def test_getting_a_value_with_many_nodes_asks_level_by_level(client: MakeClient) -> None:
    """4,000 nodes, and not a request each."""
    one, two = client("one"), client("two")
    value = {"rows": [{f"k{k}": f"{n}" * 20 for k in range(100)} for n in range(2000)]}
    sent(one, "data", value)
    store, context, remote = two
    bundle = pull_latest(Binding.of(store, context, remote), "data").bundle
    remote.forget()
    assert store.value(bundle, fetcher(store, remote, bundle)) == value
    assert len(remote.requests) <= 10
    three = client("three")
    store, context, remote = three
    bundle = pull_latest(Binding.of(store, context, remote), "data").bundle
    remote.forget()
    seen = store.view(bundle, fetcher(store, remote, bundle))
    assert isinstance(seen, MappingView)
    assert seen["rows"][1234].value == value["rows"][1234]
    assert len(remote.requests) <= 10
    assert remote.received < 1_000_000


def written(client: Client, name: str, first: int, last: int) -> None:
    """Versions from ``first`` to ``last``, their records written straight to the remote."""
    store, context, remote = client
    root = store.objects.put_bytes(b'{"format":1,"value":1}')
    assert context.remote_uuid is not None
    for n in range(first, last + 1):
        record = PushedBundle(BundleRecord(new_id(), name, root), n - 1, ())
        data = record.to_bytes()
        version = VersionRecord(context.remote_uuid, name, n, record.bundle.id, digest_of(data))
        for key, content in ((bundle_key(version.id), data), (version.key, version.to_bytes())):
            if isinstance(remote.inner, FileRemote):
                # Not synced one by one: that takes minutes.
                path = remote.inner.root / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            else:
                assert remote.inner.put_new(key, content)


@pytest.mark.parametrize(
    ("url", "count"),
    [
        pytest.param("file", 1000),
        pytest.param("s3", 1000, marks=[pytest.mark.service, pytest.mark.s3]),
        pytest.param("file", 20_000, marks=pytest.mark.slow),
    ],
    indirect=["url"],
)
def test_pull_by_name_costs_the_same_at_any_size_of_the_remote(
    client: MakeClient, count: int
) -> None:
    """One page of a listing and two records; older versions and other names are not seen."""
    one, two = client("one"), client("two")
    written(one, "other", 1, 20)
    written(one, "data", 1, count)
    store, context, remote = two
    entry = pull_latest(Binding.of(store, context, remote), "data")
    assert entry.version == count
    kinds = [kind for kind, _ in remote.requests]
    assert kinds == ["list", "get", "get"]
    remote.forget()
    assert pull_latest(Binding.of(store, context, remote), "data").bundle == entry.bundle
    assert len(remote.requests) == 2, "its record is here"


def test_pull_of_everything_costs_what_is_new(client: MakeClient) -> None:
    """Two records a version that is new; what is known is listed and not read."""
    one, two = client("one"), client("two")
    for name in ("a", "b"):
        written(one, name, 1, 120)
    store, context, remote = two
    assert len(pull_all(Binding.of(store, context, remote), all_versions=True)) == 240
    assert len([key for kind, key in remote.requests if kind == "get"]) == 2 * 240
    remote.forget()
    assert len(pull_all(Binding.of(store, context, remote), all_versions=True)) == 240
    assert {kind for kind, _ in remote.requests} == {"list"}
    assert len(remote.requests) <= 3
    written(one, "a", 121, 123)
    remote.forget()
    assert len(pull_all(Binding.of(store, context, remote), all_versions=True)) == 243
    assert len([key for kind, key in remote.requests if kind == "get"]) == 2 * 3
    assert len(remote.requests) <= 3 + 2 * 3


def test_one_changed_file_of_many_is_added_and_pushed_at_the_cost_of_one(
    client: MakeClient, disk: Disk
) -> None:
    """Of 3,000 files the changed one is read, and it and its nodes are sent."""
    folder = folder_of_files(disk.path / "folder", 3000, 100)
    time.sleep(stat_cache.YOUNG_NS / 1e9 + 0.1)
    made, work, counting = client("one")
    one = (Store.open(made.path, disk.settings), work, counting)
    sent(one, "data", Directory(folder))
    store, context, remote = one
    (folder / "part4" / "00004.bin").write_bytes(b"changed")
    hashed = [0]

    class Heard:
        """Progress that counts."""

        def start(self, what: str, total: int | None, unit: str) -> int:
            return 0

        def advance(self, bar: int, count: int) -> None:
            hashed[0] += count

        def finish(self, bar: int) -> None:
            return

        def line(self, text: str) -> None:
            return

    nodes = sum(len(store.objects.read(link)) for link in _nodes(one))
    entry = store.add(context, "data", Directory(folder), commit=True, progress=Heard())
    assert hashed[0] < nodes + 1000, "the nodes and the one file"
    push(Binding.of(store, context, remote), [entry])
    assert len(remote.requests) <= 4
    assert remote.sent < 40_000


def _nodes(client: Client) -> list[Link]:
    store, context, _ = client
    root = store.catalog.get(context, "data").bundle.root
    return [link for link, is_node in links(root, store.objects.find) if is_node]
