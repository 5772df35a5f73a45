"""The function of a map: what is dumped in one interpreter runs in another, with its sources."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundlerun as br
from bundlerun.errors import (
    BadValue,
    InfraError,
    IntegrityError,
    LargeFunction,
    UsageError,
    UserError,
)
from bundlerun.futures.payload import (
    Versions,
    check_function,
    check_versions,
    dump_function,
    load_function,
    name_of,
    versions,
)
from tests.futures.children import ROOT, in_child
from tests.futures.conftest import Machines
from tests.futures.lab_project import write_lab

DUMP_ALL = """
from bundlerun.futures.payload import dump_function
from bundlerun.runs.calls.sources import sources_of
import json, pathlib
answers = {}
for at, (name, (func, args, kwargs)) in enumerate(CALLABLES.items()):
    payload = dump_function(func, kwargs, sources_of(func, kwargs).data)
    assert payload == dump_function(func, kwargs, sources_of(func, kwargs).data), name
    pathlib.Path(sys.argv[1], str(at)).write_bytes(payload)
    answers[name] = [at, list(args), repr(func(*args, **kwargs))]
print(json.dumps(answers))
"""

LOAD_ALL = """
import json, os, pathlib, sys, tempfile
from bundlerun.futures.payload import load_function
found = {}
for name, (at, args, _) in json.load(sys.stdin).items():
    # A process each: what one function brings along must not help another.
    ends = os.pipe()
    if os.fork() == 0:
        try:
            payload = pathlib.Path(sys.argv[1], str(at)).read_bytes()
            func = load_function(payload, pathlib.Path(tempfile.mkdtemp()))
            said = repr(func(*map(lambda a: tuple(a) if name == "itemgetter" else a, args)))
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(ends[1], said.encode())
        os._exit(0)
    os.close(ends[1])
    found[name] = os.fdopen(ends[0]).read()
    os.wait()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a scientist."""
    return write_lab(tmp_path_factory.mktemp("lab"))


def as_script(lab: Path, more: str, *given: str) -> str:
    """What the project's script prints, with ``more`` at its end, run as a scientist does."""
    (lab / "script.py").write_text((lab / "run_all.py").read_text() + more)
    done = subprocess.run(
        [sys.executable, "script.py", *given],
        cwd=lab,
        env={**os.environ, "PYTHONPATH": f"{lab}/elsewhere:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.heavy
def test_every_callable_gives_in_a_job_what_it_gives_here(lab: Path, tmp_path: Path) -> None:
    """Forty of them, each in a process that has nothing of the project but what was sent; and the
    same function makes the same bytes."""
    told = as_script(lab, DUMP_ALL, str(tmp_path))
    expected = {name: answer for name, (_, _, answer) in json.loads(told).items()}
    found = json.loads(in_child(LOAD_ALL, str(tmp_path), data=told.encode()))
    assert found == expected
    assert len(found) >= 40


BACK = """
from bundlerun.futures.codec import Codec
from bundlerun.futures.payload import dump_function
from bundlerun.remotes.folder import FileRemote
import pathlib, subprocess
codec = Codec(FileRemote("file:///proc/none"), pathlib.Path("/proc/none"))
for func in (Scaled(3), Scaled(4).method):
    payload, command = dump_function(func, {}, {}), [sys.executable, "-c", sys.argv[1]]
    made = subprocess.run(command, input=payload, capture_output=True)
    found = codec.decode(made.stdout, True)
    print(type(found) is Scaled if isinstance(found, Scaled) else found[2] is Colour.RED)
"""

RUN_ONE = """
import pathlib, sys, tempfile
from bundlerun.futures.codec import Codec
from bundlerun.futures.payload import load_function
from bundlerun.remotes.folder import FileRemote
func = load_function(sys.stdin.buffer.read(), pathlib.Path(tempfile.mkdtemp()))
codec = Codec(FileRemote("file:///proc/none"), pathlib.Path("/proc/none"))
sys.stdout.buffer.write(codec.encode(func(2)))
"""


@pytest.mark.heavy
def test_what_comes_back_is_of_the_scripts_own_class(lab: Path) -> None:
    """A class that went by value: isinstance holds, and members of an enum are the same."""
    assert as_script(lab, BACK, RUN_ONE).split() == ["True", "True"]


NOTEBOOK = """
import sys, types
assert not hasattr(sys.modules["__main__"], "__file__")
import beside
from lab.shapes import Point
OFFSET = 5
class Own:
    def __init__(self, x): self.x = x
    def __repr__(self): return f"Own({self.x})"
def cell(x):
    from lab.lazy import offset
    return [Own(beside.offset(x)), Point(x, OFFSET), offset()]
from bundlerun.futures.payload import dump_function
from bundlerun.runs.calls.sources import sources_of
found = sources_of(cell)
print(found.root, *found.files, file=sys.stderr)
sys.stdout.buffer.write(dump_function(cell, {}, found.data))
"""

PRINT_ONE = """
import pathlib, sys
from bundlerun.futures.payload import load_function
print(load_function(sys.stdin.buffer.read(), pathlib.Path(sys.argv[1]))(2))
print(sys.path[0] == sys.argv[1])
"""


@pytest.mark.heavy
def test_a_notebooks_cell_runs_in_a_job(lab: Path, tmp_path: Path) -> None:
    """A function without a file, its class, the project modules that it uses and imports late."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], cwd=lab, env=environment, capture_output=True
    )
    assert made.returncode == 0, made.stderr
    root, *files = made.stderr.decode().split()
    assert root == str(lab)
    assert files == [
        "beside.py",
        "lab/__init__.py",
        "lab/lazy.py",
        "lab/shapes.py",
        "lab/words.txt",
    ]
    said = in_child(PRINT_ONE, str(tmp_path), data=made.stdout).decode()
    assert said == "[Own(9), Point(x=2, y=5), 100]\nTrue\n"


def function_of(source: str, name: str = "it") -> Any:
    """A function as a notebook's cell makes one, in a namespace of its own."""
    space: dict[str, Any] = {"__name__": "__main__", "functools": functools, "br": br, "np": np}
    exec(source, space)
    return space[name]


class Generating:
    """An instance that is called as a generator function."""

    def __call__(self, x: int) -> Iterator[int]:
        yield x

    async def method(self, x: int) -> int:
        """A coroutine."""
        return x

    @staticmethod
    async def plain(x: int) -> Any:
        """An asynchronous generator."""
        yield x


def generating(x: int) -> Iterator[int]:
    """A generator function."""
    yield x


@pytest.mark.parametrize(
    ("func", "what"),
    [
        (generating, "a generator"),
        (functools.partial(generating), "a generator"),
        (functools.partial(functools.partial(generating), 1), "a generator"),
        (functools.lru_cache(generating), "a generator"),
        (Generating(), "a generator"),
        (functools.partial(Generating()), "a generator"),
        (Generating().__call__, "a generator"),
        (Generating().method, "a coroutine"),
        (functools.partial(Generating().method, 1), "a coroutine"),
        (Generating.plain, "an asynchronous generator"),
        (lambda x: (yield x), "a generator"),
        (7, "not callable"),
        (None, "not callable"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_cannot_be_mapped_is_refused(func: Any, what: str) -> None:
    """Before anything is pickled, with what to do instead."""
    with pytest.raises(UsageError, match=what) as caught:
        dump_function(func, {}, {})
    assert caught.value.hint


@pytest.mark.parametrize("func", [len, Generating, lambda: [], functools.partial(len), list.append])
def test_what_can_be_called_is_let_pass(func: Callable[..., Any]) -> None:
    """A class too: what it makes is the result."""
    check_function(func)


LARGE = {
    "global": ("D = DATA\ndef it(x): return D[x]", "the global variable D (11000"),
    "closure": (
        "def make(d):\n    return lambda x: d[x]\nit = make(DATA)",
        "the variable d (11000",
    ),
    "default": ("def it(x, data=DATA): return data", "a default argument"),
    "partial": ("it = functools.partial(max, DATA)", "the argument 0"),
    "attribute": (
        "class A:\n    def __call__(self, x): return x\nit = A()\nit.field = DATA",
        "the attribute field",
    ),
    "function in a function": (
        "D = DATA\ndef inner(x): return D[x]\ndef it(x): return [inner(y) for y in x]",
        "bytes), in it the global variable D (11000",
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_function_is_sent_with_a_warning(name: str) -> None:
    """It names the variable that is large, through the functions that hold it."""
    source, told = LARGE[name]
    func = function_of(source.replace("DATA", "b'x' * 11_000_000"))
    with pytest.warns(LargeFunction, match="takes 1100") as caught:
        dump_function(func, {}, {})
    assert told in str(caught[0].message)


def test_the_same_function_makes_the_same_bytes() -> None:
    """Also one that is made anew each time, with equal variables; another one makes others."""

    def made(n: int) -> Callable[..., Any]:
        return lambda x: [x, n, Generating]

    payloads = [dump_function(made(n), {"a": [1.5]}, {"m.py": b"x"}) for n in (5, 5, 6)]
    assert payloads[0] == payloads[1] != payloads[2]


def test_a_small_function_is_sent_in_silence() -> None:
    """Whatever else stands in its module."""
    func = function_of("UNUSED = b'x' * 200_000_000\ndef it(x): return x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(dump_function(func, {"a": 1}, {})) < 2000


@pytest.mark.heavy
def test_a_function_over_the_limit_is_refused() -> None:
    """By the name of the variable; also in the keyword arguments."""
    func = function_of("TABLE = b'x' * 101_000_000\ndef it(x): return TABLE[x]")
    with pytest.raises(BadValue, match=r"over 100000000 bytes.*the global variable TABLE"):
        dump_function(func, {}, {})
    with pytest.raises(BadValue, match="the argument data"):
        dump_function(len, {"data": b"x" * 101_000_000}, {})


@pytest.mark.heavy
def test_sources_over_the_limit_are_refused() -> None:
    """By the name of the largest file."""
    with pytest.raises(BadValue, match=r"the largest file is lab/big\.so"):
        dump_function(len, {}, {"lab/big.so": os.urandom(101_000_000), "lab/small.py": b""})


def test_what_cannot_be_pickled_is_refused() -> None:
    """With the reason."""
    func = function_of("import threading\nL = threading.Lock()\ndef it(x):\n    with L: return x")
    with pytest.raises(BadValue, match=r"cannot pickle '_thread\.lock'"):
        dump_function(func, {}, {})


def test_files_that_a_function_holds_travel_by_the_codec(
    machines: Machines, tmp_path: Path
) -> None:
    """As its variables and as keyword arguments; without a codec they are refused."""
    (tmp_path / "a.txt").write_text("held")
    (tmp_path / "b.txt").write_text("given")
    func = function_of("def it(x, other): return [x, held.read_text(), other.read_text()]")
    func.__globals__["held"] = br.File(tmp_path / "a.txt")
    given = {"other": br.File(tmp_path / "b.txt")}
    with pytest.raises(BadValue, match=r"File\('a.txt'\)"):
        dump_function(func, given, {})
    payload = dump_function(func, given, {}, machines.client)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).unlink()
    called = load_function(payload, tmp_path / "code", machines.job)
    sys.path.remove(str(tmp_path / "code"))
    assert called(1) == [1, "held", "given"]


def test_keyword_arguments_are_bound(tmp_path: Path) -> None:
    """Those of the map."""
    func = load_function(dump_function(sorted, {"reverse": True}, {}), tmp_path)
    sys.path.remove(str(tmp_path))
    assert func([1, 3, 2]) == [3, 2, 1]


OTHERS = [Versions("3.9", versions().cloudpickle), Versions(versions().python, "2.2.0")]


@pytest.mark.parametrize("planned", OTHERS, ids=["python", "cloudpickle"])
def test_a_job_of_other_versions_says_so(planned: Versions) -> None:
    """Both versions, and nothing was unpickled."""
    check_versions(versions())
    with pytest.raises(InfraError) as caught:
        check_versions(planned)
    for each in (planned.python, planned.cloudpickle, versions().python, versions().cloudpickle):
        assert each in caught.value.message


def test_a_function_of_other_versions_is_not_unpickled(tmp_path: Path) -> None:
    """Where the plan said nothing, the payload itself does."""

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    payload = dump_function(functools.partial(print, Bomb()), {}, {})
    here, other = versions().cloudpickle.encode(), b"0.0.0"[: len(versions().cloudpickle)]
    changed = rezipped(
        payload, lambda name, data: data.replace(here, other) if name == "about.json" else data
    )
    with pytest.raises(InfraError, match=r"0\.0\.0"):
        load_function(changed, tmp_path / "code")
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "code").exists()


def rezipped(payload: bytes, change: Callable[[str, bytes], bytes], **more: bytes) -> bytes:
    """The payload with other members."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, data in more.items():
            new.writestr(name, data)
    return made.getvalue()


@pytest.mark.parametrize(
    "path", ["sources/../out.py", "sources//etc/out.py", "/out.py", "sources/a/../../b"]
)
def test_no_source_leaves_its_folder(path: str, tmp_path: Path) -> None:
    """Also from a payload that was sealed."""
    payload = rezipped(dump_function(len, {}, {}), lambda name, data: data, **{path: b"evil"})
    with pytest.raises(IntegrityError):
        load_function(payload, tmp_path / "deep/code")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("cut", [0, 1, 30, -1, -22])
def test_what_is_not_a_payload_is_refused(cut: int, tmp_path: Path) -> None:
    """Cut anywhere."""
    with pytest.raises(IntegrityError):
        load_function(dump_function(len, {}, {})[:cut], tmp_path)


@pytest.mark.heavy
def test_a_function_that_cannot_be_loaded_says_what_is_missing(tmp_path: Path) -> None:
    """By the module, and how to bring it."""
    program = f"""
import pathlib, sys
sys.path.insert(0, {str(tmp_path)!r})
pathlib.Path({str(tmp_path)!r}, "only_here.py").write_text("def it(x): return x")
from bundlerun.futures.payload import dump_function
import only_here
sys.stdout.buffer.write(dump_function(only_here.it, {{}}, {{}}))
"""
    payload = in_child(program)
    with pytest.raises(UserError, match="No module named 'only_here'") as caught:
        load_function(payload, tmp_path / "code")
    sys.path.remove(str(tmp_path / "code"))
    assert "requirements" in str(caught.value.hint)
    assert "Traceback" in caught.value.evidence


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (len, "builtins.len"),
        (functools.partial(functools.partial(generating)), "tests.futures.test_payload.generating"),
        (Generating(), "tests.futures.test_payload.Generating"),
        (Generating().method, "tests.futures.test_payload.Generating.method"),
    ],
    ids=["builtin", "partial", "instance", "method"],
)
def test_a_function_has_the_name_that_people_know(func: Any, name: str) -> None:
    """For plans and lists."""
    assert name_of(func) == name
