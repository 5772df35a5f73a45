"""luigi at work: its scheduler and worker run the pipes that are pending, and nothing else.

luigi sees a Step for each pending pipe, once all that it needs is there: so its scheduler, whose
cost grows with what is pending, stays fast in long chains, and user classes cannot get in its
way. Its configuration files are not asked.
"""

from __future__ import annotations

import contextvars
import json
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

import luigi
from luigi import scheduler as luigi_scheduler
from luigi import worker as luigi_worker
from luigi.metrics import MetricsCollectors
from luigi.task_status import DONE, FAILED

from bundlerun.pipelines import failures
from bundlerun.pipelines.graph import Node

# How often luigi looks for children that died, and how long one may take to end when told to.
_LOOK_S = 0.2
_END_S = 5.0

# luigi removes what it believes to be dead, or tries again, after these; one apply never does.
_NEVER_S = 1e12

_AT_WORK: contextvars.ContextVar[bool] = contextvars.ContextVar("at_work", default=False)


class Work(Protocol):
    """What the queue asks of its owner."""

    def carry_out(self, node: Node) -> tuple[str, bool]:
        """Run the pipe, or find that it need not run: the output's id, and whether it ran.

        With several workers, called in a child process. What it raises ends all."""

    def settled(self, node: Node, id: str, ran: bool) -> Sequence[Node]:
        """Told, in the caller's process, what ``carry_out`` returned; the pipes that can start
        now."""


class Step(luigi.Task):
    """A pending pipe, as luigi sees it."""

    _visible_in_registry = False
    batchable = False

    node: Node
    work: Work
    result: tuple[str, bool] | None
    error: BaseException | None

    @staticmethod
    def of(node: Node, work: Work) -> Step:
        """The step of ``node``, bypassing luigi's cache of task objects."""
        step = Step.__new__(Step)
        step.node, step.work = node, work
        step.task_id = f"{node.name}-{id(node):x}"
        step.result = step.error = None
        # Of the user's class, luigi honours how urgent it is and what resources it uses up.
        step.priority = node.pipe.priority
        step.worker_timeout = 0
        return step

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return self.node.name

    def deps(self) -> list[luigi.Task]:
        """None: a step is made when all that it needs is there."""
        return []

    def complete(self) -> bool:
        """Never beforehand: only what is pending becomes a step."""
        return self.result is not None

    def process_resources(self) -> Any:
        """The user's."""
        return self.node.pipe.process_resources()

    def to_str_params(self, *_: Any, **__: Any) -> dict[str, str]:
        """None: the parameters are the pipe's own business."""
        return {}

    def trigger_event(self, event: Any, *_: Any, **__: Any) -> None:
        """Events are not used; in a child process nobody would see them."""

    def run(self) -> None:
        """Carry the pipe out. Every error becomes an Exception, for luigi starts a child anew
        that a KeyboardInterrupt ended."""
        try:
            self.result = self.work.carry_out(self.node)
        except BaseException as error:  # kept, and raised again by the caller of luigi
            self.error = error
            raise _Failed from error

    def on_success(self) -> tuple[str, bool] | None:
        """What travels from a child when the pipe is done."""
        return self.result

    def on_failure(self, exception: BaseException) -> dict[str, str | None]:
        """What travels from a child when the pipe failed."""
        return failures.to_json(self.error or exception)


class _Failed(Exception):
    """A step failed; its ``error`` says of what."""


