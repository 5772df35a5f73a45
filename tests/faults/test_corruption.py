"""Every pack, node and record of a remote in turn: flipped, cut, exchanged, gone. All is noticed,
what is damaged is named, nothing of it is kept, and the rest stays usable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.packs import members_of
from bundlerun.errors import BundlerunError, IntegrityError, RemoteChanged
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import bundle_key, version_key
from bundlerun.remotes.pull import pull_all, pull_id, pull_latest
from bundlerun.remotes.records import PushedBundle
from bundlerun.remotes.s3 import S3Remote
from bundlerun.store.remote_cache import Location, PackInfo
from bundlerun.store.store import Store
from tests.faults.damaged import GOOD, fill, held, id_of, opened, replaced
from tests.remotes.conftest import remote_at

Filled = tuple[Remote, dict[str, Any]]

BAD = "bad"
VERSION = version_key(BAD, 2)
TAGS = f"{VERSION}+t000001"
OLD_TAGS = f"{version_key(BAD, 1)}+t000001"


@pytest.fixture(scope="module", params=[False])
def template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A folder remote that is copied for each test; with a large file where the test says so."""
    folder = tmp_path_factory.mktemp("template")
    remote = FileRemote(f"file://{folder}/remote")
    return folder / "remote", fill(remote, folder, large=request.param)


@pytest.fixture
def filled(template: tuple[Path, dict[str, Any]], tmp_path: Path) -> Filled:
    """A folder remote of the test's own, and the newest value of "bad"."""
    shutil.copytree(template[0], tmp_path / "remote")
    return FileRemote(f"file://{tmp_path}/remote"), template[1]


def record_of(remote: Remote) -> PushedBundle:
    """The record of the newest version of "bad"."""
    id = id_of(remote, BAD, 2)
    return PushedBundle.from_bytes(remote.get(bundle_key(id)) or b"", id)


def packs_of(remote: Remote) -> list[PackInfo]:
    """The packs of the newest version of "bad"."""
    return [share.pack for share in record_of(remote).shares]


def members(remote: Remote, pack: PackInfo) -> list[Location]:
    """What a pack holds."""
    start = pack.size - pack.index_length
    return members_of(pack, remote.get(f"packs/{pack.uuid}", start, pack.index_length) or b"")


def flipped(data: bytes, place: int) -> bytes:
    """``data`` with a bit changed."""
    return data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]


def read_bad(path: Path, remote: Remote) -> object:
    """The newest value of "bad", in a new store, with all its bytes."""
    with opened(path, remote) as (store, context, _):
        bundle = pull_latest(Binding.of(store, context, remote), BAD).bundle
        localise(store, remote, [bundle])
        value = store.value(bundle)
        assert isinstance(value, dict)
        if "large" in value:
            value["large"].read_bytes()
        return value


def check_noticed(path: Path, remote: Remote, names: list[str], absent: set[Digest]) -> None:
    """A new reader: an error with one of ``names`` in it, one line; none of ``absent`` was kept;
    "good" is as it was."""
    with opened(path, remote) as (store, context, _):
        with pytest.raises((IntegrityError, RemoteChanged)) as caught:
            localise(store, remote, [pull_latest(Binding.of(store, context, remote), BAD).bundle])
        said = str(caught.value)
        assert any(name in said for name in names), said
        assert "\n" not in said
        assert not held(store) & absent
        good = pull_latest(Binding.of(store, context, remote), "good").bundle
        localise(store, remote, [good])
        assert store.value(good) == GOOD


