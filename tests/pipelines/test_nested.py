"""Pipes that apply pipes, in as many processes as they like."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundlerun.api.scope import OUTSIDE_ONLY
from bundlerun.api.workspace import Workspace
from bundlerun.errors import InfraError, UserError
from tests.pipelines.conftest import Project, World, apply_in_process

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
        bundle = br.apply(None, f"inner{self.n}", Inner, {"n": 10 * self.n}, workers=INNER)
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


SEES = """
import bundlerun as br
from bundlerun.errors import BundleNotFound, UsageError
def names():
    return sorted(bundle.name for bundle in br.ls(all_versions=True))
class Dep(Pipe):
    def pipe_run(self, pipeline_input):
        return "dep"
class Leaf(Pipe):
    def pipe_run(self, pipeline_input):
        return "leaf"
class Inner(Pipe):
    def requires(self):
        return {"leaf": Leaf()}
    def pipe_run(self, pipeline_input, leaf):
        br.add("deepest", 1)
        return [leaf, pipeline_input, names()]
class Top(Pipe):
    fail = luigi.BoolParameter(default=False, significant=False)
    inner_workers = luigi.IntParameter(default=1, significant=False)
    def requires(self):
        return {"dep": Dep(), "far": external("far")}
    def pipe_run(self, pipeline_input, dep, far):
        seen = [names()]
        try:
            br.get("other")
        except BundleNotFound as error:
            seen.append(str(error))
        br.add("note", {"rows": 3}, tags={"a": "b"})
        bundle = br.apply("note", "inner", Inner, workers=self.inner_workers)
        seen += [br.get(bundle), br.get("note"), names()]
        if self.fail:
            raise ValueError("no")
        return seen
"""


def _fill(world: World) -> None:
    world.add("far", "far away", commit=True)
    world.add("other", "not for pipes", commit=True)
    world.add("given", "the input", commit=True)


@pytest.mark.parametrize(("workers", "inner"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_pipe_sees_what_went_in_and_what_it_made(
    project: Project, world: World, workers: int, inner: int
) -> None:
    """In whichever process; what an inner pipe made is an ancestor of the output."""
    _fill(world)
    flow = project.module(SEES)
    given = world.store.catalog.get(world.context, "given")
    found = world.apply(flow.Top, given, params={"inner_workers": inner}, workers=workers)
    dep, leaf = f"{flow.__name__}.Dep", f"{flow.__name__}.Leaf"
    before, refusal, made, note, after = world.value(found)
    assert before == sorted([dep, "far", "given"])
    assert 'br.external("other")' in refusal
    assert "does not see the bundle 'other'" in refusal
    assert made == ["leaf", {"rows": 3}, sorted(["deepest", "note", leaf])]
    assert note == {"rows": 3}
    assert after == sorted([*before, "deepest", "inner", "note", leaf])
    roles = {parent.role: parent.name for parent in found.entry.bundle.lineage.parents}
    assert roles == {
        "pipeline_input": "given",
        "dep": dep,
        "external:far": "far",
        "inner:inner": "inner",
    }
    entry = world.store.catalog.get(world.context, "inner")
    assert {p.name for p in entry.bundle.lineage.parents} == {"note", leaf, "deepest"}
    assert set(world.names()) >= {"note", "deepest", "inner", "out", "other"}


@pytest.mark.parametrize(("workers", "inner"), [(1, 1), (2, 2)])
def test_what_a_failed_pipe_made_inside_is_gone(
    project: Project, world: World, workers: int, inner: int
) -> None:
    """And was seen by nobody else; what its dependencies made stays."""
    _fill(world)
    flow = project.module(SEES)
    params: dict[str, object] = {"fail": True, "inner_workers": inner}
    with pytest.raises(UserError, match="ValueError: no"):
        world.apply(flow.Top, params=params, workers=workers)
    assert sorted(world.names()) == sorted(["far", "given", "other", f"{flow.__name__}.Dep"])


def test_what_a_killed_pipe_made_inside_is_gone(project: Project, world: World) -> None:
    """Its parent cleans up."""
    flow = project.module(
        """
        import bundlerun as br
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                br.add("note", 1)
                os.kill(os.getpid(), 9)
        """
    )
    with pytest.raises(InfraError):
        world.apply(flow.Top, workers=2)
    assert world.names() == []


def test_what_a_pipe_makes_inside_is_nobody_elses_until_it_ended(
    project: Project, world: World
) -> None:
    """Neither by name nor as equal work."""
    flow = project.module(
        """
        import bundlerun as br
        HEARD = []
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                br.add("note", 1)
                self.trigger_event("look")
                br.commit("note")
                return 1
        """
    )
    heard: list[list[str]] = []
    flow.Top.event_handler("look")(lambda: heard.append(world.names()))
    world.apply(flow.Top)
    assert heard == [[]]
    assert world.names() == ["out", "note"]


def test_commit_takes_along_what_was_made_inside(project: Project, world: World) -> None:
    """Dependencies first, so that a push sends it."""
    _fill(world)
    flow = project.module(SEES)
    world.apply(flow.Top, commit=True)
    assert all(entry.committed for entry in world.store.catalog.search(world.context))


def test_equal_work_is_found_by_an_inner_apply(project: Project, world: World) -> None:
    """And is an ancestor of the output all the same."""
    flow = project.module(
        """
        import bundlerun as br
        class Leaf(Pipe):
            def pipe_run(self, pipeline_input):
                say("leaf")
                return 1
        class Top(Pipe):
            n = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                return br.get(br.apply(None, "inner", Leaf)) + self.n
        """
    )
    for n in (1, 2):
        found = world.apply(flow.Top, params={"n": n})
        assert world.value(found) == 1 + n
        assert [p.name for p in found.entry.bundle.lineage.parents] == ["inner"]
    assert project.said() == ["leaf"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pipe_sees_the_same_whether_equal_work_was_found_or_done(
    project: Project, world: World, workers: int
) -> None:
    """Who made it before, and under which name, shows in no result."""
    flow = project.module(
        f"""
        import bundlerun as br
        class Leaf(Pipe):
            def pipe_run(self, pipeline_input):
                return 1
        class Top(Pipe):
            n = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                br.apply(None, f"inner{{self.n}}", Leaf, workers={workers})
                br.apply(None, f"inner{{self.n}}", Leaf, workers={workers})
                return [bundle.name for bundle in br.ls(all_versions=True)]
        """
    )
    for n in (1, 2):
        found = world.apply(flow.Top, params={"n": n})
        assert world.value(found) == [f"inner{n}"]
        assert [p.name for p in found.entry.bundle.lineage.parents] == [f"inner{n}"]


def test_a_pipe_changes_only_what_it_made(project: Project, world: World) -> None:
    """Its inputs are others' too."""
    _fill(world)
    flow = project.module(
        """
        import bundlerun as br
        from bundlerun.errors import UsageError
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                br.add("note", 1)
                br.add("gone", 1)
                br.tag("note", {"a": "b"})
                br.commit("note")
                br.rm("gone")
                said = []
                for change in (br.commit, br.rm, lambda name: br.tag(name, {"a": "b"})):
                    try:
                        change("given")
                    except UsageError as error:
                        said.append(str(error))
                return said
        """
    )
    given = world.store.catalog.get(world.context, "given")
    said = world.value(world.apply(flow.Top, given))
    assert len(said) == 3
    assert all("did not make the bundle 'given'" in each for each in said)
    assert sorted(world.names()) == ["far", "given", "note", "other", "out"]
    assert world.store.catalog.get(world.context, "note").bundle.tags == {"a": "b"}


