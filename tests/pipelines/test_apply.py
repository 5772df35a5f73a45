"""What apply makes, what it finds, and what it leaves when a pipe fails."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bundlerun.bundles.digest import Digest
from bundlerun.bundles.lineage import CodeVersion
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, new_id
from bundlerun.bundles.value.files import File
from bundlerun.errors import (
    BadModule,
    BadName,
    BadParameter,
    BundleNotFound,
    UsageError,
    UserError,
)
from bundlerun.pipelines.reuse_key import request_key
from bundlerun.pipelines.source import source_digest
from bundlerun.pipelines.targets import Targets
from bundlerun.store.rows import Entry
from tests.pipelines.conftest import Project, World

FLOW = """
    class Clean(Pipe):
        drop = luigi.IntParameter(default=0)
        def pipe_run(self, pipeline_input):
            say(f"clean {self.drop}")
            return [x for x in pipeline_input["rows"] if x > self.drop]

    class Sum(Pipe):
        def requires(self):
            return {"rows": Clean(), "more": Clean(drop=2)}
        def pipe_run(self, pipeline_input, rows, more):
            say("sum")
            return {"all": sum(rows), "more": sum(more)}

    class Report(Pipe):
        title = luigi.Parameter(default="t")
        factor = luigi.FloatParameter(default=1.0)
        note = luigi.Parameter(default="", significant=False)
        def requires(self):
            return {"total": Sum(), "rows": Clean()}
        def pipe_run(self, pipeline_input, total, rows):
            say(f"report {self.title}")
            return {"title": self.title, "total": total["all"] * self.factor, "rows": rows}
