"""Which version of a name is meant."""

from __future__ import annotations

import dataclasses

import pytest

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import Lineage, ReuseKey
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.errors import BundleNotFound, IntegrityError, UsageError
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


def made(name: str = "x", **fields: object) -> BundleRecord:
    """A bundle as another machine makes it."""
    return dataclasses.replace(BundleRecord(new_id(), name, Link(digest_of(b"r"), 1)), **fields)  # type: ignore[arg-type]


def latest(store: Store, context: Context, *, committed_only: bool = False) -> BundleRecord | None:
    """The latest bundle called x."""
    found = store.catalog.find(context, "x", committed_only=committed_only)
    return None if found is None else found.bundle


def test_of_what_came_from_the_remote_the_highest_number_is_the_latest(
    store: Store, context: Context
) -> None:
    """In whatever order the versions came, and whenever they were made."""
    bundles = {n: made() for n in (5, 7, 6)}
    for n, bundle in bundles.items():
        store.catalog.adopt(context, bundle, version=n)
    assert latest(store, context) == bundles[7]
    assert [e.version for e in store.catalog.search(context, name="x")] == [7, 6, 5]


def test_own_unpushed_versions_stand_before_the_remote_ones_in_commit_order(
    store: Store, context: Context
) -> None:
    """The order of committing counts, not that of adding."""
    first, second = (store.add(context, "x", n) for n in range(2))
    store.catalog.commit(context, [second.bundle.id])
    store.catalog.commit(context, [first.bundle.id, second.bundle.id])
    store.catalog.adopt(context, made(), version=900)
    assert latest(store, context, committed_only=True) == first.bundle
    unpushed = store.catalog.unpushed(context, "x")
    assert [e.bundle.id for e in unpushed] == [second.bundle.id, first.bundle.id]


def test_an_uncommitted_bundle_counts_only_if_it_came_after_the_committed_one(
    store: Store, context: Context
) -> None:
    """And never where only committed ones are asked for."""
    scratch = store.add(context, "x", 0)
    assert latest(store, context) == scratch.bundle
    kept = store.add(context, "x", 1, commit=True)
    assert latest(store, context) == kept.bundle
    later = store.add(context, "x", 2)
    assert latest(store, context) == later.bundle
    assert latest(store, context, committed_only=True) == kept.bundle
    pulled = store.catalog.adopt(context, made(), version=3)
    assert latest(store, context) == later.bundle, "the own unpushed one is still the latest"
    store.catalog.set_version(context, kept.bundle.id, 4)
    assert latest(store, context) == later.bundle
    store.catalog.remove(context, [kept.bundle.id])
    assert latest(store, context) == pulled.bundle


def test_a_pushed_version_takes_its_number_and_is_unpushed_no_more(
    store: Store, context: Context
) -> None:
    """A higher number of another machine then goes before it."""
    own = store.add(context, "x", 1, commit=True)
    pushed = store.catalog.set_version(context, own.bundle.id, 1)
    assert (pushed.version, pushed.pushed, pushed.committed) == (1, True, True)
    assert store.catalog.unpushed(context, "x") == []
    assert store.catalog.unpushed(context) == []
    other = made()
    store.catalog.adopt(context, other, version=2)
    assert latest(store, context) == other
    assert store.catalog.newest_version(context, "x") == 2
    assert store.catalog.newest_version(context, "y") == 0


def test_a_version_that_was_given_up_is_never_the_latest_again(
    store: Store, context: Context
) -> None:
    """Before or after it came, it is known by its id only; its number stays taken."""
    old, new = made(), made()
    store.catalog.adopt(context, old, version=1)
    store.catalog.adopt(context, new, version=2)
    store.catalog.mark_removed(context, "x", 2)
    store.catalog.mark_removed(context, "x", 3)
    store.catalog.adopt(context, made(), version=3)
    assert latest(store, context) == old
    assert [e.version for e in store.catalog.search(context)] == [1]
    assert store.catalog.newest_version(context, "x") == 3
    assert store.catalog.find(context, "x", id_prefix=new.id) is None
    known = store.catalog.by_id(context, new.id)
    assert known is not None
    assert known.bundle == new


def test_a_record_without_a_number_stands_behind_all_numbered_ones(
    store: Store, context: Context
) -> None:
    """It is what there is, until a version is known."""
    loose, numbered = made(), made()
    entry = store.catalog.adopt(context, loose, version=None)
    assert (entry.pushed, entry.version, entry.committed) == (True, None, True)
    assert latest(store, context) == loose
    assert store.catalog.unpushed(context) == []
    store.catalog.adopt(context, numbered, version=1)
    assert latest(store, context) == numbered
    store.catalog.adopt(context, loose, version=2)
    assert latest(store, context) == loose


