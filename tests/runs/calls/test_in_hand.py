"""A real run in the caller's hand: signals, forks, threads, event loops, and programs that end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import bundlerun as br
from tests.runs.calls.conftest import Lab

pytestmark = pytest.mark.heavy

LONG_S = 120


@pytest.fixture
def mapped(lab: Lab) -> Callable[..., Any]:
    """``br.map`` on processes."""
    return lambda func, *items, **options: br.map(func, *items, backend="Processes", **options)


def program(text: str) -> subprocess.Popen[str]:
    """A program of a user's that runs in the project's folder. Python 3.12 and later warn of forks
    with threads."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(text)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ["PYTHONPATH"]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(happened: Callable[[], object]) -> None:
    """Return when it is true."""
    until_s = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_ctrl_c_detaches_and_the_results_are_there_later(lab: Lab) -> None:
    """In the same program, and in another one that attaches; nothing was cancelled."""
    child = program("""
        import bundlerun as br
        from lab import model
        run = br.map(model.sleeps, [1.5], backend="Processes")
        try:
            print(run.run_id, flush=True)
            run[0].result()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        print(run[0].result(120))
    """)
    assert child.stdout is not None
    run_id = child.stdout.readline().strip()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=LONG_S)
    assert (child.returncode, out.split()) == (0, ["interrupted", "1.5"]), err
    assert br.attach(run_id)[0].result(LONG_S) == 1.5


def test_a_program_that_ends_leaves_its_run_to_another(lab: Lab) -> None:
    """At once and without a word, with callbacks that wait; whoever attaches has all results."""
    child = program("""
        import bundlerun as br
        from lab import model
        run = br.map(model.sleeps, [0.5, 0.1], backend="Processes")
        run[1].add_done_callback(print)
        print(run.run_id)
    """)
    out, err = child.communicate(timeout=LONG_S)
    assert child.returncode == 0
    assert err == ""
    run_id = out.split()[0]
    assert list(br.attach(run_id).results(LONG_S)) == [0.5, 0.1]


def test_a_run_goes_on_in_parent_and_child_of_a_fork(lab: Lab) -> None:
    """Both have the results, and both can begin another run."""
    child = program("""
        import os
        import bundlerun as br
        from lab import model
        run = br.map(model.sleeps, [0.1, 1.0, 1.2], backend="Processes", chunksize=1)
        assert run[0].result(120) == 0.1
        child = os.fork()
        assert list(run.results(120)) == [0.1, 1.0, 1.2]
        assert br.map(model.double, [2], backend="Processes")[0].result(120) == 4
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            print("both", br.jobs(run.run_id)[0].state.value)
    """)
    out, err = child.communicate(timeout=LONG_S)
    assert (child.returncode, out) == (0, "both succeeded\n"), err


def test_a_remote_that_stumbles_when_a_job_ends_costs_no_result(
    lab: Lab, mapped: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Its outcomes are looked for again: an item is not given up because of one bad moment."""
    from lab import model

    run = mapped(model.sleeps, [3.0])
    wait_until(lambda: run.tally()["running"])
    # The looks after the first one have nothing to list until the job ends.
    time.sleep(0.5)
    results = lab.remote / "runs" / run.run_id / "e"
    # A listing of a place that a link stands for is refused.
    results.symlink_to(lab.path / "nowhere")
    wait_until(lambda: list(lab.path.glob("processes/**/end")))
    wait_until(lambda: "asked again" in caplog.text)
    results.unlink()
    assert list(run.results(LONG_S)) == [3.0]


def test_maps_of_many_threads_share_one_thread(mapped: Callable[..., Any]) -> None:
    """Each has its own results."""
    from lab import model

    found: list[bool] = []

    def one(number: int) -> list[int]:
        run = mapped(model.double, [number, number + 1])
        names = [thread.name for thread in threading.enumerate()]
        found.append(names.count("bundlerun") <= 1)
        return list(run.results(LONG_S))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [[2 * n, 2 * n + 2] for n in range(4)]
    assert all(found)


def test_asyncio_awaits_items_and_cancels_them(mapped: Callable[..., Any]) -> None:
    """A task's end ends its item alone."""
    from lab import model

    async def gathered() -> list[object]:
        run = mapped(model.sleeps, [600, 0.1], chunksize=1)
        tasks = [asyncio.wrap_future(future) for future in run]
        done, _ = await asyncio.wait(tasks, timeout=LONG_S, return_when="FIRST_COMPLETED")
        assert done == {tasks[1]}
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, value = asyncio.run(gathered())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert value == 0.1


def test_a_callback_may_cancel_what_is_left(mapped: Callable[..., Any]) -> None:
    """The first answer is enough: the rest of the run is ended, and known as cancelled."""
    from lab import model

    run = mapped(model.sleeps, [0.1, 600], chunksize=1)
    ended = threading.Event()

    def enough(future: concurrent.futures.Future[float]) -> None:
        run.cancel()
        ended.set()

    run[0].add_done_callback(enough)
    assert run[0].result(LONG_S) == 0.1
    assert ended.wait(LONG_S)
    assert [future.cancelled() for future in run] == [False, True]
    with pytest.raises(br.errors.Cancelled):
        br.wait(run.run_id)
    (record,) = br.jobs(run.run_id)
    assert dict(record.tally) == {"succeeded": 1, "cancelled": 1}


def test_callbacks_that_raise_leave_the_run_to_succeed(mapped: Callable[..., Any]) -> None:
    """Also sys.exit()."""
    from lab import model

    run = mapped(model.double, range(4))
    for future in run:
        future.add_done_callback(lambda future: sys.exit("of a callback"))
    assert list(run.results(LONG_S)) == [0, 2, 4, 6]
    assert br.wait(run.run_id).record.state is br.JobState.SUCCEEDED


def test_submits_of_an_executor_are_polled_together(lab: Lab) -> None:
    """The runs of one workspace have one backend: ten submits, not ten times the requests."""
    from lab import model

    with br.Executor(backend="Processes") as executor:
        futures = [executor.submit(model.double, n) for n in range(4)]
        backends = {id(future._items.followed.backend) for future in futures}
        assert [future.result(LONG_S) for future in futures] == [0, 2, 4, 6]
    assert len(backends) == 1
