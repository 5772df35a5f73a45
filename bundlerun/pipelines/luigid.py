"""The report of an apply's graph to luigi's ``luigid``, for its web page.

``luigid`` is told and never asked: what runs, and when, is decided in ``scheduler`` alone. A thread
of its own sends the requests, and of each pipe only the newest state, so that a slow ``luigid``
falls behind and the work does not. The first request without an answer ends the report, with one
line.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import luigi.rpc
from luigi.task_status import DONE, FAILED, PENDING, RUNNING

from bundlerun.errors import BundlerunError, UsageError
from bundlerun.pipelines import parameters
from bundlerun.pipelines.graph import Node
from bundlerun.pipelines.override_scope import in_force
from bundlerun.pipelines.overrides import Given
from bundlerun.progress import Progress

WORKER = "bundlerun"
"""The one worker that all applies are to luigid.

luigid ignores how a task ended that another worker ran before, and each command would be another
one.
"""

# How long one request may take, how often it is told that somebody is still there (it forgets a
# worker after 60 s), and how long an apply that has ended waits for what is not sent yet.
_ANSWER_S = 2.0
_PING_S = 10.0
_LEAVE_S = 10.0

# One attempt and no log of luigi's own.
_ONCE = Given.of({"core.rpc-retry-attempts": "1", "core.rpc-log-retries": "false"}, None)


@dataclass(frozen=True)
class Luigid:
    """The address to which an apply is reported, if any.

    ``mask`` takes secrets out of a text.
    """

    url: str | None = None
    mask: Callable[[str], str] = str
    # Those that are known not to answer, also by the applies inside of this one.
    silent: set[str] = field(default_factory=set)
    # The apply around this one says it when the same place does not answer.
    said_outside: bool = False

    def within(self, url: str | None, mask: Callable[[str], str]) -> Luigid:
        """The Luigid of an apply inside of one that is reported here.

        ``url`` None is the same place and "" none, and what is masked here is masked there. Raises
        UsageError for what is not an address of http.
        """
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise UsageError(
                f"the address of luigid must be http://HOST:PORT, not {mask(url)!r}",
                hint="--luigid http://127.0.0.1:8082",
            )
        chosen = self.url if url is None else url or None
        outside = chosen == self.url
        return Luigid(chosen, lambda text: self.mask(mask(text)), self.silent, outside)


class Report:
    """The listener to what the scheduler says of pipes; this one hears nothing."""

    def running(self, node: Node) -> None:
        """An attempt at the pipe has begun."""

    def pending(self, node: Node) -> None:
        """The pipe is in line again."""

    def done(self, node: Node) -> None:
        """The pipe's value is there."""

    def failed(self, node: Node, error: BaseException) -> None:
        """The pipe failed, and is not run again."""

    def status(self, node: Node, text: str) -> None:
        """The pipe at work said something."""

    def percent(self, node: Node, percent: int) -> None:
        """Take the percentage of its work that the pipe has done."""

    def tracking_url(self, node: Node, url: str) -> None:
        """Take the URL at which the pipe at work can be watched."""


@contextmanager
def reporting(
    luigid: Luigid, nodes: Sequence[Node], done: Collection[Node], progress: Progress
) -> Iterator[Report]:
    """The report of an apply of ``nodes``, of which ``done`` need not run.

    At the end all of it is sent, if luigid takes it within seconds. That it does not is a line of
    ``progress``.
    """
    if luigid.url is None or luigid.url in luigid.silent:
        yield Report()
        return
    report = _Told(_Sender(luigid, progress), nodes, luigid.mask)
    report.planned(done)
    try:
        yield report
    finally:
        report.close()


