"""What a container left in its staging folder: verified, then published, or refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import Lineage, Parent, ReuseKey
from bundlerun.bundles.record import new_id
from bundlerun.bundles.value.files import File
from bundlerun.errors import BundlerunError, IntegrityError, RemoteChanged, RemoteUnreachable
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all, pull_latest
from bundlerun.remotes.push import find_reuse, push
from bundlerun.remotes.staging import OverlayRemote, publish
from bundlerun.store.store import Store
from tests.remotes.conftest import Client
from tests.remotes.watched import Lossy

MakeClient = Callable[[str], Client]

KEY = ReuseKey({"pipe": "m.P"})


@pytest.fixture
def client_and_staging(client: MakeClient, tmp_path: Path) -> tuple[Client, FileRemote]:
    """A client whose input is on the remote, and what a container made of it in staging."""
    user = client("user")
    store, context, remote = user
    given = store.add(context, "in", {"n": 1}, commit=True)
    push(Binding.of(store, context, remote), [given])
    staging = FileRemote(f"file://{tmp_path}/run/staging")
    inside(tmp_path / "container", OverlayRemote(remote.inner, staging), tmp_path)
    remote.forget()
    return user, staging


def inside(path: Path, overlay: OverlayRemote, tmp_path: Path) -> None:
    """What the container does: pull the input, make two bundles, push them."""
    store = Store.open(path)
    overlay.prepare()
    context = bind(store, store.contexts.create("work"), overlay)
    given = pull_latest(Binding.of(store, context, overlay), "in").bundle
    localise(store, overlay, [given])
    large = tmp_path / "made"
    large.write_bytes(os.urandom(9 << 20))
    parent = Parent("pipeline_input", "in", given.id, given.root.digest)
    # Ids are of no help: in one millisecond they come in any order.
    late, early = (f"01a1f97b-ab2a-7{digit}56-b18c-0b3b973625f6" for digit in "98")
    before = store.add(context, "step", [1, 2, 3], id=late, commit=True)
    parents = (parent, Parent("step", "step", late, before.bundle.root.digest))
    lineage = Lineage(pipe="m.P", parents=parents, task=KEY)
    value = {"large": File(large), "n": 2}
    out = store.add(context, "out", value, id=early, lineage=lineage, commit=True)
    push(Binding.of(store, context, overlay), [before, out])
    store.close()


def test_staged_bundles_become_versions(
    client_and_staging: tuple[Client, FileRemote], client: MakeClient, tmp_path: Path
) -> None:
    """Values, lineage and reuse keys arrive; doing it again changes nothing."""
    user, staging = client_and_staging
    _, _, remote = user
    ids = publish(remote, staging)
    assert len(ids) == 2
    other = client("other")
    out = pull_latest(Binding.of(*other), "out")
    localise(other[0], other[2], [out.bundle])
    value = other[0].value(out.bundle)
    assert value["large"].read_bytes() == (tmp_path / "made").read_bytes()  # type: ignore[index]
    assert out.bundle.lineage.parents[0].name == "in"
    assert find_reuse(remote, KEY) == out.bundle.id
    assert publish(remote, staging) == ids
    assert [standing.n for standing in version_infos(remote, "out")] == [1]


def test_bundles_that_are_each_other_s_ancestors_are_refused(
    client: MakeClient, tmp_path: Path
) -> None:
    """Neither can go first."""
    _, _, remote = client("user")
    staging = FileRemote(f"file://{tmp_path}/run/staging")
    overlay = OverlayRemote(remote.inner, staging)
    overlay.prepare()
    store = Store.open(tmp_path / "container")
    context = bind(store, store.contexts.create("work"), overlay)
    ids = [new_id(), new_id()]
    for mine, other in zip(ids, reversed(ids), strict=True):
        parents = (Parent("x", "x", other, digest_of(b"")),)
        store.add(context, "x", [1], id=mine, lineage=Lineage(parents=parents))
    push(Binding.of(store, context, overlay), store.catalog.commit(context, ids))
    before = {entry.key for entry in remote.list("")}
    with pytest.raises(IntegrityError, match="ancestor"):
        publish(remote, staging)
    assert {entry.key for entry in remote.list("")} == before


def test_numbers_that_others_took_meanwhile_are_passed(
    client_and_staging: tuple[Client, FileRemote], client: MakeClient
) -> None:
    """The container saw no version of OUT; two came before its own is published."""
    user, staging = client_and_staging
    other = client("other")
    store, context, remote = other
    push(Binding.of(*other), [store.add(context, "out", n, commit=True) for n in range(2)])
    ids = publish(user[2], staging)
    assert [standing.n for standing in version_infos(remote, "out")] == [3, 2, 1]
    assert pull_latest(Binding.of(*other), "out").bundle.id == ids[-1]


@pytest.mark.parametrize("prefix", ["b/", "v/"])
def test_publishing_that_broke_off_goes_on(
    client_and_staging: tuple[Client, FileRemote], prefix: str
) -> None:
    """A lost answer, then the same again: each bundle is one version."""
    user, staging = client_and_staging
    remote = user[2]
    with pytest.raises(RemoteUnreachable):
        publish(Lossy(remote.inner, prefix, repeats=False), staging)
    publish(remote, staging)
    names = [(e.bundle.name, e.version) for e in pull_all(Binding.of(*user), all_versions=True)]
    assert sorted(names) == [("in", 1), ("out", 1), ("step", 1)]


def tampered(staging: FileRemote, prefix: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change the first object under ``prefix``."""
    key = next(entry.key for entry in staging.list(prefix))
    data = change(staging.get(key) or b"")
    staging.delete([key])
    if data is not None:
        staging.put(key, data)