def pack_damages(
    remote: Remote, pack: PackInfo, other: bytes
) -> Iterator[tuple[str, bytes | None, set[Digest]]]:
    """What may happen to a pack: its name, what is left of it, and which objects are lost."""
    data = remote.get(f"packs/{pack.uuid}") or b""
    found = members(remote, pack)
    every = {member.digest for member in found}
    for member in found:
        middle = member.offset + member.length // 2
        yield f"a bit of {member.digest}", flipped(data, middle), {member.digest}
    start = pack.size - pack.index_length
    for place in range(start, pack.size, 61):
        yield f"a bit of the index at {place}", flipped(data, place), set()
    if len(found) > 1:
        one, two = found[0], found[1]
        swapped = bytearray(data)
        swapped[one.offset : two.offset + two.length] = (
            data[two.offset : two.offset + two.length] + data[one.offset : two.offset]
        )
        yield "two members exchanged", bytes(swapped), {one.digest, two.digest}
    for length in (0, 1, pack.size // 3, start, pack.size - 1):
        yield f"cut after {length}", data[:length], every if length < 2 else set()
    yield "replaced by another", other, every
    yield "random bytes", os.urandom(pack.size), every
    yield "gone", None, every


def check_packs(filled: Filled, tmp_path: Path, every: int) -> int:
    """Each ``every``-th damage of each pack of "bad", then none; how many were tried."""
    remote, value = filled
    other = remote.get(f"packs/{other_pack(remote)}") or b""
    number = 0
    for pack in packs_of(remote):
        whole = remote.get(f"packs/{pack.uuid}")
        for what, data, lost in list(pack_damages(remote, pack, other))[::every]:
            number += 1
            replaced(remote, f"packs/{pack.uuid}", data)
            path = tmp_path / f"reader-{number}"
            try:
                check_noticed(path, remote, [pack.uuid, *lost], lost)
            except BaseException as error:
                raise AssertionError(f"{what}, pack {pack.uuid}") from error
            replaced(remote, f"packs/{pack.uuid}", whole)
            shutil.rmtree(path)
    assert read_bad(tmp_path / "after", remote) == value
    return number


def test_each_node_and_each_range_of_a_pack(filled: Filled, tmp_path: Path) -> None:
    """Each member, the index at every 61st byte, cuts, exchanges, another pack, none."""
    assert check_packs(filled, tmp_path, 1) > 80


@pytest.mark.parametrize("template", [True], indirect=True)
def test_packs_of_a_large_file(filled: Filled, tmp_path: Path) -> None:
    """The file, the digests of its parts, and what stands around them."""
    assert check_packs(filled, tmp_path, 4) > 15


def other_pack(remote: Remote) -> str:
    """The pack of "good"."""
    id = id_of(remote, "good")
    record = PushedBundle.from_bytes(remote.get(bundle_key(id)) or b"", id)
    return record.shares[0].pack.uuid


def test_what_was_missing_comes_once_it_is_mended(filled: Filled, tmp_path: Path) -> None:
    """The same store, after the damage of each pack was made good: only the lost bytes come."""
    remote, value = filled
    for number, pack in enumerate(packs_of(remote)):
        data = remote.get(f"packs/{pack.uuid}") or b""
        replaced(remote, f"packs/{pack.uuid}", flipped(data, len(data) // 2))
        path = tmp_path / f"reader-{number}"
        check_noticed(path, remote, [pack.uuid], set())
        replaced(remote, f"packs/{pack.uuid}", data)
        assert read_bad(path, remote) == value


def test_each_byte_of_each_record(filled: Filled, tmp_path: Path) -> None:
    """One bit of every byte of a version's record and its tags', of every third of its bundle's;
    cuts, other records in their place, and none: never is anything else believed."""
    remote, _ = filled
    bundle = bundle_key(id_of(remote, BAD, 2))
    exchanged = {
        bundle: [bundle_key(id_of(remote, BAD, 1)), bundle_key(id_of(remote, "good"))],
        VERSION: [version_key(BAD, 1), version_key("good", 1), "meta/remote"],
        TAGS: [OLD_TAGS, VERSION],
    }
    with opened(tmp_path / "reader", remote) as (store, _, _):
        for key, others in exchanged.items():
            whole = remote.get(key) or b""
            every = range(0, len(whole), 3 if key == bundle else 1)
            damages: list[bytes | None] = [flipped(whole, place) for place in every]
            damages += [whole[:length] for length in range(0, len(whole), 19)]
            damages += [whole + b"x", b"[]", b"{}", b"\xff" * 50, b"not JSON", b"null"]
            damages += [remote.get(other) for other in others]
            for data in [*damages, None]:
                replaced(remote, key, data)
                check_record_noticed(store, remote, key, bundle)
            replaced(remote, key, whole)
        context = bind(store, store.contexts.create("after"), remote)
        tags = pull_latest(Binding.of(store, context, remote), BAD).bundle.tags
        assert tags == {"a": "b", "later": "tag"}


def check_record_noticed(store: Store, remote: Remote, key: str, bundle: str) -> None:
    """A context that knows nothing is told; and may have "good"."""
    context = bind(store, store.contexts.create("fresh"), remote)
    try:
        data = remote.get(key)
        if data is None and key == VERSION:
            # Its tags alone say that it was there.
            assert remote.get(TAGS)
        if data is None and key == TAGS:
            # Who has not seen a setting of tags cannot miss it.
            pull_latest(Binding.of(store, context, remote), BAD)
            return
        with pytest.raises((IntegrityError, RemoteChanged)) as caught:
            pull_latest(Binding.of(store, context, remote), BAD)
        said = str(caught.value)
        assert key in said or bundle in said or isinstance(caught.value, RemoteChanged), said
        assert pull_latest(Binding.of(store, context, remote), "good").bundle.name == "good"
        assert store.catalog.find(context, BAD) is None
    finally:
        store.contexts.delete("fresh")


def test_each_byte_of_what_a_remote_says_of_itself(filled: Filled, tmp_path: Path) -> None:
    """A bit of any of them, and nobody new binds to it; who is bound already reads on."""
    remote, _ = filled
    whole = remote.get("meta/remote") or b""
    with opened(tmp_path / "reader", remote) as (store, context, _):
        new = store.contexts.create("new")
        for place in range(len(whole)):
            replaced(remote, "meta/remote", flipped(whole, place))
            with pytest.raises(IntegrityError, match="meta/remote"):
                bind(store, new, remote)
        assert pull_latest(Binding.of(store, context, remote), "good").bundle.name == "good"


def test_a_version_that_is_gone_is_missed(filled: Filled, tmp_path: Path) -> None:
    """The newest by who has seen it, an older one by who asks for every version."""
    remote, _ = filled
    with opened(tmp_path / "reader", remote) as (store, context, _):
        pull_latest(Binding.of(store, context, remote), BAD)
        replaced(remote, VERSION, None)
        remote.delete([TAGS])
        with pytest.raises(RemoteChanged, match="had 2 versions of 'bad' and has 1"):
            pull_latest(Binding.of(store, context, remote), BAD)
        with pytest.raises(RemoteChanged, match="had 2 versions"):
            pull_all(Binding.of(store, context, remote))


def test_a_hole_among_the_versions_is_missed(filled: Filled, tmp_path: Path) -> None:
    """Versions are never deleted, so a number that is not there was lost; the others come."""
    remote, _ = filled
    remote.delete([version_key(BAD, 1), OLD_TAGS])
    with opened(tmp_path / "reader", remote) as (store, context, _):
        assert pull_latest(Binding.of(store, context, remote), BAD).version == 2
        with pytest.raises(IntegrityError, match=version_key(BAD, 1)):
            pull_all(Binding.of(store, context, remote), all_versions=True)
        assert {e.bundle.name for e in store.catalog.latest(context)} == {"good", "bad"}


def test_a_wrong_record_by_its_id(filled: Filled, tmp_path: Path) -> None:
    """Who asks for a bundle by id is told as well."""
    remote, _ = filled
    id = id_of(remote, BAD, 2)
    whole = remote.get(bundle_key(id)) or b""
    with opened(tmp_path / "reader", remote) as (store, context, _):
        for place in range(0, len(whole), 3):
            replaced(remote, bundle_key(id), flipped(whole, place))
            with pytest.raises(IntegrityError, match=bundle_key(id)):
                pull_id(Binding.of(store, context, remote), id)
        assert store.catalog.by_id(context, id) is None


def test_a_sample_of_it_on_a_real_server(
    s3_env: dict[str, str], s3_bucket: str, tmp_path: Path
) -> None:
    """Nodes, an index, a cut, another pack, a record: the same on S3."""
    remote = remote_at(f"s3://{s3_bucket}/some/prefix")
    assert isinstance(remote, S3Remote)
    value = fill(remote, tmp_path, large=False)
    (pack,) = packs_of(remote)
    other = remote.get(f"packs/{other_pack(remote)}") or b""
    every = list(pack_damages(remote, pack, other))
    whole = remote.get(f"packs/{pack.uuid}")
    for number, (_, data, lost) in enumerate(every[::12] + every[-5:]):
        replaced(remote, f"packs/{pack.uuid}", data)
        check_noticed(tmp_path / f"reader-{number}", remote, [pack.uuid, *lost], lost)
    replaced(remote, f"packs/{pack.uuid}", whole)
    for key in (VERSION, bundle_key(id_of(remote, BAD, 2))):
        record = remote.get(key) or b""
        for number, data in enumerate((flipped(record, 30), record[:-1], b"not JSON", None)):
            if key == VERSION and data is None:
                continue
            replaced(remote, key, data)
            reader = tmp_path / f"{number}{key.replace('/', '-')}"
            check_noticed(reader, remote, [key, bundle_key("")], set())
        replaced(remote, key, record)
    assert read_bad(tmp_path / "after", remote) == value


def test_errors_of_damage_have_the_exit_code_of_damage(filled: Filled, tmp_path: Path) -> None:
    """7 for scripts, whichever room finds it."""
    remote, _ = filled
    pack = packs_of(remote)[0]
    remote.delete([f"packs/{pack.uuid}"])
    with pytest.raises(BundlerunError) as caught:
        read_bad(tmp_path / "reader", remote)
    assert caught.value.exit_code == 7
