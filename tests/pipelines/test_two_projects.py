"""Two projects in one process: neither runs the other's code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun.api.workspace import Workspace
from bundlerun.errors import BadModule

PIPE = """
import bundlerun as br
{top}

class Told(br.Pipe):
    def pipe_run(self, pipeline_input):
        {inside}
        return value
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace; the modules that it imported are forgotten at the end."""
    before = set(sys.modules)
    workspace = br.open(store=tmp_path / "store")
    yield workspace
    workspace.close()
    for name in set(sys.modules) - before:
        if name.startswith(("twin_", "first_", "second_")):
            del sys.modules[name]


def project(folder: Path, files: dict[str, str]) -> Path:
    """A project with these files."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_module_of_one_project_is_not_found_by_the_other(here: Workspace, tmp_path: Path) -> None:
    """What the second does not have it does not find, and the import path is as it was."""
    first = project(
        tmp_path / "first",
        {
            "twin_extra.py": "value = 'first'\n",
            "first_flow.py": PIPE.format(top="", inside="from twin_extra import value"),
        },
    )
    optional = "try:\n    from twin_extra import value\nexcept ImportError:\n    value = 'none'\n"
    second = project(
        tmp_path / "second", {"second_flow.py": PIPE.format(top=optional, inside="pass")}
    )
    before = list(sys.path)
    made = here.apply(None, "a", "first_flow.Told", pipe_root=first)
    assert here.get(made.name) == "first"
    del sys.modules["twin_extra"]
    here.apply(None, "b", "second_flow.Told", pipe_root=second)
    assert here.get("b") == "none"
    assert sys.path == before


@pytest.mark.parametrize("where", ["top", "inside"])
def test_a_module_that_another_project_s_hides_is_refused(
    here: Workspace, tmp_path: Path, where: str
) -> None:
    """A helper of the same name is the other project's in this process: that code would run, and
    this one's would be recorded."""
    line = "from twin_helper import value"
    for name in ("first", "second"):
        lines = {"top": "", "inside": "pass", where: line}
        project(
            tmp_path / name,
            {"twin_helper.py": f"value = {name!r}\n", f"{name}_flow.py": PIPE.format(**lines)},
        )
    here.apply(None, "a", "first_flow.Told", pipe_root=tmp_path / "first")
    assert here.get("a") == "first"
    with pytest.raises(BadModule, match="another module twin_helper already"):
        here.apply(None, "b", "second_flow.Told", pipe_root=tmp_path / "second")
    assert here.ls("b") == []
