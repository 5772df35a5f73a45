"""Many small objects: packs of this disk go as they are, and come as they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.value.files import Directory
from bundlerun.errors import IntegrityError
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.pull import pull_latest
from bundlerun.remotes.push import PushReport, push
from bundlerun.store.rows import Entry
from tests.remotes.conftest import Client

MakeClient = Callable[[str], Client]

COUNT = 600
SIZE = 60_000


def folder(path: Path) -> Directory:
    """Some 36 MB in small files: two local packs and a rest."""
    path.mkdir()
    for number in range(COUNT):
        (path / f"{number:04}").write_bytes(os.urandom(SIZE))
    return Directory(path)


def sent(client: Client, *entries: Entry) -> PushReport:
    """Push them."""
    store, context, remote = client
    return push(Binding.of(store, context, remote), entries)


def brought(client: Client, name: str = "data") -> object:
    """The newest version, bytes and all."""
    store, context, remote = client
    bundle = pull_latest(Binding.of(store, context, remote), name).bundle
    localise(store, remote, [bundle])
    return store.value(bundle)


def packs(client: Client) -> list[bytes]:
    """The bytes of the local packs."""
    return [path.read_bytes() for path in sorted((client[0].path / "packs").glob("*"))]


def on_remote(client: Client) -> dict[str, bytes]:
    """The bytes of the remote's packs."""
    remote = client[2].inner
    return {entry.key: remote.get(entry.key) or b"" for entry in remote.list("packs/")}


def test_a_local_pack_goes_and_comes_as_it_is(client: MakeClient, tmp_path: Path) -> None:
    """Byte for byte, a request each; under a key of its own, since no key is used twice."""
    one, two = client("one"), client("two")
    store, context, remote = one
    value = folder(tmp_path / "folder")
    report = sent(one, store.add(context, "data", value, commit=True))
    assert (report.packs, len(packs(one))) == (3, 2)
    # meta, three packs, the record and the version.
    assert len(remote.requests) == 6
    there = on_remote(one)
    assert set(packs(one)) < set(there.values())
    names = {path.name for path in (store.path / "packs").iterdir()}
    assert not names & {key.removeprefix("packs/") for key in there}

    two[2].forget()
    assert brought(two) == value
    assert len(two[2].requests) <= 3 + 1 + 4
    assert set(packs(one)) <= set(packs(two))


def test_of_a_pack_that_is_known_in_part_the_rest_goes_alone(
    client: MakeClient, tmp_path: Path
) -> None:
    """What the remote has of other bundles is not sent again, and nobody asks for single files."""
    one = client("one")
    store, context, remote = one
    value = folder(tmp_path / "folder")
    some = Directory(tmp_path / "some")
    (tmp_path / "some").mkdir()
    for name in value.files()[::2]:
        os.link(value.path / name, some.path / name)
    whole = store.add(context, "whole", value, commit=True)
    sent(one, store.add(context, "some", some, commit=True))
    remote.forget()
    report = sent(one, whole)
    assert report.bytes < COUNT // 2 * SIZE + 200_000
    assert remote.sent < COUNT // 2 * SIZE + 250_000
    assert {verb for verb, _ in remote.requests} == {"list", "put", "create"}
    assert len(remote.requests) == 1 + report.packs + 2
    assert brought(client("two"), "whole") == value


def test_small_files_are_stored_once_for_all_names_versions_and_contexts(
    client: MakeClient, tmp_path: Path
) -> None:
    """From a pulled bundle too: what is known of the remote says so, without a request."""
    one, two = client("one"), client("two")
    value = folder(tmp_path / "folder")
    sent(one, one[0].add(one[1], "data", value, commit=True))
    assert brought(two) == value
    for store, context, remote in (one, two):
        remote.forget()
        entry = store.add(context, f"other-{store.path.name}", [value], commit=True)
        report = sent((store, context, remote), entry)
        assert report.bytes < 2_000
        assert len(remote.requests) == 4


def test_a_damaged_local_pack_is_not_sent(client: MakeClient, tmp_path: Path) -> None:
    """The member is named, and no version is made."""
    one = client("one")
    store, context, remote = one
    entry = store.add(context, "data", folder(tmp_path / "folder"), commit=True)
    path = sorted((store.path / "packs").iterdir())[0]
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(70_000)
        file.write(b"other")
    with pytest.raises(IntegrityError, match="on this disk are damaged"):
        sent(one, entry)
    assert list(remote.list("v/")) == []
