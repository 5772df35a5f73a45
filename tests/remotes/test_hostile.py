"""Records that lie with right digests, keys of no known form, formats of later versions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.record import new_id
from bundlerun.errors import IntegrityError
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.condemned import CondemnedRecord
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import bundle_key, version_key
from bundlerun.remotes.pull import pull_all, pull_latest
from bundlerun.remotes.push import push
from bundlerun.store.store import Store
from tests.faults.damaged import fill, held, id_of, opened, replaced

NEWEST = version_key("bad", 2)


@pytest.fixture
def remote(tmp_path: Path) -> FileRemote:
    """A remote with two names, the second with two versions."""
    remote = FileRemote(f"file://{tmp_path}/remote")
    fill(remote, tmp_path, large=False)
    return remote


def test_a_wrong_record_does_not_keep_the_others_from_coming(
    remote: FileRemote, tmp_path: Path
) -> None:
    """pull_all adopts what is right and then raises for what is not."""
    replaced(remote, bundle_key(id_of(remote, "bad", 2)), b"{}")
    with opened(tmp_path / "reader", remote) as (store, context, _):
        with pytest.raises(IntegrityError, match=r"b/"):
            pull_all(Binding.of(store, context, remote))
        assert [entry.bundle.name for entry in store.catalog.latest(context)] == ["good"]


def spoilt(remote: FileRemote, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the record of "bad" and let its version name the new one."""
    id = id_of(remote, "bad", 2)
    record = json.loads(remote.get(bundle_key(id)) or b"")
    change(record)
    data = canonical_json(record)
    replaced(remote, bundle_key(id), data)
    key = NEWEST
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
        id = id_of(remote, "bad", 2)
        data = (remote.get(bundle_key(id)) or b"").replace(
            b'"params":{}', b'"params":{"p":"\\udc80"}'
        )
        replaced(remote, bundle_key(id), data)
        version = json.loads(remote.get(NEWEST) or b"")
        version["record"] = digest_of(data)
        replaced(remote, NEWEST, canonical_json(version))
    else:
        spoilt(remote, LIES[lie])
    with opened(tmp_path / "reader", remote) as (store, context, _):
        with pytest.raises(IntegrityError):
            localise(store, remote, [pull_latest(Binding.of(store, context, remote), "bad").bundle])
        held(store)


def test_listings_full_of_foreign_keys_are_passed_over(remote: FileRemote, tmp_path: Path) -> None:
    """Keys of no known form are nobody's versions."""
    for key in ("v/x", "v/good/1", "v/good/99999", "v/good/0000000000+q", "v/a b/9999999998"):
        remote.put(key, b"?")
    remote.put("v/%2e/9999999998", b"?")
    with opened(tmp_path / "reader", remote) as (store, context, _):
        entries = pull_all(Binding.of(store, context, remote))
        assert {entry.bundle.name for entry in entries} == {"good", "bad"}


def test_a_remote_of_a_later_version_is_refused(remote: FileRemote, tmp_path: Path) -> None:
    """Its own format, and a list of condemned packs that cannot be read here."""
    before = remote.get("meta/remote") or b""
    replaced(remote, "meta/remote", before.replace(b'"format":1', b'"format":9'))
    store = Store.open(tmp_path / "reader")
    context = store.contexts.create("work")
    with pytest.raises(IntegrityError, match="format 9"):
        bind(store, context, remote)
    replaced(remote, "meta/remote", before)
    context = bind(store, context, remote)
    for wrong in (b"", b'{"format":9}', CondemnedRecord("u", 1, ()).to_bytes()):
        remote.put("meta/condemned-0000000001", wrong)
        with pytest.raises(IntegrityError, match="meta/condemned-0000000001"):
            push(Binding.of(store, context, remote), [])
    store.close()