"""


@pytest.fixture
def rows(world: World) -> Entry:
    """An input."""
    return world.add("rows", {"rows": [1, 2, 3]}, commit=True)


def test_each_pipe_runs_once_and_its_values_reach_those_that_need_it(
    project: Project, world: World, rows: Entry
) -> None:
    """Clean is needed twice and runs once; with other parameters it is another pipe."""
    flow = project.module(FLOW)
    found = world.apply(flow.Report, rows, "report")
    assert world.value(found) == {"title": "t", "total": 6.0, "rows": [1, 2, 3]}
    name = flow.__name__
    assert sorted(found.ran) == sorted(
        [f"{name}.Clean", f"{name}.Clean", f"{name}.Sum", f"{name}.Report"]
    )
    assert found.ran[-2:] == [f"{name}.Sum", f"{name}.Report"]
    assert found.reused == []
    assert sorted(project.said()) == ["clean 0", "clean 2", "report t", "sum"]
    assert found.entry.bundle.name == "report"
    assert set(world.names()) == {"rows", "report", f"{name}.Clean", f"{name}.Sum"}


def test_the_second_apply_runs_nothing_and_adds_nothing(
    project: Project, world: World, rows: Entry
) -> None:
    """The latest version of the output is what a new one would be."""
    flow = project.module(FLOW)
    first = world.apply(flow.Report, rows, "report")
    project.said()
    names = world.names()
    again = world.apply(flow.Report, rows, "report")
    assert again.entry.bundle.id == first.entry.bundle.id
    assert (again.ran, len(again.reused)) == ([], 4)
    assert project.said() == []
    assert world.names() == names


def test_equal_work_under_another_name_is_a_new_version_over_the_same_value(
    project: Project, world: World, rows: Entry
) -> None:
    """Also when a version that differs came in between."""
    flow = project.module(FLOW)
    first = world.apply(flow.Report, rows, "report")
    other = world.apply(flow.Report, rows, "other", output_tags={"k": "v"})
    assert other.ran == []
    assert other.entry.bundle.name == "other"
    assert other.entry.bundle.root == first.entry.bundle.root
    assert other.entry.bundle.tags == {"k": "v"}
    world.apply(flow.Report, rows, "report", params={"title": "u"})
    back = world.apply(flow.Report, rows, "report")
    assert back.ran == []
    assert back.entry.bundle.id not in (first.entry.bundle.id, other.entry.bundle.id)
    assert back.entry.bundle.root == first.entry.bundle.root


def test_a_label_that_the_latest_version_lacks_makes_a_new_version(
    project: Project, world: World, rows: Entry
) -> None:
    """Whoever labels an output wants to find it by the label."""
    flow = project.module(FLOW)
    first = world.apply(flow.Report, rows, output_tags={"a": "1"})
    same = world.apply(flow.Report, rows, output_tags={"a": "1"})
    labelled = world.apply(flow.Report, rows, output_tags={"a": "2"})
    assert same.entry.bundle.id == first.entry.bundle.id
    assert labelled.entry.bundle.id != first.entry.bundle.id
    assert labelled.ran == []


def test_force_runs_the_last_pipe_and_force_all_every_pipe(
    project: Project, world: World, rows: Entry
) -> None:
    """Both make a new version."""
    flow = project.module(FLOW)
    first = world.apply(flow.Report, rows)
    project.said()
    forced = world.apply(flow.Report, rows, force=True)
    assert project.said() == ["report t"]
    assert forced.entry.bundle.id != first.entry.bundle.id
    world.apply(flow.Report, rows, force_all=True)
    assert sorted(project.said()) == ["clean 0", "clean 2", "report t", "sum"]


def test_another_input_or_parameter_is_other_work_and_an_insignificant_one_is_not(
    project: Project, world: World, rows: Entry
) -> None:
    """The same task objects of luigi serve both applies, and keep nothing of the first."""
    flow = project.module(FLOW)
    world.apply(flow.Report, rows)
    project.said()
    other = world.add("rows", {"rows": [5]})
    assert world.value(world.apply(flow.Report, other))["total"] == 5.0
    assert len(project.said()) == 4
    world.apply(flow.Report, rows, params={"title": "u"})
    assert project.said() == ["report u"]
    world.apply(flow.Report, rows, params={"title": "u", "note": "n"})
    assert project.said() == []


def test_an_equal_input_of_another_name_is_equal_work(
    project: Project, world: World, rows: Entry
) -> None:
    """The value counts, not the version that holds it."""
    flow = project.module(FLOW)
    world.apply(flow.Report, rows)
    copy = world.add("copy", {"rows": [1, 2, 3]})
    assert world.apply(flow.Report, copy).ran == []


def test_an_edit_of_an_imported_module_runs_the_pipes_that_import_it(
    project: Project, world: World, rows: Entry
) -> None:
    """And no others: pipes of other modules whose inputs come out equal are found."""
    library, base, top = project.name(), project.name(), project.name()
    project.write(f"{library}.py", "FACTOR = 2\n")
    project.write(
        f"{base}.py",
        f"""
        from {library} import FACTOR
        class Base(Pipe):
            def pipe_run(self, pipeline_input):
                say("base")
                return min(4, FACTOR)
        """,
    )
    project.write(
        f"{top}.py",
        f"""
        from {base} import Base
        class Middle(Pipe):
            def requires(self):
                return {{"base": Base()}}
            def pipe_run(self, pipeline_input, base):
                say("middle")
                return base + 1
        """,
    )

    def apply() -> Any:
        for name in (library, base, top):
            sys.modules.pop(name, None)
        return world.apply(importlib.import_module(top).Middle, rows)

    assert world.value(apply()) == 3
    assert project.said() == ["base", "middle"]
    project.write(f"{library}.py", "FACTOR = 5  # edited\n")
    assert world.value(apply()) == 5
    assert project.said() == ["base", "middle"]


def test_a_pipe_whose_dependency_ran_and_came_out_equal_does_not_run(
    project: Project, world: World, rows: Entry
) -> None:
    """Keys are made of values, so a re-run stops where nothing changed."""
    flow = project.module(
        """
        class Noted(Pipe):
            note = luigi.Parameter()
            def pipe_run(self, pipeline_input):
                say("noted")
                return 7
        class Top(Pipe):
            note = luigi.Parameter(significant=False)
            def requires(self):
                return {"noted": Noted(note=self.note)}
            def pipe_run(self, pipeline_input, noted):
                say("top")
                return noted
        """
    )
    world.apply(flow.Top, rows, params={"note": "a"})
    again = world.apply(flow.Top, rows, params={"note": "b"})
    assert project.said() == ["noted", "top", "noted"]
    assert again.reused == [f"{flow.__name__}.Top"]


def test_code_that_was_edited_after_its_import_does_not_run(
    project: Project, world: World, rows: Entry
) -> None:
    """Else the old code's value would be kept under the new code's key."""
    library = project.name()
    project.write(f"{library}.py", "X = 1\n")
    flow = project.module(
        f"""
        import {library}
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                return {library}.X
        """
    )
    assert world.value(world.apply(flow.Top)) == 1
    project.write(f"{library}.py", "X = 2 + 0\n")
    with pytest.raises(BadModule, match=r"edited after this process imported it.*reload"):
        world.apply(flow.Top)
    importlib.reload(sys.modules[library])
    assert world.value(world.apply(flow.Top)) == 2
    path = Path(str(flow.__file__))
    path.write_text(path.read_text() + "\n# edited\n")
    with pytest.raises(BadModule, match="edited after"):
        world.apply(flow.Top)


def test_two_classes_of_one_name_are_two_pipes(project: Project, world: World) -> None:
    """Each dependant gets its own."""
    one = project.module("class Same(Pipe):\n  def pipe_run(self, pipeline_input):\n    return 1\n")
    two = project.module("class Same(Pipe):\n  def pipe_run(self, pipeline_input):\n    return 2\n")
    top = project.module(
        f"""
        import {one.__name__} as one, {two.__name__} as two
        class Top(Pipe):
            def requires(self):
                return {{"a": one.Same(), "b": two.Same()}}
            def pipe_run(self, pipeline_input, a, b):
                return [a, b]
        """
    )
    assert world.value(world.apply(top.Top)) == [1, 2]


def test_no_pipe_sees_what_another_does_to_a_value(project: Project, world: World) -> None:
    """Every consumer gets the value as it is kept."""
    flow = project.module(
        """
        class Spoil(Pipe):
            which = luigi.IntParameter()
            def pipe_run(self, pipeline_input):
                pipeline_input["list"].append(self.which)
                return pipeline_input
        class Top(Pipe):
            def requires(self):
                return {"a": Spoil(which=1), "b": Spoil(which=2)}
            def pipe_run(self, pipeline_input, a, b):
                a["list"].append(9)
                return [pipeline_input, b]
        """
    )
    given = world.add("given", {"list": [0]})
    found = world.value(world.apply(flow.Top, given))
    assert found == [{"list": [0]}, {"list": [0, 2]}]


def test_externals_are_values_and_count_as_inputs(project: Project, world: World) -> None:
    """The latest of that name and tags; a new version of it is other work."""
    flow = project.module(
        """
        class Top(Pipe):
            def requires(self):
                return {"model": external("model", {"kind": "good"})}
            def pipe_run(self, pipeline_input, model):
                return model
        """
    )
    with pytest.raises(BundleNotFound, match="model"):
        world.apply(flow.Top)
    kept = world.add("model", 1, tags={"kind": "good"})
    world.add("model", 2, tags={"kind": "bad"})
    found = world.apply(flow.Top)
    assert world.value(found) == 1
    [parent] = found.entry.bundle.lineage.parents
    assert (parent.role, parent.name, parent.id) == ("external:model", "model", kept.bundle.id)
    assert world.apply(flow.Top).ran == []
    world.add("model", 3, tags={"kind": "good"})
    assert world.value(world.apply(flow.Top)) == 3


def test_lineage_says_what_which_code_and_when(project: Project, world: World, rows: Entry) -> None:
    """Parents by role, all parameters, the source's digest, and the keys."""
    flow = project.module(FLOW)
    before = time.time()
    request = request_key(
        pipe="p", source=Digest("0" * 64), params={}, input_root=None, environment="e"
    )
    id = new_id()
    found = world.apply(
        flow.Report,
        rows,
        "report",
        params={"title": "x", "factor": "2"},
        run="r",
        image="i",
        request=request,
        output_id=id,
        code=CodeVersion(Digest("0" * 64), "c0ffee", True),
    )
    bundle = found.entry.bundle
    lineage = bundle.lineage
    assert bundle.id == id
    assert bundle.params == {"title": "x", "factor": "2.0", "note": ""}
    assert lineage.pipe == f"{flow.__name__}.Report"
    assert [(p.role, p.name) for p in lineage.parents] == [
        ("pipeline_input", "rows"),
        ("total", f"{flow.__name__}.Sum"),
        ("rows", f"{flow.__name__}.Clean"),
    ]
    source = source_digest(project.root, flow.__name__)
    assert lineage.code == CodeVersion(source, "c0ffee", True)
    assert lineage.task is not None
    assert lineage.task.parts["params"] == '{"factor":"2.0","title":"x"}'
    assert lineage.task.parts["input"] == rows.bundle.root.digest
    assert set(lineage.task.parts) == {
        "pipe",
        "source",
        "params",
        "input",
        "dependencies",
        "environment",
    }
    assert (lineage.run, lineage.image, lineage.request) == ("r", "i", request)
    assert lineage.started_s is not None
    assert lineage.finished_s is not None
    assert before <= lineage.started_s <= lineage.finished_s <= time.time()
    middle = world.store.catalog.get(world.context, f"{flow.__name__}.Sum").bundle
    assert middle.id in {parent.id for parent in lineage.parents}
    assert middle.lineage.request is None
    assert middle.lineage.run == "r"


