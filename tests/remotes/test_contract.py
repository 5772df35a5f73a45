"""The contract of remotes, one suite over a folder, a folder laid over another, and real S3."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundlerun.bundles.link import PART_BYTES
from bundlerun.connections import Connections
from bundlerun.errors import AccessDenied, RemoteUnreachable, UsageError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.folder import ASIDE, FileRemote
from bundlerun.remotes.open import checked_url, open_remote
from bundlerun.remotes.s3 import S3Remote
from bundlerun.remotes.staging import OverlayRemote
from bundlerun.settings import Settings
from tests.remotes.conftest import remote_at

ODD_KEYS = ["v/a%2Fb/1", "v/a b", "v/ä/☃", "v/it's+x", 'v/"q"', "v/a&b=c;d", "v/#?%", "v/a..b", "~"]

NO_URLS = [
    *("", "bucket", "/dir", "http://x/y", "gs://bucket/x"),
    *("s3://", "s3:///x", "s3://b", "s3://buck%et/x"),
    *("s3://bucket/a//b", "s3://bucket/a*", "s3://bucket/../x"),
    *("file://dir/x", "file://", "file:x", "file:///a?b"),
]

KINDS = ["file", "overlay", pytest.param("s3", marks=[pytest.mark.service, pytest.mark.s3])]


def keys_of(remote: Remote, prefix: str = "", **limits: object) -> list[str]:
    """The listed keys."""
    return [entry.key for entry in remote.list(prefix, **limits)]  # type: ignore[arg-type]


def test_what_was_put_comes_back(remote: Remote) -> None:
    """Bytes, none at all included, return as they were; a second put replaces them."""
    remote.put("b/one", b"first")
    assert remote.get("b/one") == b"first"
    remote.put("b/one", b"second and longer")
    assert remote.get("b/one") == b"second and longer"
    remote.put("b/empty", b"")
    assert remote.get("b/empty") == b""


def test_a_missing_key_is_none(remote: Remote, tmp_path: Path) -> None:
    """No error and no bytes: the key, a part of a key, and something below a key."""
    remote.put("v/name/1", b"x")
    for key in ("nothing", "v/name", "v/name/10", "v/name/1/deeper"):
        assert remote.get(key) is None
        assert remote.get(key, 5, 10) is None
        assert not remote.get_file(key, tmp_path / "none")


def test_ranges_end_where_the_bytes_do(remote: Remote) -> None:
    """A range is what there is of it; past the end there is nothing."""
    remote.put("packs/p", b"0123456789")
    assert remote.get("packs/p", 2, 3) == b"234"
    assert remote.get("packs/p", 8, 100) == b"89"
    assert remote.get("packs/p", 4) == b"456789"
    assert remote.get("packs/p", 0, 0) == b""
    assert remote.get("packs/p", 10, 5) == b""
    assert remote.get("packs/p", 99) == b""


def test_files_go_and_come_with_a_tail(remote: Remote, tmp_path: Path) -> None:
    """put_file stores the file and then the tail; get_file stops where it is told to."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"body" * 1000)
    remote.put_file("packs/f", source, b"TAIL")
    assert remote.get_file("packs/f", target)
    assert target.read_bytes() == b"body" * 1000 + b"TAIL"
    assert remote.get_file("packs/f", target, 4000)
    assert target.read_bytes() == b"body" * 1000
    assert remote.get_file("packs/f", target, 0)
    assert target.read_bytes() == b""


