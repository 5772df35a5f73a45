"""Large objects: in parts, each sent and brought once, whatever breaks off in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock, Thread

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.link import PART_BYTES, Link
from bundlerun.bundles.value import links
from bundlerun.bundles.value.files import File
from bundlerun.errors import IntegrityError, RemoteUnreachable
from bundlerun.remotes import multipart
from bundlerun.remotes.base import Part, Upload
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import pack_key
from bundlerun.remotes.pull import pull_latest
from bundlerun.remotes.push import push
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store
from tests.remotes.conftest import Client, remote_at
from tests.remotes.watched import Counting

MakeClient = Callable[[str], Client]

PARTS = 12
SIZE = PARTS * PART_BYTES - 1000
AFTER = 4
"""Parts after which a process dies."""

spawning = multiprocessing.get_context("spawn")


class Deadly(Counting):
    """Kills this process without warning once so many parts went through."""

    def __init__(self, url: str, after: int, ready: Callable[[], bool] = lambda: True) -> None:
        super().__init__(remote_at(url))
        self._left = after
        self._ready = ready
        self._lock = Lock()

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        part = super().put_part(upload, number, data)
        self._count()
        return part

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        if length and length > 1 << 20:
            self._count()
        return super().get(key, start, length)

    def _count(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                while not self._ready():
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)


def push_and_die(store: Path, url: str) -> None:
    """In a process of its own."""
    opened = Store.open(store)
    context = opened.contexts.get("work")
    push(Binding.of(opened, context, Deadly(url, AFTER)), [opened.catalog.get(context, "data")])


def pull_and_die(store: Path, url: str) -> None:
    """In a process of its own."""
    opened = Store.open(store)
    context = opened.contexts.get("work")
    partials = store / "objects" / "partial"

    def one_part_is_written() -> bool:
        return any(path.stat().st_size >= PART_BYTES for path in partials.iterdir())

    remote = Deadly(url, PARTS, one_part_is_written)
    localise(opened, remote, [pull_latest(Binding.of(opened, context, remote), "data").bundle])


def dies(act: Callable[[Path, str], None], client: Client, url: str) -> None:
    """Let a child do it, and see it killed."""
    client[0].close()
    child = spawning.Process(target=act, args=(client[0].path, url))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


def large_file(path: Path, size: int = SIZE) -> Path:
    """A file of random bytes."""
    with path.open("wb") as file:
        for start in range(0, size, PART_BYTES):
            file.write(os.urandom(min(PART_BYTES, size - start)))
    return path


def added(client: Client, path: Path, name: str = "data") -> Entry:
    """A committed bundle of one file."""
    store, context, _ = client
    return store.add(context, name, File(path), commit=True)


def sent(client: Client, entry: Entry) -> None:
    """Push it."""
    store, context, remote = client
    push(Binding.of(store, context, remote), [entry])


def brought(client: Client, name: str = "data") -> Path:
    """Pull it, bytes and all; the file."""
    store, context, remote = client
    bundle = pull_latest(Binding.of(store, context, remote), name).bundle
    localise(store, remote, [bundle])
    value = store.value(bundle)
    assert isinstance(value, File)
    return value.path


def large_link(client: Client, entry: Entry) -> Link:
    """The link of the one large object."""
    store = client[0]
    (found,) = (
        link for link, _ in links(entry.bundle.root, store.objects.find) if link.size > PART_BYTES
    )
    return found


def pack_of(client: Client, link: Link) -> str:
    """The pack in which an object lies on the remote."""
    store, context, _ = client
    return store.known.packs_of(context.remote_uuid or "", [link.digest])[link.digest].pack


def kinds(client: Client) -> Mapping[str, int]:
    """How many requests of each kind there were."""
    verbs = [verb for verb, _ in client[2].requests]
    return {verb: verbs.count(verb) for verb in set(verbs)}


def same(one: Path, other: Path) -> bool:
    """Whether two files are equal, part by part."""
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(PART_BYTES):
            if chunk != right.read(PART_BYTES):
                return False
        return not right.read(1)


def test_a_push_that_was_killed_sends_only_what_is_missing(
    client: MakeClient, url: str, tmp_path: Path
) -> None:
    """Parts that arrived before the kill are not sent again, and the file is right."""
    one = client("one")
    path = large_file(tmp_path / "large.bin")
    entry = added(one, path)
    dies(push_and_die, one, url)
    one[2].forget()
    sent(one, entry)
    assert one[2].sent < SIZE - (AFTER - 1) * PART_BYTES + 20_000
    assert kinds(one)["part"] <= PARTS - AFTER + 1
    assert "begin" not in kinds(one)
    assert same(brought(client("two")), path)
    one[2].forget()
    sent(one, entry)
    assert kinds(one) == {"list": 1}


def test_a_pull_that_was_killed_brings_only_what_is_missing(
    client: MakeClient, url: str, tmp_path: Path
) -> None:
    """Parts that were written before the kill are hashed and not read again."""
    one, two = client("one"), client("two")
    path = large_file(tmp_path / "large.bin")
    sent(one, added(one, path))
    dies(pull_and_die, two, url)
    (partial,) = (two[0].path / "objects" / "partial").iterdir()
    there = partial.stat().st_size // PART_BYTES
    assert there >= 1
    two[2].forget()
    assert same(brought(two), path)
    assert two[2].received < SIZE - there * PART_BYTES + 20_000
    assert list(partial.parent.iterdir()) == []


def test_a_flipped_bit_is_named_by_its_part_and_the_others_stay(
    client: MakeClient, tmp_path: Path
) -> None:
    """Nothing wrong is stored; once the remote is mended, that part alone is read again."""
    one, two = client("one"), client("two")
    path = large_file(tmp_path / "large.bin", 5 * PART_BYTES + 17)
    entry = added(one, path)
    sent(one, entry)
    link = large_link(one, entry)
    pack = pack_of(one, link)
    good = one[2].get(pack_key(pack)) or b""
    flipped = bytearray(good)
    flipped[3 * PART_BYTES + 5] ^= 1
    one[2].put(pack_key(pack), bytes(flipped))
    with pytest.raises(IntegrityError, match=rf"{link.digest}.*{pack}.*counted from 0: 3; try: "):
        brought(two)
    assert not two[0].objects.has(link.digest)
    one[2].put(pack_key(pack), good)
    two[2].forget()
    assert same(brought(two), path)
    assert PART_BYTES <= two[2].received < PART_BYTES + 20_000


@pytest.mark.parametrize("cut", [0, 1000, 3 * PART_BYTES])
def test_a_large_pack_that_was_cut_is_an_error_by_name(
    client: MakeClient, tmp_path: Path, cut: int
) -> None:
    """However much of its claimed bytes is there, no more memory is asked for, and none stored."""
    one, two = client("one"), client("two")
    entry = added(one, large_file(tmp_path / "large.bin", 4 * PART_BYTES))
    sent(one, entry)
    link = large_link(one, entry)
    pack = pack_of(one, link)
    one[2].put(pack_key(pack), (one[2].get(pack_key(pack)) or b"")[:cut])
    with pytest.raises(IntegrityError, match=f"{link.digest}|{pack}"):
        brought(two)
    assert not two[0].objects.has(link.digest)


def test_two_pulls_at_once_bring_each_part_once(client: MakeClient, tmp_path: Path) -> None:
    """The second one waits for the file that the first one fills."""
    one, two = client("one"), client("two")
    path = large_file(tmp_path / "large.bin", 5 * PART_BYTES)
    sent(one, added(one, path))
    store = two[0]
    bundle = pull_latest(Binding.of(*two), "data").bundle
    sides = [(Store.open(store.path), Counting(two[2].inner)) for _ in range(2)]
    threads = [Thread(target=localise, args=(opened, remote, [bundle])) for opened, remote in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(brought(two), path)
    received = sum(remote.received for _, remote in sides)
    assert received < 5 * PART_BYTES + 40_000
    for opened, _ in sides:
        opened.close()


def test_damaged_bytes_of_this_disk_are_not_sent(client: MakeClient, tmp_path: Path) -> None:
    """The part is named, and no version is made."""
    one = client("one")
    entry = added(one, large_file(tmp_path / "large.bin", 4 * PART_BYTES))
    path = one[0].objects.path(large_link(one, entry))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(2 * PART_BYTES)
        file.write(b"other")
    with pytest.raises(IntegrityError, match="in its part 2 of 8 MiB, are damaged"):
        sent(one, entry)
    assert list(one[2].list("v/")) == []


class Forgetful(Counting):
    """Ends uploads and loses the answer."""

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        super().complete(upload, parts)
        raise RemoteUnreachable("the answer was lost")


def test_an_end_whose_answer_was_lost_is_an_end(client: MakeClient, tmp_path: Path) -> None:
    """What is there is looked at, and nothing is sent twice."""
    store, context, remote = client("one")
    path = large_file(tmp_path / "large.bin", 3 * PART_BYTES)
    entry = added((store, context, remote), path)
    lossy = Forgetful(remote.inner)
    push(Binding.of(store, context, lossy), [entry])
    assert lossy.sent < 3 * PART_BYTES + 20_000
    assert same(brought(client("two")), path)


class Breaking(Counting):
    """The line goes down after the second part."""

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        if number > 2:
            raise RemoteUnreachable("the line is down")
        return super().put_part(upload, number, data)


def test_what_broke_off_long_ago_is_given_up(
    client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push of something else a day later aborts it, so that nobody pays for it for ever."""
    one = client("one")
    store, context, remote = one
    entry = added(one, large_file(tmp_path / "large.bin", 4 * PART_BYTES))
    with pytest.raises(RemoteUnreachable, match="the line is down"):
        push(Binding.of(store, context, Breaking(remote.inner)), [entry])
    other = store.add(context, "other", 1, commit=True)
    third = store.add(context, "third", 1, commit=True)
    sent(one, other)
    assert "abort" not in kinds(one)
    monkeypatch.setattr(multipart, "KEPT_S", -1)
    sent(one, store.add(context, "fourth", {"n": 4}, commit=True))
    assert kinds(one)["abort"] == 1
    assert store.uploads.begun(context.remote_uuid or "") == []
    sent(one, third)
    remote.forget()
    sent(one, entry)
    assert kinds(one)["begin"] == 1


