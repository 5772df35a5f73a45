"""A text that names a file which does not stay is refused, wherever it stands in a value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bundlerun.bundles.value.files import File
from bundlerun.errors import BadValue, UserError
from tests.pipelines.conftest import Project, World
from tests.sampled import sampled

HEAD = """
    import numpy, pandas, polars, pyarrow
    class Top(Pipe):
        def pipe_run(self, pipeline_input):
            path = self.scratch / "x.txt"
            path.write_text("x")
            other = str(path)
"""

REFUSED = {
    "str(path)": "value",
    "path": "value",
    "luigi.LocalTarget(other)": "value",
    '{"a": [1, other]}': 'value["a"][1]',
    '{other: "a label"}': "value[",
    "str(self.scratch)": "value",
    'str(self.scratch) + "/"': "value",
    'f"{self.scratch}//y/./x.txt"': "value",
    'f"{self.scratch.parent}/z/../{self.scratch.name}/x.txt"': "value",
    "path.as_uri()": "value",
    "'/' + other": "value",
    "os.path.relpath(other)": "value",
    "numpy.array(['a', other])": "value",
    "numpy.str_(other)": "value",
    "numpy.array([('a', other)], dtype=[('n', 'U9'), ('p', 'U300')])": "value",
    "pandas.DataFrame({'n': [1, 2], 'path': ['a', other]})": "path",
    "pandas.DataFrame({'path': pandas.Categorical(['a', other, other])})": "path",
    "pandas.DataFrame({'n': [1]}, index=[other])": "index",
    "pandas.DataFrame({'n': [1]}, index=pandas.MultiIndex.from_tuples([(other, 1)]))": "value",
    "pandas.DataFrame({'path': [1, other]})": "path",
    "pandas.DataFrame({other: [1]})": "value",
    "pandas.Series(['a', other], name='path')": "value",
    "polars.DataFrame({'n': [1, 2], 'path': ['a', other]})": "path",
    "pyarrow.table({'path': ['a', other]})": "path",
    "pyarrow.table({'path': [['a'], ['b', other]]})": "path",
    "pyarrow.table({'path': [{'p': other}]})": "path",
    "pyarrow.table({'path': [f'{self.scratch}//y/../x.txt']})": "path",
}


@pytest.mark.parametrize("value", sampled(REFUSED, each=3))
def test_a_text_that_names_a_file_of_scratch_is_refused_with_the_cure(
    project: Project, world: World, value: str
) -> None:
    """The folder goes with the pipe: what would be kept is a name of nothing."""
    flow = project.module(f"{HEAD}            return {value}\n")
    with pytest.raises(UserError, match="Top returned cannot be kept") as caught:
        world.apply(flow.Top)
    assert REFUSED[value] in caught.value.message
    assert "File(" in str(caught.value.hint)
    assert world.names() == []


@pytest.mark.parametrize(
    "value",
    [
        'f"written to {other}"',
        'other + "\\n"',
        'f"{self.scratch}2/x.txt"',
        'str(self.scratch.parent / "another")',
        'f"{self.scratch}/../another"',
        '{"log": [f"{other} has 3 lines"], self.scratch.name: 1}',
        "pandas.DataFrame({'log': [f'see {other}', f'{other}\\n']})",
        "pyarrow.table({'log': [f'see {other}', None]})",
    ],
)
def test_a_text_that_merely_contains_such_a_path_is_kept(
    project: Project, world: World, value: str
) -> None:
    """Logs and messages are values like others; so are paths that lie elsewhere."""
    flow = project.module(f"{HEAD}            return {value}\n")
    assert world.value(world.apply(flow.Top)) is not None


def test_the_path_of_an_input_is_refused_and_the_input_itself_is_kept(
    project: Project, world: World, tmp_path: Path
) -> None:
    """A path into the store means nothing on another machine, or after a sweep."""
    (tmp_path / "big").write_bytes(b"x" * 400_000)
    (tmp_path / "small").write_bytes(b"x")
    flow = project.module(
        """
        class Paths(Pipe):
            def pipe_run(self, pipeline_input):
                return [str(each.path) for each in pipeline_input]
        class Files(Pipe):
            def pipe_run(self, pipeline_input):
                return pipeline_input[::-1]
        """
    )
    given = world.add("in", [File(tmp_path / "big"), File(tmp_path / "small")])
    with pytest.raises(UserError, match=r"value\[0\].*the store's own") as caught:
        world.apply(flow.Paths, given)
    assert "File(" in str(caught.value.hint)
    found = world.value(world.apply(flow.Files, given))
    assert [len(each.read_bytes()) for each in found] == [1, 400_000]


def test_what_is_added_by_hand_may_name_no_file_of_the_store(world: World, tmp_path: Path) -> None:
    """Nor one that its large objects lie in; the store's folder itself is a text like others."""
    (tmp_path / "big").write_bytes(b"x" * 400_000)
    entry = world.add("big", File(tmp_path / "big"))
    path = world.value(entry).path
    for text in (str(path), path.as_uri(), f"{path.parent}/./{path.name}"):
        with pytest.raises(BadValue, match="the store's own"):
            world.add("text", {"path": text})
    inside = next(p for p in (world.store.path / "objects").rglob("*") if p.is_file())
    with pytest.raises(BadValue, match="the store's own"):
        world.add("text", str(inside))
    for text in (str(world.store.path), f"see {path}", os.path.relpath(world.store.path)):
        assert world.value(world.add("text", text)) == text
