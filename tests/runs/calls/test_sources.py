"""Which sources travel with a function, found without importing anything."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bundlerun.errors import BadModule
from bundlerun.runs.calls.sources import sources_of
from tests.futures.lab_project import FILES, write_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project of a scientist, on the import path; it is forgotten afterwards."""
    before = set(sys.modules)
    write_lab(tmp_path / "lab_project")
    monkeypatch.syspath_prepend(tmp_path / "lab_project/elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "lab_project")
    yield tmp_path / "lab_project"
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def module(name: str) -> ModuleType:
    """A module of the project."""
    return importlib.import_module(name)


MODEL = [
    "lab/__init__.py",
    "lab/lazy.py",
    "lab/model.py",
    "lab/plugin.py",
    "lab/shapes.py",
    "lab/words.txt",
]


def test_a_projects_function_brings_its_static_closure(lab: Path) -> None:
    """Lazy imports, literal names of modules, and the data of the package; nothing that nobody
    imports, no secrets; what is large stays behind by name."""
    found = sources_of(module("lab.model").fit)
    assert [*found.files] == MODEL
    assert found.root == lab
    assert found.data["lab/words.txt"] == b"one two three"
    assert [(each.path, each.size) for each in found.left_out] == [("lab/large.bin", (1 << 20) + 1)]
    assert found.imports == ()
    assert "lab.unused" not in sys.modules
    assert "lab.lazy" not in sys.modules


def test_what_is_installed_does_not_travel(lab: Path) -> None:
    """It is named instead; the standard library and bundlerun are not."""
    (lab / "uses.py").write_text(
        "import json, bundlerun\nimport numpy as np\n"
        "def f(x):\n    import pandas.io\n    from packaging import tags\n"
    )
    found = sources_of(module("uses").f)
    assert [*found.files] == ["uses.py"]
    assert found.imports == ("numpy", "packaging", "pandas")


@pytest.mark.parametrize(
    ("func", "imports"),
    [(len, ()), (math.sqrt, ()), (np.sqrt, ("numpy",))],
    ids=["len", "sqrt", "numpy"],
)
def test_a_function_of_no_project_brings_nothing(func: Any, imports: tuple[str, ...]) -> None:
    """Its distribution is named."""
    found = sources_of(func)
    assert (dict(found.files), found.root, found.imports) == ({}, None, imports)


def test_the_modules_of_the_items_travel_too(lab: Path) -> None:
    """A builtin function over objects of the project."""
    found = sources_of(len, modules=["lab.shapes", "numpy"])
    assert "lab/shapes.py" in found.files
    assert "lab/model.py" not in found.files
    assert (found.imports, found.root) == (("numpy",), lab)


def test_keyword_arguments_bring_their_modules(lab: Path) -> None:
    """An object of the project's class."""
    found = sources_of(print, {"end": module("lab.shapes").Point(1, 2)})
    assert "lab/shapes.py" in found.files


def test_modules_of_several_folders_travel_together(lab: Path) -> None:
    """Each by its path below its own folder, which is how a job imports it."""
    func = module("other.deep").far
    func.__globals__["beside"] = module("beside")
    (lab / "both.py").write_text(
        "import beside, other.deep\nfrom lab import model\ndef f(x): pass\n"
    )
    found = sources_of(module("both").f)
    assert {"both.py", "beside.py", "other/deep.py", "lab/model.py"} <= found.files.keys()
    assert found.files["other/deep.py"] == lab / "elsewhere/other/deep.py"
    assert found.root == lab


def test_a_data_file_that_a_module_beside_names_travels(lab: Path) -> None:
    """Of a module in no package those alone."""
    (lab / "reads.py").write_text("def f(x):\n    return open('numbers.csv')\n")
    (lab / "numbers.csv").write_text("1")
    (lab / "other.csv").write_text("2")
    assert [*sources_of(module("reads").f).files] == ["numbers.csv", "reads.py"]


def test_the_digest_is_of_code_and_files(lab: Path) -> None:
    """The same function has the same one; an edited lazy import, data file, or lambda another."""
    func = module("lab.model").fit
    first = sources_of(func).digest
    assert sources_of(func).digest == first
    (lab / "lab/words.txt").write_text("one two")
    second = sources_of(func).digest
    (lab / "lab/lazy.py").write_text("def offset():\n    return 1\n")
    third = sources_of(func).digest
    lambdas = [sources_of(each).digest for each in (lambda x: x + 1, lambda x: x + 2)]
    assert len({first, second, third, *lambdas}) == 5


@pytest.mark.parametrize("name", ["fit", "twice"], ids=["used", "beside the used one"])
@pytest.mark.parametrize("sent_before", [True, False])
def test_a_module_that_was_edited_after_its_import_is_refused(
    name: str, sent_before: bool, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job would run other code than this process, also where it is the first map of it; once
    it is loaded anew it is sent."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    model = module("lab.model")
    if sent_before:
        sources_of(model.fit)
    (lab / "lab/model.py").write_text("def fit(x):\n    return x\n")
    with pytest.raises(BadModule, match="edited after this process imported it"):
        sources_of(getattr(model, name))
    importlib.reload(model)
    assert b"scale" not in sources_of(model.fit).data["lab/model.py"]


@pytest.mark.parametrize(
    ("name", "gone"), [("single", "single.py"), ("lab.model", "lab/model.py"), ("lab.model", "lab")]
)
def test_a_module_whose_file_is_gone_is_refused(lab: Path, name: str, gone: str) -> None:
    """A job could not import it; it is not looked for among what is installed."""
    (lab / "single.py").write_text("def fit(x):\n    return x\n")
    func = module(name).fit
    (lab / gone).rename(lab.parent / "away")
    with pytest.raises(BadModule, match=r"is gone, from which this process imported") as refused:
        sources_of(func)
    assert refused.value.hint


def test_a_file_that_was_only_touched_is_no_other_code(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a checkout of the same commit."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    model = module("lab.model")
    os.utime(lab / "lab/model.py", (1, 1))
    assert "lab/model.py" in sources_of(model.fit).files


def test_a_module_that_does_not_parse_is_refused(lab: Path) -> None:
    """By file and line, also where it is imported late."""
    func = module("lab.model").fit
    (lab / "lab/lazy.py").write_text("def offset(:\n")
    with pytest.raises(BadModule, match=r"lazy\.py, line 1"):
        sources_of(func)


def test_two_files_of_one_path_are_refused(lab: Path) -> None:
    """A job has one import folder."""
    (lab / "reads.py").write_text(
        "def f(x):\n    import reads_too\n    return open('numbers.csv')\n"
    )
    (lab / "elsewhere/reads_too.py").write_text("NAME = 'numbers.csv'\n")
    for folder in (lab, lab / "elsewhere"):
        (folder / "numbers.csv").write_text("1")
    with pytest.raises(BadModule, match="would be one file in a job"):
        sources_of(module("reads").f)


def test_a_package_without_an_init_file_travels(lab: Path) -> None:
    """A namespace package (PEP 420), whose folder may be one of several."""
    for folder in (lab, lab / "elsewhere"):
        (folder / "space").mkdir()
    (lab / "space/near.py").write_text("def f(x):\n    from space.sub import deep\n")
    (lab / "space/sub").mkdir()
    (lab / "space/sub/deep.py").write_text("")
    assert [*sources_of(module("space.near").f).files] == ["space/near.py", "space/sub/deep.py"]


@pytest.mark.heavy
def test_a_module_that_runs_as_a_program_brings_its_imports(lab: Path) -> None:
    """`python -m package.module`: relative imports are of its package."""
    (lab / "lab/program.py").write_text(
        "from .lazy import offset\n"
        "def f(x):\n    return offset() + x\n"
        "if __name__ == '__main__':\n"
        "    from bundlerun.runs.calls.sources import sources_of\n"
        "    found = sources_of(f)\n"
        "    print(found.root, *found.files)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "lab.program"]
    done = subprocess.run(command, cwd=lab, env=environment, capture_output=True, text=True)
    root, *files = done.stdout.split()
    assert files == ["lab/__init__.py", "lab/lazy.py", "lab/program.py", "lab/words.txt"], (
        done.stderr
    )
    assert root == str(lab)


@pytest.mark.heavy
def test_a_project_that_is_installed_as_editable_travels(lab: Path, tmp_path: Path) -> None:
    """Its files lie in the project, whatever finds them."""
    (tmp_path / "finder.pth").write_text("")
    program = f"""
import importlib.util, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "lab":
            return importlib.util.spec_from_file_location("lab", {str(lab / "lab/__init__.py")!r})
sys.meta_path.append(Finder)
from lab.model import fit
from bundlerun.runs.calls.sources import sources_of
print(*sources_of(fit).files)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == MODEL, done.stderr


def test_every_file_of_the_lab_is_accounted_for() -> None:
    """The project of these tests has a module that must not travel."""
    assert "nobody imports this" in FILES["lab/unused.py"]
