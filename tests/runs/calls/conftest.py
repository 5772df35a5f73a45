"""A project, a store with a folder as its remote, and jobs that are processes."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import bundlerun as br
from tests.backends.harness import bring

ROOT = Path(__file__).parents[3]

MODEL = """
import os
import signal
import sys
import threading
import time

import bundlerun as br


def double(x):
    return x * 2


def plus(a, b, c=0):
    return a + b + c


def nothing(x):
    return None


def fails(x):
    if x == 2:
        raise ValueError(f"not {x}")
    return x


def says(x):
    print("out", x)
    print("err", x, file=sys.stderr)
    return x


def leaves(x):
    if x == 1:
        sys.exit(3)
    if x == 2:
        os._exit(4)
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 5:
        return threading.Lock()
    if x == 6:
        raise Locked("held")
    return None if x == 7 else x


class Locked(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def sleeps(seconds):
    time.sleep(seconds)
    return seconds


class Fills:
    def __init__(self, piece):
        self.piece = piece

    def __call__(self, mib):
        return len(bytearray(self.piece) * mib) >> 20


def writing(word):
    def writes(x):
        import tempfile

        path = os.path.join(tempfile.mkdtemp(), "file.txt")
        with open(path, "w") as file:
            file.write(f"{word} {x}" * 100_000)
        return br.File(path)

    return writes


def sized(data):
    return data * 2


def slow_in(x):
    from lab import late

    return late.value() + x


class Stranger(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def raises(x):
    raise Stranger("one", x)
"""


@dataclass(frozen=True)
class Lab:
    """The folders of a test."""

    path: Path

    @property
    def remote(self) -> Path:
        """The folder that is the remote."""
        return self.path / "remote"


def forget_lab() -> None:
    """Forget the modules of ``lab``: those of the next test are others."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        del sys.modules[name]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A project ``lab`` on the import path, and a context bound to a folder."""
    bring(
        tmp_path / "site",
        "Processes = tests.backends.processes:Processes",
        "Shelf = tests.runs.calls.shelf:Shelf",
    )
    project = tmp_path / "project"
    (project / "lab").mkdir(parents=True)
    (project / "lab" / "__init__.py").touch()
    (project / "lab" / "model.py").write_text(textwrap.dedent(MODEL))
    (project / "lab" / "late.py").write_text("def value():\n    return 100\n")
    for folder in (tmp_path / "site", ROOT, project):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT}")
    monkeypatch.setenv("BUNDLERUN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("BUNDLERUN_SHELF", str(tmp_path / "shelf"))
    monkeypatch.setenv("BUNDLERUN_PROCESSES", str(tmp_path / "processes"))
    monkeypatch.chdir(project)
    br.remote(br.context("work").name, f"file://{tmp_path}/remote")
    br.switch("work")
    forget_lab()
    yield Lab(tmp_path)
    forget_lab()
    # Not by a glob: runs that are settled meanwhile take their folders away.
    for folder, _, names in os.walk(tmp_path / "processes"):
        if "pid" in names and "end" not in names:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.killpg(int(Path(folder, "pid").read_text()), signal.SIGKILL)