def test_a_large_file_is_stored_once_for_all_names_versions_and_contexts(
    client: MakeClient, tmp_path: Path
) -> None:
    """Known by its digest: no part goes again, and nobody asks file by file whether it is there."""
    one = client("one")
    path = large_file(tmp_path / "large.bin", 3 * PART_BYTES)
    sent(one, added(one, path))
    store, context, remote = one
    remote.forget()
    sent(one, added(one, path))
    sent(one, added(one, path, "other"))
    small = store.add(context, "both", {"a": File(path), "b": File(path, name="b")}, commit=True)
    sent(one, small)
    assert not {"part", "get"} & kinds(one).keys()
    assert remote.sent < 20_000


def test_the_parts_follow_from_the_bytes(tmp_path: Path) -> None:
    """As a file or as bytes: the same link, and the digests of the pieces in order."""
    store = Store.open(tmp_path / "store")
    path = large_file(tmp_path / "large.bin", 2 * PART_BYTES + 5)
    data = path.read_bytes()
    link = store.objects.put_file(path)
    assert link == Link(digest_of(data), len(data))
    assert link.to_json() == store.objects.put_bytes(data).to_json()
    assert link.parts_link is not None
    pieces = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    expected = b"".join(bytes.fromhex(digest_of(piece)) for piece in pieces)
    assert store.objects.read(link.parts_link) == expected
    assert Link.from_json(link.to_json()).parts == link.parts
    assert store.objects.put_bytes(data[:PART_BYTES]).parts is None
    store.close()


def test_a_folder_keeps_whole_parts_alone(tmp_path: Path) -> None:
    """A log line that a crash cut off does not count, nor does an upload that is gone."""
    remote = FileRemote(f"file://{tmp_path}/remote")
    remote.prepare()
    upload = remote.begin("packs/p", 10)
    assert upload is not None
    remote.put_part(upload, 2, b"b" * 4)
    with next((tmp_path / "remote" / ".aside").glob("*.parts")).open("ab") as log:
        log.write(b"1")
    assert remote.parts(upload) == {2: Part(4, "written")}
    part = remote.put_part(upload, 1, b"a" * 10)
    assert remote.parts(upload) == {1: Part(10, "written"), 2: Part(4, "written")}
    remote.complete(upload, {1: part, 2: part})
    assert remote.get("packs/p") == b"a" * 10 + b"b" * 4
    assert remote.parts(upload) is None
    assert list((tmp_path / "remote" / ".aside").iterdir()) == []
