"""Futures of a run: those of the standard library, in the order of the inputs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import pickle
import re
import threading
import time

import pytest

from bundlerun import errors
from bundlerun.backends.job import JobState, JobStatus
from bundlerun.errors import Conflict, MissingOutput, NoCredentials, UsageError
from bundlerun.futures.followed import Ended
from bundlerun.futures.future import Future, MapRun
from bundlerun.futures.tally import open_tally
from tests.futures.scripted import Jobs, Script, begun

LONG_S = 60


class Empty(Exception):
    """An exception that is false, as a container without entries is."""

    def __len__(self) -> int:
        return 0


def test_a_run_is_a_sequence_of_its_futures_in_order() -> None:
    """len, index, negative index, slice, iteration: the same objects each time."""
    run, script = begun(5)
    script.tell_all("abcde")
    assert len(run) == 5
    assert [future.index for future in run] == [0, 1, 2, 3, 4]
    assert run[2] is run[2] is list(run)[2]
    assert run[-1].index == 4
    assert [future.index for future in run[1:4:2]] == [1, 3]
    assert run[3] in run
    with pytest.raises(IndexError):
        run[5]
    assert list(run.results(LONG_S)) == list("abcde")


def test_the_standard_library_takes_our_futures() -> None:
    """isinstance, wait, as_completed."""
    run, script = begun(3)
    assert all(isinstance(f, concurrent.futures.Future) for f in run)
    script.tell(Ended(1, "b"))
    done, rest = concurrent.futures.wait(run, LONG_S, concurrent.futures.FIRST_COMPLETED)
    assert {f.index for f in done} == {1}
    assert {f.index for f in rest} == {0, 2}
    script.tell(Ended(2, "c"), Ended(0, "a"))
    assert {f.result() for f in concurrent.futures.as_completed(run, LONG_S)} == {"a", "b", "c"}


def test_what_an_item_wrote_and_took_is_there_when_it_has_ended() -> None:
    """Before that nothing is known."""
    run, script = begun(2)
    first = run[0]
    assert (first.stdout, first.stderr) == ("", "")
    assert first.attempts is None
    assert first.peak_memory_mib is None
    said: list[str] = []
    first.add_done_callback(lambda future: said.append(first.stdout))
    told = Ended(0, 1, stdout="out\n", stderr="err\n", attempts=2, peak_memory_mib=12.5)
    script.tell(told)
    assert first.result(LONG_S) == 1
    assert (first.stdout, first.stderr) == ("out\n", "err\n")
    assert (first.attempts, first.peak_memory_mib) == (2, 12.5)
    assert said == ["out\n"], "a callback sees all of it"
    run.cancel()


def test_what_an_item_raised_is_raised() -> None:
    """The same object from result and exception; others have their values."""
    run, script = begun(2)
    script.tell(Ended(0, error=KeyError("x")), Ended(1, None))
    with pytest.raises(KeyError):
        run[0].result(LONG_S)
    assert isinstance(run[0].exception(), KeyError)
    assert run[1].result(LONG_S) is None
    assert run[1].exception() is None


def test_an_exception_that_is_false_is_raised_too() -> None:
    """One whose length is 0: the standard library returns None for it."""
    run, script = begun(1)
    script.tell(Ended(0, error=Empty()))
    with pytest.raises(Empty):
        run[0].result(LONG_S)
    with pytest.raises(Empty):
        list(run.results(LONG_S))


def test_results_come_in_order_with_exceptions_in_their_place() -> None:
    """With return_exceptions, cancels included; without, the first is raised, the run goes on."""
    run, script = begun(4)
    script.tell(Ended(3, 3), Ended(1, error=ValueError("one")), Ended(0, 0))
    script.tell(Ended(2, cancelled=True))
    results = list(run.results(LONG_S, return_exceptions=True))
    assert results[0] == 0
    assert isinstance(results[1], ValueError)
    assert isinstance(results[2], concurrent.futures.CancelledError)
    assert results[3] == 3
    iterator = run.results()
    assert next(iterator) == 0
    with pytest.raises(ValueError, match="one"):
        next(iterator)
    assert script.cancels == []


def test_the_timeout_of_results_counts_from_the_call() -> None:
    """Not from each item; the error is the standard library's, and the run goes on."""
    run, script = begun(2)
    iterator = run.results(timeout=0)
    with pytest.raises(concurrent.futures.TimeoutError, match=r"item 0 .* goes on"):
        next(iterator)
    script.tell_all([1, 2])
    assert list(run.results(LONG_S)) == [1, 2]
    assert list(run.results(timeout=0)) == [1, 2], "what is there needs no time"


