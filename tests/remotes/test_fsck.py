"""The proof of a remote: each key in turn damaged in each way is found and named; what is mended
comes out byte by byte as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bundlerun.bundles.lineage import Lineage, ReuseKey
from bundlerun.bundles.packs import LARGE_BYTES, MAX_PACK_BYTES
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import RemoteChanged
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.fsck import prove
from bundlerun.remotes.fsck.copies import RemoteCopies
from bundlerun.remotes.keys import removed_key, tags_key, version_key
from bundlerun.remotes.pull import pull_all, pull_latest
from bundlerun.remotes.push import push
from bundlerun.remotes.records import PushedBundle
from bundlerun.store.contexts import Context
from bundlerun.store.fsck import fsck
from bundlerun.store.reports import Finding, Kind, Proof
from bundlerun.store.store import Store
from tests.remotes.conftest import remote_at
from tests.remotes.withdraw import withdraw
from tests.unreadable import keep, latin_1


@dataclass
class Place:
    """A store with all bytes, the remote it pushed them to, and what lies there."""

    store: Store
    context: Context
    remote: Remote
    contents: dict[str, bytes]

    @property
    def binding(self) -> Binding:
        """All of it as one."""
        return Binding.of(self.store, self.context, self.remote)

    def prove(self, store: Store | None = None, *, repair: bool = False) -> Proof:
        """The proof of the remote."""
        store = store or self.store
        here = Binding.of(store, store.contexts.get("work"), self.remote)
        return prove(here, repair=repair)

    def put(self, key: str, data: bytes | None) -> None:
        """Make ``key`` be ``data``, or not be there."""
        self.remote.delete([key])
        if data is not None:
            self.remote.put(key, data)

    def look(self) -> dict[str, bytes]:
        """Every key and its bytes."""
        keys = [entry.key for entry in self.remote.list("")]
        return {key: self.remote.get(key) or b"" for key in keys}


@pytest.fixture
def place(url: str, tmp_path: Path) -> Iterator[Place]:
    """Two names, a large file, a folder, tags set later twice, a removed version, reuse keys."""
    store = Store.open(tmp_path / "store")
    remote = remote_at(url)
    context = bind(store, store.contexts.create("work"), remote)
    binding = Binding.of(store, context, remote)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(LARGE_BYTES + 5000))
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number}.txt").write_text(f"file {number}" * 50)
    key = ReuseKey({"pipe": "a.B"})
    lineage = Lineage(pipe="a.B", task=key)
    one = store.add(
        context, "one", {"large": File(large)}, tags={"a": "b"}, lineage=lineage, commit=True
    )
    push(binding, [one])
    two = store.add(context, "two", {"folder": Directory(folder)}, commit=True)
    push(binding, [two])
    (folder / "7.txt").write_text("changed")
    two = store.add(context, "two", {"folder": Directory(folder)}, commit=True)
    push(binding, [two])
    for value in ("first", "second"):
        store.catalog.tag(context, one.bundle.id, {"later": value})
        push(binding, [one])
    gone = store.add(context, "two", "given up", commit=True)
    push(binding, [gone])
    entry = store.catalog.by_id(context, gone.bundle.id)
    assert entry is not None
    withdraw(store, context, remote, entry)
    made = Place(store, context, remote, {})
    made.contents = made.look()
    yield made
    store.close()


def damage(proof: Proof) -> list[Finding]:
    """What is wrong."""
    return [finding for finding in proof.findings if finding.is_damage]


def test_a_whole_remote_has_no_damage(place: Place) -> None:
    """And everything on it was looked at."""
    proof = place.prove()
    assert proof.findings == ()
    packs = [key for key in place.contents if key.startswith("packs/")]
    assert proof.looked_at["packs"] == len(packs)
    assert proof.looked_at["bytes"] == sum(len(place.contents[key]) for key in packs)
    assert proof.looked_at["bundles"] == 3
    assert proof.looked_at["records"] == 8


def damages(data: bytes, other: bytes) -> dict[str, bytes | None]:
    """What may have happened to a key."""
    middle = len(data) // 2
    found: dict[str, bytes | None] = {"deleted": None, "longer": data + b"x", "replaced": other}
    if data:
        found["first bit"] = bytes([data[0] ^ 1]) + data[1:]
        found["middle bit"] = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        found["last bit"] = data[:-1] + bytes([data[-1] ^ 1])
        found["truncated"] = data[:middle]
        found["cut"] = data[:-1]
        found["emptied"] = b""
    return {how: damaged for how, damaged in found.items() if damaged != data}


def other_of(contents: dict[str, bytes], key: str) -> bytes:
    """The bytes of another key of the same kind, else something."""
    kind = key.split("/")[0]
    same = [data for k, data in contents.items() if k.startswith(f"{kind}/") and k != key]
    return next((data for data in same if data and data != contents[key]), b'{"format":1}')


ON_S3 = ("deleted", "replaced", "middle bit", "truncated")

UNSEEN = {
    ("meta/conditional", "deleted"),  # made anew by whoever binds
    ("meta/conditional", "longer"),
    ("meta/conditional", "replaced"),
    ("meta/uuid-", "longer"),  # its name is what it says
    ("meta/uuid-", "replaced"),
    ("k/", "longer"),
    ("k/", "replaced"),
}
"""What nothing depends on."""


def kind_of(key: str) -> str:
    """The sort of a key."""
    return next((k for k in ("meta/uuid-", "k/", "packs/") if key.startswith(k)), key)


def is_unsaid(key: str, how: str) -> bool:
    """The newest thing said of a version that is gone without leaving a hole."""
    return key.endswith(("+x", "+t000002")) and how == "deleted"


@pytest.mark.parametrize("kind", ["meta/", "b/", "v/", "packs/", "k/"])
def test_each_damage_is_found_and_named_and_mended_as_it_says(place: Place, kind: str) -> None:
    """Every key, every way. What is said to be mendable is afterwards as it was."""
    given_up = unneeded(place)
    seen = mended = 0
    for key, data in place.contents.items():
        if not key.startswith(kind):
            continue
        for how, damaged in damages(data, other_of(place.contents, key)).items():
            skipped = (kind_of(key), how) in UNSEEN or is_unsaid(key, how)
            # Over the network the ways that differ in what is asked of it.
            skipped |= place.remote.url.startswith("s3:") and how not in ON_S3
            if skipped or (key in given_up and how in ("deleted", "replaced")):
                continue
            place.put(key, damaged)
            proof = place.prove()
            told = [f for f in proof.findings if f.is_damage or f.kind in (Kind.HINT, Kind.LITTER)]
            assert any(key in finding.where for finding in told), (key, how, proof.findings)
            seen += 1
            mended += check_mended(place, key, how, told)
            place.put(key, data)
    assert seen >= (1 if kind == "k/" else 5)
    assert mended
    assert place.look() == place.contents


def unneeded(place: Place) -> set[str]:
    """The keys that a clean-up may take: of the version that was removed."""
    ids = [key.removeprefix("b/") for key in place.contents if key.startswith("b/")]
    live = {entry.bundle.id for entry in place.store.catalog.search(place.context)}
    records = {id: PushedBundle.from_bytes(place.contents[f"b/{id}"], id) for id in ids}
    needed = {share.pack.uuid for id in live for share in records[id].shares}
    packs = {key for key in place.contents if key.startswith("packs/")}
    gone = {f"b/{id}" for id in ids if id not in live}
    assert len(gone) == 1
    return gone | {key for key in packs if key.removeprefix("packs/") not in needed}


def check_mended(place: Place, key: str, how: str, told: list[Finding]) -> bool:
    """Repair: whole afterwards, byte by byte, where it says so; nothing else was changed."""
    mendable = all(finding.mendable for finding in told if key in finding.where)
    if all(finding.kind is Kind.LITTER for finding in told):
        return False
    proof = place.prove(repair=True)
    now = place.look()
    others = {k: d for k, d in now.items() if k != key}
    assert others == {k: d for k, d in place.contents.items() if k != key}, (key, how)
    if mendable:
        assert proof.whole, (key, how, proof.findings)
        superseded = any(finding.mendable == "with what was set later" for finding in told)
        assert superseded or now[key] == place.contents[key], (key, how)
        assert any(finding.mended for finding in proof.findings)
        assert place.prove().whole
    return mendable


def test_without_the_bytes_a_pack_is_told_and_left_alone(place: Place, tmp_path: Path) -> None:
    """Another store, which has records only, makes nothing worse."""
    store = Store.open(tmp_path / "other")
    context = bind(store, store.contexts.create("work"), place.remote)
    pull_latest(Binding.of(store, context, place.remote), "two")
    for key in [key for key in place.contents if key.startswith("packs/")]:
        data = place.contents[key]
        damaged = data[:20] + bytes([data[20] ^ 1]) + data[21:]
        place.put(key, damaged)
        proof = place.prove(store, repair=True)
        assert all(finding.mendable is None for finding in damage(proof))
        assert place.remote.get(key) == damaged
        place.put(key, data)
    store.close()


def test_a_pack_with_a_wrong_member_is_mended_from_another_pack(
    place: Place, tmp_path: Path
) -> None:
    """The same bytes lie in a pack of another bundle, and in no store."""
    store = Store.open(tmp_path / "second")
    bind(store, store.contexts.create("work"), place.remote)
    same = {"folder": {"b": "x" * 5000}}
    for name in ("three", "four"):
        # As two machines do that know nothing of each other.
        other = Store.open(tmp_path / name)
        bound = bind(other, other.contexts.create("work"), place.remote)
        push(Binding.of(other, bound, place.remote), [other.add(bound, name, same, commit=True)])
        other.close()
    new = sorted(set(place.look()) - set(place.contents))
    key = next(key for key in new if key.startswith("packs/"))
    data = place.remote.get(key) or b""
    place.put(key, data[:5] + bytes([data[5] ^ 1]) + data[6:])
    (found,) = damage(place.prove(store))
    assert found.mendable
    assert place.prove(store, repair=True).whole
    assert place.remote.get(key) == data
    store.close()


def test_an_unnamed_pack_and_foreign_keys_are_litter(place: Place) -> None:
    """Nothing depends on them, and a repair leaves them."""
    pack = next(data for key, data in place.contents.items() if key.startswith("packs/"))
    keys = {
        "packs/00000000-0000-4000-8000-000000000000": pack,
        "packs/strange": b"x",
        "v/one/strange": b"x",
        "k/strange": b"x",
    }
    for key, data in keys.items():
        place.put(key, data)
    proof = place.prove(repair=True)
    assert proof.whole
    assert {finding.where for finding in proof.findings} == keys.keys()
    assert {finding.kind for finding in proof.findings} == {Kind.LITTER}
    assert place.look() == {**place.contents, **keys}


def test_a_rolled_back_remote_is_noticed_by_who_saw_more(place: Place) -> None:
    """The newest version is no hole; this store knows of it."""
    key = version_key("one", 1)
    tags = [tags_key("one", 1, k) for k in (1, 2)]
    for each in (key, *tags):
        place.put(each, None)
    found = damage(place.prove())
    assert [f.where for f in found if f.kind is Kind.MISSING] == [key]
    place.prove(repair=True)
    assert place.remote.get(key) == place.contents[key]


def test_a_record_is_mended_byte_by_byte_whatever_became_of_its_tags(place: Place) -> None:
    """By whoever pushed it, and by whoever pulled it: tags that were set later, many or in the
    place of others, are not in it."""
    entry = place.store.add(place.context, "tagged", 1, tags=dict.fromkeys("abc", "1"), commit=True)
    push(place.binding, [entry])
    for key in "cdefghij":
        place.store.catalog.tag(place.context, entry.bundle.id, {key: "2"})
    push(place.binding, [entry])
    pulled = Store.open(place.store.path.with_name("pulled"))
    there = bind(pulled, pulled.contexts.create("work"), place.remote)
    pull_all(Binding.of(pulled, there, place.remote), "tagged")
    key = f"b/{entry.bundle.id}"
    whole = place.remote.get(key)
    for store in (place.store, pulled):
        place.put(key, b"damaged")
        place.prove(store, repair=True)
        assert place.remote.get(key) == whole
    pulled.close()


def test_another_remote_at_the_address_is_no_damage(place: Place) -> None:
    """It is an error before anything is looked at."""
    with pytest.raises(RemoteChanged):
        prove(replace(place.binding, uuid="00000000-0000-4000-8000-000000000000"))


def test_a_given_up_version_needs_no_bytes(place: Place) -> None:
    """Its record and its packs may be cleaned up."""
    assert removed_key("two", 3) in place.contents
    for key in unneeded(place):
        place.put(key, None)
    assert damage(place.prove()) == []


def test_a_large_pack_is_read_in_pieces(place: Place, tmp_path: Path) -> None:
    """Of an object over the limit of packs no request asks for more than a part."""
    path = tmp_path / "huge"
    path.write_bytes(os.urandom(MAX_PACK_BYTES + 12345))
    entry = place.store.add(place.context, "huge", File(path), commit=True)
    push(place.binding, [entry])
    asked: list[int] = []

    class Asked:
        def __getattr__(self, name: str) -> Any:
            return getattr(place.remote, name)

        def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
            data = place.remote.get(key, start, length)
            asked.append(len(data or b""))
            return data

    watched: Any = Asked()
    assert prove(replace(place.binding, remote=watched)).whole
    assert max(asked) <= MAX_PACK_BYTES
    key = next(e.key for e in place.remote.list("packs/") if e.size > MAX_PACK_BYTES)
    data = place.remote.get(key) or b""
    place.put(key, data[:-100_000] + bytes([data[-100_000] ^ 1]) + data[-99_999:])
    (found,) = damage(place.prove(repair=False))
    assert key in found.where
    assert place.prove(repair=True).whole
    assert place.remote.get(key) == data


LOCAL: dict[str, Callable[[Store], None]] = {
    "large": lambda store: spoil(next((store.path / "objects").glob("??/*"))),
    "row": lambda store: change(
        store, "UPDATE objects SET data = x'00' WHERE data NOT NULL AND size BETWEEN 300 AND 600"
    ),
    "record": lambda store: change(store, "UPDATE bundles SET record = x'7b7d'"),
    "nothing left": lambda store: change(store, "DELETE FROM objects"),
}


def spoil(path: Path) -> None:
    """Replace a file by another."""
    fresh = path.with_name("fresh")
    fresh.write_bytes(b"spoilt" + path.read_bytes()[6:])
    fresh.chmod(0o444)
    os.replace(fresh, path)


def change(store: Store, statement: str) -> None:
    """Change the catalog behind the store's back."""
    import sqlite3

    with sqlite3.connect(store.path / "store.sqlite") as connection:
        assert connection.execute(statement).rowcount