def test_a_request_that_externals_take_part_in_is_not_recorded(
    project: Project, world: World
) -> None:
    """A client cannot see them, so it must not take such a result for an answer."""
    flow = project.module(
        """
        class Top(Pipe):
            def requires(self):
                return {"x": external("x")}
            def pipe_run(self, pipeline_input, x):
                return x
        """
    )
    world.add("x", 1)
    request = request_key(
        pipe="p", source=Digest("0" * 64), params={}, input_root=None, environment="e"
    )
    assert world.apply(flow.Top, request=request).entry.bundle.lineage.request is None


def test_commit_commits_all_outputs_also_those_found(
    project: Project, world: World, rows: Entry
) -> None:
    """Without it, none is."""
    flow = project.module(FLOW)
    plain = world.apply(flow.Report, rows, "report")
    made = [e for e in world.store.catalog.search(world.context) if e.bundle.name != "rows"]
    assert not any(entry.committed for entry in made)
    kept = world.apply(flow.Report, rows, "report", commit=True)
    assert kept.ran == []
    assert kept.entry.bundle.id == plain.entry.bundle.id
    assert kept.entry.committed
    assert all(entry.committed for entry in world.store.catalog.search(world.context))


def test_finished_is_told_of_every_pipe_dependencies_first(
    project: Project, world: World, rows: Entry
) -> None:
    """So that what is done is safe before the next pipe starts."""
    flow = project.module(FLOW)
    told: list[str] = []

    class Telling(Targets):
        def finished(self, entry: Entry) -> None:
            told.append(entry.bundle.name)
            with open(project.log, "a") as log:
                log.write(f"told {entry.bundle.name.rpartition('.')[2]}\n")

    world.host = Telling(world.store, world.context)
    world.apply(flow.Report, rows, "report")
    said = project.said()
    assert said.index("told Sum") == said.index("sum") + 1
    assert told[-1] == "report"
    assert len(told) == 4
    world.apply(flow.Report, rows, "report")
    assert len(told) == 8


