"""How much memory a process takes at most does not follow from how much it moves."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bundlerun.bundles.value.files import Directory, File
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.fetch import localise
from bundlerun.remotes.pull import pull_latest
from bundlerun.remotes.push import push
from bundlerun.store.store import Store
from tests.remotes.conftest import Client, remote_at

MakeClient = Callable[[str], Client]
Step = Callable[[Path, Path, str], None]

MOST_MIB = 200
"""Of a process with all its libraries; 384 MiB or 60,000 files would not fit twice."""

FILE_MIB = 384
FILES = 60_000

spawning = multiprocessing.get_context("spawn")


def add(store: Path, source: Path, url: str) -> None:
    """Commit the file or the folder."""
    opened = Store.open(store)
    value = Directory(source) if source.is_dir() else File(source)
    opened.add(opened.contexts.get("work"), "data", value, commit=True)


def send(store: Path, source: Path, url: str) -> None:
    """Push it."""
    opened = Store.open(store)
    context = opened.contexts.get("work")
    push(Binding.of(opened, context, remote_at(url)), [opened.catalog.get(context, "data")])


def bring(store: Path, source: Path, url: str) -> None:
    """Pull it, bytes and all."""
    opened = Store.open(store)
    remote = remote_at(url)
    entry = pull_latest(Binding.of(opened, opened.contexts.get("work"), remote), "data")
    localise(opened, remote, [entry.bundle])


def lay_out(store: Path, source: Path, url: str) -> None:
    """Make the file or the folder under its name."""
    opened = Store.open(store)
    value = opened.value(opened.catalog.get(opened.contexts.get("work"), "data").bundle)
    assert isinstance(value, (File, Directory))
    assert value.path.exists()


def measured(step: Step, store: Path, source: Path, url: str, answer: object) -> None:
    """Do a step and say how much memory this process took at most, MiB."""
    step(store, source, url)
    # Not getrusage: that begins with what the parent had when this process was made.
    status = Path("/proc/self/status").read_text()
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    answer.put(int(peak_kib) // 1024)  # type: ignore[attr-defined]


def peak_mib(step: Step, store: Path, source: Path, url: str) -> int:
    """What a step takes in a process of its own."""
    answer = spawning.Queue()
    child = spawning.Process(target=measured, args=(step, store, source, url, answer))
    child.start()
    child.join(240)
    assert child.exitcode == 0
    return int(answer.get())


def many_files(path: Path) -> Path:
    """FILES different files of 1 KB."""
    path.mkdir()
    for number in range(FILES):
        if number % 1000 == 0:
            folder = path / str(number // 1000)
            folder.mkdir()
        (folder / str(number)).write_bytes(os.urandom(1000))
    return path


def one_file(path: Path) -> Path:
    """A file of FILE_MIB."""
    with path.open("wb") as file:
        for _ in range(FILE_MIB):
            file.write(os.urandom(1 << 20))
    return path


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("make", [one_file, many_files])
def test_no_step_takes_more_memory_for_more_bytes(
    client: MakeClient, url: str, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    """Add, push, pull and localise of what would not fit; then no second copy lies about."""
    one, two = client("one")[0], client("two")[0]
    source = make(tmp_path / "source")
    for store in (one, two):
        store.close()
    peaks = {
        "add": peak_mib(add, one.path, source, url),
        "push": peak_mib(send, one.path, source, url),
        "pull": peak_mib(bring, two.path, source, url),
        "localise": peak_mib(lay_out, two.path, source, url),
    }
    assert max(peaks.values()) <= MOST_MIB, peaks
    left = [path for name in ("tmp", "partial") for path in (two.path / "objects" / name).glob("*")]
    assert left == []
