"""luigi's own entrances, and luigi's own work inside a pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import luigi
import pytest

from bundlerun.errors import UsageError
from tests.pipelines.conftest import HEADER, Project, World

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
