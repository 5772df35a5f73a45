"""An executor of the standard library, over runs that a test scripts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bundlerun.api.executor import Executor
from bundlerun.errors import CloudError, UsageError
from bundlerun.futures.followed import Ended
from bundlerun.futures.future import MapRun
from tests.futures.scripted import Jobs, Script

LONG_S = 60
ROOT = Path(__file__).resolve().parents[2]


class Starter:
    """Begins runs whose functions are called here and now, unless they are held."""

    def __init__(self, held: bool = False) -> None:
        self.backend = Jobs()
        self.held = held
        self.begun: list[Script] = []
        self.options: list[dict[str, Any]] = []
        self.uploaded: list[dict[str, Any]] = []
        self.sent = 0
        self.error: Exception | None = None

    def __call__(
        self,
        func: Callable[..., Any],
        tuples: Iterable[tuple[Any, ...]],
        uploaded: dict[str, Any],
        /,
        **options: Any,
    ) -> MapRun[Any]:
        """A run of ``func``, sent unless it was."""
        if self.error is not None:
            raise self.error
        self.options.append(options)
        self.uploaded.append(uploaded)
        items = list(tuples)
        script = Script(self.backend)
        self.sent += func.__qualname__ not in uploaded
        uploaded.setdefault(func.__qualname__, script.run_id)
        self.begun.append(script)
        if not self.held:
            script.tell(*(self.called(func, n, item, options) for n, item in enumerate(items)))
        return MapRun[Any](script.run_id, len(items), script).follow()

    def called(
        self, func: Callable[..., Any], index: int, item: tuple[Any, ...], options: dict[str, Any]
    ) -> Ended:
        """What becomes of an item."""
        try:
            return Ended(index, func(*item, **options.get("kwargs", {})))
        except Exception as error:
            return Ended(index, error=error)


def power(base: int, exponent: int = 2) -> int:
    """Anything that can be called."""
    return base**exponent


def test_it_is_an_executor_of_the_standard_library() -> None:
    """Wherever one is taken, ours is."""
    starter = Starter()
    with Executor(start=starter) as executor:
        assert isinstance(executor, concurrent.futures.Executor)

        async def awaited() -> int:
            return await asyncio.get_running_loop().run_in_executor(executor, power, 3)

        assert asyncio.run(awaited()) == 9


def test_map_is_one_run_whose_results_come_in_order() -> None:
    """As many iterables as arguments, the shortest ends it; options go to the run."""
    starter = Starter()
    with Executor(start=starter, backend="AWSBatch", vcpus=2) as executor:
        assert list(executor.map(power, range(4), [1, 2, 3])) == [0, 1, 8]
        assert list(executor.map(power, [])) == []
        assert list(executor.map(power, [5], chunksize=100)) == [25]
    assert len(starter.begun) == 3
    assert starter.options[0] == {"backend": "AWSBatch", "vcpus": 2}
    assert starter.options[2]["chunksize"] == 100


def test_submit_is_a_run_of_one_and_the_function_is_sent_once() -> None:
    """With keyword arguments; those of the options hold where a call has none of that name."""
    starter = Starter()
    with Executor(start=starter, kwargs={"exponent": 3}) as executor:
        futures = [executor.submit(power, 2), executor.submit(power, 2, exponent=4)]
        assert [future.result(LONG_S) for future in futures] == [8, 16]
        assert [future.index for future in futures] == [0, 0]
    assert len(starter.begun) == 2
    assert starter.sent == 1
    assert starter.uploaded[0] is starter.uploaded[1]


def test_a_function_of_many_threads_is_sent_once() -> None:
    """Submits at the same moment wait for each other."""
    starter = Starter()
    with Executor(start=starter) as executor, concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = list(pool.map(lambda n: executor.submit(power, n), range(50)))
        assert [future.result(LONG_S) for future in futures] == [n**2 for n in range(50)]
    assert starter.sent == 1


def test_nothing_is_taken_after_shutdown() -> None:
    """RuntimeError, of submit and of map, as the standard library has it."""
    starter = Starter()
    executor = Executor(start=starter)
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(power, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(power, [1])
    assert starter.begun == []


def test_leaving_the_block_waits_for_all() -> None:
    """Runs of one and of many."""
    starter = Starter(held=True)
    with Executor(start=starter) as executor:
        future = executor.submit(power, 1)
        results = executor.map(power, [1, 2])

        def end() -> None:
            starter.backend.wait_for_polls(2)
            starter.begun[0].tell_all([1])
            starter.begun[1].tell_all([1, 4])

        ends = threading.Thread(target=end)
        ends.start()
    assert future.done()
    assert list(results) == [1, 4]
    ends.join()


def test_a_shutdown_that_does_not_wait_leaves_the_runs() -> None:
    """They end later."""
    starter = Starter(held=True)
    executor = Executor(start=starter)
    future = executor.submit(power, 1)
    executor.shutdown(wait=False)
    assert not future.done()
    assert starter.begun[0].cancels == []
    starter.begun[0].tell_all([1])
    assert future.result(LONG_S) == 1


def test_a_shutdown_that_cancels_asks_once_a_run() -> None:
    """What has ended keeps its result."""
    starter = Starter(held=True)
    executor = Executor(start=starter)
    ended, future = executor.submit(power, 1), executor.submit(power, 2)
    results = executor.map(power, [1, 2, 3])
    starter.begun[0].tell_all([1])
    assert ended.result(LONG_S) == 1
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()
    assert ended.result() == 1
    with pytest.raises(concurrent.futures.CancelledError):
        next(results)
    assert [script.cancels for script in starter.begun] == [[], [None], [None]]


def test_an_item_that_fails_cancels_the_rest_of_its_map() -> None:
    """As in the standard library; other runs go on."""
    starter = Starter(held=True)
    executor = Executor(start=starter)
    results, other = executor.map(power, [1, 2, 3]), executor.submit(power, 1)
    starter.begun[0].tell(Ended(0, "first"), Ended(1, error=ValueError("second")))
    assert next(results) == "first"
    with pytest.raises(ValueError, match="second"):
        next(results)
    assert starter.begun[0].cancels == [None]
    assert not other.done()
    executor.shutdown(wait=False, cancel_futures=True)


def test_the_first_error_is_told_where_the_rest_cannot_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that the run goes on."""
    starter = Starter(held=True)
    executor = Executor(start=starter)
    results = executor.map(power, [1, 2])

    def refusing(index: int | None) -> bool:
        raise CloudError("no such queue")

    monkeypatch.setattr(starter.begun[0], "cancel", refusing)
    starter.begun[0].tell(Ended(0, error=ValueError("first")))
    with pytest.raises(ValueError, match="first"):
        next(results)
    assert "goes on, and was not cancelled" in caplog.text
    starter.begun[0].tell(Ended(1, 4))
    executor.shutdown()


