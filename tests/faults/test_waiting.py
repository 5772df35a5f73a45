"""A store that another process holds: waited for, visibly and not for ever."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bundlerun.errors import StoreBusy
from bundlerun.store import database
from bundlerun.store.database import FILE
from bundlerun.store.locks import TOLD_AFTER_S
from bundlerun.store.store import Store

HOLD = """
    import sqlite3, sys, time
    held = sqlite3.connect(sys.argv[1], isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    held.execute("UPDATE meta SET value = value")
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    held.execute("COMMIT")
"""


def holding(path: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that has a write transaction open for so long."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(path / FILE), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a context and a bundle."""
    with_store = Store.open(tmp_path / "home" / "store")
    with_store.add(with_store.contexts.create("work"), "x", 1, commit=True)
    with_store.contexts.switch("work")
    with_store.close()
    return with_store.path


class LetGo(logging.Handler):
    """Ends the holder of the store as soon as somebody is told of it."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        super().__init__()
        self._holder = holder

    def emit(self, record: logging.LogRecord) -> None:
        """The kernel lets go of a dead process's locks."""
        self._holder.kill()


def test_a_store_that_is_held_is_waited_for_visibly(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The add succeeds, one line says what is waited for, and reading waits for nobody."""
    store = Store.open(path)
    context = store.contexts.get("work")
    holder = holding(path, 50.0)
    assert store.catalog.get(context, "x").committed
    assert holder.poll() is None, "the store is held all the while"
    assert caplog.records == []
    release = LetGo(holder)
    logging.getLogger("bundlerun").addHandler(release)
    try:
        store.add(context, "x", 2, commit=True)
    finally:
        logging.getLogger("bundlerun").removeHandler(release)
    assert holder.wait(10) == -signal.SIGKILL
    (record,) = caplog.records
    assert record.name.startswith("bundlerun.")
    assert record.levelno == logging.WARNING
    assert "waiting for another process that holds the store, for 60 s at most" in record.message
    assert len(store.catalog.search(context)) == 2
    store.close()


def test_the_command_line_says_what_it_waits_for(path: Path) -> None:
    """One line on standard error without any option; and the command succeeds."""
    holder = holding(path, 50.0)
    waiting = subprocess.Popen(
        [str(Path(sys.executable).with_name("bundlerun")), "tag", "x", "a:b"],
        env={"PATH": os.environ["PATH"], "BUNDLERUN_HOME": str(path.parent), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert "waiting for another process" in waiting.stderr.readline()
    holder.kill()
    _, rest = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, rest
    assert "waiting" not in rest
    assert "locked" not in rest


def test_a_short_wait_is_silent(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a second is nobody's concern; on a busy machine it may become more than two."""
    store = Store.open(path)
    holder = holding(path, 0.5)
    started_s = time.monotonic()
    store.add(store.contexts.get("work"), "x", 2)
    lasted_s = time.monotonic() - started_s
    assert holder.wait(10) == 0
    assert caplog.records == [] or lasted_s >= TOLD_AFTER_S
    store.close()


def test_readers_wait_too_where_writers_keep_them_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rollback journal, as on network file systems, a commit excludes readers: they wait,
    for BUSY_S at most, and are never told "database is locked"."""
    plain = sqlite3.connect(path / FILE, isolation_level=None)
    assert plain.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    monkeypatch.setattr(database, "_SLICE_S", 0.05)
    monkeypatch.setattr(database, "BUSY_S", 0.4)
    store = Store.open(path)
    context = store.contexts.get("work")
    plain.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(StoreBusy, match="another process has held the store"):
        store.catalog.get(context, "x")
    assert time.monotonic() - started >= 0.4
    plain.execute("COMMIT")
    assert store.catalog.get(context, "x").committed
    plain.close()
    store.close()
