"""A backend whose jobs lie on a shelf until a test carries them out, in the test's own process.

A submission is a file, so that every process of a test sees the same jobs; ``twice`` lets it forget
what was submitted, as a service does that lists a job late. Calls are noted, by their kind.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bundlerun.backends.base import Backend, ImageAt, Pace, Traits
from bundlerun.backends.job import (
    Failure,
    JobHandle,
    JobSpec,
    JobState,
    JobStatus,
    Resources,
    state_of_array,
)
from bundlerun.errors import CloudError, Conflict, EngineError, SubmitUnknown, UsageError
from bundlerun.futures.sealing import KEY_VARIABLE
from bundlerun.remotes.base import Remote
from bundlerun.settings import Settings
from tests.backends.processes_keeper import write
from tests.runs.calls.children import Children, Failing


class Shelf(Backend):
    """See the module. A queue of its own decides how many jobs run."""

    name = "Shelf"
    traits = Traits(
        waits=False,
        image=ImageAt.NONE,
        sees_folders=True,
        private_variables=True,
        pace=Pace(first_s=0.02, most_s=0.1),
        largest_array=10_000,
        most_retries=3,
        sizes=frozenset({"vcpus", "memory_mib", "gpus"}),
    )
    largest_memory_mib: ClassVar[int] = 8192

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(os.environ["BUNDLERUN_SHELF"])
        self.folder.mkdir(parents=True, exist_ok=True)

    def submit(self, spec: JobSpec) -> JobHandle:
        """A file more, or the one that is there."""
        self.check(spec)
        handle = self._handle(spec.run_id, spec.part, spec.array)
        self._note("submit", handle.id)
        fate = self._fate()
        if fate == "die":
            os._exit(0)
        if fate == "refused":
            raise CloudError("the shelf takes no job of that size", hint="a smaller one")
        if fate == "before":
            raise EngineError("the shelf is too busy", hint="the same later")
        there = self._path(handle.id)
        if not there.exists():
            env, memory_mib = spec.environment, spec.resources.memory_mib
            told = {"env": env, "array": spec.array, "memory_mib": memory_mib, "ends": {}}
            write(there, json.dumps({**told, "retries": spec.retries, "limit": spec.timeout_s}))
        if fate == "after":
            raise SubmitUnknown("the answer of the shelf is lost", hint="the same later")
        return handle

    def stumble(self, *fates: str) -> None:
        """What becomes of the next submissions: "before" and "after" they were done an error that
        may pass, "" none; "refused": one that does not; "die": the process does, before."""
        (self.folder / "fates").write_text(",".join(fates))

    def room(self, resources: Resources) -> int | None:
        """No limit, unless the test has set one."""
        limit = self.folder / "room"
        return int(limit.read_text()) if limit.exists() else None

    def check_resources(self, resources: Resources, asked: Collection[str] = ()) -> None:
        """More memory than there is cannot be asked for by name."""
        super().check_resources(resources, asked)
        if "memory_mib" in asked and resources.memory_mib > self.largest_memory_mib:
            raise UsageError("the shelf has no more", hint=f"{self.largest_memory_mib} MiB")

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        """By the file."""
        self._note("find", f"{run_id}.{part}")
        job = self._job(f"{run_id}.{part}")
        return None if job is None else self._handle(run_id, part, job["array"])

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """As the files say."""
        self._note("poll", *(handle.id for handle in handles))
        return {handle.id: self._status(handle) for handle in handles}

    def failed(self, handle: JobHandle) -> Mapping[int, JobStatus]:
        """Those that ended badly."""
        self._note("failed", handle.id)
        job = self._job(handle.id) or {"ends": {}}
        ends = {int(index): _end(*end) for index, end in job["ends"].items()}
        return {n: end for n, end in ends.items() if end.state is not JobState.SUCCEEDED}

    def logs(
        self, handle: JobHandle, *, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """A line a job."""
        self._note("logs", handle.id)
        for each in handle.indices(index):
            yield f"the last words of {handle.id}:{each}"

    def cancel(self, handle: JobHandle, reason: str, *, index: int | None = None) -> None:
        """What has not ended is cancelled."""
        self._note("cancel", handle.id)
        job = self._job(handle.id)
        if job is not None:
            for each in handle.indices(index):
                job["ends"].setdefault(str(each), ["cancelled", "Cancelled", "cancelled"])
            write(self._path(handle.id), json.dumps(job))

    def release(self, handle: JobHandle) -> None:
        """Nothing is kept: a service forgets by itself."""
        self._note("release", handle.id)

    def variable(self, handle: JobHandle, name: str) -> str | None:
        """Of the file."""
        job = self._job(handle.id)
        if job is not None and not handle.id.startswith(handle.run_id):
            raise Conflict(f"{handle.id} is not a job of {handle.run_id}", hint="none")
        return None if job is None else job["env"].get(name)

    def forget(self, run_id: str) -> None:
        """The service knows nothing of the run any more."""
        for path in self.folder.glob(f"{run_id}.*.json"):
            path.unlink()

    def asked(self, what: str) -> list[str]:
        """The calls of one kind so far."""
        path = self.folder / "calls"
        calls = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [" ".join(call[1:]) for call in calls if call[0] == what]

    def jobs(self, run_id: str) -> list[int]:
        """The parts of the run that were submitted."""
        return sorted(int(p.name.split(".")[1]) for p in self.folder.glob(f"{run_id}.*.json"))

    def work(
        self,
        run_id: str,
        remote: Remote,
        *,
        failing: Failing | None = None,
        only: Collection[int] | None = None,
    ) -> int:
        """Carry out every child that has not ended, of each part ``only`` these; how many did."""
        done = 0
        for part in self.jobs(run_id):
            done += self._work(run_id, part, remote, failing or {}, only)
        return done

    def _work(
        self,
        run_id: str,
        number: int,
        remote: Remote,
        failing: Failing,
        only: Collection[int] | None,
    ) -> int:
        id, done = f"{run_id}.{number}", 0
        job: dict[str, Any] = self._job(id) or {}
        key = job["env"][KEY_VARIABLE]
        children = Children(remote, run_id, number, key, self.folder / "codec")
        for child in range(job["array"]):
            if str(child) in job["ends"] or not (only is None or child in only):
                continue
            # Of so many it is not asked whether one was carried out twice.
            assert job["array"] > 1000 or children.claims(child, f"{id}:{child}")
            is_done = children.carry_out(child, failing, job["memory_mib"])
            died = ["failed", "InfraError", "Host EC2 terminated"]
            job["ends"][str(child)] = ["succeeded"] if is_done else died
            done += 1
        write(self._path(id), json.dumps(job))
        return done

    def _fate(self) -> str:
        path = self.folder / "fates"
        fate, _, rest = (path.read_text() if path.exists() else "").partition(",")
        path.write_text(rest)
        return fate

    def _status(self, handle: JobHandle) -> JobStatus:
        job = self._job(handle.id)
        if job is None:
            return JobStatus(JobState.LOST, reason="nobody knows it")
        if (self.folder / "elsewhere").exists():
            return JobStatus(JobState.ELSEWHERE, reason="on another machine")
        ends = [_end(*end) for end in job["ends"].values()]
        if job["array"] == 1:
            return ends[0] if ends else JobStatus(JobState.RUNNING)
        tally = Counter(end.state for end in ends)
        tally[JobState.RUNNING] = job["array"] - len(ends)
        tally = Counter({state: n for state, n in tally.items() if n})
        return JobStatus(state_of_array(tally), tally=dict(tally))

    def _handle(self, run_id: str, part: int, array: int) -> JobHandle:
        return JobHandle(self.name, f"{run_id}.{part}", run_id, part=part, array=array)

    def _job(self, id: str) -> dict[str, Any] | None:
        path = self._path(id)
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.json"

    def _note(self, what: str, *ids: str) -> None:
        with (self.folder / "calls").open("a") as file:
            file.write(" ".join([what, *ids]) + "\n")


def _end(state: str, failure: str | None = None, reason: str = "") -> JobStatus:
    return JobStatus(JobState(state), Failure(failure) if failure else None, reason)
