"""Push and pull where every fifth request goes wrong: all of it arrives, once, and as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.aws.retries import Patience
from bundlerun.bundles.digest import Digest
from bundlerun.bundles.value.files import Directory, File
from bundlerun.errors import CloudError, RemoteUnreachable
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all, pull_latest
from bundlerun.remotes.push import PushReport, push
from bundlerun.remotes.records import PushedBundle
from bundlerun.remotes.s3 import S3Remote
from tests.faults.conftest import Client, Faulty
from tests.faults.proxy import CHOSEN, Fault, first_of_each, kind_of, seeded
from tests.services import S3Server

Opened = Callable[[str, S3Remote], Client]

FILES = 1000
FILE_BYTES = 2048
NAMES = 20
LARGE_BYTES = 40 << 20


def values(folder: Path) -> dict[str, Any]:
    """1,000 files in twenty folders, and a file that goes in parts."""
    large = folder / "large.bin"
    block = os.urandom(1 << 20)
    with large.open("wb") as file:
        for number in range(LARGE_BYTES >> 20):
            file.write(number.to_bytes(4, "big") + block[4:])
    found: dict[str, Any] = {"large": File(large)}
    for name in range(NAMES):
        below = folder / f"n{name}"
        below.mkdir()
        for number in range(FILES // NAMES):
            (below / f"{number:03}.bin").write_bytes(os.urandom(FILE_BYTES))
        found[f"n{name}"] = Directory(below)
    return found


def push_all(client: Client) -> PushReport:
    """Everything that is not there yet."""
    store, context, remote = client
    return push(Binding.of(store, context, remote), store.catalog.unpushed(context))


def check_once(remote: S3Remote) -> None:
    """Every object is in one pack, every pack is used, and versions count from 1 without a hole."""
    packs = {entry.key.removeprefix("packs/"): entry.size for entry in remote.list("packs/")}
    named: dict[str, int] = {}
    for entry in remote.list("b/"):
        id = entry.key.removeprefix("b/")
        record = PushedBundle.from_bytes(remote.get(entry.key) or b"", id)
        named |= {share.pack.uuid: share.pack.size for share in record.shares}
    assert packs == named
    seen: list[Digest] = []
    for uuid, size in packs.items():
        seen += members_at(remote, uuid, size)
    assert len(seen) == len(set(seen)), "an object was stored twice"
    numbers: dict[str, list[int]] = {}
    for standing in version_infos(remote):
        numbers.setdefault(standing.name, []).append(standing.n)
    assert all(found == list(range(len(found), 0, -1)) for found in numbers.values())
    assert sum(map(len, numbers.values())) == len(list(remote.list("b/")))


def members_at(remote: S3Remote, uuid: str, size: int) -> list[Digest]:
    """The digests that the index of a pack on the server names (48 bytes each, then 56)."""
    tail = remote.get(f"packs/{uuid}", size - 56, 56) or b""
    start, length = int.from_bytes(tail[8:16], "big"), int.from_bytes(tail[16:24], "big")
    index = remote.get(f"packs/{uuid}", start, length) or b""
    return [Digest(index[at : at + 32].hex()) for at in range(0, len(index), 48)]


def uploads_left(s3_server: S3Server, remote: S3Remote) -> list[Any]:
    """Uploads in parts that were begun and neither completed nor given up."""
    found = s3_server.client().list_multipart_uploads(Bucket=remote.bucket)
    return list(found.get("Uploads", []))


SEEDS = [1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 11))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thousand_files_travel_through_every_fault(
    faulty: Faulty, opened: Opened, s3_server: S3Server, tmp_path: Path, seed: int
) -> None:
    """Two versions of each name, there and back; then a push of nothing sends nothing."""
    bad, proxy = faulty(seeded(seed))
    good, _ = faulty(seeded(0, share=0))
    one = opened("one", bad)
    sent = values(tmp_path)
    for name, value in sent.items():
        one[0].add(one[1], name, value, commit=True)
    assert len(push_all(one).bundles) == NAMES + 1
    changed = tmp_path / "n0" / "000.bin"
    changed.write_bytes(b"changed")
    sent["n0"] = Directory(tmp_path / "n0")
    one[0].add(one[1], "n0", sent["n0"], commit=True)
    assert len(push_all(one).bundles) == 1
    check_once(good)
    # Beyond the one of the large file those alone whose number was lost on the way back.
    begun = [path for method, path in proxy.asked if (method, kind_of(path)) == ("POST", "uploads")]
    assert len(uploads_left(s3_server, good)) < len(begun)

    two = opened("two", bad)
    store, context, remote = two
    pulled = pull_all(Binding.of(store, context, remote))
    localise(store, remote, [entry.bundle for entry in pulled])
    assert {e.bundle.name: store.value(e.bundle) for e in pulled} == sent

    before = [(entry.key, entry.size) for entry in good.list("")]
    asked = len(proxy.asked)
    assert push_all(one) == PushReport((), 0, 0, 0)
    assert {method for method, _ in proxy.asked[asked:]} == {"GET"}
    assert [(entry.key, entry.size) for entry in good.list("")] == before
    assert sum(proxy.seen.values()) - proxy.seen[Fault.NONE] >= 10


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: fault.name.lower())
def test_each_fault_at_the_first_request_of_each_kind_is_got_over(
    faulty: Faulty, opened: Opened, fault: Fault
) -> None:
    """The listing, the pack, the record, the version, the reuse key, the ranges."""
    bad, proxy = faulty(first_of_each(fault))
    good, _ = faulty(seeded(0, share=0))
    one, two = opened("one", bad), opened("two", bad)
    value = {"bytes": os.urandom(100_000), "n": [*range(1000)]}
    one[0].add(one[1], "data", value, commit=True)
    assert len(push_all(one).bundles) == 1
    pulled = pull_latest(Binding.of(*two), "data")
    localise(two[0], bad, [pulled.bundle])
    assert two[0].value(pulled.bundle) == value
    check_once(good)
    met = {(method, kind_of(path)) for method, path in proxy.asked}
    kinds = ("meta", "b", "v", "packs")
    assert met >= {("GET", "list-type"), *((m, k) for m in ("GET", "PUT") for k in kinds)}
    assert proxy.seen[fault] == len(met)


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: fault.name.lower())
def test_each_fault_while_a_large_file_goes_in_parts(
    faulty: Faulty, s3_server: S3Server, tmp_path: Path, fault: Fault
) -> None:
    """Its beginning, a part, its completion: the file is there, whole, and no upload that was
    begun in the client's sight is left open."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(1 << 20) * 35)
    bad, proxy = faulty(first_of_each(fault))
    bad.put_file("packs/p", source, b"tail")
    assert bad.get_file("packs/p", target)
    assert target.read_bytes() == source.read_bytes() + b"tail"
    met = {(method, kind_of(path)) for method, path in proxy.asked}
    assert met >= {("POST", "uploads"), ("PUT", "partNumber"), ("POST", "uploadId")}
    assert proxy.seen[fault] == len(met)
    # An upload whose number was lost on the way back is nobody's: nothing can give it up.
    unseen = fault in (Fault.CUT_ANSWER, Fault.NO_BODY, Fault.DROPPED)
    assert len(uploads_left(s3_server, bad)) <= unseen


