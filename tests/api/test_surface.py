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

GIVEN_BY_PYTHON = {
    "Any",
    "BaseException",
    "Iterator",
    "Mapping",
    "None",
    "Path",
    "Sequence",
    "TracebackType",
}


def test_every_type_of_the_verbs_can_be_had_from_br() -> None:
    """What a caller receives or must build stands in a signature of the workspace's."""
    members = [value for value in vars(br.Workspace).values() if callable(value)]
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