def test_a_timeout_of_the_item_is_no_timeout_of_the_wait() -> None:
    """A TimeoutError that the function raised comes as it is."""
    run, script = begun(1)
    script.tell(Ended(0, error=TimeoutError("of the function")))
    with pytest.raises(TimeoutError, match="of the function"):
        run[0].result(LONG_S)
    assert isinstance(next(run.results(0, return_exceptions=True)), TimeoutError)


def test_cancel_ends_one_item() -> None:
    """It is cancelled at once, also for who waits; others go on, and its later end is ignored."""
    run, script = begun(2)
    waited = run[0]
    assert run[0].cancel()
    assert script.cancels == [0]
    assert run[0].cancel(), "again: it is"
    assert script.cancels == [0], "and nobody is asked"
    script.tell_all(["late", "fine"])
    assert run[1].result(LONG_S) == "fine"
    with pytest.raises(concurrent.futures.CancelledError):
        waited.result()
    assert run[0].cancelled()
    assert not run[1].cancel(), "it has ended"
    assert concurrent.futures.wait(run, LONG_S).not_done == set()


def test_the_first_end_of_an_item_holds() -> None:
    """A later one, or an item that is told twice, changes nothing and is no error."""
    run, script = begun(3)
    script.seen = lambda statuses, open: [  # type: ignore[method-assign]
        *(Ended(0, "first"), Ended(0, "second"), Ended(1, "late"), Ended(2, "last"))
    ]
    run[1].cancel()
    assert run[2].result(LONG_S) == "last"
    assert run[0].result() == "first"
    assert run[1].cancelled() or run[1].result() == "late"
    script.is_over = True
    assert run.tally()["lost"] == 0


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    """An item that has begun in a job with others."""
    run, script = begun(1)
    script.cannot_cancel = True
    assert not run[0].cancel()
    assert not run[0].done()
    script.tell_all(["here"])
    assert run[0].result(LONG_S) == "here"


def test_cancel_of_a_run_is_one_request() -> None:
    """Open items are cancelled, ended ones keep their results."""
    run, script = begun(100)
    script.tell(Ended(7, "seven"))
    assert run[7].result(LONG_S) == "seven"
    assert run.cancel()
    assert script.cancels == [None]
    assert run[7].result() == "seven"
    assert sum(future.cancelled() for future in run) == 99
    assert len(list(concurrent.futures.as_completed(run, LONG_S))) == 100
    assert not run.cancel(), "nothing is left to be cancelled"


def test_who_waits_learns_of_a_cancel() -> None:
    """as_completed and wait, begun before it."""
    run, _ = begun(3)
    found: list[set[int]] = []

    def gather() -> None:
        found.append({f.index for f in concurrent.futures.as_completed(run, LONG_S)})

    waiting = threading.Thread(target=gather)
    waiting.start()
    while not run[0]._waiters:
        time.sleep(0.001)
    run.cancel()
    waiting.join(LONG_S)
    assert found == [{0, 1, 2}]


