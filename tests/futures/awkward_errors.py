"""Exceptions of every awkward kind, as libraries and users write them."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, NoReturn

from bundlerun.errors import BundleNotFound


class OtherArgs(Exception):
    """Its ``__init__`` takes other arguments than ``args`` has: it fails when it is loaded."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"code {code} at {place}")
        self.code = code


class Doubled(Exception):
    """Its ``__init__`` works on what is in ``args`` already, and changes it."""

    def __init__(self, code: object = 0) -> None:
        super().__init__(f"code {code}")


class KeywordOnly(ValueError):
    """Its argument is not in ``args`` at all."""

    def __init__(self, *, field: str) -> None:
        super().__init__()
        self.field = field

    def __str__(self) -> str:
        return f"bad field {self.field}"


class Locked(Exception):
    """It holds what no pickle can have."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Mute(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Bomb(Exception):
    """Its reduction ends the program."""

    def __reduce__(self) -> NoReturn:
        raise SystemExit(5)


class LateBomb(Exception):
    """Loading it ends the program."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int]]:
        return (exit, (5,))


class Deceiver(Exception):
    """Loading it gives something else."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (str, ("not an exception",))


class Huge(Exception):
    """It holds many bytes."""

    def __init__(self) -> None:
        super().__init__("huge")
        self.data = os.urandom(6 << 20)


def caused() -> Exception:
    """With a cause, whose text is in the traceback."""
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        return error


def decoding() -> Exception:
    """UnicodeDecodeError, which its args alone do not make."""
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError


def missing_file() -> Exception:
    """FileNotFoundError, with a file name that is not in its args."""
    try:
        Path("/no/such/file").read_bytes()
    except OSError as error:
        return error
    raise AssertionError


def bad_json() -> Exception:
    """JSONDecodeError, which reduces itself."""
    try:
        json.loads("{")
    except json.JSONDecodeError as error:
        return error
    raise AssertionError


class Slotted(Exception):
    """What it holds stands in a slot."""

    __slots__ = ("held",)

    def __init__(self, text: str, held: int) -> None:
        super().__init__(text, held)
        self.held = held


def deep() -> Exception:
    """RecursionError, of a thousand frames."""

    def fall(depth: int) -> int:
        return fall(depth + 1) + 1

    try:
        fall(0)
    except RecursionError as error:
        return error
    raise AssertionError


class Around(Exception):
    """It holds another one."""

    def __init__(self, inner: Exception) -> None:
        super().__init__("around")
        self.inner = inner


GROUPS: dict[str, Callable[[], BaseException]] = {}
if sys.version_info >= (3, 11):
    _Group: Any = vars(builtins)["ExceptionGroup"]
    GROUPS["group"] = lambda: _Group("two", [ValueError(1), OtherArgs(2, "x")])
    GROUPS["groups"] = lambda: _Group("all", [_Group("one", [Around(OtherArgs(2, "x"))])])

AS_THEMSELVES: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: ValueError("bad", 7),
    "no args": lambda: ZeroDivisionError(),
    "other args": lambda: OtherArgs(7, "home"),
    "doubled": lambda: Doubled(3),
    "keyword only": lambda: KeywordOnly(field="x"),
    "caused": caused,
    "decoding": decoding,
    "file": missing_file,
    "json": bad_json,
    "os by hand": lambda: OSError(28, "No space left on device", "/data"),
    "key": lambda: KeyError("k"),
    "stop": lambda: StopIteration(4),
    "surrogate": lambda: ValueError("a lone \udc80 surrogate"),
    "process": lambda: subprocess.CalledProcessError(3, ["ls"], b"out", b"err"),
    "import": lambda: ModuleNotFoundError("No module named 'x'", name="x", path="/x.py"),
    "attribute": lambda: AttributeError("no y", name="y", obj=3),
    "slots": lambda: Slotted("full", 7),
    "deep": deep,
    "around another": lambda: Around(OtherArgs(1, "y")),
    "of bundlerun": lambda: BundleNotFound("no such bundle", hint="bundlerun ls"),
    **GROUPS,
    "reduction": lambda: Bomb("b"),
    "assertion": lambda: AssertionError("1 != 2"),
}
"""What comes back as itself."""

AS_TEXT: dict[str, Callable[[], BaseException]] = {
    "locked": lambda: Locked("held"),
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(),
    "generator exit": lambda: GeneratorExit("gone"),
    "mute": lambda: Mute("x"),
    "huge": lambda: Huge(),
    "http": lambda: urllib.error.HTTPError("http://x", 404, "gone", Message(), sys.stdin.buffer),
}
"""What comes as ItemFailed."""


def raise_it(make: Callable[[], BaseException]) -> NoReturn:
    """The item's own frame."""
    raise make()
