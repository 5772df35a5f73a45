"""Why a bundle was made anew: each part of the key, changed in turn, is named and nothing else."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bundlerun as br
from bundlerun.api.workspace import Workspace
from bundlerun.pipelines.why import Reason, Verdict, Why
from bundlerun.progress import Silent

_NUMBERS = itertools.count()

TABLES = """
def rows(count):
    return list(range(count))
"""

FLOW = """
import luigi

import bundlerun as br
from {package}.tables import rows

class First(br.Pipe):
    step = luigi.IntParameter(default=1)
    def pipe_run(self, pipeline_input):
        return {{"rows": rows(3), "step": self.step}}

class Second(br.Pipe):
    by = luigi.IntParameter(default=2)
    word = luigi.Parameter(default="a")
    note = luigi.Parameter(default="", significant=False)
    step = luigi.IntParameter(default=1)
    def requires(self):
        return {{"first": First(step=self.step), "known": br.external("known")}}
    def pipe_run(self, pipeline_input, first, known):
        return [pipeline_input, first["step"], known, self.by]
"""


class Project:
    """A pipe root with a package of two modules, edited and loaded anew."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = f"shop_{os.getpid()}_{next(_NUMBERS)}"
        (root / self.package).mkdir()
        (root / self.package / "__init__.py").write_text("")
        self.write("tables.py", TABLES)
        self.write("flow.py", FLOW.format(package=self.package))

    @property
    def pipe(self) -> str:
        """The top pipe's name."""
        return f"{self.package}.flow.Second"

    def write(self, name: str, text: str) -> None:
        """Write a module and forget that it was loaded."""
        (self.root / self.package / name).write_text(textwrap.dedent(text))
        for loaded in [n for n in sys.modules if n.startswith(self.package)]:
            del sys.modules[loaded]
        importlib.invalidate_caches()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project on the import path."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Project(root)
    yield made
    made.write("flow.py", "")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with an input and an external bundle."""
    workspace = br.open(store=tmp_path / "store", context="work")
    workspace.add("sales", {"days": [1, 2, 3], "shop": "x"})
    workspace.add("known", "knowledge")
    yield workspace
    workspace.close()


Apply = Callable[..., Why]


@pytest.fixture
def made(shop: Workspace, project: Project) -> Apply:
    """Applies the pipe with some parameters, and asks why."""

    def apply(**params: Any) -> Why:
        given = {"input": "sales", "output": "out", **params}
        bundle = shop.apply(
            given.pop("input"),
            given.pop("output"),
            project.pipe,
            pipe_root=project.root,
            force=given.pop("force", False),
            params=given,
        )
        return shop.why(f"{bundle.name}@{bundle.id}")

    return apply


def only(why: Why) -> Reason:
    """The one reason."""
    assert why.verdict is Verdict.DIFFERS
    (reason,) = why.reasons
    assert reason.part not in why.same
    assert len(why.same) == 5
    return reason


def test_the_first_of_a_name_has_nothing_before_it(made: Apply) -> None:
    """No version, no pipe of that name."""
    why = made()
    assert (why.verdict, why.nearest) == (Verdict.FIRST, None)


def test_what_was_added_by_hand_has_no_key(shop: Workspace) -> None:
    """No pipe made it."""
    assert shop.why("sales").verdict is Verdict.ADDED


def test_parameters_are_named_old_and_new(made: Apply) -> None:
    """Significant ones that differ, no other."""
    before = made()
    reason = only(why := made(by=3, note="not significant"))
    assert reason.part == "params"
    assert [(c.what, c.old, c.new) for c in reason.changes] == [("by", "2", "3")]
    assert why.nearest == before.bundle


def test_apply_says_on_one_line_what_differed(
    shop: Workspace, project: Project, made: Apply
) -> None:
    """What kept equal work from being found is told when the work is done, and only then."""

    class Heard(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def line(self, text: str) -> None:
            self.lines.append(text)

    heard = shop.progress = Heard()
    first = made().bundle
    assert heard.lines == []  # nothing before it
    made()
    assert heard.lines == ["equal work was found; --force runs it again"]
    heard.lines.clear()
    before = f"differs from out@{first.id[:18]}: "
    made(by=3, word="b")
    assert heard.lines == [before + "params by 2 -> 3, word a -> b"]
    project.write("tables.py", "def rows(count):\n    return [count]\n")
    made()
    assert heard.lines[1].startswith(before + f"source {project.package}/tables.py; dependencies")


def test_the_nearest_is_the_one_that_shares_most(made: Apply, shop: Workspace) -> None:
    """Not the one right before it."""
    first = made(by=1)
    shop.add("sales", {"days": [9]})
    made(by=7, word="b")
    shop.add("sales", {"days": [1, 2, 3], "shop": "x"})
    why = made(by=5)
    assert why.nearest == first.bundle
    assert [c.what for c in only(why).changes] == ["by"]


def test_a_changed_source_file_is_named(made: Apply, project: Project) -> None:
    """Also one that the pipe's module imports; files that did not change are not."""
    made()
    project.write("tables.py", TABLES + "\n# a comment\n")
    why = made()
    (reason,) = [each for each in why.reasons if each.part == "source"]
    (change,) = reason.changes
    assert change.what == f"{project.package}/tables.py"
    assert change.old
    assert change.new
    assert change.old != change.new
    assert {each.part for each in why.reasons} == {"source"}


