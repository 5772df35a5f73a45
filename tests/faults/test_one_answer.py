"""One wrong answer is weather: what is damaged, or taken, is what two answers say."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from bundlerun.errors import IntegrityError, RemoteError
from bundlerun.remotes.binding import Binding, bind
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.fsck import prove
from bundlerun.remotes.keys import version_infos
from bundlerun.remotes.pull import pull_all, pull_id, pull_latest
from bundlerun.remotes.push import push
from bundlerun.remotes.records import create
from bundlerun.remotes.remove import forget
from bundlerun.remotes.s3 import S3Remote
from tests.faults.conftest import Client, Faulty
from tests.faults.proxy import Chooser, Fault, always, first_of_each, kind_of

Opened = Callable[[str, S3Remote], Client]

CHANGED = [Fault.FLIPPED, Fault.SHORTENED]
VALUE = {"bytes": os.urandom(100_000), "n": [*range(1000)], "large": os.urandom(20 << 20)}


def pushed(faulty: Faulty, opened: Opened, versions: int = 1) -> tuple[S3Remote, list[str]]:
    """A remote with some versions of "data", and their ids, oldest first."""
    good, _ = faulty(always(Fault.NONE))
    store, context, remote = opened("one", good)
    for n in range(versions):
        store.add(context, "data", {**VALUE, "version": n}, commit=True, tags={"t": str(n)})
    report = push(Binding.of(store, context, remote), store.catalog.unpushed(context))
    return good, [bundle.id for bundle in report.bundles]


@pytest.mark.parametrize("fault", CHANGED, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("what", ["latest", "id", "all"])
def test_a_pull_gets_over_one_wrong_answer_of_each_kind(
    faulty: Faulty, opened: Opened, fault: Fault, what: str
) -> None:
    """The first listing, record, version and pack that are read are shortened or have a flipped
    bit: all comes, as it was."""
    _, ids = pushed(faulty, opened, 2)
    bad, proxy = faulty(always(Fault.NONE))
    store, context, remote = opened("two", bad)
    proxy.choose = first_of_each(fault)
    if what == "latest":
        entry = pull_latest(Binding.of(store, context, remote), "data")
    elif what == "id":
        entry = pull_id(Binding.of(store, context, remote), ids[1])
    else:
        entry = {e.bundle.id: e for e in pull_all(Binding.of(store, context, remote))}[ids[1]]
    assert entry.bundle.id == ids[1]
    localise(store, bad, [entry.bundle])
    assert store.value(entry.bundle) == {**VALUE, "version": 1}
    assert proxy.seen[fault] >= 3


@pytest.mark.parametrize("fault", CHANGED, ids=lambda fault: fault.name.lower())
def test_what_comes_wrong_twice_is_damage(faulty: Faulty, opened: Opened, fault: Fault) -> None:
    """Every reading of a pack is wrong: two requests a range, then the pack is named."""
    _, ids = pushed(faulty, opened)
    bad, proxy = faulty(always(Fault.NONE))
    store, context, remote = opened("two", bad)
    entry = pull_id(Binding.of(store, context, remote), ids[0])
    proxy.choose = lambda method, path: fault if kind_of(path) == "packs" else Fault.NONE
    proxy.asked.clear()
    with pytest.raises(IntegrityError, match=r"data@.*pack"):
        localise(store, bad, [entry.bundle])
    packs = [path for _, path in proxy.asked if kind_of(path) == "packs"]
    assert len(packs) <= 2 * len(set(packs)) + 8


@pytest.mark.parametrize("fault", CHANGED, ids=lambda fault: fault.name.lower())
def test_a_proof_of_the_remote_asks_twice_before_it_says_damage(
    faulty: Faulty, opened: Opened, fault: Fault
) -> None:
    """A sound remote, of which the first answer of each kind but the listings is wrong."""
    pushed(faulty, opened, 2)
    bad, proxy = faulty(always(Fault.NONE))
    store, context, remote = opened("two", bad)
    wrong = first_of_each(fault)
    proxy.choose = lambda method, path: (
        Fault.NONE if kind_of(path) == "list-type" else wrong(method, path)
    )
    proof = prove(Binding.of(store, context, remote))
    assert proxy.seen[fault] >= 3
    assert not proof.findings


def taken(*kinds: str, times: int = 1) -> Chooser:
    """412 to the first ``times`` writes of each key below these kinds, which is not there."""
    had: dict[str, int] = {}

    def choose(method: str, path: str) -> Fault:
        if method != "PUT" or kind_of(path) not in kinds or had.get(path, 0) >= times:
            return Fault.NONE
        had[path] = had.get(path, 0) + 1
        return Fault.EXISTS

    return choose


def test_a_wrong_412_ends_no_push_and_no_removal(faulty: Faulty, opened: Opened) -> None:
    """The binding, the bundle's record, its version and the mark of its removal are written though
    a server says once of each that it is there."""
    bad, proxy = faulty(taken("meta", "b", "v"))
    store, context, remote = opened("one", bad)
    entry = store.add(context, "data", 1, commit=True)
    entries = store.catalog.unpushed(context)
    assert [
        bundle.name for bundle in push(Binding.of(store, context, remote), entries).bundles
    ] == ["data"]
    entry = store.catalog.get(context, "data")
    assert entry.version == 1
    forget(Binding.of(store, context, remote), [entry])
    (standing,) = version_infos(bad, "data")
    assert standing.removed
    assert proxy.seen[Fault.EXISTS] >= 5


def test_a_key_that_is_said_to_be_there_and_never_is_ends_as_the_remotes_fault(
    faulty: Faulty,
) -> None:
    """After a few attempts, and not as damaged data."""
    bad, proxy = faulty(taken("b", times=100))
    with pytest.raises(RemoteError, match=r"b/x .*can be neither created nor read") as caught:
        create(bad, "b/x", b"x")
    assert not isinstance(caught.value, IntegrityError)
    assert len(proxy.asked) <= 20
    proxy.choose = always(Fault.NONE)
    assert create(bad, "b/x", b"x") is None
    assert create(bad, "b/x", b"other") == b"x"


def test_binding_gets_over_one_wrong_answer(faulty: Faulty, opened: Opened) -> None:
    """The identity of the remote has its own digest, so a flipped one is none."""
    good, _ = faulty(always(Fault.NONE))
    _, bound, _ = opened("one", good)
    bad, _ = faulty(first_of_each(Fault.FLIPPED))
    store, context, _ = opened("two", good)
    again = bind(store, replace(context), bad)
    assert again.remote_uuid == bound.remote_uuid