def test_values_that_are_not_on_this_disk_are_fetched(project: Project, tmp_path: Path) -> None:
    """Bundle by bundle, when a pipe needs them."""
    flow = project.module(FLOW)
    elsewhere, empty = World(tmp_path / "elsewhere"), World(tmp_path / "empty")
    given = elsewhere.add("rows", {"rows": [1, 2, 3]})
    fetched: list[str] = []

    def fetch_of(bundle: BundleRecord) -> Callable[[Sequence[Link]], None]:
        def fetch(links: Sequence[Link]) -> None:
            fetched.append(bundle.name)
            for link in links:
                empty.store.objects.put_bytes(elsewhere.store.objects.read(link))

        return fetch

    empty.host = Targets(empty.store, empty.context, fetch=fetch_of)
    assert empty.value(empty.apply(flow.Clean, given)) == [1, 2, 3]
    assert set(fetched) == {"rows"}


def test_what_finished_raises_ends_the_apply(project: Project, world: World, rows: Entry) -> None:
    """A remote that is gone is not the pipe's failure."""
    flow = project.module(FLOW)

    class Broken(Targets):
        def finished(self, entry: Entry) -> None:
            raise BundleNotFound("gone")

    world.host = Broken(world.store, world.context)
    with pytest.raises(BundleNotFound, match="gone"):
        world.apply(flow.Report, rows)
    assert len(project.said()) == 1


FAILING = """
    class Before(Pipe):
        def pipe_run(self, pipeline_input):
            say("before")
            return 1

    def inner():
        raise ValueError("the reason\\nand more")

    class Failing(Pipe):
        fail = luigi.BoolParameter(default=True, significant=False)
        def requires(self):
            return {"before": Before()}
        def pipe_run(self, pipeline_input, before):
            (self.scratch / "left").write_text("x")
            say(str(self.scratch))
            if self.fail:
                inner()
            return before

    class After(Pipe):
        fail = luigi.BoolParameter(default=True, significant=False)
        def requires(self):
            return {"failing": Failing(fail=self.fail)}
        def pipe_run(self, pipeline_input, failing):
            say("after")
            return failing
"""


