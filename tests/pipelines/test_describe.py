"""What dockerize records of a module's pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bundlerun.errors import BadModule
from bundlerun.pipelines.describe import describe
from bundlerun.pipelines.schema import normalised
from tests.pipelines.conftest import Project

FLOW = """
    import datetime
    class Base(Pipe):
        n = luigi.IntParameter(description="how many")
    class Top(Base):
        '''The top.'''
        rate = luigi.FloatParameter(default=0.5, significant=False)
        flag = luigi.BoolParameter()
        day = luigi.DateParameter(default=datetime.date(2013, 1, 2))
        kind = luigi.ChoiceParameter(choices=["b", "a"], default="a", positional=False)
        none = luigi.IntParameter(default=None)
        rows = luigi.ListParameter(default=[1, 2])
        text = luigi.Parameter(default="t")
        week = luigi.DateParameter(default=datetime.date(2013, 1, 3), interval=7)
        key = luigi.Parameter(default="", visibility=luigi.parameter.ParameterVisibility.PRIVATE)
        def pipe_run(self, pipeline_input):
            return 1
    print("noise while importing")
"""


def test_all_pipes_of_the_module_are_described(project: Project) -> None:
    """Names, types, defaults as luigi writes them; imported classes are another module's."""
    module = project.module(FLOW)
    found = describe(module.__name__, project.root)
    assert list(found["pipes"]) == [f"{module.__name__}.Base", f"{module.__name__}.Top"]
    base, top = found["pipes"].values()
    assert (base["runnable"], top["runnable"]) == (False, True)
    assert top["description"] == "The top."
    params = top["params"]
    assert {k: (p["type"], p["default"], p["required"]) for k, p in params.items()} == {
        "n": ("int", None, True),
        "rate": ("float", "0.5", False),
        "flag": ("bool", "False", False),
        "day": ("date", "2013-01-02", False),
        "kind": ("choice", "a", False),
        "none": ("int", None, False),
        "rows": ("other", "[1, 2]", False),
        "text": ("str", "t", False),
        "week": ("other", "2013-01-03", False),
        "key": ("str", "", False),
    }
    assert params["n"]["description"] == "how many"
    assert params["kind"]["choices"] == ["a", "b"]
    assert not params["rate"]["significant"]
    assert not params["kind"]["positional"]
    assert params["key"]["private"]
    assert params["rows"]["class"] == "ListParameter"


def test_what_a_client_writes_is_what_luigi_writes(project: Project) -> None:
    """The normalised parameters are those of the task itself."""
    from bundlerun.pipelines.parameters import recorded, with_params

    module = project.module(FLOW)
    typed = {"n": "07", "rate": "1", "flag": "true", "day": "2020-02-03"}
    name = f"{module.__name__}.Top"
    schema = json.loads(json.dumps(describe(module.__name__, project.root)))["pipes"][name]
    written = normalised(schema, typed)
    task = with_params(module.Top, name, dict(typed))
    assert written == {k: v for k, v in recorded(task).items() | {("key", "")} if k != "none"}


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, as an image build runs it."""
    command = [sys.executable, "-m", "bundlerun.pipelines.describe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.root)


def test_the_program_prints_json_and_nothing_else(project: Project) -> None:
    """What the module prints goes elsewhere."""
    name = project.name()
    project.write(f"{name}.py", FLOW)
    done = run(project, name)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["module"] == name
    assert "noise" in done.stderr


@pytest.mark.heavy
def test_a_module_that_does_not_import_fails_the_program_with_its_traceback(
    project: Project,
) -> None:
    """So the build fails, and shows why."""
    name = project.name()
    project.write(f"{name}.py", "import a_package_that_is_not_there")
    done = run(project, name)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" in done.stderr
    assert "a_package_that_is_not_there" in done.stderr


def test_a_module_outside_the_root_is_not_described(tmp_path: Path) -> None:
    """Installed modules are no project of the user's."""
    with pytest.raises(BadModule, match=r"json\.py does not exist"):
        describe("json", tmp_path)
