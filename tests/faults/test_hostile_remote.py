"""A remote that somebody else wrote to do harm: an error each, and nothing outside the store is
touched, read or made; nor is memory asked for what it only claims."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.link import Link
from bundlerun.bundles.packs import laid_out
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import BundlerunError, IntegrityError, RemoteUnreachable
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import fetcher, localise
from bundlerun.remotes.folder import ASIDE, FileRemote
from bundlerun.remotes.keys import bundle_key, version_key
from bundlerun.remotes.pull import pull_latest
from bundlerun.remotes.records import PushedBundle, VersionRecord
from bundlerun.store.remote_cache import PackInfo, Share
from tests.faults.damaged import GOOD, Client, fill, opened, replaced

BYTES = b"12345"
LINK = [digest_of(BYTES), len(BYTES)]
EVIL = "evil"


def directory(*rows: list[object], name: str = "d") -> dict[str, object]:
    """The term of a folder with these rows."""
    return {"directory": list(rows), "name": name, "size": len(BYTES) * len(rows)}


def row(path: str) -> list[object]:
    """A file of a folder."""
    return [path, LINK]


TERMS: dict[str, object] = {
    "a path that climbs": directory(row("../escaped")),
    "a path that climbs out of its middle": directory(row("a/../../escaped")),
    "an absolute path": directory(row("/tmp/escaped")),
    "a path with NUL": directory(row("a\0b")),
    "a backslash": directory(row("..\\escaped")),
    "a control character": directory(row("a\x1b[2Jb")),
    "a lone surrogate": directory(row("\udc80")),
    "an empty path": directory(row("")),
    "a dot": directory(row(".")),
    "a path of blanks and parents": directory(row("a/./b")),
    "case twins": directory(row("A"), row("a")),
    "unicode twins": directory(row("e\u0301"), row("\u00e9")),
    "a file that is a folder too": directory(row("a"), row("a/b")),
    "a folder called parent": directory(row("a"), name=".."),
    "a folder with a slash": directory(row("a"), name="x/y"),
    "a file that climbs": {"file": LINK, "name": "../escaped"},
    "an absolute file": {"file": LINK, "name": "/tmp/escaped"},
    "a file with NUL": {"file": LINK, "name": "a\0"},
    "a file with a backslash": {"file": LINK, "name": "..\\escaped"},
    "a zone that climbs": {"datetime": "2020-01-01T00:00:00", "zone": "../../../etc/passwd"},
    "a pickle": {"array": LINK, "about": 5},
    "an unknown term": {"execute": "rm -rf"},
    "a file of 10 GB": {"file": [LINK[0], 10 << 30], "name": "big"},
    "a negative size": {"file": [LINK[0], -5], "name": "big"},
    "a digest that climbs": {"file": ["../../../escaped", 5], "name": "f"},
    "a digest that is none": {"file": ["ab" * 31, 5], "name": "f"},
    "a digest that nobody has": {"file": [digest_of(b"other"), 5], "name": "f"},
}

ROOTS: dict[str, bytes] = {
    **{
        what: canonical_json({"format": 1, "value": term})
        for what, term in TERMS.items()
        if what != "a lone surrogate"
    },
    "a lone surrogate": b'{"format":1,"value":{"directory":[["\\udc80",["%s",5]]],"name":"d",'
    b'"size":5}}' % str(LINK[0]).encode(),
    "no JSON": b"\x80\x04\x95 no JSON at all",
    "nothing": b"",
    "a list": b"[]",
    "an unknown format": b'{"format":99,"value":1}',
    "no format": b'{"value":1}',
    "deep nesting": b'{"format":1,"value":' + b'{"list":[' * 50_000 + b"]}" * 50_000 + b"}",
    "deep brackets": b'{"format":1,"value":' + b"[" * 200_000,
    "a huge number": b'{"format":1,"value":' + b"9" * 100_000 + b"}",
}


def write_evil(
    remote: FileRemote, root: bytes, change: Callable[[Share], Share] | None = None
) -> None:
    """Version 1 of "evil", right in everything but what its root says, or its record of a pack."""
    found = {digest_of(data): data for data in (root, BYTES)}
    links = [Link(digest, len(data)) for digest, data in found.items()]
    pack, _, tail = laid_out(links)
    remote.put(f"packs/{pack.uuid}", b"".join(found.values()) + tail)
    bundle = BundleRecord(new_id(), EVIL, Link(digest_of(root), len(root)))
    share = Share(pack, pack.size - pack.index_length)
    record = PushedBundle(bundle, 0, (change(share) if change else share,)).to_bytes()
    remote.put(bundle_key(bundle.id), record)
    good = VersionRecord.from_bytes(remote.get(version_key("good", 1)) or b"", "good", 1)
    version = VersionRecord(good.remote, EVIL, 1, bundle.id, digest_of(record))
    remote.put(version.key, version.to_bytes())


def use(value: object) -> None:
    """Ask for all that a value holds back."""
    if isinstance(value, Directory):
        _ = value.path
    elif isinstance(value, File):
        value.read_bytes()
    elif isinstance(value, dict):
        for each in value.values():
            use(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            use(each)


def listing(folder: Path, *, without: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder but ``without``: mode, size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if without not in (path, *path.parents):
            state = path.lstat()
            found[str(path)] = (state.st_mode, state.st_size, state.st_mtime_ns)
    return found


@pytest.fixture
def remote(tmp_path: Path) -> FileRemote:
    """A folder remote with "good" in it."""
    remote = FileRemote(f"file://{tmp_path}/remote")
    fill(remote, tmp_path, large=False)
    return remote


@pytest.fixture
def watched(remote: FileRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of a store in a home folder; at the end all else in the test's folder is as it was,
    and /tmp has no new "escaped"."""
    home = tmp_path / "home"
    (home / "secret").mkdir(parents=True)
    (home / "secret" / "key").write_text("hush")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    store = home / "store"
    # The remote is the attacker's: it is looked at by the tests that give it something to write.
    before = listing(home, without=store)
    yield store
    assert listing(home, without=store) == before
    assert not Path("/tmp/escaped").exists()
    assert not (tmp_path / "escaped").exists()


