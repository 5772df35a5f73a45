"""The events of a pipe at work: luigi's events, status, progress and tracking URL.

Whichever process a pipe runs in, it is heard in the one that called ``apply``: events fire there,
once, and the rest is shown as progress.
"""

from __future__ import annotations

import contextvars
import copy
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import luigi

from bundlerun.errors import UserError
from bundlerun.pipelines.processes import Tell
from bundlerun.progress import Progress

if TYPE_CHECKING:
    from bundlerun.pipelines.graph import Node
    from bundlerun.pipelines.luigid import Report
    from bundlerun.pipelines.pipe import Pipe, Scratch

FREE = "free"
"""The message (FREE, names): the pipe no longer needs these resources."""

_EVENT, _STATUS, _PERCENT, _URL = "event", "status", "percent", "url"

_SELF = "the pipe itself"


def at_work(pipe: Pipe, scratch: Scratch, tell: Tell) -> Pipe:
    """A copy of ``pipe`` for one run, heard through ``tell``.

    luigi gives the same object to everybody who asks for the same parameters, other threads
    included.
    """
    own = copy.copy(pipe)
    vars(own).update(_heard(own, tell), _scratch=scratch)
    return own


def _heard(pipe: Pipe, tell: Tell) -> Mapping[str, object]:
    """The attributes that luigi sets on a task while it runs."""

    def trigger_event(event: str, *args: object, **kwargs: object) -> None:
        tell((_EVENT, event, kwargs, *(_SELF if each is pipe else each for each in args)))

    return {
        "set_status_message": status(tell),
        "set_progress_percentage": lambda percent: tell((_PERCENT, _of_hundred(percent))),
        "set_tracking_url": lambda url: tell((_URL, str(url))),
        "decrease_running_resources": lambda units: tell((FREE, list(units))),
        "trigger_event": trigger_event,
    }


def status(tell: Tell) -> Callable[[object], None]:
    """The function that takes the status messages of a pipe heard through ``tell``."""
    return lambda message: tell((_STATUS, str(message)))


def _of_hundred(percent: float) -> int:
    # In this order: NaN is then 0.
    return int(min(max(0.0, float(percent)), 100.0))


def told(pipe: Pipe, error: BaseException, failed: UserError) -> UserError:
    """``failed``, once the pipe was told of ``error`` as luigi tells a task.

    It gets the event, and its own ``on_failure``, whose answer or failure is added to the evidence.
    """
    pipe.trigger_event(luigi.Event.FAILURE, pipe, error)
    said: object = None
    try:
        answer = pipe.on_failure(error)
        own: object = type(pipe).on_failure
        if own is not luigi.Task.on_failure:
            said = answer
    except KeyboardInterrupt:
        raise
    except BaseException:  # the method is the user's
        said = f"on_failure failed too:\n{traceback.format_exc()}"
    if not said:
        return failed
    return UserError(failed.message, hint=failed.hint, evidence=f"{failed.evidence}{said}")


class Listener:
    """Hears one run of the pipe ``node``, in the process that called ``apply``."""

    def __init__(self, node: Node, progress: Progress, report: Report) -> None:
        self._node = node
        self._pipe = node.pipe
        self._name = node.name
        self._progress = progress
        self._report = report
        self._bar: int | None = None
        self._percent = 0
        self._context = contextvars.copy_context()

    def hear(self, message: tuple[Any, ...]) -> None:
        """Take what the pipe at work sent."""
        kind, *rest = message
        if kind == _EVENT:
            event, kwargs, *args = rest
            given = (self._pipe if each == _SELF else each for each in args)
            # In the caller's surroundings, and not in those of the pipe.
            self._context.copy().run(self._pipe.trigger_event, event, *given, **kwargs)
        elif kind == _PERCENT:
            self._show(rest[0])
            self._report.percent(self._node, rest[0])
        else:
            tell = self._report.status if kind == _STATUS else self._report.tracking_url
            tell(self._node, rest[0])
            self._progress.line(f"{self._name}: {rest[0]}")

    def close(self) -> None:
        """The run is over."""
        if self._bar is not None:
            self._progress.finish(self._bar)

    def _show(self, percent: int) -> None:
        if self._bar is None:
            self._bar = self._progress.start(self._name, 100, "%")
        self._progress.advance(self._bar, percent - self._percent)
        self._percent = percent
