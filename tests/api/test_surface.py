"""What can be had from ``import bundlerun as br``."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bundlerun as br
from bundlerun import errors
from bundlerun.cli.main import VERBS

GIVEN_BY_PYTHON = {
    "Any",
    "BaseException",
    "Callable",
    "Iterable",
    "Iterator",
    "Mapping",
    "None",
    "Path",
    "Sequence",
    "TracebackType",
}


CLASSES = [br.Workspace, br.Bundle, br.Run, br.View, br.Pipe]

COMMAND_LINE_ALONE = {
    "aws": "br.Pars and br.Knot: in Python resources are objects",
    "sandbox": "what it prints is for the shell that asks for it",
    "worker": "what a container runs; nobody calls it",
}
"""Verbs of the command line without a function, and why."""

FUNCTIONS_ALONE = {
    "attach": "bundlerun wait RUN: in Python the results come as futures",
    "contexts": "bundlerun context",
    "delete_context": "bundlerun context NAME --delete",
    "find": "bundlerun ls NAME: in Python a bundle is an object, or None",
    "get": "a value is had in Python alone",
    "map": "a function is had in Python alone",
    "open": "bundlerun --context NAME, BUNDLERUN_HOME: a workspace of one's own",
    "plan": "bundlerun run --dry-run",
    "starmap": "a function is had in Python alone",
    "submit": "bundlerun run --no-wait",
    "verify": "bundlerun run --verify",
    "view": "a value is had in Python alone, part by part",
    "write_build_context": "bundlerun dockerize --no-build",
}
"""Functions without a verb of their name, and what the command line has instead."""


def test_a_verb_has_one_name_on_the_command_line_and_in_python() -> None:
    """Who knows one knows the other."""
    functions = {name for name in br.__all__ if inspect.isfunction(getattr(br, name))} - {
        "external",
        "as_completed",
    }
    assert set(VERBS) - set(COMMAND_LINE_ALONE) == functions - set(FUNCTIONS_ALONE)
    assert set(COMMAND_LINE_ALONE) < set(VERBS)
    assert set(FUNCTIONS_ALONE) < functions


def test_no_verb_has_more_than_six_parameters() -> None:
    """A value object takes the rest; keywords of its fields count as one with it."""
    functions = [getattr(br, name) for name in br.__all__ if inspect.isfunction(getattr(br, name))]
    methods = [
        value
        for kind in CLASSES
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    ]
    for each in [*functions, *methods, br.Workspace.__init__]:
        parameters = inspect.signature(each).parameters
        counted = [name for name in parameters if name not in ("self", "more")]
        assert len(counted) <= 6, f"{each.__qualname__}{inspect.signature(each)}"


def test_each_verb_says_the_same_of_the_module_and_of_a_workspace() -> None:
    """The same parameters and the same words, but for self."""
    for name in sorted({*VERBS, *FUNCTIONS_ALONE} - {*COMMAND_LINE_ALONE, "open"}):
        function, method = getattr(br, name), getattr(br.Workspace, name)
        of_method = inspect.signature(method)
        parameters = [p for p in of_method.parameters.values() if p.name != "self"]
        assert inspect.signature(function) == of_method.replace(parameters=parameters), name
        assert inspect.getdoc(function) == inspect.getdoc(method), name


def test_every_type_of_the_verbs_can_be_had_from_br() -> None:
    """What a caller receives or must build stands in a signature of the workspace's."""
    names = [name for name in vars(br.Workspace) if not re.match(r"_[^_]|__exit__", name)]
    members = [value for name in names if callable(value := getattr(br.Workspace, name))]
    shown = " ".join(
        str(each)
        for member in [*members, br.Workspace.progress.fget]  # type: ignore[attr-defined]
        for each in (
            inspect.signature(member).return_annotation,
            *(p.annotation for p in inspect.signature(member).parameters.values()),
        )
    )
    named = set(re.findall(r"\b[A-Z]\w+", shown)) - GIVEN_BY_PYTHON
    assert len(named) > 10
    assert sorted(named - set(br.__all__)) == []


@pytest.mark.parametrize("name", br.__all__)
def test_each_name_of_br_is_what_it_is_called(name: str) -> None:
    """A class or verb is that of its name, and documented."""
    found = getattr(br, name)
    assert found.__name__.rpartition(".")[2] == name
    assert found.__doc__


def test_every_verb_is_callable_after_every_module_is_imported() -> None:
    """A module or package directly below bundlerun, or below its api, that had a verb's name would
    take the verb's place once it is imported."""
    program = """
import importlib, pkgutil
import bundlerun as br
import bundlerun.api as api
for module in pkgutil.walk_packages(br.__path__, "bundlerun."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print([n for n in br.__all__ if n != "errors" and not callable(getattr(br, n))])
print([n for n in br.__all__ if hasattr(api, n) and not callable(getattr(api, n))])
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["[]", "[]"]


def test_find_returns_none_where_get_raises(tmp_path: Path) -> None:
    """A name, a version of it and a tag that no bundle has."""
    here = br.open(store=tmp_path / "store")
    made = here.add("x", 1, tags={"k": "v"})
    assert here.find("x") == made
    assert here.find("x", tags={"k": "v"}) == made
    assert here.find("y") is None
    assert here.find("x@0000") is None
    assert here.find("x", tags={"k": "w"}) is None
    with pytest.raises(errors.BundleNotFound):
        here.get("y")


def test_what_would_be_removed_is_looked_at_by_the_same_verb(tmp_path: Path) -> None:
    """And it stays."""
    here = br.open(store=tmp_path / "store")
    made = [here.add("x", number) for number in range(3)]
    would = here.rm("x", old=True, dry_run=True)
    assert sorted(bundle.id for bundle in would) == [bundle.id for bundle in made[:2]]
    assert len(here.ls("x")) == 3
    assert here.rm("x", old=True) == would
    assert len(here.ls("x")) == 1


def test_ls_gives_each_name_once_unless_something_is_chosen(tmp_path: Path) -> None:
    """As ``bundlerun ls`` does."""
    here = br.open(store=tmp_path / "store")
    for name, tags in (("b", {}), ("a", {"k": "v"}), ("a", {})):
        here.add(name, 1, tags=tags)
    here.commit("b")
    names = lambda **chosen: [bundle.name for bundle in here.ls(**chosen)]  # noqa: E731
    assert names() == ["a", "b"]
    assert names(all_versions=True) == ["a", "a", "b"]
    assert names(name="a") == ["a", "a"]
    assert names(tags={"k": "v"}) == ["a"]
    assert names(committed=False) == ["a", "a"]