def read_evil(client: Client) -> object:
    """The whole way to the value, and all that it holds back."""
    store, context, remote = client
    bundle = pull_latest(Binding.of(store, context, remote), EVIL).bundle
    localise(store, remote, [bundle])
    value = store.value(bundle)
    use(value)
    return value


def check_refused(store_path: Path, remote: FileRemote) -> None:
    """Each way to the value is an error of one line, in little time; "good" is there all the same,
    and a file of the store is never other than its name says."""
    with opened(store_path, remote) as (store, context, _):
        started = time.monotonic()
        with pytest.raises(BundlerunError) as caught:
            read_evil((store, context, remote))
        assert caught.value.exit_code == IntegrityError.exit_code, caught.value
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 2000
        assert "\x1b" not in repr(str(caught.value)).replace("\\x1b", "")
        found = store.catalog.find(context, EVIL)
        if found is not None:
            with pytest.raises(BundlerunError):
                use(store.value(found.bundle, fetcher(store, remote, found.bundle)))
            with pytest.raises(BundlerunError):
                use(store.value(found.bundle))
        assert time.monotonic() - started < 10
        good = pull_latest(Binding.of(store, context, remote), "good").bundle
        localise(store, remote, [good])
        assert store.value(good) == GOOD


@pytest.mark.parametrize("what", sorted(ROOTS))
def test_values_that_would_do_harm(watched: Path, remote: FileRemote, what: str) -> None:
    """With right digests all the way: only what the root says is wrong."""
    write_evil(remote, ROOTS[what])
    check_refused(watched, remote)


CLAIMS: dict[str, Callable[[Share], Share]] = {
    "a pack of 10 GB": lambda s: Share(PackInfo(s.pack.uuid, 10 << 30, s.pack.index_length), 1),
    "a single pack of 10 GB": lambda s: Share(PackInfo(s.pack.uuid, 10 << 30, 104), 10 << 30),
    "a pack of 16 MiB": lambda s: Share(PackInfo(s.pack.uuid, 16 << 20, 152), 16 << 20),
    "an index of 10 GB": lambda s: Share(PackInfo(s.pack.uuid, 11 << 30, (10 << 30) + 8), 1),
    "a byte more": lambda s: Share(PackInfo(s.pack.uuid, s.pack.size + 1, s.pack.index_length), 1),
    "a byte less": lambda s: Share(PackInfo(s.pack.uuid, s.pack.size - 1, s.pack.index_length), 1),
}


