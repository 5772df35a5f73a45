"""A remote whose bytes are wrong: told by name, nothing wrong kept, the rest as good as before."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.bundle import new_id
from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.links import File
from bundlerun.errors import BundlerunError, IntegrityError, RemoteChanged
from bundlerun.remotes.binding import bind
from bundlerun.remotes.file import FileRemote
from bundlerun.remotes.packs import LARGE_BYTES
from bundlerun.remotes.pull import localise, pull_all, pull_id, pull_latest
from bundlerun.remotes.push import push
from bundlerun.remotes.records import BundleRecord, VersionRecord, bundle_key, version_key
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

Client = tuple[Store, Context, FileRemote]

GOOD = {"good": list(range(500))}


@pytest.fixture
def remote(tmp_path: Path) -> FileRemote:
    """A remote with two names, in two packs and, one of them, a large file."""
    remote = FileRemote(f"file://{tmp_path}/remote")
    with opened(tmp_path / "writer", remote) as (store, context, _):
        large = tmp_path / "large"
        large.write_bytes(os.urandom(LARGE_BYTES + 1000))
        good = store.add(context, "good", GOOD, commit=True)
        push(store, context, remote, [good])
        value = {"large": File(large), "parts": [os.urandom(3000) for _ in range(50)]}
        bad = store.add(context, "bad", value, tags={"a": "b"}, commit=True)
        push(store, context, remote, [bad])
        store.catalog.tag(context, bad.bundle.id, {"later": "tag"})
        push(store, context, remote, [bad])
    return remote


class opened:
    """A store of its own, bound to the remote."""

    def __init__(self, path: Path, remote: FileRemote) -> None:
        self.store = Store.open(path)
        contexts = self.store.contexts
        known = [context for context in contexts.list() if context.name == "work"]
        self.context = known[0] if known else bind(self.store, contexts.create("work"), remote)
        self.client = (self.store, self.context, remote)

    def __enter__(self) -> Client:
        return self.client

    def __exit__(self, *args: object) -> None:
        self.store.close()


def flip(data: bytes) -> Iterator[bytes]:
    """``data`` with one bit changed, at some places."""
    for place in {0, len(data) // 3, len(data) // 2, len(data) - 1}:
        yield data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def damages(data: bytes) -> dict[str, list[bytes | None]]:
    """What may have happened to an object."""
    return {
        "flipped": list(flip(data)) if data else [],
        "truncated": [data[: len(data) // 2], data[:-1]] if data else [],
        "emptied": [b""],
        "deleted": [None],
        "longer": [data + b"x"],
        "replaced": [b'{"format":1}', b"[]", b"\xff" * 100],
        "later format": [data.replace(b'"format":1', b'"format":2', 1)],
    }


def replaced(remote: FileRemote, key: str, data: bytes | None) -> None:
    """The object as the damage left it."""
    remote.delete([key])
    if data is not None:
        remote.put(key, data)


@pytest.mark.parametrize("damage", list(damages(b"x")))
@pytest.mark.parametrize("what", ["b/", "v/bad/", "packs/"])
def test_damage_is_told_and_nothing_wrong_is_kept(
    remote: FileRemote, tmp_path: Path, what: str, damage: str
) -> None:
    """Each object of the bundle in turn: an error, or the true value where it was not needed; the
    other name stays readable, and once mended all is."""
    with opened(tmp_path / "reader", remote) as (store, context, _):
        good = pull_latest(store, context, remote, "good")
        bad = pull_id(store, context, remote, id_of(remote, "bad"))
        record = BundleRecord.from_bytes(
            remote.get(bundle_key(bad.bundle.id)) or b"", bad.bundle.id
        )
    expected = value_in(tmp_path / "true", remote)
    keys = {
        "b/": [bundle_key(bad.bundle.id)],
        "v/bad/": [version_key("bad", 1), version_key("bad", 1) + "+t000001"],
        "packs/": [f"packs/{share.pack.uuid}" for share in record.shares],
    }[what]
    number = 0
    for key in keys:
        before = remote.get(key) or b""
        for data in damages(before)[damage]:
            if data == before:
                continue
            replaced(remote, key, data)
            number += 1
            path = tmp_path / f"reader-{number}"
            with opened(path, remote) as client:
                check_damaged(client, key, expected)
            replaced(remote, key, before)
            assert value_in(path, remote) == expected
    assert number or damage == "later format"
    assert good.bundle.name == "good"


def check_damaged(client: Client, key: str, expected: object) -> None:
    """The damaged key is an error by name or is not needed; what is kept is right."""
    store, context, remote = client
    try:
        bundle = pull_latest(store, context, remote, "bad").bundle
        localise(store, remote, [bundle])
        assert store.value(bundle) == expected
        needless = key.endswith("+t000001") or key.startswith("packs/")
        assert needless, f"the damage of {key} was not noticed"
    except IntegrityError as error:
        said = str(error)
        named = key.removeprefix("packs/") in said or "b/" in said
        if not named:
            pytest.fail(f"{key} is damaged, and the error says: {said}")
    except RemoteChanged:
        # The bit may have hit the uuid of the remote, or the only version is gone.
        if not key.startswith("v/"):
            raise
    assert sound(store)
    good = pull_latest(store, context, remote, "good")
    localise(store, remote, [good.bundle])
    assert store.value(good.bundle) == GOOD


def sound(store: Store) -> bool:
    """Whether every object that the store holds has its digest."""
    import sqlite3

    with sqlite3.connect(store.path / "store.sqlite") as connection:
        rows = connection.execute("SELECT digest, data FROM objects").fetchall()
    small = all(digest_of(data) == raw.hex() for raw, data in rows if data is not None)
    files = [p for p in (store.path / "objects").glob("??/*") if p.parent.name != "tmp"]
    large = all(digest_of(p.read_bytes()) == p.parent.name + p.name for p in files)
    assert not list((store.path / "objects" / "tmp").iterdir())
    return small and large


def id_of(remote: FileRemote, name: str) -> str:
    """The id that version 1 names."""
    return VersionRecord.from_bytes(remote.get(version_key(name, 1)) or b"", name, 1).id


def value_in(path: Path, remote: FileRemote) -> Any:
    """The value of "bad" in a store, with its bytes."""
    with opened(path, remote) as (store, context, _):
        bundle = pull_latest(store, context, remote, "bad").bundle
        localise(store, remote, [bundle])
        value = store.value(bundle)
        assert isinstance(value, dict)
        return {"parts": value["parts"], "large": value["large"]}


def test_a_wrong_record_does_not_keep_the_others_from_coming(
    remote: FileRemote, tmp_path: Path
) -> None:
    """pull_all adopts what is right and then raises for what is not."""
    replaced(remote, bundle_key(id_of(remote, "bad")), b"{}")
    with opened(tmp_path / "reader", remote) as (store, context, _):
        with pytest.raises(IntegrityError, match=r"b/"):
            pull_all(store, context, remote)
        assert [entry.bundle.name for entry in store.catalog.latest(context)] == ["good"]


def spoilt(remote: FileRemote, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the record of "bad" and let its version name the new one."""
    id = id_of(remote, "bad")
    record = json.loads(remote.get(bundle_key(id)) or b"")
    change(record)
    data = canonical_json(record)
    replaced(remote, bundle_key(id), data)
    key = version_key("bad", 1)
    version = json.loads(remote.get(key) or b"")
    version["record"] = digest_of(data)
    replaced(remote, key, canonical_json(version))


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a huge pack": lambda r: r["packs"][0].__setitem__(1, 1 << 61),
    "a negative pack": lambda r: r["packs"][0].__setitem__(1, -5),
    "an index over all": lambda r: r["packs"][0].__setitem__(2, 1 << 50),
    "a pack elsewhere": lambda r: r["packs"][0].__setitem__(0, "../../meta/remote"),
    "a number that is none": lambda r: r["packs"][0].__setitem__(1, True),
    "rows that are none": lambda r: r.__setitem__("packs", [["x"]]),
    "no packs": lambda r: r.__setitem__("packs", []),
    "a huge root": lambda r: r["bundle"]["root"].__setitem__(1, 1 << 60),
    "another root": lambda r: r["bundle"]["root"].__setitem__(0, digest_of(b"other")),
    "another id": lambda r: r["bundle"].__setitem__("id", new_id()),
    "another name": lambda r: r["bundle"].__setitem__("name", "good"),
    "a name that leaves": lambda r: r["bundle"].__setitem__("name", "a b"),
    "a name that is none": lambda r: r["bundle"].__setitem__("name", ["x"]),
    "tags that are none": lambda r: r["bundle"].__setitem__("tags", [1]),
    "lone surrogates": lambda r: None,
    "after over all": lambda r: r.__setitem__("after", 1 << 61),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_records_that_lie_are_refused(remote: FileRemote, tmp_path: Path, lie: str) -> None:
    """With matching digests, so only what they claim is wrong: an error of ours, nothing kept."""
    if lie == "lone surrogates":
        id = id_of(remote, "bad")
        data = (remote.get(bundle_key(id)) or b"").replace(
            b'"params":{}', b'"params":{"p":"\\udc80"}'
        )
        replaced(remote, bundle_key(id), data)
        version = json.loads(remote.get(version_key("bad", 1)) or b"")
        version["record"] = digest_of(data)
        replaced(remote, version_key("bad", 1), canonical_json(version))
    else:
        spoilt(remote, LIES[lie])
    with opened(tmp_path / "reader", remote) as (store, context, _):
        with pytest.raises(IntegrityError):
            localise(store, remote, [pull_latest(store, context, remote, "bad").bundle])
        assert sound(store)


def test_listings_full_of_foreign_keys_are_passed_over(remote: FileRemote, tmp_path: Path) -> None:
    """Keys of no known form are nobody's versions."""
    for key in ("v/x", "v/good/1", "v/good/99999", "v/good/0000000000+q", "v/a b/9999999998"):
        remote.put(key, b"?")
    remote.put("v/%2e/9999999998", b"?")
    with opened(tmp_path / "reader", remote) as (store, context, _):
        assert {e.bundle.name for e in pull_all(store, context, remote)} == {"good", "bad"}


def test_a_remote_of_a_later_version_is_refused(remote: FileRemote, tmp_path: Path) -> None:
    """Its own format, and a clean-up whose rules are not known here."""
    before = remote.get("meta/remote") or b""
    replaced(remote, "meta/remote", before.replace(b'"format":1', b'"format":9'))
    store = Store.open(tmp_path / "reader")
    context = store.contexts.create("work")
    with pytest.raises(IntegrityError, match="format 9"):
        bind(store, context, remote)
    replaced(remote, "meta/remote", before)
    context = bind(store, context, remote)
    remote.put("meta/condemned-0000000001", b"")
    with pytest.raises(BundlerunError, match="later version"):
        push(store, context, remote, [])
    store.close()
