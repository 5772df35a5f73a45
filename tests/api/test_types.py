"""What type checkers say of a user's script."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "api" / "typed_script.py"

MISTAKES = {
    "count: str = Numbers(count=1).count": "a parameter is of its own type",
    "br.serach()": "there is no such verb",
    "br.ApplyOptions(worker=2)": "there is no such option",
    "br.add('x', 1).value_": "a bundle has no such attribute",
    "br.find('x').id": "there may be none",
    "halves: list[str] = list(br.map(half, [1]).results())": "a result is the function's own",
    "half_of: int = br.starmap(half, [(1,)])[0].result()": "a result is the function's own",
    "br.Executor().submit(half, 'x')": "an argument is of the function's own type",
    "br.map(half, [1]).resluts()": "a run has no such method",
}
"""What a checker is to find in a script, and why."""

pytestmark = pytest.mark.heavy


def mypy(script: Path) -> list[str]:
    """Its errors, in strict mode and without this project's settings."""
    command = [
        "-m",
        "mypy",
        "--strict",
        "--config-file",
        "",
        "--cache-dir",
        str(ROOT / ".mypy_cache" / "user"),
    ]
    said = run(*command, "--no-error-summary", str(script))
    return [line for line in said.splitlines() if ": error: " in line]


def pyright(script: Path) -> list[str]:
    """Its errors."""
    said = run(
        "-m",
        "basedpyright",
        "--outputjson",
        "--level",
        "error",
        "--pythonpath",
        sys.executable,
        str(script),
    )
    found = json.loads(said)["generalDiagnostics"]
    return [f"{each['range']['start']['line']}: {each['message']}" for each in found]


def run(*arguments: str) -> str:
    """What a checker says."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=240
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("check", [mypy, pyright])
def test_a_typed_script_passes(check: Callable[[Path], list[str]]) -> None:
    """Pipes with parameters and requires, the verbs, and what they give."""
    assert check(SCRIPT) == []


@pytest.mark.parametrize("check", [mypy, pyright])
def test_mistakes_are_found(check: Callable[[Path], list[str]], tmp_path: Path) -> None:
    """A line each: types that were Any would let them pass."""
    script = tmp_path / "mistaken.py"
    own = SCRIPT.read_text().partition("if __name__ ==")[0]
    script.write_text(own + "\n".join(MISTAKES) + "\n")
    found = check(script)
    assert len(found) == len(MISTAKES), "\n".join(found)


def test_the_script_does_what_it_says(tmp_path: Path) -> None:
    """It is a script that runs."""
    said = run(str(SCRIPT), str(tmp_path / "store")).splitlines()
    assert said[0].startswith("20 20 5 ")
    assert "offset" in said[-1]
