"""Calls on any backend through the interface of concurrent.futures."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar

from bundlerun.errors import BundlerunError
from bundlerun.futures.future import Future, MapRun

_logger = logging.getLogger("bundlerun.futures")

P = ParamSpec("P")
T = TypeVar("T")


class Start(Protocol):
    """The function that begins a run."""

    def __call__(
        self,
        func: Callable[..., T],
        tuples: Iterable[tuple[Any, ...]],
        uploaded: dict[str, Any],
        /,
        **options: Any,
    ) -> MapRun[T]:
        """A run of ``func`` over ``tuples`` of arguments, submitted and followed.

        ``options`` are those of ``br.starmap``; ``uploaded`` is the starter's own note of the
        functions that earlier runs of this executor have sent.
        """


class Executor(concurrent.futures.Executor):
    """An executor of the standard library whose calls run on a backend.

    ``options`` are those of ``br.map``; ``start`` begins runs (None: in the workspace of the
    settings, as ``br.map`` does). ``map`` is one run over all inputs; ``submit`` is a run of
    one, which costs a job: for many inputs ``map`` is the faster by far. A function is sent once.
    Threads may share it.
    """

    def __init__(self, *, start: Start | None = None, **options: Any) -> None:
        self._start = start or _start
        self._options = options
        self._uploaded: dict[str, Any] = {}
        self._runs: dict[str, MapRun[Any]] = {}
        self._is_shut = False
        # A function that two threads submit at once is sent once as well.
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of ``fn(*args, **kwargs)``, a run of one item.

        Returns when it is submitted. Raises RuntimeError after ``shutdown``, else as ``br.map``.
        """
        options = dict(self._options)
        if kwargs:
            options["kwargs"] = {**options.get("kwargs", {}), **kwargs}
        return self._begun(fn, [args], options)[0]

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[T]:
        """The results of one run over the inputs, in their order.

        ``timeout`` counts seconds from this call; ``chunksize`` is how many items share a job,
        None: as ``br.map`` chooses. As in the standard library what is open is cancelled when an
        item failed, time is up, or the iterator is closed before its end; after Ctrl-C the run goes
        on. Raises RuntimeError after ``shutdown``, else as ``br.map``; the iterator raises what the
        function raised, and TimeoutError of concurrent.futures.
        """
        until_s = None if timeout is None else time.monotonic() + timeout
        options = dict(self._options)
        if chunksize is not None:
            options["chunksize"] = chunksize
        run = self._begun(fn, zip(*iterables, strict=False), options)
        left_s = None if until_s is None else until_s - time.monotonic()
        return _results(run, run.results(left_s))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no further calls; with ``wait`` return when all have ended.

        ``cancel_futures`` ends what is open, one request a run. Without either the runs go on, also
        after this process. Raises as ``MapRun.cancel``.
        """
        with self._lock:
            self._is_shut = True
            runs = list(self._runs.values())
        if cancel_futures:
            for run in runs:
                run.cancel()
        if wait:
            for future in (future for run in runs for future in run):
                with contextlib.suppress(concurrent.futures.CancelledError):
                    future.exception()

    def _begun(
        self, fn: Callable[..., T], tuples: Iterable[tuple[Any, ...]], options: dict[str, Any]
    ) -> MapRun[T]:
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            run = self._start(fn, tuples, self._uploaded, **options)
            self._runs[run.run_id] = run
        if len(run) == 1:
            run[0].add_done_callback(lambda _: self._runs.pop(run.run_id, None))
        return run


def _start(
    func: Callable[..., T],
    tuples: Iterable[tuple[Any, ...]],
    uploaded: dict[str, Any],
    /,
    **options: Any,
) -> MapRun[T]:
    """A run of the workspace that the settings name."""
    from bundlerun.api import default
    from bundlerun.api.calls import begun
    from bundlerun.runs.calls.options import MapOptions

    chosen = MapOptions().but(**options)
    return begun(default().scope, func, tuples, chosen, arguments=None, uploaded=uploaded)


def _results(run: MapRun[T], results: Iterator[T]) -> Iterator[T]:
    """``results``, with the run cancelled where they are not asked for to their end."""
    try:
        yield from results
    except Exception:
        _cancel(run)
        raise
    except GeneratorExit:
        # A program that ends leaves its runs as they are.
        if not sys.is_finalizing():
            _cancel(run)
        raise


def _cancel(run: MapRun[Any]) -> None:
    """End what is open of ``run``, whose caller has an error to raise already."""
    if all(future.done() for future in run):
        return
    try:
        run.cancel()
    except BundlerunError as error:
        _logger.warning("run %s goes on, and was not cancelled: %s", run.run_id, error)
