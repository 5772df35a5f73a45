"""One thread looks at all runs of the process: how often, and what is in whose way."""

from __future__ import annotations

import concurrent.futures
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from bundlerun.backends.base import ImageAt, Pace, Traits
from bundlerun.backends.job import JobState, JobStatus
from bundlerun.backends.open import shared_backend
from bundlerun.connections import Connections
from bundlerun.errors import AccessDenied, CloudError, EngineError, RemoteGone, RemoteUnreachable
from bundlerun.futures.followed import Ended, OpenItems
from bundlerun.futures.future import MapRun
from bundlerun.futures.poller import PATIENCE_S, Poller
from bundlerun.settings import Settings
from tests.futures.scripted import Jobs, Script, Timetable, Told, begun, followed

LONG_S = 60
ROOT = Path(__file__).resolve().parents[2]


class Slow(Jobs):
    """As a cloud's queue is looked at."""

    traits = Traits(waits=False, image=ImageAt.NONE, pace=Pace(first_s=0.5, most_s=30.0))


def test_looks_grow_rarer_up_to_half_a_minute() -> None:
    """0.5 s, and longer by 1.4 each, up to 30 s: nine looks in the first 20 s."""
    script = Script(Slow())
    timetable = Timetable({25: lambda: script.tell(Ended(0))})
    followed(script, timetable)
    assert timetable.pauses[:4] == [0.5, 0.7, 0.98, 1.372]
    assert timetable.pauses[-1] == 30.0
    within, looks = 0.0, 1
    for pause in timetable.pauses:
        within += pause
        looks += within <= 20.0
    assert looks <= 9
    assert len(script.backend.polls) == len(timetable.pauses) + 1


def test_the_longest_pause_is_a_setting() -> None:
    """``[run] poll_s``."""
    script = Script(Slow())
    script.backend.poll_s = 2.0
    timetable = Timetable({9: lambda: script.tell(Ended(0))})
    followed(script, timetable)
    assert timetable.pauses[:4] == [0.5, 0.7, 0.98, 1.372]
    assert timetable.pauses[4:8] == [1.921, 2.0, 2.0, 2.0]


def test_a_change_makes_looks_quick_again() -> None:
    """Another status of a job."""
    script = Script(Slow())
    queued = JobStatus(JobState.QUEUED)
    timetable = Timetable(
        {
            5: lambda: script.backend.statuses.update({script.job.id: queued}),
            8: lambda: script.tell(Ended(0)),
        }
    )
    followed(script, timetable)
    assert timetable.pauses[5:8] == [0.5, 0.7, 0.98]


def test_an_item_that_ends_makes_looks_quick_again() -> None:
    """Where its job goes on with others."""
    script = Script(Slow())
    told = Told(script.run_id)
    told.first = lambda: 0  # type: ignore[method-assign]
    timetable = Timetable({5: lambda: script.tell(Ended(0)), 6: script.tell})

    def again() -> None:
        script.told.clear()

    timetable.at |= {6: again, 8: lambda: setattr(script, "is_over", True)}
    script.handles = lambda: [] if script.is_over else [script.job]  # type: ignore[method-assign]
    Poller(timetable.clock()).follow(script, told)
    assert told.end.wait(LONG_S)
    assert timetable.pauses[4] > 1.9
    assert timetable.pauses[5:7] == [0.5, 0.7]


def test_a_new_run_makes_looks_quick_again_and_many_cost_no_look_each() -> None:
    """A hundred runs that begin one after the other are looked at together."""
    backend = Slow()
    first = Script(backend)
    others = [Script(backend) for _ in range(100)]
    told = {script.run_id: Told(script.run_id) for script in [first, *others]}
    poller: list[Poller] = []

    def begin() -> None:
        for script in others:
            poller[0].follow(script, told[script.run_id])

    def end() -> None:
        for script in [first, *others]:
            script.tell(Ended(0))

    timetable = Timetable({6: begin, 10: end})
    poller.append(Poller(timetable.clock()))
    poller[0].follow(first, told[first.run_id])
    for each in told.values():
        assert each.end.wait(LONG_S)
    assert timetable.pauses[5] > 2.6
    # The pause that they broke off is followed by one more before they are looked at.
    assert timetable.pauses[6:9] == [0.5, 0.5, 0.7]
    assert len(backend.polls) == len(timetable.pauses)
    assert len(backend.polls[-1]) == 101


