"""The outcome of one item: its value, its failure, or its exception.

An exception comes back as itself. It travels pickled where its pickle can be loaded again, which is
tried where it was raised (``error_pickles``), else by class name, text and traceback alone.
"""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any

from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import (
    BundlerunError,
    InfraError,
    IntegrityError,
    ItemFailed,
    RunFailed,
    SpotReclaimed,
    Untrusted,
    named,
)
from bundlerun.futures.error_pickles import pickled_error
from bundlerun.futures.pickles import class_name

MOST_TEXT_CHARS = 64 * 1024
"""Of the text of an exception, and of its traceback's end, no more is kept."""

_DAMAGED = "the map again: the object on the remote is not what the run wrote"


@dataclass(frozen=True)
class Raised:
    """The exception that an item raised.

    ``class_name`` has its module, ``text`` and ``traceback`` are as shown. ``data`` is a pickle of
    it, empty where there is none that can be loaded.
    """

    class_name: str
    text: str
    traceback: str
    data: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What became of the item ``index`` in its attempt ``attempt`` (from 1).

    One of three is there: ``value``, as the codec wrote it; ``raised``; or ``failure``, the name of
    a RunFailed class where no exception of the user's came, with its ``reason``. ``stdout`` and
    ``stderr`` are the last 64 KiB each, times are Unix seconds, ``machine`` is the host's name.
    """

    index: int
    attempt: int = 1
    value: bytes | None = None
    raised: Raised | None = None
    failure: str | None = None
    reason: str = ""
    stdout: str = ""
    stderr: str = ""
    started_s: float = 0.0
    finished_s: float = 0.0
    peak_memory_mib: float = 0.0
    machine: str = ""

    @property
    def ok(self) -> bool:
        """Whether the function returned."""
        return self.value is not None

    @property
    def is_final(self) -> bool:
        """Whether it tells of the item, and not of the machine under its job.

        What a lost machine left undone, a retried job does again.
        """
        return self.failure not in (InfraError.__name__, SpotReclaimed.__name__)

    def to_bytes(self) -> bytes:
        """The outcome: a line of JSON, the value, the exception's pickle."""
        raised = self.raised
        head: dict[str, Any] = {
            name: _clean(getattr(self, name)) for name in _PLAIN if getattr(self, name) is not None
        }
        head["value"] = None if self.value is None else len(self.value)
        if raised is not None:
            head["raised"] = {
                "class_name": _clean(raised.class_name),
                "text": _clean(raised.text),
                "traceback": _clean(raised.traceback),
                "size": len(raised.data),
            }
        body = (self.value or b"", raised.data if raised is not None else b"")
        return b"".join([canonical_json(head), b"\n", *body])

    @staticmethod
    def from_bytes(data: bytes) -> Outcome:
        """The inverse of ``to_bytes``.

        Raises IntegrityError for anything else.
        """
        line, _, body = data.partition(b"\n")
        try:
            head = json.loads(line)
            size = head.pop("value")
            raised = head.pop("raised", None)
            value = None if size is None else body[:size]
            outcome = Outcome(
                **{name: _checked(name, found) for name, found in head.items()},
                value=value,
                raised=None if raised is None else _raised(raised, body[size or 0 :]),
            )
            if [outcome.value, outcome.raised, outcome.failure].count(None) != 2:
                raise ValueError("it has not one end")
            if outcome.to_bytes() != data:
                raise ValueError("its parts have other sizes, or its fields another form")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise IntegrityError(
                f"not the outcome of an item: {error!s:.200}", hint=_DAMAGED
            ) from error
        return outcome


_TYPES: Mapping[str, tuple[type, ...]] = {
    "index": (int,),
    "attempt": (int,),
    "failure": (str,),
    "reason": (str,),
    "stdout": (str,),
    "stderr": (str,),
    "started_s": (int, float),
    "finished_s": (int, float),
    "peak_memory_mib": (int, float),
    "machine": (str,),
}
_PLAIN = tuple(each.name for each in fields(Outcome) if each.name in _TYPES)


def _checked(name: str, found: Any) -> Any:
    if type(found) not in _TYPES.get(name, ()):
        raise ValueError(f"{name} is {found!r:.80}")
    if name in ("index", "attempt") and found < 0:
        raise ValueError(f"{name} is {found}")
    return found


def _raised(found: Any, data: bytes) -> Raised:
    raised = Raised(**{name: each for name, each in found.items() if name != "size"}, data=data)
    texts = (raised.class_name, raised.text, raised.traceback)
    if any(type(text) is not str for text in texts):
        raise ValueError(f"an exception is malformed: {found!r:.80}")
    return raised


def _clean(value: Any) -> Any:
    """A text as UTF-8 can have it.

    What a program printed, or an exception says, may not be.
    """
    return value.encode(errors="backslashreplace").decode() if type(value) is str else value


