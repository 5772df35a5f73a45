"""Contexts, tags that are sent later, runs, and what is known of remotes."""

from __future__ import annotations

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.record import new_id
from bundlerun.errors import (
    BadName,
    BundleNotFound,
    Conflict,
    ContextNotFound,
)
from bundlerun.store.contexts import Context
from bundlerun.store.remote_cache import Location, PackInfo
from bundlerun.store.store import Store


def test_a_context_is_made_chosen_and_deleted(store: Store) -> None:
    """One of a name at a time; the chosen one is forgotten with it."""
    made = store.contexts.create("b")
    store.contexts.create("a")
    assert [c.name for c in store.contexts.list()] == ["a", "b"]
    assert store.contexts.get("b") == made
    with pytest.raises(Conflict, match="bundlerun switch b"):
        store.contexts.create("b")
    assert store.contexts.current() is None
    store.contexts.switch("b")
    assert store.contexts.current() == "b"
    store.contexts.delete("b")
    assert store.contexts.current() is None
    for call in (store.contexts.get, store.contexts.delete, store.contexts.switch):
        with pytest.raises(ContextNotFound, match="bundlerun context b"):
            call("b")
    with pytest.raises(BadName):
        store.contexts.create("a b")


def test_deleting_a_context_leaves_the_others_whole(store: Store, context: Context) -> None:
    """Also where both hold the same bytes."""
    other = store.contexts.create("other")
    store.add(context, "x", [1, "y" * 2000])
    kept = store.add(other, "x", [1, "y" * 2000], tags={"a": "b"})
    store.journal.add(context, {"id": "r"})
    store.contexts.delete("work")
    assert store.catalog.search(other, tags={"a": "b"}) == [kept]
    assert store.value(kept.bundle) == [1, "y" * 2000]


def test_tags_set_later_wait_until_they_are_sent(store: Store, context: Context) -> None:
    """Those that a record had from the start do not; nor those that did not change."""
    entry = store.add(context, "x", 1, tags={"a": "1", "b": "1"})
    id = entry.bundle.id
    assert store.catalog.pending_tags(context, id) == {}
    tagged = store.catalog.tag(context, id, {"a": "1", "b": "2", "c": "3"})
    assert tagged.bundle.tags == {"a": "1", "b": "2", "c": "3"}
    assert store.catalog.get(context, "x", tags={"b": "2"}) == tagged
    assert store.catalog.find(context, "x", tags={"b": "1"}) is None
    assert store.catalog.pending_tags(context, id) == {"b": "2", "c": "3"}
    store.catalog.tags_sent(context, id)
    assert store.catalog.pending_tags(context, id) == {}
    with pytest.raises(BundleNotFound):
        store.catalog.tag(context, new_id(), {"a": "1"})
    with pytest.raises(BadName):
        store.catalog.tag(context, id, {"a": "\x1b[31m"})


def test_a_tag_that_is_set_during_a_push_is_not_taken_for_sent(
    store: Store, context: Context
) -> None:
    """Only what the pushed record said counts."""
    entry = store.add(context, "x", 1, commit=True)
    id = entry.bundle.id
    pushed = store.catalog.tag(context, id, {"a": "1", "b": "1"}).bundle.tags
    store.catalog.tag(context, id, {"b": "2", "c": "1"})
    store.catalog.set_version(context, id, 1, tags=pushed)
    assert store.catalog.pending_tags(context, id) == {"b": "2", "c": "1"}


def test_tags_from_the_remote_do_not_undo_those_set_here(store: Store, context: Context) -> None:
    """The pending ones win, the others are taken over."""
    entry = store.add(context, "x", 1, tags={"a": "1"}, commit=True)
    store.catalog.set_version(context, entry.bundle.id, 1)
    store.catalog.tag(context, entry.bundle.id, {"mine": "new"})
    from_remote = entry.bundle.__class__.from_json(
        {**entry.bundle.to_json(), "tags": {"a": "2", "mine": "old", "theirs": "1"}}
    )
    adopted = store.catalog.adopt(context, from_remote, version=1)
    assert adopted.bundle.tags == {"a": "2", "mine": "new", "theirs": "1"}
    assert store.catalog.pending_tags(context, entry.bundle.id) == {"mine": "new"}
    assert store.catalog.search(context, tags={"a": "2", "theirs": "1"}) == [adopted]


def test_what_is_known_of_packs_belongs_to_the_uuid(store: Store) -> None:
    """The pack learned last counts; another remote knows nothing of it."""
    digests = [digest_of(b"%d" % n) for n in range(1200)]
    first = [Location("p1", n * 10, 10, digest) for n, digest in enumerate(digests)]
    store.known.note_pack("u1", PackInfo("p1", 13_000, 1000), first)
    later = Location("p2", 0, 10, digests[0])
    store.known.note_pack("u1", PackInfo("p2", 100, 90), [later])
    found = store.known.packs_of("u1", [*digests, digest_of(b"unknown")])
    assert found == {**{place.digest: place for place in first}, digests[0]: later}
    assert store.known.pack("u1", "p1") == PackInfo("p1", 13_000, 1000)
    assert store.known.pack("u2", "p1") is None
    assert store.known.packs_of("u2", digests) == {}
    store.known.forget("u1")
    assert store.known.packs_of("u1", digests) == {}
