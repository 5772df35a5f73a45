"""Which classes are pipes, and which are refused before anything runs."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import luigi
import pytest

from bundlerun.errors import BadModule, BadName, BadParameter, UsageError
from bundlerun.pipelines.loader import load_pipe
from bundlerun.pipelines.pipe import External, external
from tests.pipelines.conftest import HEADER, Project, World

RUNS = "    def pipe_run(self, pipeline_input):\n        return 1\n"


@pytest.mark.parametrize(
    "name",
    ["resources", "output", "run", "task_id", "scratch", "priority", "pipeline_input", "requires"],
)
def test_a_parameter_cannot_have_a_name_that_luigi_uses(project: Project, name: str) -> None:
    """It would break luigi in places that are hard to find."""
    with pytest.raises(BadParameter, match=f"Top: luigi or bundlerun uses the name '{name}'"):
        project.module(f"class Top(Pipe):\n    {name} = luigi.IntParameter(default=1)\n{RUNS}")


def test_a_reserved_name_from_a_mixin_is_refused_too(project: Project) -> None:
    """Parameters are inherited."""
    with pytest.raises(BadParameter, match="'resources'"):
        project.module(
            f"class Mixin:\n    resources = luigi.IntParameter()\nclass Top(Mixin, Pipe):\n{RUNS}"
        )


PARAMETERS = """
class Mixin:
    mixed = luigi.IntParameter(default=1)
    hidden = luigi.IntParameter(default=2)

class Base(Mixin, Pipe):
    twice_b = twice_a = luigi.IntParameter(default=3)
    hidden = None

class Top(Base):
    mixed = luigi.IntParameter(default=4)
    own = luigi.IntParameter(default=5)