@pytest.mark.parametrize("over", [-3, 0, 1, 4, PART_BYTES])
def test_large_files_are_whole_at_every_seam(remote: Remote, tmp_path: Path, over: int) -> None:
    """Files that end just before, on and after a part's end keep their bytes and their tail."""
    source, target = tmp_path / "source", tmp_path / "target"
    block = os.urandom(1 << 16)
    source.write_bytes(
        (block * (PART_BYTES // len(block) + 1))[:PART_BYTES] + block[: max(over, 0)]
    )
    with source.open("r+b") as file:
        file.truncate(PART_BYTES + over)
    remote.put_file("packs/large", source, b"the tail")
    assert remote.get_file("packs/large", target)
    assert target.stat().st_size == PART_BYTES + over + 8
    assert target.read_bytes() == source.read_bytes() + b"the tail"
    assert remote.get("packs/large", PART_BYTES + over - 2, 5) == source.read_bytes()[-2:] + b"the"


def test_a_new_key_is_created_once(remote: Remote) -> None:
    """The second creation says no and changes nothing."""
    assert remote.put_new("v/n/1", b"mine")
    assert not remote.put_new("v/n/1", b"yours")
    assert remote.get("v/n/1") == b"mine"
    remote.put("v/n/2", b"there already")
    assert not remote.put_new("v/n/2", b"late")


def test_sixteen_writers_race_and_one_wins(remote: Remote) -> None:
    """All start together; exactly one is told that it stored, and its bytes are there."""
    for race in range(3):
        start = threading.Barrier(16)

        def write(number: int, race: int = race, start: threading.Barrier = start) -> bool:
            start.wait()
            return remote.put_new(f"v/race/{race}", b"%d" % number)

        with ThreadPoolExecutor(16) as pool:
            won = [n for n, first in enumerate(pool.map(write, range(16))) if first]
        assert len(won) == 1
        assert remote.get(f"v/race/{race}") == b"%d" % won[0]


def climb(remote: Remote, who: int, told: Callable[[int], None]) -> None:
    """Take the first free number, as the writer of a version does."""
    number = 1
    while not remote.put_new(f"v/climb/{number:03}", body_of(who)):
        number += 1
    told(number)


def body_of(who: int) -> bytes:
    """What writer ``who`` writes: long enough to be seen half."""
    return b"%02d" % who * 100_000


def test_sixteen_writers_of_four_processes_get_a_number_each(remote: Remote) -> None:
    """All start together; no number is free below another, none is had twice, and who reads
    meanwhile sees a key whole or not at all."""
    fork = multiprocessing.get_context("fork")
    start, got = fork.Barrier(4 * 4 + 1), fork.SimpleQueue()

    def work(first: int) -> None:
        def write(who: int) -> None:
            start.wait(60)
            climb(remote, who, lambda number: got.put((who, number)))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(first, first + 4)))

    processes = [fork.Process(target=work, args=(4 * n,)) for n in range(4)]
    for process in processes:
        process.start()
    start.wait(60)
    bodies = {body_of(who) for who in range(16)}
    while any(process.is_alive() for process in processes):
        seen = [remote.get(key) for key in keys_of(remote, "v/climb/")]
        assert bodies.issuperset(seen)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    taken = dict(got.get() for _ in range(16))
    assert sorted(taken) == list(range(16))
    assert sorted(taken.values()) == list(range(1, 17))
    for who, number in taken.items():
        assert remote.get(f"v/climb/{number:03}") == body_of(who)


def test_lists_are_in_byte_order(remote: Remote) -> None:
    """UTF-8 order of whole keys: "+" stands before "/", capitals before small letters."""
    keys = ["v/a/1", "v/a/1+t1", "v/a/1+x", "v/a/2", "v/a+b/1", "v/a", "v/B/1", "v/é/1", "b/1"]
    keys.remove("v/a")
    for key in keys:
        remote.put(key, key.encode())
    assert keys_of(remote) == sorted(keys, key=str.encode)
    assert keys_of(remote, "v/a/") == ["v/a/1", "v/a/1+t1", "v/a/1+x", "v/a/2"]
    assert keys_of(remote, "v/a/1") == ["v/a/1", "v/a/1+t1", "v/a/1+x"]
    assert keys_of(remote, "v/a") == ["v/a+b/1", "v/a/1", "v/a/1+t1", "v/a/1+x", "v/a/2"]
    assert keys_of(remote, "w") == keys_of(remote, "v/nobody/") == []
    assert [entry.size for entry in remote.list("v/é")] == [len("v/é/1".encode())]