SEEING = {"add", "get", "view", "find", "ls", "cat", "commit", "tag", "rm"}
SEEING |= {"lineage", "diff", "why", "verify", "apply"}


def test_each_verb_sees_the_pipe_or_is_refused_inside_of_one(
    project: Project, world: World
) -> None:
    """None acts on the whole workspace by mistake, a workspace of one's own included."""
    flow = project.module(
        """
        import inspect
        import bundlerun as br
        from bundlerun.errors import UsageError
        MINE = br.open()
        def given(verb):
            needed = inspect.signature(verb).parameters.values()
            return ["x" for each in needed if each.default is each.empty and each.kind < 2]
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                said = {}
                for verb in VERBS:
                    for place in (MINE, br):
                        if not hasattr(place, verb):
                            continue
                        try:
                            getattr(place, verb)(*given(getattr(place, verb)))
                        except UsageError as error:
                            said[verb] = str(error)
                        except TypeError:
                            said[verb] = "called"
                return said
        """
    )
    verbs = {
        name
        for kind in Workspace.__mro__
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("_")
    } - {"close"}
    flow.VERBS = sorted(verbs - SEEING)
    assert set(OUTSIDE_ONLY) == verbs - SEEING
    said = world.value(world.apply(flow.Top))
    assert set(said) == verbs - SEEING
    assert all("cannot be used inside of a pipe" in each for each in said.values()), said


def test_an_external_of_an_inner_pipe_is_one_of_the_outer(project: Project, world: World) -> None:
    """Else the outer pipe would depend on what stands in no key of it."""
    _fill(world)
    flow = project.module(
        """
        import bundlerun as br
        class Leaf(Pipe):
            def requires(self):
                return {"far": external("far")}
            def pipe_run(self, pipeline_input, far):
                return far
        class Without(Pipe):
            def pipe_run(self, pipeline_input):
                return br.get(br.apply(None, "inner", Leaf))
        class With(Without):
            def requires(self):
                return {"far": external("far")}
            def pipe_run(self, pipeline_input, far):
                return super().pipe_run(pipeline_input)
        """
    )
    with pytest.raises(UserError, match="does not see the bundle 'far'"):
        world.apply(flow.Without)
    assert world.value(world.apply(flow.With)) == "far away"


@pytest.mark.slow
def test_a_pipe_may_have_processes_of_its_own(tmp_path: Path) -> None:
    """They end as they do elsewhere, without a word."""
    found = apply_in_process(
        tmp_path,
        """
        import multiprocessing, signal, time
        def double(n):
            return 2 * n
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                with multiprocessing.get_context("fork").Pool(2) as pool:
                    doubled = pool.map(double, range(3))
                other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
                other.start()
                other.terminate()
                other.join()
                assert other.exitcode == -signal.SIGTERM, other.exitcode
                return doubled
        """,
        2,
    )
    assert (found.returncode, found.stderr) == (0, ""), found