@pytest.mark.parametrize("how", LOCAL)
def test_a_damaged_store_is_mended_from_its_remote(place: Place, how: str) -> None:
    """Objects and records; the values are as before."""
    before = {name: told(place, name) for name in ("one", "two")}
    # No copy of anything is to be on this disk.
    shutil.rmtree(place.store.path / "files")
    LOCAL[how](place.store)
    copies = RemoteCopies(lambda context: place.remote)
    proof = fsck(place.store, remotes=copies)
    found = damage(proof)
    if how == "nothing left":
        # As after a pull that brought records alone.
        assert found == [] or all("file of" not in each.what for each in found)
        assert any(finding.kind is Kind.ELSEWHERE for finding in proof.findings)
    else:
        assert found
        assert all(each.mendable == f"from {place.remote.url}" for each in found), found
        assert fsck(place.store, remotes=copies, repair=True).whole
    copies.close()
    assert fsck(place.store).whole
    assert {name: told(place, name) for name in ("one", "two")} == before


def told(place: Place, name: str) -> str:
    """What a value holds, its bytes brought where they are not here."""
    entry = place.store.catalog.get(place.context, name)
    localise(place.store, place.remote, [entry.bundle])
    value: Any = place.store.value(entry.bundle)
    if name == "one":
        tags = sorted(entry.bundle.tags.items())
        return f"{hash(value['large'].path.read_bytes())} {tags}"
    folder = value["folder"].path
    return str([path.read_text() for path in sorted(folder.iterdir())])