def test_a_run_that_begins_during_a_look_is_looked_at_soon() -> None:
    """In a callback, after a long time without news."""
    backend = Slow()
    script, new = Script(backend), Script(backend)
    told, its = Told(script.run_id), Told(new.run_id)
    looks: list[object] = []
    timetable = Timetable()
    poller = Poller(timetable.clock())

    def looked(statuses: Mapping[str, JobStatus]) -> None:
        looks.append(statuses)
        if len(looks) == 8:
            poller.follow(new, its)
            script.tell(Ended(0))
            new.tell(Ended(0))

    told.looked = looked  # type: ignore[method-assign]
    script.handles = lambda: [script.job] if its.is_open else []  # type: ignore[method-assign]
    told.ended = lambda ended: None  # type: ignore[method-assign]
    script.seen = lambda statuses, open: []  # type: ignore[method-assign]
    poller.follow(script, told)
    assert told.end.wait(LONG_S)
    assert its.end.wait(LONG_S)
    assert timetable.pauses[:8] == [0.5, 0.7, 0.98, 1.372, 1.921, 2.689, 3.765, 0.5]


def test_one_poll_a_backend_for_all_of_its_runs() -> None:
    """Backends are not mixed."""
    one, other = Jobs(), Jobs()
    runs = [begun(1, one), begun(1, one), begun(1, other)]
    one.wait_for_polls(2)
    other.wait_for_polls(2)
    for run, script in runs:
        script.tell_all([script.run_id])
        assert run[0].result(LONG_S) == run.run_id
    ours, theirs = ({each for poll in jobs.polls for each in poll} for jobs in (one, other))
    assert ours == {runs[0][1].job.id, runs[1][1].job.id}
    assert theirs == {runs[2][1].job.id}
    assert any(len(poll) == 2 for poll in one.polls)


def test_runs_of_one_workspace_share_their_backend(tmp_path: Path) -> None:
    """And with it a poll; those of another one have their own."""
    one, other = (
        Connections(Settings(tmp_path, tmp_path)),
        Connections(Settings(tmp_path, tmp_path)),
    )
    assert shared_backend("Local", one) is shared_backend("Local", one)
    assert shared_backend("Local", one) is not shared_backend("Local", other)
    assert shared_backend("Local", one) is not shared_backend("AWSBatch", one)


def test_what_stumbles_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """An engine that restarts, a remote that does not answer: the futures learn nothing of it, and
    a log names each row of stumbles once."""
    run, script = begun(2)
    script.backend.errors += [EngineError("restarts"), RemoteUnreachable("throttles")]
    script.errors += [RemoteUnreachable("no answer"), RemoteUnreachable("no answer")]
    script.backend.wait_for_polls(6)
    script.tell_all([1, 2])
    assert list(run.results(LONG_S)) == [1, 2]
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert 1 <= len(said) <= 4
    assert all(script.run_id in each for each in said)


def test_patience_with_a_stumble_ends() -> None:
    """A folder that is not mounted may come back: after a quarter of an hour without any answer
    the futures have the error."""
    script = Script(Slow())
    script.errors += [RemoteUnreachable("there is no such folder", hint="mkdir -p")] * 1000
    timetable = Timetable()
    told = followed(script, timetable)
    assert isinstance(told.error, RemoteUnreachable)
    assert f"br.attach('{script.run_id}')" in str(told.error)
    assert PATIENCE_S < timetable.now_s < PATIENCE_S + 61


def test_a_bucket_that_is_gone_is_not_asked_again() -> None:
    """The service says so itself: the futures have the error at once."""
    script = Script(Slow())
    script.errors.append(RemoteGone("there is no such bucket", hint="aws s3 mb"))
    timetable = Timetable()
    told = followed(script, timetable)
    assert isinstance(told.error, RemoteGone)
    assert f"br.attach('{script.run_id}')" in str(told.error)
    assert timetable.pauses == []


def test_patience_begins_anew_after_an_answer() -> None:
    """A service that stumbles now and then, for days."""
    script = Script(Slow())
    stumble = RemoteUnreachable("throttles")

    def stumbles() -> None:
        script.errors.append(stumble)

    timetable = Timetable(dict.fromkeys(range(1, 200, 2), stumbles))
    timetable.at[200] = lambda: script.tell(Ended(0))
    told = followed(script, timetable)
    assert told.error is None
    assert timetable.now_s > 2 * PATIENCE_S