def test_cancels_from_many_threads_and_an_end_leave_one_outcome() -> None:
    """Whoever comes first; nobody raises."""
    run, script = begun(200)
    said: list[bool] = []

    def cancel() -> None:
        said.extend([future.cancel() for future in run])

    threads = [threading.Thread(target=cancel) for _ in range(4)]
    script.tell_all(range(200))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert concurrent.futures.wait(run, LONG_S).not_done == set()
    assert len(said) == 800
    for future in run:
        assert future.cancelled() or future.result() == future.index


def test_a_tally_asks_nobody() -> None:
    """Counts by state, from the last look."""
    run, script = begun(6)
    script.tell(Ended(0), Ended(1), Ended(2, error=ValueError()))
    assert concurrent.futures.wait(run[:3], LONG_S).not_done == set()
    run[3].cancel()
    script.backend.wait_for_polls(1)
    tally = run.tally()
    assert tally == {
        **{"queued": 0, "starting": 0, "running": 2},
        **{"succeeded": 2, "failed": 1, "cancelled": 1, "lost": 0},
    }
    assert sum(tally.values()) == len(run)
    run.cancel()


def test_a_run_that_is_not_new_says_nothing_before_it_was_looked_at() -> None:
    """It may have ended long ago: it is not said that its items are queued."""
    script = Script(Jobs())
    script.tell_all([1, 2, 3])
    run = MapRun[int](script.run_id, 3, script, is_new=False)
    assert repr(run) == f"<MapRun {script.run_id}, 3 items: not looked at yet>"
    assert "queued" not in run._repr_html_()
    assert list(run.follow().results(LONG_S)) == [1, 2, 3]
    assert repr(run) == f"<MapRun {script.run_id}, 3 items: 3 succeeded>"


def test_a_run_says_where_it_stands_in_one_line() -> None:
    """And a future, and a notebook's table."""
    script = Script(Jobs())
    run = MapRun[int](script.run_id, 3, script)
    assert repr(run) == f"<MapRun {script.run_id}, 3 items: 3 queued>"
    script.tell_all([1, 2, 3])
    assert list(run.follow().results(LONG_S)) == [1, 2, 3]
    assert repr(run) == f"<MapRun {script.run_id}, 3 items: 3 succeeded>"
    assert repr(run[1]) == f"<Future {script.run_id}:1, succeeded>"
    page = run._repr_html_()
    assert re.search(r"succeeded</th><td>3<", page)
    assert "failed" not in page


def test_a_run_of_no_items_is_over() -> None:
    """No future, no result, no wait."""
    run, _ = begun(0)
    assert list(run.results(LONG_S)) == []
    assert run.output is None
    assert "no items" in repr(run)
    assert not run.cancel()


def test_the_output_is_there_when_all_have_succeeded() -> None:
    """It raises while the run goes on, with the next command; and waits for the bundle itself."""
    run, script = begun(2, bundle="the bundle")
    with pytest.raises(Conflict, match="goes on") as early:
        _ = run.output
    assert early.value.hint == f"bundlerun wait {run.run_id}"
    script.tell_all([1, 2])
    assert list(run.results(LONG_S)) == [1, 2]
    assert run.output == "the bundle"


def test_there_is_no_output_where_items_failed() -> None:
    """The refusal counts them and names the command that shows them."""
    run, script = begun(3, bundle="never")
    script.tell(Ended(0), Ended(1, error=ValueError()), Ended(2, error=ValueError()))
    concurrent.futures.wait(run, LONG_S)
    with pytest.raises(Conflict, match="2 failed") as refused:
        _ = run.output
    assert refused.value.hint == f"bundlerun jobs {run.run_id}"


def test_items_that_a_run_left_open_are_errors() -> None:
    """A run that is over without a result of an item: nobody waits for ever."""
    run, script = begun(2)
    script.tell(Ended(0, "there"))
    assert run[0].result(LONG_S) == "there"
    script.is_over = True
    with pytest.raises(MissingOutput, match="item 1") as missing:
        run[1].result(LONG_S)
    assert missing.value.hint == f"bundlerun logs {run.run_id}:1"