def test_lists_start_after_a_key_and_stop_at_a_limit(remote: Remote) -> None:
    """``after`` need not exist; a limit is a limit; walking by pages sees every key once."""
    keys = sorted(f"v/{folder}/{n:02}" for folder in "abc" for n in range(7))
    for key in keys:
        remote.put(key, b"")
    assert keys_of(remote, "v/", limit=4) == keys[:4]
    assert keys_of(remote, "v/", limit=0) == []
    assert keys_of(remote, "v/", after="v/b/03") == keys[11:]
    assert keys_of(remote, "v/b/", after="v/b/03x", limit=2) == ["v/b/04", "v/b/05"]
    assert keys_of(remote, "v/", after="v/b") == keys[7:]
    assert keys_of(remote, "v/", after="w") == []
    walked, after = [], ""
    while page := keys_of(remote, "v/", after=after, limit=5):
        walked += page
        after = page[-1]
    assert walked == keys


def test_more_than_a_page_is_listed_whole(remote: Remote) -> None:
    """1,005 keys come in two pages on S3, and all of them come."""
    keys = [f"k/{n:05}" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: remote.put(key, b""), keys))
    assert keys_of(remote, "k/") == keys
    assert keys_of(remote, "k/", limit=1003) == keys[:1003]
    remote.delete(keys)
    assert keys_of(remote, "k/") == []


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_kept_as_they_are(remote: Remote, key: str) -> None:
    """What a key may hold comes back from a listing as it went in."""
    assert remote.put_new(key, b"odd")
    assert remote.get(key) == b"odd"
    assert keys_of(remote) == [key]
    remote.delete([key])
    assert remote.get(key) is None


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "../a", "a/../b", "./a", "a\0b", "\ud800"])
def test_keys_that_could_leave_the_remote_are_refused(remote: Remote, key: str) -> None:
    """Before anything is read or written."""
    for act in (
        lambda: remote.get(key),
        lambda: remote.put(key, b""),
        lambda: remote.put_new(key, b""),
        lambda: remote.delete([key]),
    ):
        with pytest.raises(UsageError, match="is not a key"):
            act()


def test_deleting_twice_is_no_error(remote: Remote) -> None:
    """A key that is not there counts as deleted."""
    remote.put("runs/1/plan.json", b"{}")
    remote.delete(["runs/1/plan.json", "runs/1/never"])
    remote.delete(["runs/1/plan.json"])
    remote.delete([])
    assert remote.get("runs/1/plan.json") is None


def test_a_vanished_place_is_an_error_for_every_call(vanished: Remote, tmp_path: Path) -> None:
    """No bucket or folder: unreachable, never "no such key" and never made again."""
    (tmp_path / "source").write_bytes(b"x")
    for act in (
        lambda: vanished.get("meta/remote"),
        lambda: vanished.get_file("meta/remote", tmp_path / "target"),
        lambda: list(vanished.list("meta/")),
        lambda: vanished.put("a", b""),
        lambda: vanished.put_file("a", tmp_path / "source"),
        lambda: vanished.put_new("a", b""),
    ):
        with pytest.raises(RemoteUnreachable, match=vanished.url):
            act()


def test_an_overlay_writes_above_and_reads_through(tmp_path: Path) -> None:
    """The lower remote never changes, its keys are taken, and they cannot be deleted."""
    lower, upper = file_remote(tmp_path / "lower"), file_remote(tmp_path / "upper")
    lower.put("v/n/2", b"lower")
    lower.put("v/n/3", b"lower")
    both = OverlayRemote(lower, upper)
    assert both.get("v/n/2") == b"lower"
    assert not both.put_new("v/n/2", b"mine")
    assert both.put_new("v/n/1", b"upper")
    both.put("v/n/3", b"upper")
    assert keys_of(both, "v/") == ["v/n/1", "v/n/2", "v/n/3"]
    assert both.get("v/n/3") == b"upper"
    assert keys_of(lower) == ["v/n/2", "v/n/3"]
    with pytest.raises(AccessDenied):
        both.delete(["v/n/2"])
    both.delete(["v/n/1"])
    assert keys_of(both) == ["v/n/2", "v/n/3"]


