"""luigi's own entrances, and luigi's own work inside a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import luigi
import pytest

from bundlerun.errors import TimedOut, UsageError, UserError
from tests.pipelines.conftest import HEADER, Project, World, apply_in_process

PIPE = """
    class Top(Pipe):
        n = luigi.IntParameter(default=1)
        def pipe_run(self, pipeline_input):
            say("ran")
            return self.n

    class Plain(luigi.Task):
        def requires(self):
            return Top()
        def run(self):
            say("plain ran")
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["Top", "Plain"])
def test_luigi_refuses_to_run_a_pipe_and_names_what_does(
    project: Project, name: str, workers: int
) -> None:
    """It would find nothing to do, and report success: also where a task of luigi's needs one."""
    flow = project.module(PIPE)
    task = getattr(flow, name)()
    with pytest.raises(UsageError, match="Top is a Pipe") as caught:
        luigi.build([task], local_scheduler=True, workers=workers, log_level="CRITICAL")
    assert "br.apply" in str(caught.value.hint)
    assert project.said() == []


def test_a_pipe_that_is_run_by_hand_says_what_runs_it(project: Project) -> None:
    """As luigi's tests of tasks do it."""
    flow = project.module(PIPE)
    with pytest.raises(UsageError, match="Top is a Pipe") as caught:
        flow.Top().run()
    assert "br.apply" in str(caught.value.hint)