def test_a_map_whose_time_is_up_or_that_nobody_reads_on_is_cancelled() -> None:
    """Time counts from the call."""
    starter = Starter(held=True)
    executor = Executor(start=starter)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(executor.map(power, [1], timeout=0))
    results = executor.map(power, [1, 2])
    starter.begun[1].tell(Ended(0, 1))
    for result in results:
        assert result == 1
        break
    del results
    assert [script.cancels for script in starter.begun] == [[None], [None]]


def test_a_run_that_cannot_begin_is_the_callers_error() -> None:
    """And the executor goes on."""
    starter = Starter()
    with Executor(start=starter) as executor:
        starter.error = CloudError("no such queue")
        with pytest.raises(CloudError):
            executor.submit(power, 1)
        starter.error = None
        assert executor.submit(power, 3).result(LONG_S) == 9


def test_a_callback_may_submit_and_not_wait() -> None:
    """The next call may depend on the last; a shutdown that waits is refused there."""
    starter = Starter(held=True)
    executor = Executor(start=starter)
    nexts: list[Any] = []
    called = threading.Event()
    first = executor.submit(power, 3)

    def callback(done: concurrent.futures.Future[int]) -> None:
        nexts.append(executor.submit(power, done.result()))
        with pytest.raises(UsageError, match="callback"):
            executor.shutdown()
        starter.begun[1].tell_all([81])
        called.set()

    first.add_done_callback(callback)
    starter.begun[0].tell_all([9])
    assert called.wait(LONG_S)
    assert nexts[0].result(LONG_S) == 81


@pytest.mark.parametrize("at", ["in result", "at the program's end"])
def test_a_program_that_is_left_leaves_its_runs(at: str) -> None:
    """Ctrl-C in a map, and an iterator that was not read on when the program ended. (What the
    thread of the runs refers to is never cleared: nothing of the program's own.)"""
    ends = "raise KeyboardInterrupt" if at == "in result" else "sys.exit()"
    text = f"""
        import sys
        from bundlerun.api.executor import Executor
        from bundlerun.futures.followed import Ended
        from bundlerun.futures.future import MapRun
        from tests.futures.scripted import Jobs, Script

        class Interrupted(MapRun):
            def results(self, timeout=None, return_exceptions=False):
                yield 1
                {ends}

        def start(func, tuples, uploaded, /, **options):
            script = Script(Jobs())
            script.is_loud = True
            script.tell(Ended(0, 1))
            return Interrupted("run", 2, script).follow()

        results = Executor(start=start).map(abs, [1, 2])
        next(results)
        if {at != "in result"}:
            {ends}
        try:
            next(results)
        except KeyboardInterrupt:
            print("left")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
    said = "left\n" if at == "in result" else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