def test_a_completed_upload_whose_answer_was_lost_is_recognised(
    faulty: Faulty, tmp_path: Path
) -> None:
    """AWS knows no upload any more when it is completed a second time; the file is there."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1 << 20) * 20)
    said = iter([Fault.DROPPED, Fault.GONE])
    bad, proxy = faulty(
        lambda method, path: (
            next(said) if (method, kind_of(path)) == ("POST", "uploadId") else Fault.NONE
        )
    )
    bad.put_file("packs/p", source)
    assert proxy.seen[Fault.GONE] == 1
    assert bad.get("packs/p") == source.read_bytes()
    lost, _ = faulty(
        lambda method, path: (
            Fault.GONE if (method, kind_of(path)) == ("POST", "uploadId") else Fault.NONE
        )
    )
    with pytest.raises(CloudError, match="NoSuchUpload"):
        lost.put_file("packs/other", source)
    assert bad.get("packs/other") is None


def test_a_push_that_broke_off_sends_only_what_is_missing(faulty: Faulty, opened: Opened) -> None:
    """One pack of three never gets through: the two others are not sent again, though no record
    names them yet."""
    packs: list[str] = []
    broken = [True]

    def second_pack(method: str, path: str) -> Fault:
        if (method, kind_of(path)) != ("PUT", "packs"):
            return Fault.NONE
        if path not in packs:
            packs.append(path)
        return Fault.FAILED if broken[0] and packs.index(path) == 1 else Fault.NONE

    bad, _ = faulty(second_pack, Patience(cap_s=0.01))
    one = opened("one", bad)
    value = [os.urandom(4 << 20) for _ in range(9)]
    one[0].add(one[1], "data", value, commit=True)
    with pytest.raises(RemoteUnreachable, match=r"packs/"):
        push_all(one)
    arrived = len(list(bad.list("packs/")))
    assert (len(packs), arrived) == (3, 2)
    assert list(bad.list("b/")) == []
    broken[0] = False
    report = push_all(one)
    assert (len(report.bundles), report.packs, len(packs)) == (1, 1, 4)
    check_once(bad)
    two = opened("two", bad)
    pulled = pull_latest(Binding.of(*two), "data")
    localise(two[0], bad, [pulled.bundle])
    assert two[0].value(pulled.bundle) == value
