"""A run that ends its items as a test says, and the backend that its jobs stand at."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bundlerun.backends.base import Backend, ImageAt, Pace, Traits
from bundlerun.backends.job import JobHandle, JobSpec, JobState, JobStatus
from bundlerun.futures.followed import Ended, OpenItems
from bundlerun.futures.future import MapRun
from bundlerun.futures.poller import Clock, Poller
from bundlerun.settings import Settings

RUNNING = JobStatus(JobState.RUNNING)
DONE = JobStatus(JobState.SUCCEEDED)

_IDS = itertools.count()


class Jobs(Backend):
    """Knows of each handle what the test wrote down, and keeps what it was asked."""

    name = "Scripted"
    traits = Traits(waits=True, image=ImageAt.NONE, pace=Pace(first_s=0.001, most_s=0.01))

    def __init__(self, settings: Settings | None = None) -> None:
        self.statuses: dict[str, JobStatus] = {}
        self.polls: list[list[str]] = []
        self.errors: list[BaseException] = []
        self.broken: dict[str, BaseException] = {}
        self.looked = threading.Condition()

    def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """What was written down; the next of ``errors`` where there is one, and that of a handle
        in ``broken``."""
        ids = [handle.id for handle in handles]
        with self.looked:
            self.polls.append(ids)
            self.looked.notify_all()
        if self.errors:
            raise self.errors.pop(0)
        for each in ids:
            if each in self.broken:
                raise self.broken[each]
        return {each: self.statuses.get(each, RUNNING) for each in ids}

    def wait_for_polls(self, count: int) -> None:
        """Until there were ``count`` more polls."""
        with self.looked:
            until = len(self.polls) + count
            assert self.looked.wait_for(lambda: len(self.polls) >= until, timeout=60)

    def submit(self, spec: JobSpec) -> JobHandle:
        """Never called."""
        raise NotImplementedError

    def find(self, run_id: str, name: str, part: int = 0) -> JobHandle | None:
        """Never called."""
        raise NotImplementedError

    def logs(
        self, handle: JobHandle, index: int | None = None, *, follow: bool = False
    ) -> Iterator[str]:
        """Never called."""
        raise NotImplementedError

    def cancel(self, handle: JobHandle, reason: str, index: int | None = None) -> None:
        """Never called: a run cancels."""
        raise NotImplementedError

    def release(self, handle: JobHandle) -> None:
        """Never called."""
        raise NotImplementedError


class Script:
    """A run of one job. What a test says of an item is seen at the next look; the run is over when
    all of its items are, or it is told so."""

    def __init__(self, backend: Jobs, bundle: Any = None, run_id: str | None = None) -> None:
        self.run_id = run_id or f"run-{next(_IDS)}"
        self.backend = backend
        self.bundle = bundle
        self.job = JobHandle(backend.name, f"job-of-{self.run_id}", self.run_id)
        self.told: list[Ended] = []
        self.errors: list[BaseException] = []
        self.cancels: list[int | None] = []
        self.cannot_cancel = False
        self.is_loud = False
        self.is_over = False
        self.looks_with_news = 0
        self._open: OpenItems | None = None

    def handles(self) -> Sequence[JobHandle]:
        """The job, until the run is over."""
        gone = self.is_over or (self._open is not None and not len(self._open))
        return [] if gone else [self.job]

    def seen(self, statuses: Mapping[str, JobStatus], open: OpenItems) -> Iterable[Ended]:
        """What the test told, of what is open."""
        self._open = open
        if self.errors:
            raise self.errors.pop(0)
        new = [ended for ended in self.told if ended.index in open]
        self.looks_with_news += bool(new)
        yield from new

    def cancel(self, index: int | None, write: Callable[[int, bytes], int] = os.write) -> bool:
        """Noted, with ``is_loud`` on the screen too, also of a program that ends; done unless
        ``cannot_cancel``."""
        self.cancels.append(index)
        if self.is_loud:
            write(1, b"cancelled\n")
        return not self.cannot_cancel

    def output(self) -> Any:
        """The test's own."""
        return self.bundle

    def tell(self, *ended: Ended) -> None:
        """These items have ended."""
        self.told += ended

    def tell_all(self, values: Iterable[Any]) -> None:
        """All items have ended with these values."""
        self.told += [Ended(index, value) for index, value in enumerate(values)]


def begun(
    count: int, backend: Jobs | None = None, bundle: Any = None
) -> tuple[MapRun[Any], Script]:
    """A run of ``count`` items that is followed, and its script."""
    script = Script(backend or Jobs(), bundle)
    return MapRun[Any](script.run_id, count, script).follow(), script


class Told:
    """A listener of one item that keeps what it was told."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.is_open = True
        self.error: BaseException | None = None
        self.end = threading.Event()

    @property
    def open(self) -> OpenItems:
        return self

    def __contains__(self, index: object) -> bool:
        return self.is_open

    def __len__(self) -> int:
        return int(self.is_open)

    def first(self) -> int | None:
        return 0 if self.is_open else None

    def looked(self, statuses: Mapping[str, JobStatus]) -> None: ...

    def forked(self) -> None: ...

    def ended(self, ended: Ended) -> None:
        self.is_open = False

    def over(self, error: BaseException | None) -> None:
        self.error = error
        self.end.set()


class Timetable:
    """A clock on which waiting takes no time. ``at`` says what happens after so many pauses."""

    def __init__(self, at: Mapping[int, object] | None = None) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []
        self.at = dict(at or {})

    def wait(self, event: threading.Event, seconds: float) -> None:
        """A pause."""
        self.pauses.append(round(seconds, 3))
        happens = self.at.get(len(self.pauses))
        if callable(happens):
            happens()
        if not event.is_set():
            self.now_s += seconds

    def clock(self) -> Clock:
        """This, for a poller."""
        return Clock(now=lambda: self.now_s, wait=self.wait)


def followed(script: Script, timetable: Timetable) -> Told:
    """What became of a run at the end of a timetable."""
    told = Told(script.run_id)
    Poller(timetable.clock()).follow(script, told)
    assert told.end.wait(60)
    return told
