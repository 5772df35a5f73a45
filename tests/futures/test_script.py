"""A script over argument lists, as the container of its image runs it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bundlerun.errors import ScriptFailed, UsageError
from bundlerun.futures.script import run_script

PYTHON = """
import sys
sys.stderr.write("begun\\n")
if sys.argv[1] == "fail":
    sys.stderr.write("no such thing\\n")
    sys.exit(int(sys.argv[2]))
if sys.argv[1] == "die":
    import os
    os.kill(os.getpid(), int(sys.argv[2]))
print(" ".join(sys.argv[1:]), sys.stdin.read() == "")
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in Python, named as the image of one names it."""
    path = tmp_path / "fit.py"
    path.write_text(PYTHON)
    monkeypatch.setenv("BUNDLERUN_SCRIPT", str(path))
    return path


def test_the_result_is_what_it_wrote(script: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Arguments are texts, numbers and paths; standard error is passed on; nothing is read."""
    assert run_script(["a b", 3, 0.5, Path("x/y")]) == "a b 3 0.5 x/y True\n"
    assert capfd.readouterr().err == "begun\n"


def test_any_program_may_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its first line; bytes that are not text can be brought back."""
    path = tmp_path / "say"
    path.write_text("#!/bin/sh\nprintf '\\377%s' \"$1\"\n")
    path.chmod(0o755)
    monkeypatch.setenv("BUNDLERUN_SCRIPT", str(path))
    assert run_script(("x",)).encode("utf-8", "surrogateescape") == b"\xffx"


def test_a_failure_has_the_exit_code_and_what_was_said(script: Path) -> None:
    """And survives the way back to the client."""
    with pytest.raises(ScriptFailed, match=r"fit.py fail 3 ended with exit code 3: no such") as e:
        run_script(["fail", 3])
    found = pickle.loads(pickle.dumps(e.value))
    assert (found.status, found.evidence) == (3, "begun\nno such thing\n")
    assert str(found) == str(e.value)
    assert found.exit_code == 11


def test_a_signal_is_named(script: Path) -> None:
    """As what ended it."""
    with pytest.raises(ScriptFailed, match="was ended by SIGKILL") as caught:
        run_script(["die", 9])
    assert caught.value.status == -9


@pytest.mark.parametrize("item", ["-n 3", b"x", 3, None, [None], [True], [["a"]]])
def test_what_is_no_list_of_arguments_is_refused(script: Path, item: object) -> None:
    """A text would be taken apart, letter by letter."""
    with pytest.raises(UsageError):
        run_script(item)  # type: ignore[arg-type]


def test_outside_of_its_image_there_is_no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what makes one."""
    monkeypatch.delenv("BUNDLERUN_SCRIPT", raising=False)
    with pytest.raises(UsageError, match="DockerImage"):
        run_script([])