def test_an_error_that_ends_the_following_tells_how_to_go_on() -> None:
    """Credentials that are gone: each open item says so, and names br.attach; it is not failed."""
    run, script = begun(2)
    script.tell(Ended(0, "there"))
    assert run[0].result(LONG_S) == "there"
    gone = NoCredentials("the credentials have expired", hint="aws sso login")
    script.errors.append(gone)
    with pytest.raises(NoCredentials, match="have expired") as told:
        run[1].result(LONG_S)
    assert f"br.attach('{run.run_id}')" in str(told.value)
    assert "aws sso login" in str(told.value)
    assert gone.hint == "aws sso login", "the error itself may be another's too"
    assert run.tally()["lost"] == 1
    assert run.tally()["failed"] == 0
    with pytest.raises(NoCredentials):
        _ = run.output


def test_a_run_that_is_followed_no_more_can_be_cancelled() -> None:
    """Its items are lost to this process, and the run goes on: it is asked to end all the same."""
    run, script = begun(2)
    script.errors.append(NoCredentials("the credentials have expired", hint="aws sso login"))
    assert run[0].exception(LONG_S) is not None
    assert run.cancel()
    assert script.cancels == [None]
    assert isinstance(run[1].exception(), NoCredentials), "what was told once stays"


def test_a_result_that_the_caller_has_set_is_in_nobodys_way() -> None:
    """It is the caller's own mistake: it holds, and other items and runs go on."""
    run, script = begun(3)
    run[0].set_result("mine")
    run[1].set_running_or_notify_cancel()
    script.tell_all(["a", "b", "c"])
    assert list(run.results(LONG_S)) == ["mine", "b", "c"]
    assert run.tally()["succeeded"] == 3


def test_a_defect_that_ends_the_following_is_an_error_of_ours() -> None:
    """With what it was as its cause."""
    run, script = begun(1)
    script.errors.append(ZeroDivisionError("a defect"))
    with pytest.raises(errors.BundlerunError, match="ZeroDivisionError") as told:
        run[0].result(LONG_S)
    assert isinstance(told.value.__cause__, ZeroDivisionError)
    assert f"br.attach('{run.run_id}')" in str(told.value)


def test_a_future_is_not_pickled() -> None:
    """The refusal names what to do in the other process."""
    run, _ = begun(1)
    for what in (run, run[0]):
        with pytest.raises(UsageError, match=r"br\.attach"):
            pickle.dumps(what)
    run.cancel()


def test_asyncio_awaits_our_futures() -> None:
    """Values, exceptions and cancels, through wrap_future."""
    run, script = begun(3)

    async def gathered() -> list[object]:
        wrapped = [asyncio.wrap_future(future) for future in run]
        script.tell(Ended(1, error=ValueError("one")), Ended(0, "zero"))
        await asyncio.wait(wrapped[:2])
        wrapped[2].cancel()
        return await asyncio.gather(*wrapped, return_exceptions=True)

    zero, one, two = asyncio.run(gathered())
    assert zero == "zero"
    assert isinstance(one, ValueError)
    assert isinstance(two, asyncio.CancelledError)
    assert script.cancels == [2], "a cancelled task ends its item"
    assert run[2].cancelled()


def test_a_callback_that_raises_is_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    """Also sys.exit(): it is logged, later callbacks and items go on."""
    run, script = begun(3)
    called: list[int] = []

    def raising(error: BaseException) -> object:
        def callback(future: concurrent.futures.Future[int]) -> None:
            raise error

        return callback

    for future in run:
        future.add_done_callback(raising(ValueError("of a callback")))
        future.add_done_callback(raising(SystemExit(3)))
        future.add_done_callback(raising(KeyboardInterrupt()))
        future.add_done_callback(lambda done: called.append(done.result()))
    script.tell_all([0, 1, 2])
    assert list(run.results(LONG_S)) == [0, 1, 2]
    script.is_over = True
    _ = run.output
    assert called == [0, 1, 2]
    logged = [r for r in caplog.records if r.name == "concurrent.futures"]
    assert len(logged) == 9
    assert all(record.levelno == logging.ERROR for record in logged)