@pytest.mark.parametrize(
    "rows", [2, pytest.param(900_000, marks=pytest.mark.slow, id="in a pack of its own")]
)
def test_a_table_that_cannot_be_read_is_found_on_the_remote_and_here(
    place: Place, rows: int, tmp_path: Path
) -> None:
    """The remote has the same bytes; the version that it can be had from is named in both."""
    bad = keep(place.store, place.context, "t", latin_1(rows))
    push(place.binding, [bad])
    (finding,) = damage(place.prove())
    assert "its column 'city' is not valid string: " in finding.detail
    assert f"t@{bad.bundle.id} needs it; no other version of 't' can be read" in finding.detail
    good = place.store.add(place.context, "t", pa.table({"city": ["x"]}), commit=True)
    push(place.binding, [good])
    (finding,) = damage(place.prove())
    assert f"version 2, t@{good.bundle.id}, can be read: bundlerun pull t" in finding.detail
    (finding,) = damage(fsck(place.store))
    assert f"{place.context.remote_url} has the same bytes" in finding.detail
    assert f"t@{good.bundle.id} can be read" in finding.detail
    other = Store.open(tmp_path / "other")
    context = bind(other, other.contexts.create("work"), place.remote)
    pull_all(Binding.of(other, context, place.remote), "t", all_versions=True)
    localise(other, place.remote, [bad.bundle])
    (finding,) = damage(fsck(other))
    other.close()
    assert f"t@{good.bundle.id} lies on {context.remote_url} alone" in finding.detail
    assert "bundlerun pull t --all-versions --localize" in finding.detail
