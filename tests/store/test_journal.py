"""Runs as a store keeps them: found again, changed by one at a time, and few to look at."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from bundlerun.errors import Conflict, ContextNotFound, RunNotFound, UsageError
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store


def ids(rows: list) -> list[str]:
    """The ids of rows of the journal."""
    return [row.run["id"] for row in rows]


def test_runs_are_found_again_by_the_start_of_their_id(store: Store, context: Context) -> None:
    """Newest first; a change keeps the place."""
    journal = store.journal
    for id in ("ab1", "ab2", "c_1"):
        journal.add(context, {"id": id, "state": "queued"})
    assert journal.replace(context, {"id": "ab1", "state": "done"}, 1) == 2
    assert ids(journal.list(context)) == ["c_1", "ab2", "ab1"]
    assert ids(journal.list(context, limit=1)) == ["c_1"]
    assert journal.get(context, "ab1").run == {"id": "ab1", "state": "done"}
    assert journal.get(context, "ab1").revision == 2
    assert journal.get(context, "c").run["state"] == "queued"
    with pytest.raises(UsageError, match="ab1, ab2"):
        journal.get(context, "ab")
    for wrong in ("", "d", "_", "%", "C"):
        with pytest.raises(RunNotFound):
            journal.get(context, wrong)
    with pytest.raises(RunNotFound):
        journal.get(store.contexts.create("other"), "ab1")


def test_a_change_of_an_old_revision_is_refused(store: Store, context: Context) -> None:
    """Nobody overwrites what another one wrote meanwhile; nor is a new run an old one."""
    journal = store.journal
    assert journal.add(context, {"id": "r", "state": "queued"}) == 1
    assert journal.replace(context, {"id": "r", "state": "cancelled"}, 1) == 2
    assert journal.replace(context, {"id": "r", "state": "running"}, 1) is None
    assert journal.get(context, "r").run["state"] == "cancelled"
    with pytest.raises(Conflict):
        journal.add(context, {"id": "r"})
    assert journal.replace(context, {"id": "nobody"}, 1) is None
    store.contexts.delete("work")
    with pytest.raises(ContextNotFound):
        journal.add(context, {"id": "later"})


def test_of_many_changes_at_once_none_is_lost(store: Store, context: Context) -> None:
    """Compare-and-set, repeated: eight threads count to 80 together."""
    store.journal.add(context, {"id": "r", "count": 0})

    def count(_: int) -> None:
        done = 0
        while done < 10:
            row = store.journal.get(context, "r")
            changed = {"id": "r", "count": row.run["count"] + 1}
            done += store.journal.replace(context, changed, row.revision) is not None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert store.journal.get(context, "r").run["count"] == 80


def test_pages_follow_each_other_without_a_gap(store: Store, context: Context) -> None:
    """``before`` is the last of the page before."""
    for number in range(7):
        store.journal.add(context, {"id": f"r{number}"})
    first = store.journal.list(context, limit=3)
    second = store.journal.list(context, limit=3, before="r4")
    last = store.journal.list(context, limit=3, before="r1")
    assert ids(first) + ids(second) + ids(last) == [f"r{n}" for n in reversed(range(7))]


def test_unsettled_runs_are_one_look_at_an_index(store: Store, context: Context) -> None:
    """However many are settled: SQLite's own plan names the index of the unsettled alone."""
    for number in range(50):
        store.journal.add(context, {"id": f"r{number}", "settled": number % 25 != 0})
    assert ids(store.journal.unsettled(context)) == ["r25", "r0"]
    connection = sqlite3.connect(store.path / "store.sqlite")
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT revision, json FROM runs"
        " WHERE context = ? AND settled = 0 ORDER BY seq DESC",
        (context.id,),
    ).fetchall()
    connection.close()
    assert [row[3] for row in plan] == ["SEARCH runs USING INDEX runs_unsettled (context=?)"]
