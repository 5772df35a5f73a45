"""A project folder to write pipeline modules in, and a store to apply them to."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bundlerun.pipelines.apply import ApplyResult, apply
from bundlerun.pipelines.session import SessionOptions
from bundlerun.pipelines.targets import Targets
from bundlerun.progress import SILENT, Progress
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store

_NUMBERS = itertools.count()

HEADER = """
import os
import luigi
from bundlerun.bundles.value.files import File
from bundlerun.pipelines.pipe import external
from bundlerun.pipelines.pipe import Pipe
"""


class Project:
    """A pipe root. Module names are new in each test, for a process imports a name once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "log"

    def name(self) -> str:
        """A module name that no other test uses."""
        return f"flow_{os.getpid()}_{next(_NUMBERS)}"

    def write(self, name: str, text: str) -> Path:
        """The file ``name`` (a path, with .py) of the project, with pipes' imports before it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        said = f"LOG = {str(self.log)!r}\ndef say(text):\n    open(LOG, 'a').write(text + '\\n')\n"
        path.write_text(HEADER + said + textwrap.dedent(text))
        return path

    def module(self, text: str) -> ModuleType:
        """A new module of the project, imported."""
        name = self.name()
        self.write(f"{name}.py", text)
        return importlib.import_module(name)

    def said(self) -> list[str]:
        """What the pipes said, in order, since the last time."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        return lines


class World:
    """A context of a real store, and apply on it."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path)
        self.context = self.store.contexts.create("here")
        self.host = Targets(self.store, self.context)

    def add(self, name: str, value: object, **more: Any) -> Entry:
        """A bundle added by hand."""
        return self.store.add(self.context, name, value, **more)

    def apply(
        self,
        pipe: Any,
        input: Entry | None = None,
        output: str = "out",
        *,
        params: dict[str, object] | None = None,
        progress: Progress = SILENT,
        **options: Any,
    ) -> ApplyResult:
        """The engine's apply in this context."""
        return apply(
            pipe,
            host=self.host,
            input=None if input is None else input.bundle,
            output=output,
            params=params,
            options=SessionOptions(**options),
            progress=progress,
        )

    def value(self, found: ApplyResult | Entry) -> Any:
        """The value of an output or a bundle."""
        entry = found.entry if isinstance(found, ApplyResult) else found
        return self.store.value(entry.bundle)

    def names(self) -> list[str]:
        """The names of all bundles, newest first."""
        return [entry.bundle.name for entry in self.store.catalog.search(self.context)]


def apply_in_process(
    folder: Path, pipes: str, workers: int, timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """``bundlerun apply`` of the pipe Top among ``pipes``, in a process of its own."""
    (folder / "flow.py").write_text(HEADER + textwrap.dedent(pipes))
    command = "from bundlerun.cli.main import main; main()"
    options = f"apply --workers {workers} - out flow.Top".split()
    return subprocess.run(
        [sys.executable, "-c", command, *options],
        cwd=folder,
        env={**os.environ, "BUNDLERUN_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A pipe root on the import path, and the working directory."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.chdir(root)
    # A test edits a module and imports it anew within a second: no stale compiled file may win.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Project(root)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(root)):
            del sys.modules[name]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty context."""
    world = World(tmp_path / "store")
    yield world
    world.store.close()
