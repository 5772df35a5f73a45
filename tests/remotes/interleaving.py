"""Pushers and clean-ups whose requests take turns in any order that a seed says.

Each actor is a thread that stops before every request to the remote; one alone runs at a time. The
clock stands still but for what the seed lets pass between requests, and everybody who asks for the
time or for an age gets it from there.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bundlerun.bundles.digest import digest_of
from bundlerun.bundles.packs import members_of
from bundlerun.bundles.value import links
from bundlerun.errors import BundlerunError
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.keys import bundle_key, pack_key, version_infos, version_key
from bundlerun.remotes.records import PushedBundle, VersionRecord

WINDOW_S = 100


class Stopped(BaseException):
    """The world ended before the actor did."""


class World:
    """A remote in a folder, a clock, and the actors."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.inner = FileRemote(f"file://{folder}/remote")
        self.random = random.Random(seed)
        self.now_s = 1_000_000.0
        self.written_s: dict[str, float] = {}
        self.actors: list[Actor] = []
        self.back = threading.Semaphore(0)
        self.ended = False
        self.lost: list[str] = []
        self.requests = 0

    def actor(self, act: Callable[[Remote], None]) -> None:
        """Somebody who does ``act`` with a remote of their own view."""
        self.actors.append(Actor(self, act))

    def run(self) -> None:
        """Let all actors come to their end; raises what one of them raised."""
        try:
            while live := [actor for actor in self.actors if not actor.done]:
                awake = [actor for actor in live if actor.asleep_until <= self.requests]
                actor = self.random.choice(awake or live)
                for _ in range(self.random.choice((1, 1, 2, 5, 15))):
                    if not actor.done:
                        actor.turn()
                    if self.random.random() < 0.08:
                        self.now_s += WINDOW_S * self.random.choice((0.1, 0.6, 1.1, 2.2))
                if self.random.random() < 0.3:
                    # A clean-up needs dozens of requests to go by between two of a push.
                    actor.asleep_until = self.requests + self.random.choice((10, 40, 80))
        finally:
            self.ended = True
            for actor in self.actors:
                if not actor.done:
                    actor.turn()
                actor.thread.join()
        for actor in self.actors:
            if actor.error is not None:
                raise actor.error

    def look(self) -> None:
        """Every version that a reader can see has its record and its packs."""
        for name, record in self.versions():
            for share in record.shares:
                if self.inner.get(pack_key(share.pack.uuid), 0, 0) is None:
                    self.lost.append(f"{name} lacks pack {share.pack.uuid}")

    def versions(self) -> Iterator[tuple[str, PushedBundle]]:
        """The records of the versions that were not removed."""
        for standing in version_infos(self.inner):
            if standing.removed:
                continue
            what = f"{standing.name} {standing.n}"
            data = self.inner.get(version_key(standing.name, standing.n)) or b""
            version = VersionRecord.from_bytes(data, standing.name, standing.n)
            record = self.inner.get(bundle_key(version.id))
            if record is None or digest_of(record) != version.record:
                self.lost.append(f"{what} has not its record")
            else:
                yield what, PushedBundle.from_bytes(record, version.id)

    def read_everything(self) -> int:
        """Every byte of every version that a reader can see is there and has its digest; how many
        versions there are."""
        count = 0
        for what, record in self.versions():
            count += 1
            there: dict[str, bytes] = {}
            for share in record.shares:
                data = self.inner.get(pack_key(share.pack.uuid)) or b""
                if len(data) == share.pack.size:
                    for member in members_of(share.pack, data[-share.pack.index_length :]):
                        some = data[member.offset : member.offset + member.length]
                        assert digest_of(some) == member.digest
                        there[member.digest] = some
            needed = list(links(record.bundle.root, lambda link: there.get(link.digest)))  # noqa: B023
            if any(link.digest not in there for link, _ in needed):
                self.lost.append(f"{what} lacks bytes")
        return count


class Actor:
    """A thread that goes on for one request a turn."""

    def __init__(self, world: World, act: Callable[[Remote], None]) -> None:
        self.world = world
        self.done = False
        self.asleep_until = 0
        self.error: BaseException | None = None
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, args=(act,), daemon=True)
        self.thread.start()

    def turn(self) -> None:
        """Let it go on to its next request, or to its end."""
        self.go.release()
        self.world.back.acquire()

    def stop(self) -> None:
        """Called by the actor before a request."""
        if not self.world.ended:
            self.world.back.release()
            self.go.acquire()
        if self.world.ended:
            raise Stopped
        self.world.requests += 1

    def _run(self, act: Callable[[Remote], None]) -> None:
        self.go.acquire()
        try:
            if not self.world.ended:
                act(Turns(self))
        except Stopped:
            pass
        except BaseException as error:
            self.error = error
        self.done = True
        self.world.back.release()


class Turns(Remote):
    """The world's remote as one actor sees it: a turn a request."""

    def __init__(self, actor: Actor) -> None:
        self.world = actor.world
        self.inner = actor.world.inner
        self.url = self.inner.url
        self._turn = actor.stop

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        self._turn()
        return self.inner.get(key, start, length)

    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        self._turn()
        return self.inner.get_file(key, target, length)

    def put(self, key: str, data: bytes) -> None:
        self._turn()
        self.inner.put(key, data)
        self._wrote(key)

    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        self._turn()
        self.inner.put_file(key, source, tail)
        self._wrote(key)

    def put_new(self, key: str, data: bytes) -> bool:
        self._turn()
        stored = self.inner.put_new(key, data)
        if stored:
            self._wrote(key)
        return stored

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[KeyInfo]:
        self._turn()
        found = list(self.inner.list(prefix, after=after, limit=limit))
        written_s = self.world.written_s
        return iter([KeyInfo(e.key, e.size, written_s.get(e.key, 0.0)) for e in found])

    def now_s(self) -> float:
        self._turn()
        return self.world.now_s

    def delete(self, keys: Sequence[str]) -> None:
        # One at a time: others come in between, as they do while a server works through a list.
        for key in keys:
            self._turn()
            self.inner.delete([key])
            if key.startswith("packs/"):
                self.world.look()

    def _wrote(self, key: str) -> None:
        self.world.written_s[key] = self.world.now_s
        if key.startswith("v/"):
            self.world.look()


class Inline:
    """A ThreadPoolExecutor that does everything at once, in the caller's thread."""

    def __init__(self, workers: int = 1) -> None:
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, act: Callable[..., Any], *given: object) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(act(*given))
        except (BundlerunError, AssertionError) as error:
            future.set_exception(error)
        return future

    def map(self, act: Callable[..., Any], *given: Any) -> Iterator[Any]:
        return iter([act(*some) for some in zip(*given, strict=False)])

    def shutdown(self, **how: object) -> None:
        pass


def copied(template: Path, folder: Path) -> Path:
    """A copy of a prepared world."""
    shutil.copytree(template, folder)
    return folder
