"""Locks that are files, among processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bundlerun.store.locks import held

HOLD = """
import sys
from pathlib import Path
from bundlerun.store.locks import held
with held(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_one_process_s_until_it_dies(tmp_path: Path) -> None:
    """Also by kill -9, and its file does not stay."""
    path = tmp_path / "locks" / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with held(path, wait=False) as mine:
        assert not mine
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with held(path, wait=False) as mine:
        assert mine
    assert list(path.parent.iterdir()) == []


def test_threads_exclude_each_other_too(tmp_path: Path) -> None:
    """And nobody is let in twice while the file comes and goes."""
    path, inside, most = tmp_path / "run", [], []

    def enter(number: int) -> None:
        for _ in range(5):
            with held(path, wait=True) as mine:
                inside.append(number)
                most.append(len(inside) if mine else 99)
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert most == [1] * 20
