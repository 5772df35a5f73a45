"""Pipes that apply pipes, in as many processes as they like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.conftest import apply_in_process

NESTED = """
import bundlerun as br
class In(Pipe):
    n = luigi.IntParameter()
    def pipe_run(self, pipeline_input):
        return self.n
class Inner(Pipe):
    n = luigi.IntParameter()
    def requires(self):
        return {f"i{n}": In(n=self.n + n) for n in range(3)}
    def pipe_run(self, pipeline_input, **ins):
        return sum(ins.values())
class Out(Pipe):
    n = luigi.IntParameter()
    def pipe_run(self, pipeline_input):
        bundle = br.apply(None, f"inner{self.n}", Inner, n=10 * self.n, workers=INNER)
        return br.get(bundle)
class Top(Pipe):
    def requires(self):
        return {f"o{n}": Out(n=n) for n in range(3)}
    def pipe_run(self, pipeline_input, **outs):
        print("made", [outs[f"o{n}"] for n in range(3)])
        return [outs[f"o{n}"] for n in range(3)]
"""


@pytest.mark.slow
@pytest.mark.parametrize(("outer", "inner"), [(1, 3), (2, 2), (3, 1), (3, 3)])
def test_an_apply_with_workers_inside_a_pipe_of_one_with_workers_ends(
    tmp_path: Path, outer: int, inner: int
) -> None:
    """No lock that is held at the fork is waited for by the child."""
    pipes = NESTED.replace("INNER", str(inner))
    found = apply_in_process(tmp_path, pipes, outer, timeout_s=60)
    assert found.returncode == 0, found
    assert "made [3, 33, 63]" in found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("outer", [1, 3])
def test_luigi_with_workers_inside_a_pipe_ends(tmp_path: Path, outer: int) -> None:
    """luigi's own lock is a new one in each process of ours."""
    found = apply_in_process(
        tmp_path,
        """
        class Inner(luigi.Task):
            n = luigi.IntParameter()
            def output(self):
                return luigi.LocalTarget(f"out{self.n}")
            def run(self):
                with self.output().open("w") as file:
                    file.write(str(self.n))
        class Out(Pipe):
            n = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                tasks = [Inner(n=10 * self.n + n) for n in range(3)]
                luigi.build(tasks, local_scheduler=True, workers=2, log_level="WARNING")
                return [open(task.output().path).read() for task in tasks]
        class Top(Pipe):
            def requires(self):
                return {f"o{n}": Out(n=n) for n in range(3)}
            def pipe_run(self, pipeline_input, **outs):
                print("made", [outs[f"o{n}"] for n in range(3)])
        """,
        outer,
        timeout_s=60,
    )
    assert found.returncode == 0, found
    assert "made [['0', '1', '2'], ['10', '11', '12'], ['20', '21', '22']]" in found.stdout