@pytest.mark.parametrize(
    ("prefix", "change"),
    [
        ("packs/", lambda data: b"X" + data[1:]),
        ("packs/", lambda data: data[:-1]),
        ("packs/", lambda data: data + b"X"),
        ("packs/", lambda data: data[:-100] + b"X" * 100),
        ("packs/", lambda data: None),
        ("b/", lambda data: b"{}"),
        ("b/", lambda data: None),
        ("b/", lambda data: data.replace(b'"name":"', b'"name":"x')),
        ("v/", lambda data: b"{}"),
        ("v/", lambda data: data.replace(b'"n":1', b'"n":2')),
    ],
)
def test_a_tampered_staging_folder_is_refused(
    client_and_staging: tuple[Client, FileRemote],
    prefix: str,
    change: Callable[[bytes], bytes | None],
) -> None:
    """No record and no version of it gets to the remote, and no wrong pack."""
    user, staging = client_and_staging
    tampered(staging, prefix, change)
    before = {entry.key for entry in user[2].list("")}
    with pytest.raises(IntegrityError):
        publish(user[2], staging)
    new = {entry.key for entry in user[2].list("")} - before
    assert all(key.startswith("packs/") for key in new)
    for key in new:
        assert user[2].get(key) == staging.get(key)


def test_staged_links_are_not_followed(
    client_and_staging: tuple[Client, FileRemote], tmp_path: Path
) -> None:
    """A pack that is a link to a file of the client's is never read."""
    user, staging = client_and_staging
    (tmp_path / "secret").write_bytes(b"secret")
    key = next(entry.key for entry in staging.list("packs/"))
    staging.delete([key])
    (staging.root / key).symlink_to(tmp_path / "secret")
    with pytest.raises(BundlerunError):
        publish(user[2], staging)


def test_staging_for_another_remote_is_refused(
    client_and_staging: tuple[Client, FileRemote], tmp_path: Path
) -> None:
    """Its versions name the remote they were made for."""
    _, staging = client_and_staging
    store = Store.open(tmp_path / "elsewhere")
    remote = FileRemote(f"file://{tmp_path}/another")
    with pytest.raises((RemoteChanged, RemoteUnreachable)):
        publish(remote, staging)
    bind(store, store.contexts.create("work"), remote)
    with pytest.raises(RemoteChanged):
        publish(remote, staging)
    store.close()


def test_an_empty_staging_folder_publishes_nothing(client: MakeClient, tmp_path: Path) -> None:
    """A run that made nothing is no error here."""
    user = client("user")
    staging = FileRemote(f"file://{tmp_path}/staging")
    staging.prepare()
    assert publish(user[2], staging) == []
