"""Several workers, several threads, and children that do not come back."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bundlerun.errors import BundlerunError, InfraError, UserError
from bundlerun.pipelines.apply import ApplyResult
from tests.pipelines.conftest import HEADER, Project, World

WIDE = """
    import time
    class Leaf(Pipe):
        n = luigi.IntParameter()
        def pipe_run(self, pipeline_input):
            (self.scratch / "x").write_text("x")
            time.sleep(0.3)
            return [self.n, os.getpid()]

    class Middle(Pipe):
        n = luigi.IntParameter()
        def requires(self):
            return {"leaf": Leaf(n=self.n)}
        def pipe_run(self, pipeline_input, leaf):
            return leaf

    class Top(Pipe):
        def requires(self):
            return {f"m{n}": Middle(n=n) for n in range(4)}
        def pipe_run(self, pipeline_input, **middles):
            return [middles[f"m{n}"] for n in range(4)]
"""


def test_workers_run_pipes_in_processes_side_by_side(project: Project, world: World) -> None:
    """Their values come back through the store; this process's own is none of theirs."""
    flow = project.module(WIDE)
    found = world.apply(flow.Top, workers=4)
    rows = world.value(found)
    assert [row[0] for row in rows] == [0, 1, 2, 3]
    assert len({row[1] for row in rows} - {os.getpid()}) == 4
    assert len(found.ran) == 9
    assert world.apply(flow.Top, workers=4).ran == []
    assert multiprocessing.active_children() == []


def test_a_pipe_that_fails_in_a_child_is_reported_with_its_traceback(
    project: Project, world: World
) -> None:
    """As if it had failed here."""
    flow = project.module(
        """
        def inner():
            raise ValueError("the reason")
        class Failing(Pipe):
            def pipe_run(self, pipeline_input):
                inner()
        class Top(Pipe):
            def requires(self):
                return {"x": Failing()}
            def pipe_run(self, pipeline_input, x):
                return x
        """
    )
    with pytest.raises(UserError, match=r"Failing failed in pipe_run: ValueError") as caught:
        world.apply(flow.Top, workers=2)
    assert "in inner" in caught.value.evidence
    assert world.names() == []


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os._exit(0)", "exit code 0"),
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
    ],
)
def test_a_child_that_dies_is_reported_and_leaves_no_folder(
    project: Project, world: World, ending: str, said: str
) -> None:
    """Whatever its exit code, and without waiting for ever."""
    flow = project.module(
        f"""
        class Dying(Pipe):
            def pipe_run(self, pipeline_input):
                say(str(self.scratch))
                {ending}
        """
    )
    with pytest.raises(InfraError, match=rf"Dying died before.*{said}"):
        world.apply(flow.Dying, workers=2)
    [scratch] = project.said()
    assert not os.path.exists(scratch)


def test_a_keyboard_interrupt_in_a_child_ends_all_once(project: Project, world: World) -> None:
    """luigi would start such a child again and again."""
    flow = project.module(
        """
        class Stop(Pipe):
            def pipe_run(self, pipeline_input):
                say("stop")
                raise KeyboardInterrupt
        """
    )
    with pytest.raises(KeyboardInterrupt):
        world.apply(flow.Stop, workers=2)
    assert project.said() == ["stop"]


SCRIPT = f"""
{HEADER}
import sys
import time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
class Slow(Pipe):
    n = luigi.IntParameter()
    def pipe_run(self, pipeline_input):
        Path(f"pid{{self.n}}").write_text(str(os.getpid()))
        Path(f"scratch{{self.n}}").write_text(str(self.scratch))
        time.sleep(60)
class Top(Pipe):
    def requires(self):
        return {{"a": Slow(n=1), "b": Slow(n=2)}}
    def pipe_run(self, pipeline_input, a, b):
        return 1
if __name__ == "__main__":
    from tests.pipelines.conftest import World
    try:
        World(Path("store")).apply(Top, workers=int(sys.argv[2]))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.heavy
def test_ctrl_c_ends_the_children_too(tmp_path: Path, workers: int, group: bool) -> None:
    """Whether the terminal tells all processes, or somebody the parent alone."""
    (tmp_path / "flow.py").write_text(SCRIPT)
    command = [sys.executable, "flow.py", str(Path(__file__).parents[2]), str(workers)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wanted = [tmp_path / f"scratch{n}" for n in range(1, workers + 1)]
    deadline = time.monotonic() + 20
    while sum(p.exists() and p.read_text() != "" for p in tmp_path.glob("scratch*")) < len(wanted):
        assert time.monotonic() < deadline, process.poll()
        time.sleep(0.02)
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err) == ("interrupted\n", "")
    for path in tmp_path.glob("pid*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)
    for path in tmp_path.glob("scratch*"):
        assert not os.path.exists(path.read_text())


def test_two_threads_apply_at_once_with_inputs_of_their_own(project: Project, world: World) -> None:
    """luigi gives both the same task objects; and signal handlers stay as they are."""
    flow = project.module(
        """
        import time
        class Base(Pipe):
            def pipe_run(self, pipeline_input):
                (self.scratch / "x").write_text(pipeline_input)
                time.sleep(0.2)
                return [(self.scratch / "x").read_text(), len(list(self.scratch.iterdir()))]
        class Top(Pipe):
            def requires(self):
                return {"base": Base()}
            def pipe_run(self, pipeline_input, base):
                return [pipeline_input, *base]
        """
    )
    before = signal.getsignal(signal.SIGUSR1)
    inputs = [world.add("in", f"value {n}") for n in range(2)]
    found: dict[int, ApplyResult | BundlerunError] = {}

    def run(n: int) -> None:
        try:
            found[n] = world.apply(flow.Top, inputs[n], f"out{n}", workers=n + 1)
        except BundlerunError as error:
            found[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for n in range(2):
        result = found[n]
        assert isinstance(result, ApplyResult), result
        assert world.value(result) == [f"value {n}", f"value {n}", 1]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_the_first_failure_stops_what_has_not_begun(project: Project, world: World) -> None:
    """Pipes that run already end; their outputs stay."""
    flow = project.module(
        """
        class Failing(Pipe):
            priority = 10
            def pipe_run(self, pipeline_input):
                say("failing")
                raise ValueError
        class Other(Pipe):
            n = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                say("other")
        class Top(Pipe):
            def requires(self):
                return {"f": Failing(), **{f"o{n}": Other(n=n) for n in range(5)}}
            def pipe_run(self, pipeline_input, f, **others):
                return 1
        """
    )
    with pytest.raises(UserError):
        world.apply(flow.Top)
    assert project.said() == ["failing"]


@pytest.mark.heavy
def test_luigis_resources_limit_what_runs_side_by_side(project: Project, world: World) -> None:
    """A resource that is named has one unit."""
    flow = project.module(
        """
        import time
        class One(Pipe):
            n = luigi.IntParameter()
            resources = {"gpu": 1}
            def pipe_run(self, pipeline_input):
                start = time.time()
                time.sleep(0.2)
                return [start, time.time()]
        class Top(Pipe):
            def requires(self):
                return {f"o{n}": One(n=n) for n in range(3)}
            def pipe_run(self, pipeline_input, **ones):
                return sorted(ones.values())
        """
    )
    spans = world.value(world.apply(flow.Top, workers=3))
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start
