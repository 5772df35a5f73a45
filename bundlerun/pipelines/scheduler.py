"""The scheduler: which pending pipe runs next, here or in a child process.

Of luigi's habits these are kept: the more urgent first (``priority``), a resource that is named has
one unit (``resources``), a pipe that failed is run again until it failed ``retry_count`` times, and
one that runs for more than ``worker_timeout`` seconds is ended. luigi's own scheduler and worker
have no part in it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import luigi

from bundlerun.errors import BundlerunError, RunFailed, TimedOut
from bundlerun.pipelines import failures
from bundlerun.pipelines.events import FREE, Listener
from bundlerun.pipelines.graph import Node
from bundlerun.pipelines.luigid import Report
from bundlerun.pipelines.processes import DIED, FAILED, LATE, Child, Children, Tell
from bundlerun.progress import SILENT, Progress


class Work(Protocol):
    """The contract of the queue's owner."""

    def carry_out(self, node: Node, tell: Tell) -> tuple[str, bool]:
        """Run the pipe, or find that it need not run: the output's id, and whether it ran.

        With several workers, called in a child process; ``tell`` takes what the pipe says on the
        way. What it raises ends all, unless it is a RunFailed and the pipe has tries left."""

    def settled(self, node: Node, id: str, ran: bool) -> Sequence[Node]:
        """Take what ``carry_out`` returned; the pipes that can start now.

        Called in the caller's process.
        """


def run_all(
    work: Work,
    first: Sequence[Node],
    *,
    processes: int,
    progress: Progress = SILENT,
    report: Report | None = None,
) -> None:
    """Carry out ``first`` and all that ``work.settled`` names afterwards.

    ``report`` is told. One process: in this thread, but for pipes that have a ``worker_timeout``.
    The first failure is raised, once the children that run already have ended. No signal handler is
    touched, and any thread may call.
    """
    queue = _Queue(work, processes, progress, report or Report())
    queue.add(first)
    finished = False
    try:
        queue.work_off()
        finished = True
    finally:
        queue.children.end(at_once=not finished)
        queue.hang_up()
    if queue.error is not None:
        raise queue.error


@dataclass(eq=False)
class _Turn:
    """One attempt at one pipe."""

    node: Node
    number: int
    listener: Listener
    needs: frozenset[str]


class _Queue:
    def __init__(self, work: Work, processes: int, progress: Progress, report: Report) -> None:
        self.children = Children()
        self.error: BaseException | None = None
        self._work = work
        self._processes = processes
        self._progress = progress
        self._report = report
        self._count = itertools.count()
        self._ready: list[tuple[float, int, Node]] = []
        self._attempts: Counter[Node] = Counter()
        self._used: Counter[str] = Counter()
        self._running: dict[Child, _Turn] = {}

    def add(self, nodes: Sequence[Node]) -> None:
        """Put these pipes in line."""
        for node in nodes:
            urgency = _of_pipe(node, "priority")
            heapq.heappush(self._ready, (-urgency, next(self._count), node))

    def work_off(self) -> None:
        """Until nothing is in line and nothing runs; after a failure, until nothing runs."""
        while self._start() or self._running:
            for child, message, is_last in self.children.hear() if self._running else ():
                if is_last:
                    self._ended(self._running.pop(child), message)
                else:
                    self._hear(self._running[child], message)

    def hang_up(self) -> None:
        """Stop listening to what still ran."""
        for turn in self._running.values():
            turn.listener.close()

    def _start(self) -> bool:
        """Start what can be; whether something was."""
        started = False
        while self.error is None and len(self._running) < self._processes:
            node = self._next()
            if node is None:
                break
            started = True
            self._begin(node)
        return started

    def _next(self) -> Node | None:
        """The most urgent pipe whose resources are free."""
        passed = []
        found = None
        while self._ready and found is None:
            row = heapq.heappop(self._ready)
            if any(self._used[name] for name in _resources(row[2])):
                passed.append(row)
            else:
                found = row[2]
        for row in passed:
            heapq.heappush(self._ready, row)
        return found

    def _begin(self, node: Node) -> None:
        self._attempts[node] += 1
        listener = Listener(node, self._progress, self._report)
        turn = _Turn(node, self._attempts[node], listener, _resources(node))
        self._used.update(turn.needs)
        self._report.running(node)
        timeout_s = _of_pipe(node, "worker_timeout") or None
        if self._processes > 1 or timeout_s is not None:
            child = self.children.start(
                lambda tell: ("done", *self._work.carry_out(node, tell)), timeout_s
            )
            self._running[child] = turn
            return
        try:
            done = self._work.carry_out(node, lambda message: self._hear(turn, message))
        except BaseException as error:  # it is raised again, or the pipe runs again
            self._failed(turn, error)
        else:
            self._done(turn, *done)

    def _hear(self, turn: _Turn, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == FREE:
            self._used.subtract(turn.needs & set(rest[0]))
            turn.needs -= set(rest[0])
        else:
            turn.listener.hear(message)

    def _ended(self, turn: _Turn, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        node = turn.node
        if kind == FAILED:
            self._failed(turn, failures.from_json(rest[0]))
        elif kind == DIED:
            error = failures.of_dead_child(node.name, rest[0])
            node.pipe.trigger_event(luigi.Event.PROCESS_FAILURE, node.pipe, error.message)
            self._failed(turn, error)
        elif kind == LATE:
            allowed_s = _of_pipe(node, "worker_timeout")
            late = TimedOut(
                f"{node.name} ran for more than the {allowed_s:g} s of its worker_timeout, and was"
                " ended",
                hint="a larger worker_timeout in the class",
            )
            node.pipe.trigger_event(luigi.Event.TIMEOUT, node.pipe, late.message)
            self._failed(turn, late)
        else:
            self._done(turn, *rest)

    def _done(self, turn: _Turn, id: str, ran: bool) -> None:
        self._over(turn)
        following = self._work.settled(turn.node, id, ran)
        self._report.done(turn.node)
        if self.error is None:
            self.add(following)

    def _failed(self, turn: _Turn, error: BaseException) -> None:
        self._over(turn)
        if not isinstance(error, BundlerunError):
            raise error  # KeyboardInterrupt: nothing is waited for
        allowed = _of_pipe(turn.node, "retry_count") or 1
        if self.error is None and isinstance(error, RunFailed) and turn.number < allowed:
            self._progress.line(f"{error.message}; attempt {turn.number + 1} of {allowed} follows")
            self._report.pending(turn.node)
            self.add([turn.node])
            return
        self._report.failed(turn.node, error)
        self.error = self.error or error

    def _over(self, turn: _Turn) -> None:
        self._used.subtract(turn.needs)
        turn.listener.close()


def _resources(node: Node) -> frozenset[str]:
    """The resources that the pipe uses up, of which there is one unit each."""
    try:
        wanted = dict(node.pipe.process_resources())
    except Exception as error:  # the method is the user's
        raise failures.raised_in(node.name, "process_resources", error) from error
    return frozenset(name for name, units in wanted.items() if units)


def _of_pipe(node: Node, name: str) -> Any:
    """An attribute of the pipe's class, which may be a property of the user's."""
    try:
        return getattr(node.pipe, name)
    except Exception as error:  # the property is the user's
        raise failures.raised_in(node.name, name, error) from error