def test_adopting_twice_changes_nothing(store: Store, context: Context) -> None:
    """Also when the second look knows no number."""
    bundle = made(tags={"a": "1"}, params={"p": "q"})
    first = store.catalog.adopt(context, bundle, version=3, record=b"b")
    again = store.catalog.adopt(context, bundle, version=3, record=b"b")
    blind = store.catalog.adopt(context, bundle, version=None)
    assert first == again == blind
    assert store.catalog.search(context, tags={"a": "1"}) == [first]


def test_a_remote_that_changes_its_mind_is_noticed(store: Store, context: Context) -> None:
    """Another record under an id, another bundle under a number, another value."""
    bundle = made()
    store.catalog.adopt(context, bundle, version=3, record=b"b")
    with pytest.raises(IntegrityError, match="not the one that was there before"):
        store.catalog.adopt(context, bundle, version=3, record=b"c")
    forged = dataclasses.replace(bundle, root=Link(digest_of(b"evil"), 4))
    with pytest.raises(IntegrityError, match="not the one that was there before"):
        store.catalog.adopt(context, forged, version=3)
    with pytest.raises(IntegrityError, match="rolled back"):
        store.catalog.adopt(context, made(), version=3)
    assert [e.bundle for e in store.catalog.search(context)] == [bundle]


def test_an_own_bundle_gives_way_to_the_one_that_was_first_on_the_remote(
    store: Store, context: Context
) -> None:
    """A retried job adopts what its first attempt left."""
    own = store.add(context, "x", 1, tags={"mine": "1"}, commit=True)
    first = dataclasses.replace(own.bundle, root=Link(digest_of(b"first"), 5), tags={"t": "1"})
    entry = store.catalog.adopt(context, first, version=1)
    assert entry.bundle == first
    assert store.catalog.search(context, tags={"mine": "1"}) == []
    assert latest(store, context) == first


def test_another_remote_voids_the_numbers_and_keeps_the_order(
    store: Store, context: Context
) -> None:
    """What was pushed to the old remote is unpushed for the new one."""
    bound = store.contexts.bind(context, "file:///a", "uuid-a")
    two, one = made(), made()
    store.catalog.adopt(bound, two, version=2)
    store.catalog.adopt(bound, one, version=1)
    own = store.add(bound, "x", 1, commit=True)
    unbound = store.contexts.bind(bound, None, None)
    assert (unbound.remote_url, unbound.remote_uuid) == (None, "uuid-a")
    same = store.contexts.bind(unbound, "file:///moved", "uuid-a")
    assert store.catalog.newest_version(same, "x") == 2
    other = store.contexts.bind(same, "file:///b", "uuid-b")
    assert store.catalog.newest_version(other, "x") == 0
    waiting = store.catalog.unpushed(other, "x")
    assert [e.bundle for e in waiting] == [one, two, own.bundle]
    assert all(e.version is None and not e.pushed for e in waiting)
    assert latest(store, other) == own.bundle


def test_what_is_known_of_a_remote_outlives_being_bound_to_another(
    store: Store, context: Context
) -> None:
    """Numbers, records, removals and the tags that it knows: they are its own, by its uuid."""
    catalog = store.catalog
    bound = store.contexts.bind(context, "file:///a", "uuid-a")
    one, two, three, part = made(), made(), made(), made(tags={"t": "1"})
    digest = digest_of(b"the record of one")
    catalog.adopt(bound, one, version=1, record=b"the record of one")
    catalog.adopt(bound, two, version=2)
    catalog.adopt(bound, three, version=3)
    catalog.adopt(bound, part, version=None)
    catalog.mark_removed(bound, "x", 3)
    before = catalog.search(bound)
    other = store.contexts.bind(bound, "file:///b", "uuid-b")
    assert [e.bundle for e in catalog.unpushed(other, "x")] == [part, one, two]
    catalog.set_version(other, two.id, 1)
    catalog.mark_removed(other, "x", 1)
    assert catalog.newest_version(other, "x") == 1
    own = store.add(other, "x", 1, commit=True)
    catalog.tag(other, part.id, {"later": "here"})

    back = store.contexts.bind(other, "file:///moved", "uuid-a")
    assert catalog.newest_version(back, "x") == 3
    assert [e.version for e in catalog.search(back) if e.pushed] == [e.version for e in before]
    assert catalog.by_id(back, two.id) == next(e for e in before if e.version == 2)
    assert [e.bundle for e in catalog.unpushed(back, "x")] == [own.bundle]
    assert catalog.record_digest(back, one.id) == digest
    assert catalog.pending_tags(back, part.id) == {"later": "here"}
    assert catalog.adopt(back, three, version=3).bundle == three
    assert catalog.search(back)[0].bundle == own.bundle, "version 3 was given up there"
    catalog.remove(back, [own.bundle.id])
    assert latest(store, back) == two

    again = store.contexts.bind(back, "file:///b", "uuid-b")
    assert catalog.newest_version(again, "x") == 1
    assert two.id not in [e.bundle.id for e in catalog.search(again)]
    assert [e.bundle.id for e in catalog.unpushed(again, "x")] == [part.id, one.id]