def test_a_folders_files_are_readable_by_others_whatever_the_umask(tmp_path: Path) -> None:
    """0755 folders and 0444 files, and nothing left aside."""
    before = os.umask(0o077)
    try:
        remote = file_remote(tmp_path / "remote")
        remote.put("v/n/1", b"x")
        assert remote.put_new("v/n/2", b"x")
        assert not remote.put_new("v/n/2", b"x")
    finally:
        os.umask(before)
    for folder in ("v", "v/n"):
        assert (remote.root / folder).stat().st_mode & 0o7777 == 0o755
    for key in ("v/n/1", "v/n/2"):
        assert (remote.root / key).stat().st_mode & 0o7777 == 0o444
    assert list((remote.root / ASIDE).iterdir()) == []
    assert keys_of(remote) == ["v/n/1", "v/n/2"]


def test_a_folders_links_and_pipes_are_no_keys(tmp_path: Path) -> None:
    """What a container may have left there is neither listed nor followed nor waited for."""
    remote = file_remote(tmp_path / "remote")
    (tmp_path / "secret").write_bytes(b"secret")
    (remote.root / "b").mkdir()
    (remote.root / "b" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(remote.root / "b" / "pipe")
    assert keys_of(remote) == []
    for key in ("b/link", "b/pipe"):
        with pytest.raises(RemoteUnreachable):
            remote.get(key)
    with pytest.raises(UsageError):
        remote.put(f"{ASIDE}/x", b"")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("file:///a/b/", "file:///a/b"),
        ("file:///a/../b", "file:///b"),
        ("file:///a%20b", "file:///a%20b"),
        ("file:///a b", "file:///a%20b"),
    ],
)
def test_urls_have_one_form(typed: str, kept: str) -> None:
    """However it is typed, a remote has one URL, and that one stays as it is."""
    assert checked_url(typed) == checked_url(kept) == kept


@pytest.mark.parametrize("url", NO_URLS)
def test_urls_that_name_no_remote_are_refused(url: str) -> None:
    """Before anything is opened."""
    with pytest.raises(UsageError):
        checked_url(url)


def test_a_url_opens_its_kind_of_remote(tmp_path: Path) -> None:
    """By its scheme, and without asking anybody."""
    connections = Connections(Settings(home=tmp_path, store=tmp_path / "store"))
    assert isinstance(open_remote("s3://some-bucket/x", connections), S3Remote)
    folder = open_remote(f"file://{tmp_path}/a%20b", connections)
    assert isinstance(folder, FileRemote)
    assert folder.root == tmp_path / "a b"


def file_remote(folder: Path) -> FileRemote:
    """A remote in a new folder."""
    remote = FileRemote(f"file://{folder}")
    remote.prepare()
    return remote


@pytest.fixture(params=KINDS)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """An empty remote of each kind."""
    if request.param == "s3":
        request.getfixturevalue("s3_env")
        return remote_at(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")
    if request.param == "file":
        return file_remote(tmp_path / "remote")
    return OverlayRemote(file_remote(tmp_path / "lower"), file_remote(tmp_path / "upper"))


@pytest.fixture(params=KINDS)
def vanished(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """A remote of each kind whose folder or bucket is not there."""
    if request.param == "s3":
        request.getfixturevalue("s3_env")
        bucket = request.getfixturevalue("s3_bucket")
        return remote_at(f"s3://{bucket}-that-never-was/prefix")
    lower = FileRemote(f"file://{tmp_path}/vanished")
    return lower if request.param == "file" else OverlayRemote(lower, lower)
