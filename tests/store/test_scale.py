"""A catalog of a million bundles, and hundreds of contexts, cost what a small one costs."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

pytestmark = pytest.mark.heavy

FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO bundles (context, id, name, record, committed, pushed, version, rank)
SELECT :context, printf('0190%04x-0000-7000-8000-%012x', i / 65536, i), 'name' || (i % :names),
       x'7b7d', i % 10 > 0, i % 10 > 1, iif(i % 10 > 1, i, NULL),
       iif(i % 10 > 0, iif(i % 10 > 1, i, 1099511627776 + i), NULL)
FROM n
"""


def filled(store: Store, context: Context, count: int) -> None:
    """``count`` bundles of 100 names, some of them committed, some pushed, by one statement."""
    with store._database.writing() as tx:
        tx.execute(FILL, {"context": context.id, "count": count, "names": 100})


def plans(store: Store, asked: list[str]) -> list[str]:
    """How SQLite carries out each SELECT that was asked."""
    found = []
    with store._database.reading() as connection:
        for statement in {each for each in asked if each.lstrip().startswith("SELECT")}:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            found += [str(row[3]) for row in rows]
    return found


def asked_by(store: Store, context: Context) -> list[str]:
    """The statements of the look-ups that a command or a pipe begins with."""
    asked: list[str] = []
    with store._database.reading() as connection:
        connection.set_trace_callback(asked.append)
    store.catalog.get(context, "mine")
    store.catalog.get(context, "mine", committed_only=True)
    store.catalog.find(context, "mine", id_prefix="0190")
    store.catalog.find(context, "mine", tags={"a": "b"})
    store.catalog.find(context, "no such name")
    store.catalog.by_id(context, "0190")
    store.catalog.unpushed(context, "mine")
    store.catalog.newest_version(context, "mine")
    with store._database.reading() as connection:
        connection.set_trace_callback(None)
    return asked


def steps(store: Store, act: Callable[[], object]) -> int:
    """Instructions of SQLite's machine that ``act`` costs, to the next ten."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 10

    with store._database.reading() as connection:
        connection.set_progress_handler(step, 10)
    act()
    with store._database.reading() as connection:
        connection.set_progress_handler(None, 0)
    return count


def test_no_look_up_goes_through_the_whole_catalog(store: Store, context: Context) -> None:
    """Each is answered by an index, nothing is scanned, and the latest is not sorted for."""
    filled(store, context, 2000)
    store.add(context, "mine", 1, tags={"a": "b"}, commit=True)
    asked = asked_by(store, context)
    found = plans(store, asked)
    assert len(found) >= 8
    assert [plan for plan in found if plan.startswith("SCAN")] == []
    latest = [
        each for each in asked if "ORDER BY b.rank DESC LIMIT 1" in each and "tags" not in each
    ]
    assert latest
    assert [plan for plan in plans(store, latest) if "TEMP B-TREE" in plan] == []
    assert {plan.split()[4] for plan in plans(store, latest) if plan.startswith("SEARCH b ")} == {
        "bundles_rank"
    }


@pytest.mark.slow
def test_the_latest_of_a_million_is_found_in_a_millisecond(store: Store, context: Context) -> None:
    """Of one name with 10,000 versions, and of one with one: by SQLite's own steps, of which 10,000
    are done in less than that. Opening the store takes as few."""
    filled(store, context, 1_000_000)
    entry = store.add(context, "mine", 1, commit=True)
    last = store.add(context, "name7", 1, commit=True)
    for name, id in (("mine", entry.bundle.id), ("name7", last.bundle.id)):
        assert store.catalog.get(context, name).bundle.id == id
        assert steps(store, lambda name=name: store.catalog.get(context, name)) < 1000
    store.close()
    again = Store.open(store.path)
    assert again.catalog.get(context, "name7").bundle.id == last.bundle.id
    again.close()


def test_300_contexts_need_no_more_open_files_than_one(store: Store, context: Context) -> None:
    """All stand in the one file."""
    store.add(context, "x", 1, commit=True)
    store.catalog.get(context, "x")
    before = sorted(os.listdir("/proc/self/fd"))
    for number in range(300):
        other = store.contexts.create(f"context{number}")
        store.add(other, "x", number, commit=True)
        assert store.value(store.catalog.get(other, "x").bundle) == number
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert len(store.contexts.list()) == 301


def test_a_large_table_is_mapped_and_not_copied(store: Store, context: Context) -> None:
    """200 MB of it, in a process of its own: no memory of the process' own for them, no bytes
    allocated by Arrow, and no second file."""
    import subprocess
    import sys

    import pyarrow as pa

    rows = 200_000_000 // 16
    column = pa.array(range(1000)).take(pa.array([n % 1000 for n in range(1000)]))
    large = pa.chunked_array([column] * (rows // 1000))
    store.add(context, "table", pa.table({"a": large, "b": large}), commit=True)
    store.close()
    before = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    done = subprocess.run(
        [sys.executable, "-c", READING, str(store.path)], check=True, capture_output=True, text=True
    )
    grown, allocated, total, count = map(int, done.stdout.split())
    assert (count, total) == (rows // 1000 * 1000, rows // 1000 * sum(range(1000)))
    assert grown < 40_000_000
    assert allocated < 1_000_000
    after = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    assert after - before < 1_000_000


READING = """
import re, sys
from pathlib import Path
import pyarrow as pa
import pyarrow.compute
from bundlerun.store.store import Store

def own_bytes():
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+) kB", text)[1])

store = Store.open(Path(sys.argv[1]))
context = store.contexts.get("work")
store.add(context, "small", pa.table({"a": [1]}))
store.value(store.catalog.get(context, "small").bundle)
bundle = store.catalog.get(context, "table").bundle
before, allocated = own_bytes(), pa.total_allocated_bytes()
table = store.value(bundle)
print(own_bytes() - before, pa.total_allocated_bytes() - allocated)
print(pa.compute.sum(table["a"]).as_py(), table.num_rows)
"""