class _Told(Report):
    """A report that luigid gets."""

    def __init__(self, sender: _Sender, nodes: Sequence[Node], mask: Callable[[str], str]) -> None:
        self._sender = sender
        self._mask = mask
        self._rows = _rows(nodes, mask)
        self._running: set[Node] = set()

    def planned(self, done: Collection[Node]) -> None:
        """The whole graph, before any of it runs."""
        for node in self._rows:
            self._tell(node, DONE if node in done else PENDING)

    def close(self) -> None:
        """Report what still ran as ended with the apply."""
        for node in list(self._running):
            self._tell(node, FAILED, "ended with the apply, before it was done")
        self._sender.close()

    def running(self, node: Node) -> None:
        """See Report."""
        self._rows[node]["tracking_url"] = None
        self._tell(node, RUNNING)

    def pending(self, node: Node) -> None:
        """See Report."""
        self._tell(node, PENDING)

    def done(self, node: Node) -> None:
        """See Report."""
        self._tell(node, DONE)

    def failed(self, node: Node, error: BaseException) -> None:
        """See Report."""
        evidence = getattr(error, "evidence", "")
        said = str(error) if isinstance(error, BundlerunError) else type(error).__name__
        self._tell(node, FAILED, f"{said}\n\n{evidence}" if evidence else said)

    def status(self, node: Node, text: str) -> None:
        """See Report."""
        self._sender.tell(
            "set_task_status_message", task_id=self._id(node), status_message=self._mask(text)
        )

    def percent(self, node: Node, percent: int) -> None:
        """See Report."""
        self._sender.tell(
            "set_task_progress_percentage", task_id=self._id(node), progress_percentage=percent
        )

    def tracking_url(self, node: Node, url: str) -> None:
        """See Report."""
        self._rows[node]["tracking_url"] = self._mask(url)
        self._tell(node, RUNNING)

    def _id(self, node: Node) -> str:
        return str(self._rows[node]["task_id"])

    def _tell(self, node: Node, status: str, error: str = "") -> None:
        (self._running.add if status == RUNNING else self._running.discard)(node)
        # As luigi's worker writes it, and as the page reads it.
        expl = json.dumps(self._mask(error))
        self._sender.tell("add_task", **self._rows[node], status=status, expl=expl)


def _rows(nodes: Sequence[Node], mask: Callable[[str], str]) -> dict[Node, dict[str, Any]]:
    """The unchanging facts on each task, as ``Scheduler.add_task`` takes them."""
    ids: dict[Node, str] = {}
    for node in nodes:
        # luigi's id leaves out private parameters: pipes that differ in these alone are counted.
        own, count, used = node.pipe.task_id, 2, set(ids.values())
        while own in used:
            own, count = f"{node.pipe.task_id}_{count}", count + 1
        ids[node] = own
    return {
        node: {
            "task_id": ids[node],
            "deps": [ids[other] for other in node.pipes.values()],
            "family": node.name,
            "module": node.home.module,
            "params": {key: mask(text) for key, text in parameters.recorded(node.pipe).items()},
            "param_visibilities": {
                key: param.visibility.serialize() for key, param in type(node.pipe).get_params()
            },
            # A worker of luigi's own that asks luigid for work must not get a pipe.
            "runnable": False,
            "tracking_url": None,
            "worker": WORKER,
        }
        for node in nodes
    }


class _Sender:
    """A thread that sends; of one task and kind, the newest only."""

    def __init__(self, luigid: Luigid, progress: Progress) -> None:
        self._luigid = luigid
        self._url = luigid.url or ""
        self._progress = progress
        self._waiting: dict[tuple[str, str], dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._failure: str | None = None
        self._said = False
        with in_force(_ONCE):
            self._scheduler: Any = luigi.rpc.RemoteScheduler(self._url, _ANSWER_S)
        # A child is forked while the thread works: what the thread would import is imported here,
        # for in the child nobody would release that module's lock.
        "localhost".encode("idna")
        self._thread = threading.Thread(target=self._send_all, name="luigid", daemon=True)
        self._thread.start()

    def tell(self, method: str, **row: Any) -> None:
        """Have it sent."""
        self._say_failure()
        with self._changed:
            self._waiting[method, row["task_id"]] = row
            self._changed.notify()

    def close(self) -> None:
        """Send what is left, and say where it was not taken."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_LEAVE_S)
        if self._thread.is_alive() and self._failure is None:
            self._failure = f"not all was taken within {_LEAVE_S:g} s"
        self._say_failure()

    def _say_failure(self) -> None:
        # Here and not in the thread: a child may be forked while it writes.
        if self._failure is None or self._said:
            return
        self._said = True
        self._luigid.silent.add(self._url)
        if not self._luigid.said_outside:
            place = urlsplit(self._url)._replace(netloc=urlsplit(self._url).netloc.split("@")[-1])
            self._progress.line(
                f"luigid at {place.geturl()} is not told of the rest: {self._failure}"
            )

    def _send_all(self) -> None:
        try:
            self._scheduler.add_worker(WORKER, [])
            while (following := self._next()) is not None:
                method, row = following
                getattr(self._scheduler, method)(**row)
        except Exception as error:  # whatever a server there answers, the work goes on
            cause = getattr(error, "sub_exception", None) or error
            self._failure = f"it does not answer as luigid does ({type(cause).__name__})"
        finally:
            with suppress(Exception):
                self._scheduler.close()

    def _next(self) -> tuple[str, dict[str, Any]] | None:
        """The request that follows; None after the last."""
        with self._changed:
            if not self._waiting and not self._closing:
                self._changed.wait(_PING_S)
            if self._waiting:
                (method, id) = next(iter(self._waiting))
                return method, self._waiting.pop((method, id))
            return None if self._closing else ("ping", {"worker": WORKER})