@pytest.mark.parametrize("where", ["seen", "handles", "poll"])
def test_a_broken_run_is_in_nobodys_way(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it breaks, the other runs of its backend go on."""
    backend = Jobs()
    run, script = begun(1, backend)
    broken, culprit = begun(1, backend)
    backend.wait_for_polls(2)
    error = AccessDenied("not this one")
    if where == "seen":
        culprit.errors.append(error)
    elif where == "poll":
        backend.broken[culprit.job.id] = error
    else:
        monkeypatch.setattr(culprit, "handles", lambda: 1 / 0)
    assert broken[0].exception(LONG_S) is not None
    assert not run[0].done()
    script.tell_all(["fine"])
    assert run[0].result(LONG_S) == "fine"


def test_an_error_of_the_backend_ends_all_of_its_runs() -> None:
    """Each with its own way to go on."""
    backend = Jobs()
    runs = [begun(1, backend)[0] for _ in range(3)]
    backend.errors += [CloudError("credentials of nobody")] * 4
    for run in runs:
        error = run[0].exception(LONG_S)
        assert isinstance(error, CloudError)
        assert f"br.attach('{run.run_id}')" in str(error)


def threads() -> list[threading.Thread]:
    """The pollers' threads."""
    return [thread for thread in threading.enumerate() if thread.name == "bundlerun"]


def test_the_thread_ends_with_the_last_run_and_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One thread, a daemon, for however many runs."""
    # A poller of its own: runs of other tests may be followed still.
    monkeypatch.setattr("bundlerun.futures.future.POLLER", Poller())
    others = threads()

    def mine() -> list[threading.Thread]:
        return [thread for thread in threads() if thread not in others]

    for _ in range(3):
        runs = [begun(1) for _ in range(5)]
        assert len(mine()) == 1
        assert mine()[0].daemon
        for run, script in runs:
            script.tell_all([1])
            assert run[0].result(LONG_S) == 1
        for thread in mine():
            thread.join(LONG_S)
        assert mine() == []


def test_runs_that_begin_in_many_threads_are_all_followed() -> None:
    """While others end, and the thread with them."""

    def one(number: int) -> int:
        run, script = begun(3)
        script.tell_all([number] * 3)
        return sum(run.results(LONG_S))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(200))) == [3 * number for number in range(200)]


def test_ten_thousand_items_come_by_few_polls() -> None:
    """as_completed over all of them; a poll finds whatever ended."""
    script = Script(Jobs())
    run = MapRun[int](script.run_id, 10_000, script)
    script.tell_all(range(5_000))
    run.follow()
    assert {f.result(LONG_S) for f in run[:5_000]} == set(range(5_000))
    script.tell(*(Ended(index, index) for index in range(5_000, 10_000)))
    assert {f.result() for f in concurrent.futures.as_completed(run, LONG_S)} == set(range(10_000))
    assert script.looks_with_news == 2


@pytest.mark.heavy
def test_an_open_item_takes_three_kilobytes_at_most() -> None:
    """Of 100,000, in all: the futures, a callback each of as_completed, small results."""
    script = """
        import concurrent.futures, resource
        from bundlerun.futures.followed import Ended
        from bundlerun.futures.future import MapRun
        from tests.futures.scripted import Jobs, Script, Timetable, Told, begun, followed

        def most_kib():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        class Many(Script):
            def seen(self, statuses, open):
                self._open = open
                return (Ended(index, str(index)) for index in range(100_000))

        begun(1)[0].cancel()
        before_kib = most_kib()
        script = Many(Jobs())
        run = MapRun(script.run_id, 100_000, script)
        waits = concurrent.futures.as_completed(run)
        first = next(waits) if run.follow() else None
        assert sum(1 for future in waits if future.result() == str(future.index)) == 99_999
        print((most_kib() - before_kib) / 100_000)
    """
    said = program(script)
    assert said.returncode == 0, said.stderr
    assert float(said.stdout) <= 3.0


def program(text: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """A program of a user's, run to its end. Python 3.12 and later warn of forks with threads."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(text)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_a_program_may_end_while_a_run_goes_on() -> None:
    """It waits for nothing, and nothing is written at its end."""
    done = program("""
        from tests.futures.scripted import begun
        run, script = begun(10)
        run[0].add_done_callback(print)
        script.backend.wait_for_polls(3)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_in_result_leaves_the_run() -> None:
    """KeyboardInterrupt in the caller, which says from Python 3.11 how to follow the run; and the
    next result is there all the same."""
    text = """
        import sys
        from tests.futures.scripted import begun
        run, script = begun(1)
        try:
            print("waits", flush=True)
            run[0].result()
        except KeyboardInterrupt as error:
            notes = getattr(error, "__notes__", [])
            assert notes or sys.version_info < (3, 11)
            assert all(f"br.attach('{run.run_id}')" in note for note in notes)
            print("interrupted", flush=True)
        assert script.cancels == []
        script.tell_all(["value"])
        print(run[0].result(60))
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waits\n"
    # Wherever the main thread is by now, it comes to wait.
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=LONG_S)
    assert (child.returncode, out, err) == (0, "interrupted\nvalue\n", "")


def test_a_forked_process_goes_on_by_itself() -> None:
    """In the middle of a run: parent and child have all results, each by its own thread."""
    done = program("""
        import os, sys
        from bundlerun.futures.followed import Ended
        from tests.futures.scripted import begun
        run, script = begun(100)
        script.tell(*(Ended(index, index) for index in range(50)))
        assert run[49].result(60) == 49
        child = os.fork()
        script.tell(*(Ended(index, index) for index in range(50, 100)))
        assert list(run.results(60)) == list(range(100))
        other, its = begun(1)
        its.tell_all(["another run"])
        assert other[0].result(60) == "another run"
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            print("both")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")


def test_a_forked_process_that_asks_nothing_looks_at_nothing() -> None:
    """A pool of forked workers does not multiply the requests."""
    done = program("""
        import os, time
        from tests.futures.scripted import begun
        run, script = begun(3)
        script.backend.wait_for_polls(2)
        child = os.fork()
        if not child:
            before = len(script.backend.polls)
            time.sleep(0.1)
            assert len(script.backend.polls) == before
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_in_the_middle_of_an_end_leaves_no_future_waiting() -> None:
    """One thread tells an item's end, another one a cancel, when a third one forks: the new process
    has neither of them, and its futures end all the same."""
    done = program("""
        import concurrent.futures, os, threading
        from bundlerun.futures.followed import Ended
        from tests.futures.scripted import begun
        first, there, go = os.getpid(), threading.Barrier(3), threading.Event()

        def meet():
            if os.getpid() == first and not go.is_set():
                there.wait(60)
                go.wait(60)
            return ""

        class Held:
            index, value, error, cancelled = 0, "value", None, False
            stdout, stderr, attempts = property(lambda self: meet()), "", 1
            peak_memory_mib = None

        run, script = begun(2)
        run[1].add_done_callback(lambda future: meet())
        cancels = threading.Thread(target=run[1].cancel)
        cancels.start()
        script.tell(Held())
        there.wait(60)
        child = os.fork()
        go.set()
        assert run[0].result(60) == "value"
        assert len(list(concurrent.futures.as_completed(run, 60))) == 2
        assert run[1].cancelled()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            cancels.join()
            print("both")
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")


@pytest.mark.heavy
def test_forks_at_any_moment_leave_no_future_waiting() -> None:
    """While items end, callbacks are called and runs begin, in both processes."""
    done = program("""
        import os, threading
        from tests.futures.scripted import begun
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                run, script = begun(20)
                script.tell_all(range(20))
                assert sum(run.results(60)) == 190

        others = [threading.Thread(target=busy) for _ in range(2)]
        for other in others:
            other.start()
        for _ in range(40):
            run, script = begun(50)
            script.tell_all(range(50))
            child = os.fork()
            assert sum(run.results(60)) == 1225
            run, script = begun(1)
            script.tell_all([7])
            assert run[0].result(60) == 7
            if not child:
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_callback_may_fork() -> None:
    """The poller's own thread is the child's main one then."""
    done = program("""
        import os
        from tests.futures.scripted import begun
        run, script = begun(2)
        pids = []

        def fork(future):
            child = os.fork()
            if child:
                pids.append(child)
                return
            other, its = begun(1)
            its.tell_all(["of the child"])
            script.tell_all(["a", "b"])
            os._exit(other[0].result(60) == "of the child" and run[1].result(60) == "b")

        run[0].add_done_callback(fork)
        script.tell_all(["a", "b"])
        assert list(run.results(60)) == ["a", "b"]
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 1
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_statuses_are_those_of_each_runs_own_jobs() -> None:
    """A run is shown no job of another run."""
    backend = Jobs()
    seen: list[set[str]] = []

    class Noting(Script):
        def seen(self, statuses: Mapping[str, JobStatus], open: OpenItems) -> list[Ended]:
            seen.append(set(statuses))
            return list(super().seen(statuses, open))

    script = Noting(backend)
    told = Told(script.run_id)
    poller = Poller()
    other, its = Told("other"), Script(backend)
    poller.follow(its, other)
    poller.follow(script, told)
    backend.wait_for_polls(3)
    script.tell(Ended(0))
    its.tell(Ended(0))
    assert told.end.wait(LONG_S)
    assert other.end.wait(LONG_S)
    assert seen
    assert all(each == {script.job.id} for each in seen)