def test_a_callback_of_an_ended_item_is_called_by_its_adder() -> None:
    """At once; its Ctrl-C is the caller's own."""
    run, script = begun(1)
    script.tell_all([1])
    run[0].result(LONG_S)

    def interrupted(future: concurrent.futures.Future[int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run[0].add_done_callback(interrupted)


def test_a_callback_may_call_back() -> None:
    """Cancel an item, the run; ask for the tally; begin another run; look at an ended item."""
    backend = Jobs()
    run, script = begun(5, backend)
    other: list[tuple[MapRun[int], Script]] = []
    seen: list[object] = []

    def callback(future: concurrent.futures.Future[int]) -> None:
        seen.append(run[0].result())
        seen.append(run[1].cancel())
        other.append(begun(1, backend))
        other[0][1].tell_all(["of another run"])
        seen.append(run.cancel())
        seen.append(run.tally()["cancelled"])

    run[0].add_done_callback(callback)
    script.tell(Ended(0, "value"))
    concurrent.futures.wait(run, LONG_S)
    assert run[0].result() == "value"
    while not seen[3:]:
        time.sleep(0.001)
    assert seen == ["value", True, True, 4]
    assert script.cancels == [1, None]
    assert other[0][0][0].result(LONG_S) == "of another run"


def test_a_callback_that_waits_for_another_item_is_refused() -> None:
    """It would wait for the thread that it stops; what to do instead is named."""
    run, script = begun(2, bundle="bundle")
    said: list[str] = []

    def callback(future: concurrent.futures.Future[int]) -> None:
        with pytest.raises(UsageError) as refused:
            run[1].result()
        said.append(str(refused.value))

    run[0].add_done_callback(callback)
    script.tell_all([0, 1])
    assert list(run.results(LONG_S)) == [0, 1]
    assert "a callback cannot wait for item 1" in said[0]
    assert "threading.Thread" in said[0]


def test_a_future_is_generic_at_run_time() -> None:
    """``Future[int]`` and ``MapRun[int]`` can be written in a user's own annotations."""
    assert Future[int]
    assert MapRun[int]


@pytest.mark.parametrize(
    ("state", "word"), [(JobState.QUEUED, "queued"), (JobState.STARTING, "starting")]
)
def test_open_items_stand_where_their_jobs_do(state: JobState, word: str) -> None:
    """As of the last look."""
    backend = Jobs()
    script = Script(backend)
    backend.statuses[script.job.id] = JobStatus(state)
    run = MapRun[int](script.run_id, 3, script).follow()
    backend.wait_for_polls(2)
    assert run.tally()[word] == 3
    run.cancel()


@pytest.mark.parametrize(
    ("tally", "share", "open", "expected"),
    [
        ({"queued": 7, "starting": 1, "running": 2}, 1, 10, (7, 1, 2)),
        ({"queued": 1, "succeeded": 1}, 50, 100, (50, 0, 50)),
        ({"queued": 1, "succeeded": 1}, 50, 60, (50, 0, 10)),
        ({"queued": 3, "running": 1}, 2, 5, (5, 0, 0)),
        ({"succeeded": 4}, 1, 2, (0, 0, 2)),
    ],
)
def test_open_items_are_dealt_over_the_jobs_of_an_array(
    tally: dict[str, int], share: int, open: int, expected: tuple[int, int, int]
) -> None:
    """Jobs have like many items; those whose job has ended are still being brought."""
    jobs = {JobState(word): number for word, number in tally.items()}
    status = JobStatus(JobState.RUNNING, tally=jobs)
    found = open_tally(open, sum(tally.values()) * share, [status])
    assert tuple(found.values()) == expected
