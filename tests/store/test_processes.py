"""Many processes, threads, forks, and processes that die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundlerun.bundles.value.files import File
from bundlerun.errors import StoreBusy
from bundlerun.store import database
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

pytestmark = pytest.mark.heavy

CREATE = """
    import sys, time
    from pathlib import Path
    from bundlerun.errors import Conflict
    from bundlerun.store.store import Store
    while time.time() < float(sys.argv[2]):
        pass
    store = Store.open(Path(sys.argv[1]))
    try:
        store.contexts.create("new")
        print("made")
    except Conflict:
        print("there")
"""

ADD = """
    import sys
    from pathlib import Path
    from bundlerun.store.store import Store
    store = Store.open(Path(sys.argv[1]))
    context = store.contexts.get("work")
    for n in range(int(sys.argv[3])):
        store.add(context, "x", {"who": sys.argv[2], "n": n, "same": "s" * 5000}, commit=True)
"""

ADD_FOR_EVER = """
    import os, sys
    from pathlib import Path
    from bundlerun.bundles.value.files import File
    from bundlerun.store.store import Store
    store = Store.open(Path(sys.argv[1]))
    context = store.contexts.get("work")
    large = Path(sys.argv[1]).parent / f"large{os.getpid()}"
    n = 0
    while True:
        large.write_bytes(os.urandom(600_000))
        value = {"n": n, "large": File(large), "small": [os.urandom(3000) for _ in range(30)]}
        print(store.add(context, "x", value, commit=True).bundle.id, flush=True)
        n += 1
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs ``program``."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_whole(path: Path) -> None:
    """SQLite finds no fault in the file."""
    connection = sqlite3.connect(path / database.FILE)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_eight_processes_that_make_one_store_at_once_all_get_it(tmp_path: Path) -> None:
    """One makes the context, seven are told that it is there."""
    go = time.time() + 1.5
    processes = [started(CREATE, tmp_path / "deep" / "store", go) for _ in range(8)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [errors for _, errors in answers if errors] == []
    assert sorted(out.strip() for out, _ in answers) == ["made"] + ["there"] * 7
    check_whole(tmp_path / "deep" / "store")


def test_sixteen_processes_with_a_hundred_bundles_each_lose_none(
    store: Store, context: Context
) -> None:
    """None is lost, none is there twice, the order of commits has no gap."""
    processes = [started(ADD, store.path, who, 100) for who in range(16)]
    answers = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0] * 16
    # Who waits long says so, and waits.
    said = {line for _, errors in answers for line in errors.splitlines()}
    assert all(line.startswith("waiting for another process") for line in said), said
    found = store.catalog.search(context, name="x")
    values = [store.value(entry.bundle) for entry in found]
    assert sorted((v["who"], v["n"]) for v in values) == sorted(  # type: ignore[index]
        (str(who), n) for who in range(16) for n in range(100)
    )
    assert len({entry.bundle.id for entry in found}) == 1600
    order = [entry.bundle.id for entry in store.catalog.unpushed(context, "x")]
    assert order == [entry.bundle.id for entry in reversed(found)]
    check_whole(store.path)


@pytest.mark.parametrize("delay_s", [0.001, 0.005, 0.012, 0.02, 0.033, 0.06, 0.1])
def test_a_killed_process_leaves_whole_bundles_only(
    store: Store, context: Context, tmp_path: Path, delay_s: float
) -> None:
    """What it said was committed is there, and what is there is whole."""
    process = started(ADD_FOR_EVER, store.path)
    assert process.stdout is not None
    said = [process.stdout.readline().strip()]
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    said += process.communicate(timeout=30)[0].split()
    found = store.catalog.search(context, name="x")
    ids = [entry.bundle.id for entry in found]
    assert set(said) <= set(ids)
    assert len(ids) <= len(said) + 1
    for n, entry in enumerate(reversed(found)):
        assert store.absent(entry.bundle.root) == []
        value = store.value(entry.bundle)
        assert isinstance(value, dict)
        assert (value["n"], value["large"].path.stat().st_size) == (n, 600_000)
    check_whole(store.path)
    again = store.add(context, "x", "after")
    assert store.value(again.bundle) == "after"


def test_forked_children_and_their_parent_write_side_by_side(
    store: Store, context: Context
) -> None:
    """Also while the parent closes and opens the store."""
    fork = multiprocessing.get_context("fork")

    def add(who: int) -> None:
        for n in range(15):
            store.add(context, "x", [who, n], commit=True)

    children = [fork.Process(target=add, args=(who,)) for who in range(4)]
    for child in children:
        child.start()
    for n in range(15):
        store.add(context, "x", [9, n], commit=True)
        store.close()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    values = [store.value(e.bundle) for e in store.catalog.search(context)]
    assert sorted(values) == sorted([who, n] for who in (0, 1, 2, 3, 9) for n in range(15))  # type: ignore[type-var]
    check_whole(store.path)


def test_a_forked_child_holds_locks_of_its_own(store: Store, context: Context) -> None:
    """A connection that shares its parent's locks would not be seen by other processes."""
    store.add(context, "x", 1)
    inode = (store.path / database.FILE).stat().st_ino
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        store.catalog.find(context, "x")
        store._database._connected().execute("SELECT 1 FROM meta").fetchall()
        locks = Path("/proc/locks").read_text().splitlines()
        mine = [x for x in locks if f":{inode} " in x and f" {os.getpid()} " in x]
        os.write(write, b"yes" if mine else b"no")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"yes"
    os.close(read)
    os.close(write)
    store.add(context, "x", 2)


def test_a_fork_while_a_thread_writes_leaves_both_usable(store: Store, context: Context) -> None:
    """The child does not wait for a lock that nobody holds there."""
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            store.add(context, "t", 1)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for n in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                store.add(context, "c", n)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
    assert len(store.catalog.search(context, name="c")) == 10
    check_whole(store.path)


def test_threads_share_one_store(store: Store, context: Context, tmp_path: Path) -> None:
    """Each finds its own bundle, and none is lost."""
    (tmp_path / "f").write_bytes(os.urandom(300_000))

    def work(n: int) -> object:
        entry = store.add(context, f"n{n % 4}", {"n": n, "f": File(tmp_path / "f")}, commit=True)
        value = store.value(entry.bundle)
        assert isinstance(value, dict)
        assert value["f"].path.stat().st_size == 300_000
        return value["n"]

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(work, range(120))) == list(range(120))
    assert len(store.catalog.search(context)) == 120


def test_who_waits_too_long_is_told_so(
    store: Store, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """StoreBusy, never "database is locked"; and afterwards it works."""
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    monkeypatch.setattr(database, "_SLICE_S", 0.01)
    store.close()
    other = sqlite3.connect(store.path / database.FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy) as caught:
        store.add(context, "x", 1)
    assert "locked" not in str(caught.value)
    assert store.catalog.find(context, "x") is None, "reading waits for nobody"
    other.execute("ROLLBACK")
    other.close()
    store.add(context, "x", 1)


def test_a_transaction_is_undone_whole_when_it_raises(store: Store, context: Context) -> None:
    """One inside another belongs to the outer one."""
    with pytest.raises(KeyError), store._database.writing():  # noqa: PT012
        store.add(context, "x", 1)
        raise KeyError
    assert store.catalog.find(context, "x") is None
    store.add(context, "x", 2)