def test_a_new_source_file_is_named(made: Apply, project: Project) -> None:
    """One that an import brought in."""
    made()
    project.write("extra.py", "MORE = 1\n")
    project.write("tables.py", f"from {project.package}.extra import MORE\n" + TABLES)
    (reason,) = [each for each in made().reasons if each.part == "source"]
    assert {change.what.split("/")[1] for change in reason.changes} == {"extra.py", "tables.py"}
    assert [change.old for change in reason.changes if "extra" in change.what] == [None]


def test_an_input_is_told_with_what_differs_in_it(made: Apply, shop: Workspace) -> None:
    """Old and new bundle, and the entries of their values."""
    made()
    new = shop.add("sales", {"days": [1, 2, 3], "shop": "y", "town": "z"})
    why = made()
    (change,) = only_part(why, "input").changes
    assert change.new == f"sales@{new.id}"
    assert change.value is not None
    assert change.value.counts == {"changed": 1, "added": 1}
    assert [each.where for each in change.value.changes] == ['value["shop"]', 'value["town"]']


def only_part(why: Why, part: str) -> Reason:
    """The reason of that part."""
    (found,) = [each for each in why.reasons if each.part == part]
    return found


def test_dependencies_are_told_by_their_key(made: Apply, shop: Workspace) -> None:
    """A pipe's and an external bundle; each by the name it goes in under."""
    made()
    shop.add("known", "more knowledge")
    (change,) = only(made()).changes
    assert change.what == "known"
    assert change.value is not None
    assert change.value.summary() == "1 changed"
    why = made(step=2)
    (change,) = only_part(why, "dependencies").changes
    assert change.what == "first"
    assert change.parents[1] is not None
    deeper = shop.why(f"{change.parents[1].name}@{change.parents[1].id}")
    assert [c.what for c in only_part(deeper, "params").changes] == ["step"]


def test_the_environment_says_which_part(made: Apply, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python, the platform, or what is installed."""
    from bundlerun.pipelines import apply

    made()
    there = apply.local_environment().split()
    other = " ".join([*there[:3], "0" * 64])
    monkeypatch.setattr(apply, "local_environment", lambda: other)
    why = made()
    (change,) = only_part(why, "environment").changes
    assert (change.what, change.new) == ("installed distributions", "0" * 64)


def test_a_forced_run_differs_in_nothing(made: Apply) -> None:
    """And says so."""
    before = made()
    why = made(force=True)
    assert why.verdict is Verdict.FORCED
    assert why.nearest == before.bundle
    assert why.reasons == ()


def test_equal_work_under_another_name_was_reused(made: Apply) -> None:
    """Not made anew at all."""
    before = made()
    why = made(output="other")
    assert why.verdict is Verdict.REUSED
    assert why.nearest == before.bundle


def test_a_value_that_is_gone_leaves_the_reason(made: Apply, shop: Workspace) -> None:
    """The input's bundle was removed meanwhile: its mention is left."""
    made()
    shop.rm("sales")
    shop.add("sales", {"days": [4]})
    (change,) = only_part(made(), "input").changes
    assert change.old is not None
    assert change.value is None


def test_it_can_be_told_as_json(made: Apply, shop: Workspace) -> None:
    """For programs."""
    made()
    shop.add("sales", {"days": []})
    found = made().to_json()
    assert found["verdict"] == "differs"
    assert found["reasons"][0]["part"] == "input"
    assert found["reasons"][0]["changes"][0]["value"]["equal"] is False