def test_a_failing_pipe_is_a_user_error_with_the_users_frames(
    project: Project, world: World
) -> None:
    """From pipe_run down: nothing of the engine, nothing of luigi."""
    flow = project.module(FAILING)
    with pytest.raises(UserError) as caught:
        world.apply(flow.After)
    error = caught.value
    assert error.message == (f"{flow.__name__}.Failing failed in pipe_run: ValueError: the reason")
    assert "in pipe_run" in error.evidence
    assert "in inner" in error.evidence
    assert error.evidence.rstrip().endswith("and more")
    assert "bundlerun" not in error.evidence
    assert "luigi" not in error.evidence
    assert isinstance(error.__cause__, ValueError)


def test_a_failing_pipe_leaves_what_was_before_it_and_no_trace_of_its_own(
    project: Project, world: World
) -> None:
    """And the next apply goes on from there."""
    flow = project.module(FAILING)
    with pytest.raises(UserError):
        world.apply(flow.After)
    assert world.names() == [f"{flow.__name__}.Before"]
    _, scratch = project.said()
    assert not os.path.exists(scratch)
    found = world.apply(flow.After, params={"fail": False})
    assert found.reused == [f"{flow.__name__}.Before"]
    assert world.value(found) == 1


@pytest.mark.parametrize("statement", ["import sys; sys.exit(3)", "raise GeneratorExit", "1 / 0"])
def test_however_a_pipe_ends_it_is_its_own_error(
    project: Project, world: World, statement: str
) -> None:
    """A pipe cannot end the process that applies it."""
    flow = project.module(
        f"class Top(Pipe):\n  def pipe_run(self, pipeline_input):\n    {statement}\n"
    )
    with pytest.raises(UserError, match="failed in pipe_run"):
        world.apply(flow.Top)


def test_ctrl_c_in_a_pipe_ends_all(project: Project, world: World) -> None:
    """As itself, and no other pipe starts."""
    flow = project.module(
        """
        class Stop(Pipe):
            def pipe_run(self, pipeline_input):
                say(str(self.scratch))
                raise KeyboardInterrupt
        class Top(Pipe):
            def requires(self):
                return {"a": Stop()}
            def pipe_run(self, pipeline_input, a):
                say("top")
        """
    )
    with pytest.raises(KeyboardInterrupt):
        world.apply(flow.Top)
    [scratch] = project.said()
    assert not os.path.exists(scratch)
    assert world.names() == []


def test_a_value_that_cannot_be_kept_is_the_pipes_error(project: Project, world: World) -> None:
    """With the path in the tree."""
    flow = project.module(
        "class Top(Pipe):\n  def pipe_run(self, pipeline_input):\n    return {'a': [object()]}\n"
    )
    with pytest.raises(UserError, match=r"Top returned cannot be kept.*\[\"a\"\]\[0\]"):
        world.apply(flow.Top)
    assert world.names() == []


def test_files_of_scratch_are_kept_and_the_folder_is_removed(
    project: Project, world: World
) -> None:
    """Each run has an empty folder of its own."""
    flow = project.module(
        """
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                assert list(self.scratch.iterdir()) == []
                path = self.scratch / "plot.png"
                path.write_bytes(b"picture")
                say(str(self.scratch))
                return {"plot": File(path)}
        """
    )
    found = world.value(world.apply(flow.Top))
    assert isinstance(found["plot"], File)
    assert found["plot"].read_bytes() == b"picture"
    world.apply(flow.Top, force=True)
    first, second = project.said()
    assert first != second
    assert not os.path.exists(first)
    assert not os.path.exists(second)