def raised_by(error: BaseException) -> Raised:
    """The form in which ``error`` travels, made where an item raised it.

    The traceback begins below the frame that catches it, at the item's own.
    """
    return Raised(*_said(error), pickled_error(error) or b"")


def unreturnable(value: object, reason: Exception) -> ItemFailed:
    """What an item ends in that returned a ``value`` which cannot travel, and why not."""
    name = class_name(type(value))
    why = reason.message if isinstance(reason, BundlerunError) else str(reason)
    return ItemFailed(
        f"the item returned a {name}, which cannot come back: {why}",
        hint="return plain data, a bundlerun.File or a class that can be pickled",
        class_name=name,
        text=_text_of(value),
    )


def exception_of(outcome: Outcome, run_id: str, trusted: bool) -> BaseException:
    """The exception of an item that failed, for its future.

    What was raised comes as itself, its ``__cause__`` the traceback of the place where it was
    raised, with a note that names run, item and machine. ItemFailed: SystemExit, KeyboardInterrupt
    and all others that are not an Exception, and what cannot be loaded here. Untrusted: a pickle
    that is not ``trusted``. What the item did not raise is the RunFailed that ``failure`` names.
    """
    logs = f"bundlerun logs {run_id[:_SHORT_ID]}:{outcome.index}"
    where = f"item {outcome.index} of run {run_id}"
    if outcome.raised is None:
        kind = named(outcome.failure, InfraError, RunFailed)
        return kind(f"{where}: {outcome.reason}", hint=logs, evidence=outcome.stderr)
    raised = outcome.raised
    if not trusted and raised.data:
        found: BaseException = Untrusted(
            f"{where} raised {raised.class_name}: {raised.text:.500}; the exception itself is a"
            " pickle, and nothing proves that the run wrote it",
            hint="bundlerun.attach(run_id, trust=True), where nobody else writes to the remote",
        )
    else:
        found = _exception(raised, where, logs)
    note = f"{where}{outcome.machine and f' on {outcome.machine}'}: {logs}"
    return _annotated(found, raised.traceback, note)


def loaded_or_failed(load: Callable[[], Any], what: str) -> Any:
    """The value that ``load`` unpickles.

    Raises ItemFailed, with the reason, for whatever ``load`` raises: a class that is not installed
    here, code of another version.
    """
    try:
        return load()
    except BaseException as error:  # a pickle runs code of its own, which may raise anything
        name = class_name(type(error))
        raise ItemFailed(
            f"{what} cannot be loaded here: {name}: {_text_of(error)}",
            hint="pip install what is missing here (in a job: requirements=[...] of the map)",
            evidence="".join(traceback.format_exception(type(error), error, error.__traceback__)),
            class_name=name,
            text=_text_of(error),
        ) from None


_SHORT_ID = 13
"""So many characters of a run's id are shown and typed."""


def _exception(raised: Raised, where: str, logs: str) -> BaseException:
    """The exception itself, or the ItemFailed that stands for it."""
    why = "it cannot come as itself"
    if raised.data:
        try:
            found = loaded_or_failed(lambda: pickle.loads(raised.data), "it")
        except ItemFailed as failed:
            why = failed.message
        else:
            if isinstance(found, Exception):
                return found
            is_raised = isinstance(found, BaseException)
            why = "it would end this program" if is_raised else "its pickle is of something else"
    return ItemFailed(
        f"{where} raised {raised.class_name}: {raised.text:.2000} ({why})",
        hint=logs,
        evidence=raised.traceback,
        class_name=raised.class_name,
        text=raised.text,
    )


class _RemoteTraceback(Exception):
    """The cause of an exception of another process, shown as its traceback there.

    As in concurrent.futures.process, whose class is private.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def _annotated(error: BaseException, remote: str, note: str) -> BaseException:
    """``error`` with its remote traceback as cause, and the note (from Python 3.11)."""
    add_note = getattr(error, "add_note", None)
    text = f'\n"""\n{remote}"""'
    if add_note is None:
        text = f"{text}\n{note}"
    else:
        add_note(note)
    error.__cause__ = _RemoteTraceback(text)
    return error


def _said(error: BaseException) -> tuple[str, str, str]:
    """Class name, text and traceback."""
    tb: TracebackType | None = error.__traceback__
    own = tb.tb_next if tb is not None and tb.tb_next is not None else tb
    try:
        shown = "".join(traceback.format_exception(type(error), error, own))
    except BaseException:  # its own methods are asked, which are the user's
        shown = "".join(traceback.format_tb(own)) + f"{class_name(type(error))}\n"
    return class_name(type(error)), _text_of(error), shown[-MOST_TEXT_CHARS:]


def _text_of(value: object) -> str:
    try:
        return (str(value) if isinstance(value, BaseException) else repr(value))[:MOST_TEXT_CHARS]
    except BaseException as error:  # the user's own method
        return f"(its text cannot be shown: {type(error).__name__})"