class Pool(luigi_worker.Worker):
    """luigi's worker, which starts the next steps as soon as they can, and stops at a failure."""

    def __init__(self, work: Work, processes: int) -> None:
        super().__init__(
            scheduler=_scheduler(),
            worker_processes=processes,
            **_worker_options(processes),
        )
        self._work = work
        self.error: BaseException | None = None
        self._children: list[Any] = []
        if processes == 1:
            # Nothing comes from elsewhere, so no pipe and no feeder thread are needed.
            self._task_result_queue.close()
            self._task_result_queue: Any = luigi_worker.DequeQueue()

    def start(self, nodes: Sequence[Node]) -> None:
        """Put these pipes in line."""
        for node in nodes:
            self.add(Step.of(node, self._work))

    def end_children(self, *, at_once: bool) -> None:
        """See that no child is left. ``at_once`` stops what still runs, for when the caller stops
        waiting; else those that have said their word get a moment to leave."""
        started = [child for child in self._children if child.pid is not None]
        for child in started:
            if at_once and child.is_alive():
                child.terminate()
        for child in started:
            child.join(_END_S)
            if child.is_alive():
                child.kill()
                child.join()

    def _create_task_process(self, task: Step) -> Any:
        process = super()._create_task_process(task)
        # Children share the store and the loaded code: other ways of starting would pickle them.
        process._Popen = multiprocessing.get_context("fork").Process._Popen
        if process.use_multiprocessing:
            self._children.append(process)
        return process

    def _add_task(self, *args: Any, **kwargs: Any) -> None:
        super()._add_task(*args, **kwargs)
        status = kwargs["status"]
        if "expl" not in kwargs or status not in (DONE, FAILED):
            return
        step: Step = self._scheduled_tasks[kwargs["task_id"]]
        if status == DONE:
            id, ran = step.result or json.loads(kwargs["expl"])
            following = self._work.settled(step.node, id, ran)
            if self.error is None:
                self.start(following)
            return
        self._start_phasing_out()
        self.error = self.error or _error_of(step, kwargs["expl"])

    def _purge_children(self) -> None:
        super()._purge_children()
        for task_id, process in self._running_tasks.items():
            # luigi waits for ever for a child that left with exit code 0 and without a word. A
            # child's word is in the queue before it ends.
            if process.exitcode == 0 and self._task_result_queue.empty():
                said = "Task ended with exit code 0, before its end"
                self._task_result_queue.put((task_id, FAILED, said, [], []))


@contextmanager
def silence() -> Iterator[None]:
    """luigi logs nothing in this thread, and in children forked from it, meanwhile."""
    for name in ("luigi-interface", "luigi.scheduler"):
        logger = logging.getLogger(name)
        if _unless_at_work not in logger.filters:
            logger.addFilter(_unless_at_work)
    token = _AT_WORK.set(True)
    try:
        yield
    finally:
        _AT_WORK.reset(token)


def run_all(work: Work, first: Sequence[Node], *, processes: int) -> None:
    """Carry out ``first`` and all that ``work.settled`` names afterwards.

    One process: in this thread. The first failure is raised, once the children that run already
    have ended. No signal handler is touched, and any thread may call.
    """
    pool = Pool(work, processes)
    pool.start(first)
    finished = False
    try:
        pool.run()
        finished = True
    finally:
        pool.end_children(at_once=not finished)
    if pool.error is not None:
        raise pool.error


def _unless_at_work(_: logging.LogRecord) -> bool:
    return not _AT_WORK.get()


def _error_of(step: Step, expl: str) -> BaseException:
    if step.error is not None:
        return step.error
    found = json.loads(expl)
    if isinstance(found, dict):
        return failures.from_json(found)
    return failures.of_dead_child(step.node.name, expl)


def _scheduler() -> luigi_scheduler.Scheduler:
    config = SimpleNamespace(**_defaults(luigi_scheduler.scheduler))
    policy = luigi_scheduler.RetryPolicy(  # type: ignore[call-arg]
        config.retry_count, config.disable_hard_timeout, config.disable_window
    )
    config._get_retry_policy = lambda: policy
    config.retry_delay = config.remove_delay = config.worker_disconnect_delay = _NEVER_S
    config.metrics_collector = MetricsCollectors.none
    # Not empty: luigi would then ask its configuration. A resource it does not name has one unit.
    return luigi_scheduler.Scheduler(config=config, resources={"-": 1})


def _worker_options(processes: int) -> dict[str, Any]:
    return {
        **_defaults(luigi_worker.worker),
        "no_install_shutdown_handler": True,
        "check_unfulfilled_deps": False,
        "send_failure_email": False,
        "force_multiprocessing": processes > 1,
        "wait_interval": _LOOK_S,
        "wait_jitter": 0.0,
        "id": "bundlerun",
    }


def _defaults(config: Callable[..., Any]) -> dict[str, Any]:
    """luigi's own defaults, whatever its configuration files say."""
    return {name: param.normalize(param._default) for name, param in config.get_params()}  # type: ignore[attr-defined]