@pytest.mark.parametrize("main", ["luigi.run()", "luigi.run(main_task_cls=Top)"])
@pytest.mark.heavy
def test_a_script_that_ends_in_luigi_run_fails_with_the_cure(tmp_path: Path, main: str) -> None:
    """As scripts that were made for luigi do."""
    text = f"{HEADER}\nclass Top(Pipe):\n    def pipe_run(self, x):\n        return 1\n{main}\n"
    (tmp_path / "flow.py").write_text(text)
    found = subprocess.run(
        [sys.executable, "flow.py", "--local-scheduler"]
        + (["__main__.Top"] if main == "luigi.run()" else []),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode != 0
    assert "br.apply" in found.stderr


def test_apply_still_runs_it(project: Project, world: World) -> None:
    """The same pipe."""
    flow = project.module(PIPE)
    assert world.value(world.apply(flow.Top, params={"n": 4})) == 4


class Told:
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: dict[int, list[object]] = {}

    def start(self, what: str, total: int | None, unit: str) -> int:
        """A bar: name, total, steps done, whether it is complete."""
        self.bars[len(self.bars)] = [what, total, 0, False]
        return len(self.bars) - 1

    def advance(self, bar: int, steps: int) -> None:
        """Steps."""
        self.bars[bar][2] = int(str(self.bars[bar][2])) + steps

    def finish(self, bar: int) -> None:
        """Complete."""
        self.bars[bar][3] = True

    def line(self, text: str) -> None:
        """A line."""
        self.lines.append(text)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pipe_is_run_again_until_it_failed_as_often_as_it_may(
    project: Project, world: World, workers: int
) -> None:
    """luigi's retry_count; without one the first failure ends all."""
    flow = project.module(
        """
        from pathlib import Path
        class Moody(Pipe):
            retry_count = 3
            fails = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                say("run")
                if len(open(LOG).readlines()) <= self.fails:
                    raise OSError("not now")
                return self.fails
        class Once(Moody):
            retry_count = None
        """
    )
    told = Told()
    assert world.value(world.apply(flow.Moody, params={"fails": 2}, workers=workers)) == 2
    assert project.said() == ["run"] * 3
    with pytest.raises(UserError, match="not now"):
        world.apply(flow.Moody, params={"fails": 3}, workers=workers, progress=told)
    assert project.said() == ["run"] * 3
    assert [line.partition("; ")[2] for line in told.lines] == [
        "attempt 2 of 3 follows",
        "attempt 3 of 3 follows",
    ]
    with pytest.raises(UserError, match="not now"):
        world.apply(flow.Once, params={"fails": 1}, workers=workers)
    assert project.said() == ["run"]


@pytest.mark.slow
def test_a_pipe_that_runs_too_long_is_ended_with_all_that_it_started(
    project: Project, world: World
) -> None:
    """luigi's worker_timeout, of a class or of its parameters; one worker is enough."""
    flow = project.module(
        """
        import subprocess, time
        class Slow(Pipe):
            allowed_s = luigi.FloatParameter(significant=False, default=30)
            @property
            def worker_timeout(self):
                return self.allowed_s
            def pipe_run(self, pipeline_input):
                child = subprocess.Popen(["sleep", "60"])
                say(f"{os.getpid()} {child.pid} {self.scratch}")
                if self.allowed_s < 30:
                    time.sleep(60)
                child.kill()
                child.wait()
                return 1
        """
    )
    with pytest.raises(TimedOut, match=r"Slow ran for more than the 2 s of its worker_timeout"):
        world.apply(flow.Slow, params={"allowed_s": 2}, workers=1)
    [line] = project.said()
    *pids, scratch = line.split()
    assert not any(map(_runs, pids))
    assert not Path(scratch).exists()
    assert world.names() == []
    assert world.value(world.apply(flow.Slow)) == 1


EVENTS = """
    HEARD = []
    class Leaf(Pipe):
        fail = luigi.BoolParameter(default=False)
        worker_timeout = 10
        def pipe_run(self, pipeline_input):
            self.trigger_event(luigi.Event.PROGRESS, self, {"rows": 3})
            self.trigger_event("my own", self)
            if self.fail:
                raise ValueError("the reason")
            return 1
        def on_success(self):
            say("success")
        def on_failure(self, error):
            say(f"failure {error!r}")
            return "what on_failure says"
    class Top(Pipe):
        fail = luigi.BoolParameter(default=False)
        def requires(self):
            return {"leaf": Leaf(fail=self.fail)}
        def pipe_run(self, pipeline_input, leaf):
            return leaf
    def hear(event):
        @Leaf.event_handler(event)
        def heard(task, *more):
            assert isinstance(task, Leaf)
            HEARD.append((os.getpid(), event.rpartition(".")[2], more))
    for event in ("START", "SUCCESS", "FAILURE", "PROGRESS", "DEPENDENCY_PRESENT"):
        hear(getattr(luigi.Event, event))
    hear("my own")
    @Pipe.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
    def found(task, needed):
        if isinstance(task, Top):
            HEARD.append((os.getpid(), "needs", type(needed)))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_events_fire_once_and_in_the_callers_process(
    project: Project, world: World, workers: int
) -> None:
    """Whichever process the pipe runs in; a found pipe is present and does not start."""
    flow = project.module(EVENTS)
    world.apply(flow.Top, workers=workers)
    assert {pid for pid, *_ in flow.HEARD} == {os.getpid()}
    assert [event for _, *event in flow.HEARD] == [
        ["needs", flow.Leaf],
        ["start", ()],
        ["progress", ({"rows": 3},)],
        ["my own", ()],
        ["success", ()],
    ]
    assert project.said() == ["success"]
    flow.HEARD.clear()
    world.apply(flow.Top, workers=workers)
    assert [event for _, event, _ in flow.HEARD] == ["present", "needs"]
    flow.HEARD.clear()
    with pytest.raises(UserError, match="the reason") as caught:
        world.apply(flow.Top, workers=workers, params={"fail": True})
    last = flow.HEARD[-1]
    assert last[:2] == (os.getpid(), "failure")
    assert repr(last[2]) == "(ValueError('the reason'),)"
    assert [event for _, event, _ in flow.HEARD].count("failure") == 1
    assert project.said() == ["failure ValueError('the reason')"]
    assert "what on_failure says" in caught.value.evidence


def test_a_pipe_whose_on_success_fails_leaves_nothing(project: Project, world: World) -> None:
    """It failed, so equal work is not found afterwards."""
    flow = project.module(
        """
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                return 1
            def on_success(self):
                raise RuntimeError("no mail server")
        """
    )
    with pytest.raises(UserError, match="Top failed in on_success: RuntimeError: no mail server"):
        world.apply(flow.Top)
    assert world.names() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_status_progress_and_url_of_a_pipe_are_shown(
    project: Project, world: World, workers: int
) -> None:
    """As luigi shows them in its own web page."""
    flow = project.module(
        """
        class Top(Pipe):
            resources = {"gpu": 1}
            def pipe_run(self, pipeline_input):
                self.set_status_message("half")
                self.set_progress_percentage(50)
                self.set_progress_percentage(float("nan"))
                self.set_progress_percentage(75.5)
                self.set_tracking_url("http://there/1")
                self.decrease_running_resources({"gpu": 1})
                return 1
        """
    )
    told = Told()
    world.apply(flow.Top, workers=workers, progress=told)
    name = f"{flow.__name__}.Top"
    assert told.lines == [f"{name}: half", f"{name}: http://there/1"]
    assert told.bars == {0: [name, 100, 75, True]}


def test_a_pipe_waits_no_longer_for_a_resource_that_another_gave_back(
    project: Project, world: World
) -> None:
    """Without it the two could not meet."""
    flow = project.module(
        """
        import time
        class One(Pipe):
            n = luigi.IntParameter()
            resources = {"gpu": 1}
            def pipe_run(self, pipeline_input):
                self.decrease_running_resources({"gpu": 1})
                say("here")
                end = time.time() + 30
                while len(open(LOG).readlines()) < 2 and time.time() < end:
                    time.sleep(0.02)
                return len(open(LOG).readlines())
        class Top(Pipe):
            def requires(self):
                return {"a": One(n=1), "b": One(n=2)}
            def pipe_run(self, pipeline_input, a, b):
                return [a, b]
        """
    )
    assert world.value(world.apply(flow.Top, workers=2)) == [2, 2]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.heavy
def test_luigi_inside_a_pipe_says_why_it_failed(tmp_path: Path, workers: int) -> None:
    """Its log is its own, and shown as it always is; bundlerun adds nothing to it."""
    found = apply_in_process(
        tmp_path,
        """
        class Inner(luigi.Task):
            def run(self):
                raise ValueError("the inner reason")
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                luigi.build([Inner()], local_scheduler=True, workers=2)
                raise RuntimeError("luigi did not succeed")
        """,
        workers,
    )
    assert "Top failed in pipe_run: RuntimeError: luigi did not succeed" in found.stderr
    assert "ValueError: the inner reason" in found.stderr
    assert "running   Top" not in found.stderr


def _runs(pid: str) -> bool:
    """Whether there is such a process, and not only its exit code for whoever asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_only_luigis_scheduler_goes_by_is_named(project: Project) -> None:
    """When the class is made; what has an effect is not."""
    with pytest.warns(UserWarning, match="Top sets owner_email, which has no effect on a Pipe"):
        project.module(
            """
            class Top(Pipe):
                owner_email = "me@there"
                priority = 3
                def pipe_run(self, pipeline_input):
                    return 1
            """
        )