"""


def test_a_class_has_the_parameters_that_luigi_says(project: Project) -> None:
    """In luigi's order: those of bases and mixins, none that a subclass hides, and what is put on
    a class after it was made."""
    top = project.module(PARAMETERS + RUNS).Top

    def told() -> list[tuple[str, Any]]:
        assert top.get_params() == luigi.Task.get_params.__func__(top)
        return [name for name, _ in top.get_params()]

    assert told() == ["twice_a", "twice_b", "mixed", "own"]
    top.__mro__[1].later = luigi.IntParameter(default=6)
    assert told() == ["twice_a", "twice_b", "mixed", "own", "later"]


@pytest.mark.parametrize("method", ["run", "output", "complete", "input"])
def test_luigis_own_methods_are_not_silently_ignored(project: Project, method: str) -> None:
    """Whoever comes from luigi is told of pipe_run."""
    with pytest.raises(BadModule, match=f"Top defines {method}.*pipe_run"):
        project.module(f"class Top(Pipe):\n    def {method}(self):\n        return 1\n")


@pytest.mark.parametrize(
    "body",
    [
        "    def pipe_run(self, pipeline_input):\n        yield Pipe()\n",
        "    async def pipe_run(self, pipeline_input):\n        return 1\n",
    ],
)
def test_dynamic_dependencies_are_refused(project: Project, body: str) -> None:
    """A generator would never run, or run untracked."""
    with pytest.raises(BadModule, match=r"Top\.pipe_run is a generator.*requires"):
        project.module(f"class Top(Pipe):\n{body}")


def test_a_class_without_pipe_run_cannot_be_applied(project: Project, world: World) -> None:
    """It is a base for others."""
    module = project.module("class Base(Pipe):\n    pass\n")
    with pytest.raises(BadModule, match="has no pipe_run method"):
        world.apply(module.Base)


def test_what_is_no_pipe_cannot_be_applied(project: Project, world: World) -> None:
    """Neither a plain class, nor Pipe itself, nor an object."""
    module = project.module("class Plain:\n    pass\n")
    for wrong in (module.Plain, module.Pipe, 3):
        with pytest.raises(BadModule, match="is not a Pipe"):
            world.apply(wrong)


def test_a_class_inside_a_function_cannot_be_applied(project: Project, world: World) -> None:
    """Two such classes have one name and one source, and make different values."""
    body = textwrap.indent(f"class Inner(Pipe):\n{RUNS}", "    ")
    module = project.module(f"def make():\n{body}    return Inner\n")
    with pytest.raises(BadModule, match="not at the top level"):
        world.apply(module.make())


def test_a_class_that_a_reload_replaced_cannot_be_applied(project: Project, world: World) -> None:
    """Its code is no longer what its file holds."""
    module = project.module(f"class Top(Pipe):\n{RUNS}")
    old = module.Top
    importlib.reload(module)
    with pytest.raises(BadModule, match="top level of its module"):
        world.apply(old)
    assert world.value(world.apply(module.Top)) == 1


def test_scratch_is_there_only_while_a_pipe_runs(project: Project) -> None:
    """Before that there is nothing to remove it."""
    module = project.module(f"class Top(Pipe):\n{RUNS}")
    with pytest.raises(UsageError, match="only while pipe_run runs"):
        _ = module.Top().scratch


def test_externals_are_checked_when_they_are_named() -> None:
    """A name that no bundle can have is refused at once."""
    assert external("a", {"k": "v"}) == External("a", {"k": "v"})
    with pytest.raises(BadName):
        external("a b")


def test_a_pipe_is_loaded_by_its_name(project: Project) -> None:
    """From a package under the root, which does not stay on the import path."""
    name = project.name()
    project.write(f"{name}/inner/flow.py", f"class Top(Pipe):\n{RUNS}")
    before = list(sys.path)
    found = load_pipe(f"{name}.inner.flow.Top", project.root)
    assert found.__qualname__ == "Top"
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Top", "names no class"),
        ("absent.Top", r"project/absent\.py does not exist"),
        ("{}.Absent", "has no class Absent"),
        ("{}.os", "is not a Pipe"),
    ],
)
def test_what_cannot_be_loaded_is_named(project: Project, name: str, said: str) -> None:
    """BadModule, with what was looked for."""
    module = project.module("x = 1")
    with pytest.raises(BadModule, match=said):
        load_pipe(name.format(module.__name__), project.root)


def test_a_module_that_raises_says_what_and_where(project: Project) -> None:
    """One line, and the command that shows the rest."""
    name = project.name()
    path = project.write(f"{name}.py", "1 / 0")
    with pytest.raises(BadModule, match="ZeroDivisionError") as caught:
        load_pipe(f"{name}.Top", project.root)
    assert str(path) in str(caught.value)
    assert f"import {name}" in str(caught.value)


def test_a_module_that_another_one_hides_is_refused(project: Project, tmp_path: Path) -> None:
    """Running the other one would be worse."""
    module = project.module("x = 1")
    (tmp_path / f"{module.__name__}.py").write_text("x = 2")
    with pytest.raises(BadModule, match="another module"):
        load_pipe(f"{module.__name__}.Top", tmp_path)


SCRIPT = f"""
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
class Top(Pipe):
{RUNS}
if __name__ == "__main__":
    from tests.pipelines.conftest import World
    print(World(Path(sys.argv[2])).apply(Top).ran)
"""


def script(project: Project, name: str, *how: str) -> subprocess.CompletedProcess[str]:
    """The project's script, run as a user would."""
    project.write(name, SCRIPT)
    checkout = str(Path(__file__).parents[2])
    command = [sys.executable, *(how or [name]), checkout, str(project.root / f"{name}-store")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.root)


@pytest.mark.heavy
def test_a_script_is_the_module_of_its_file(project: Project) -> None:
    """As the same class is called when the command line applies it from the same folder."""
    assert script(project, "examples/flow.py").stdout.strip() == "['examples.flow.Top']"
    done = script(project, "other/flow.py", "-m", "other.flow")
    assert done.stdout.strip() == "['other.flow.Top']"


@pytest.mark.heavy
def test_a_script_that_no_module_can_be_is_refused(project: Project) -> None:
    """With the name that would do."""
    done = script(project, "my-flow.py")
    assert "rename it to my_flow.py" in done.stderr


@pytest.mark.heavy
def test_a_class_of_an_interpreter_is_refused(project: Project) -> None:
    """Nobody could find its code again."""
    code = HEADER + SCRIPT
    command = [sys.executable, "-c", code, str(Path(__file__).parents[2]), str(project.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "put the class in a file" in done.stderr
