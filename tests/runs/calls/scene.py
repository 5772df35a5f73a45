"""A call on a remote, and the jobs that carry it out, as processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cloudpickle

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.lineage import CodeVersion
from bundlerun.bundles.record import new_id
from bundlerun.futures.codec import Codec
from bundlerun.futures.item_packs import entries_of, packed
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.payload import dump_function
from bundlerun.futures.sealing import KEY_VARIABLE, Seal, Sealed
from bundlerun.remotes.base import Remote
from bundlerun.remotes.binding import bind
from bundlerun.remotes.folder import FileRemote
from bundlerun.runs.calls.parts import Part, parts_of
from bundlerun.runs.calls.sealed_plan import sealed_plan
from bundlerun.runs.keys import (
    Written,
    function_key,
    items_key,
    outcomes_prefix,
    part_key,
    plan_key,
)
from bundlerun.runs.plan import RunPlan
from bundlerun.runs.task import CallTask
from bundlerun.store.store import Store

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Scene:
    """A remote with one run of a call: ``func`` over ``items``, each the only argument."""

    def __init__(
        self,
        folder: Path,
        func: Callable[..., Any],
        items: Sequence[object],
        *,
        chunk: int = 1000,
        pack: int = 1000,
        remote: Remote | None = None,
        **task: Any,
    ) -> None:
        (folder / "remote").mkdir(parents=True)
        self.folder, self.seal, self.run = folder, Seal.new(), new_id()
        self.remote = remote or FileRemote(f"file://{folder}/remote")
        store = Store.open(folder / "store")
        bind(store, store.contexts.create("work"), self.remote)
        store.close()
        codec = Codec(self.remote, folder / "codec")
        entries = [
            self.seal.sealed(Sealed.ITEM, index, codec.encode((item,)))
            for index, item in enumerate(items)
        ]
        packs = [entries[at : at + pack] for at in range(0, len(entries), pack)]
        for number, each in enumerate(packs):
            self.remote.put(items_key(self.run, number), packed(each))
        function = self.seal.sealed(Sealed.FUNCTION, 0, dump_function(func, {}, {}))
        self.remote.put(function_key(self.run), function)
        known: dict[str, Any] = {
            "func": "lab.func",
            "items": len(items),
            "chunk": chunk,
            "packs": tuple(map(len, packs)),
            "python": PYTHON,
            "cloudpickle": cloudpickle.__version__,
            "code": CodeVersion(digest_of(b"source")),
        }
        self.plan(CallTask(**{**known, **task}))
        for part in parts_of(self.run, len(items), chunk, 10_000, memory_mib=100):
            self.part(part)

    def plan(self, task: CallTask) -> None:
        """Write the plan of the run."""
        plan = RunPlan(self.run, "Local", None, "environment", task)
        self.remote.put(plan_key(self.run), sealed_plan(plan, self.seal).to_bytes())
        self.task = task

    def planned(self, **fields: Any) -> None:
        """Write the plan with other fields of its task."""
        self.plan(replace(self.task, **fields))

    def part(self, part: Part) -> None:
        """Write a part of the run."""
        self.remote.put(part_key(self.run, part.number), part.to_sealed(self.seal))

    @property
    def staging(self) -> Path:
        """What jobs write to that may not write to the remote."""
        return self.folder / "store" / "staging" / self.run

    def child(
        self,
        index: int | None = None,
        *,
        attempt: int = 1,
        part: int = 0,
        staged: bool = False,
        **env: str,
    ) -> subprocess.Popen[str]:
        """The worker of a job of a part, begun; ``staged``: it may not write to the remote."""
        told: tuple[str, ...] = () if index is None else ("--index-variable", "INDEX")
        if staged:
            self.staging.mkdir(parents=True, exist_ok=True)
            told += ("--staging", str(self.staging))
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "bundlerun", "worker", self.run, "--part", str(part)),
                *("--remote", self.remote.url, *told),
                *("--job-variable", "JOB", "--attempt-variable", "ATTEMPT"),
            ],
            env={
                **os.environ,
                "JOB": f"job-{part}-{index}",
                "ATTEMPT": str(attempt),
                "INDEX": str(index),
                "HERE": str(self.folder),
                KEY_VARIABLE: self.seal.hex(),
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def carried_out(self, index: int | None = None, **options: Any) -> tuple[int, str, str]:
        """The exit code of a job's worker, and what it wrote to stdout and stderr."""
        worker = self.child(index, **options)
        stdout, stderr = worker.communicate(timeout=120)
        return worker.returncode, stdout, stderr

    def written(self) -> list[Written]:
        """What the keys of the outcomes say, in their order."""
        found = [Written.of(entry.key) for entry in self.remote.list(outcomes_prefix(self.run))]
        return [each for each in found if each is not None]

    def outcomes(self) -> dict[int, list[Outcome]]:
        """The outcomes of each item, in the order of their keys, their seals found right."""
        found: dict[int, list[Outcome]] = {}
        for written in self.written():
            entries = entries_of(self.remote.get(written.key(self.run)) or b"")
            told = []
            for index, entry in enumerate(entries, written.first):
                told.append(Outcome.from_bytes(self.seal.opened(Sealed.OUTCOME, index, entry)))
                assert told[-1].index == index
                assert told[-1].attempt == written.attempt
                found.setdefault(index, []).append(told[-1])
            assert (len(told), sum(not o.ok for o in told)) == (written.items, written.failed)
        return found

    def ends(self) -> list[Outcome]:
        """The one outcome of each item, in their order."""
        found = self.outcomes()
        assert sorted(found) == list(range(self.task.items))
        assert all(len(each) == 1 for each in found.values()), "an item was told twice"
        return [found[index][0] for index in range(self.task.items)]

    def values(self) -> list[Any]:
        """What the items returned; those that failed are None."""
        codec = Codec(self.remote, Path(mkdtemp(dir=self.folder)))
        return [
            None if outcome.value is None else codec.decode(outcome.value, trusted=True)
            for outcome in self.ends()
        ]

    def begun(self) -> list[str]:
        """The lines of the file that items append to (``mark``)."""
        path = self.folder / "begun"
        return path.read_text().split() if path.exists() else []

    def until(self, ready: Callable[[], bool], worker: subprocess.Popen[str]) -> None:
        """Wait for what ``worker`` is to do."""
        deadline = time.monotonic() + 60
        while not ready():
            assert worker.poll() is None, worker.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


def mark(text: object) -> None:
    """Append a word to the file ``begun`` of the scene, from within an item."""
    with open(os.path.join(os.environ["HERE"], "begun"), "a") as file:
        file.write(f"{text}\n")


def kill(worker: subprocess.Popen[str]) -> None:
    """End a worker's supervisor, as kill -9 does."""
    worker.send_signal(signal.SIGKILL)
    worker.communicate()


def is_alive(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