@pytest.mark.parametrize("what", sorted(CLAIMS))
def test_packs_that_claim_what_they_have_not(watched: Path, remote: FileRemote, what: str) -> None:
    """10 GB in 1 KB: refused, and no more memory or disk than for the 1 KB."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_evil(remote, canonical_json({"format": 1, "value": 5}), CLAIMS[what])
    check_refused(watched, remote)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100 << 10
    used = sum(path.stat().st_blocks * 512 for path in watched.rglob("*") if path.is_file())
    assert used < 5 << 20


@pytest.mark.parametrize("kind", ["pack", "record", "version", "folder of records", "meta"])
def test_links_in_a_folder_remote_are_not_followed(
    watched: Path, remote: FileRemote, tmp_path: Path, kind: str
) -> None:
    """A pack or record that is a symbolic link, or lies in a folder that is one: never read, even
    where what it points to would be right."""
    write_evil(remote, canonical_json({"format": 1, "value": 5}))
    id = VersionRecord.from_bytes(remote.get(version_key(EVIL, 1)) or b"", EVIL, 1).id
    record = PushedBundle.from_bytes(remote.get(bundle_key(id)) or b"", id)
    key = {
        "pack": f"packs/{record.shares[0].pack.uuid}",
        "record": bundle_key(id),
        "version": version_key(EVIL, 1),
        "folder of records": f"v/{EVIL}",
        "meta": "packs",
    }[kind]
    outside = tmp_path / "outside"
    (remote.root / key).rename(outside)
    (remote.root / key).symlink_to(outside)
    before_ns = outside.stat().st_mtime_ns
    with opened(watched, remote) as (store, context, _):
        with pytest.raises(BundlerunError) as caught:
            read_evil((store, context, remote))
        assert "\n" not in str(caught.value)
        assert outside.stat().st_mtime_ns == before_ns


def test_a_link_to_a_secret_brings_nothing_of_it(
    watched: Path, remote: FileRemote, tmp_path: Path
) -> None:
    """Its bytes are in no message."""
    secret = tmp_path / "home" / "secret" / "key"
    write_evil(remote, canonical_json({"format": 1, "value": 5}))
    key = version_key(EVIL, 1)
    remote.delete([key])
    (remote.root / key).symlink_to(secret)
    with opened(watched, remote) as (store, context, _):
        with pytest.raises(BundlerunError) as caught:
            pull_latest(Binding.of(store, context, remote), EVIL)
        assert "hush" not in str(caught.value)
        with pytest.raises(RemoteUnreachable, match="symbolic link"):
            remote.get(key)


@pytest.mark.parametrize("name", ["packs", "b", "v", ASIDE])
def test_nothing_is_touched_through_a_link_in_a_folder_remote(
    watched: Path, remote: FileRemote, tmp_path: Path, name: str
) -> None:
    """Where a folder of the remote leads elsewhere, that is neither read, listed, written nor
    cleaned."""
    (remote.root / name).rename(tmp_path / "moved")
    (remote.root / name).symlink_to(tmp_path / "home" / "secret")
    inside = "packs" if name == ASIDE else name
    acts: list[Callable[[], object]] = [
        lambda: remote.put(f"{inside}/x", b"x"),
        lambda: remote.put_new(f"{inside}/x", b"x"),
    ]
    if name == ASIDE:
        acts.append(lambda: remote.begin("packs/x", 1 << 20))
    else:
        acts += [
            lambda: remote.get(f"{name}/key"),
            lambda: remote.delete([f"{name}/key"]),
            lambda: list(remote.list(f"{name}/")),
        ]
    for act in acts:
        with pytest.raises(RemoteUnreachable, match="symbolic link"):
            act()


def test_records_that_are_no_json(watched: Path, remote: FileRemote) -> None:
    """Of the bundle and of the version."""
    write_evil(remote, canonical_json({"format": 1, "value": 5}))
    for key in (version_key(EVIL, 1), bundle_key(_id(remote))):
        whole = remote.get(key)
        for data in (b"\x80\x04no JSON", b"[" * 100_000, b'{"format":99}', os.urandom(5000)):
            replaced(remote, key, data)
            check_refused(watched, remote)
        replaced(remote, key, whole)


def _id(remote: FileRemote) -> str:
    return VersionRecord.from_bytes(remote.get(version_key(EVIL, 1)) or b"", EVIL, 1).id