def test_an_attribute_set_while_running_is_gone_afterwards(project: Project, world: World) -> None:
    """luigi hands out the same object again, the engine a copy of it."""
    flow = project.module(
        """
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                seen = hasattr(self, "mark")
                self.mark = 1
                return seen
        """
    )
    assert world.value(world.apply(flow.Top)) is False
    assert world.value(world.apply(flow.Top, force=True)) is False
    assert not hasattr(flow.Top(), "mark")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"m": "1"}, "has no parameter 'm'; it has: n, day, kind"),
        ({}, "needs the parameter 'n'"),
        ({"n": "x"}, "the parameter 'n' must be of type int, not 'x'"),
        ({"n": 1.5}, "must be of type int, not 1.5"),
        ({"n": 1, "day": "yesterday"}, "must be of type date, not 'yesterday'"),
        ({"n": 1, "kind": "c"}, "must be one of a, b, not 'c'"),
        ({"n": 1, "flag": "maybe"}, "must be of type bool, not 'maybe'"),
    ],
)
def test_bad_parameters_are_refused_by_pipe_and_name(
    project: Project, world: World, params: dict[str, object], said: str
) -> None:
    """Before anything runs."""
    flow = project.module(
        """
        import datetime
        class Top(Pipe):
            n = luigi.IntParameter()
            day = luigi.DateParameter(default=datetime.date(2013, 1, 1))
            kind = luigi.ChoiceParameter(choices=["a", "b"], default="a")
            flag = luigi.BoolParameter()
            def pipe_run(self, pipeline_input):
                return self.n
        """
    )
    with pytest.raises(BadParameter, match=said) as caught:
        world.apply(flow.Top, params=params)
    assert f"{flow.__name__}.Top" in str(caught.value)


def test_luigis_configuration_changes_no_default(
    project: Project, world: World, rows: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it change how pipes are run."""
    import luigi.configuration

    configuration: Any = luigi.configuration
    parser = configuration.get_config()
    flow = project.module(FLOW)
    config = project.root / "luigi.cfg"
    config.write_text(
        "[Report]\ntitle=configured\n"
        "[worker]\nkeep_alive=true\ntask_limit=1\nforce_multiprocessing=nonsense\n"
        "[scheduler]\nretry_delay=nonsense\n[resources]\ncpu=nonsense\n[email]\nreceiver=a@b\n"
    )
    parser.read([str(config)])
    try:
        assert world.value(world.apply(flow.Report, rows))["title"] == "t"
        failing = project.module(FAILING)
        with pytest.raises(UserError):
            world.apply(failing.After)
    finally:
        parser.clear()


def test_luigi_logs_nothing(
    project: Project, world: World, rows: Entry, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where the program that applies logs everything, and where a pipe fails."""
    flow = project.module(FAILING)
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.__stderr__)
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        with pytest.raises(UserError):
            world.apply(flow.After)
        world.apply(flow.After, params={"fail": False})
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert capfd.readouterr() == ("", "")


def test_names_and_tags_are_checked_before_anything_runs(
    project: Project, world: World, rows: Entry
) -> None:
    """An hour's work is not lost to a space."""
    flow = project.module(FLOW)
    with pytest.raises(BadName):
        world.apply(flow.Report, rows, "a b")
    with pytest.raises(UsageError):
        world.apply(flow.Report, rows, output_tags={"": "x"})
    with pytest.raises(UsageError):
        world.apply(flow.Report, rows, workers=0)
    assert project.said() == []


def test_private_parameters_are_in_no_record(project: Project, world: World) -> None:
    """A secret stays where it is; it still tells one work from another."""
    flow = project.module(
        """
        from luigi.parameter import ParameterVisibility
        class Top(Pipe):
            key = luigi.Parameter(visibility=ParameterVisibility.PRIVATE)
            def pipe_run(self, pipeline_input):
                return len(self.key)
        """
    )
    found = world.apply(flow.Top, params={"key": "hush-hush"})
    assert b"hush" not in found.entry.bundle.to_bytes()
    assert world.apply(flow.Top, params={"key": "hush"}).ran != []


def test_a_none_output_and_no_input_are_values_like_others(project: Project, world: World) -> None:
    """None goes in, None comes out, once."""
    flow = project.module(
        """
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                say(repr(pipeline_input))
        """
    )
    assert world.value(world.apply(flow.Top)) is None
    assert world.apply(flow.Top).ran == []
    assert project.said() == ["None"]


def test_a_user_error_shows_the_whole_story_of_chained_errors(
    project: Project, world: World
) -> None:
    """Causes included."""
    flow = project.module(
        """
        class Top(Pipe):
            def pipe_run(self, pipeline_input):
                try:
                    1 / 0
                except ZeroDivisionError as error:
                    raise RuntimeError("after all") from error
        """
    )
    with pytest.raises(UserError) as caught:
        world.apply(flow.Top)
    assert "ZeroDivisionError" in caught.value.evidence
    assert "direct cause" in caught.value.evidence
    assert traceback.format_exception(caught.value)