def test_an_id_prefix_picks_one_and_an_ambiguous_one_names_them(
    store: Store, context: Context
) -> None:
    """Of this name alone."""
    base = new_id()
    ids = [base[:-1] + digit for digit in "12"]
    entries = [store.add(context, "x", n, id=id) for n, id in enumerate(ids)]
    store.add(context, "y", 0, id=base[:-1] + "3")
    assert store.catalog.get(context, "x", id_prefix=ids[0]) == entries[0]
    with pytest.raises(UsageError, match=f"x@{ids[0]}, x@{ids[1]}"):
        store.catalog.get(context, "x", id_prefix=base[:-1])
    for wrong in ("", "zz", "%", ids[0] + "0"):
        assert store.catalog.find(context, "x", id_prefix=wrong) is None
    with pytest.raises(BundleNotFound, match="x@zz"):
        store.catalog.get(context, "x", id_prefix="zz")


def test_the_latest_of_each_name_is_listed_by_name(store: Store, context: Context) -> None:
    """One entry a name, whatever was removed."""
    for name in ("b", "a", "b", "c"):
        store.add(context, name, name, commit=True)
    store.catalog.remove(context, [store.catalog.get(context, "c").bundle.id])
    found = store.catalog.latest(context)
    assert [e.bundle.name for e in found] == ["a", "b"]
    assert found[1] == store.catalog.get(context, "b")


def test_search_gives_the_newest_first_and_agrees_with_find(store: Store, context: Context) -> None:
    """Across names by arrival, within a name as the latest is chosen."""
    a1 = store.add(context, "a", 1, commit=True)
    b1 = store.add(context, "b", 1)
    a2 = store.add(context, "a", 2)
    assert store.catalog.search(context) == [a2, b1, a1]
    assert store.catalog.search(context, limit=1) == [a2]
    assert store.catalog.search(context, committed=True) == [a1]
    assert store.catalog.search(context, committed=False) == [a2, b1]
    newer = store.catalog.adopt(context, made("b"), version=9)
    older = store.catalog.adopt(context, made("b"), version=8)
    assert store.catalog.search(context, name="b") == [newer, older, b1]
    assert store.catalog.find(context, "b") == newer


def test_equal_work_is_found_by_its_keys(store: Store, context: Context) -> None:
    """The last to arrive, of this context."""
    task, request = ReuseKey({"a": "1"}), ReuseKey({"b": "2"})
    lineage = Lineage(task=task, request=request)
    first = store.add(context, "x", 1, lineage=lineage, commit=True)
    second = store.add(context, "y", 1, lineage=lineage)
    catalog = store.catalog
    assert catalog.by_task(context, task.digest) == second
    assert catalog.by_task(context, task.digest, committed_only=True) == first
    assert catalog.by_request(context, request.digest) == second
    assert catalog.by_request(context, request.digest, committed_only=True) == first
    assert catalog.by_request(context, task.digest) is None
    assert catalog.by_task(store.contexts.create("other"), task.digest) is None


def test_latest_does_not_look_at_the_other_versions(store: Store, context: Context) -> None:
    """SQLite's own plan: every step of the question is an index search."""
    entry: Entry = store.add(context, "x", 1, tags={"a": "1"}, commit=True)
    assert entry.committed
    statements: list[str] = []
    with store._database.reading() as connection:
        connection.set_trace_callback(statements.append)
    store.catalog.find(context, "x")
    store.catalog.find(context, "x", tags={"a": "1", "b": "2"})
    store.catalog.unpushed(context, "x")
    with store._database.reading() as connection:
        connection.set_trace_callback(None)
        plans = [
            row[3]
            for statement in statements
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        ]
    assert len(statements) == 5
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN")], plans
