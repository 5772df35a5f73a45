"""``python -m bundlerun`` is the command."""

from __future__ import annotations

import subprocess
import sys


def test_the_module_is_the_command() -> None:
    """Where only the interpreter is known: same name, same exit codes."""
    asked = [sys.executable, "-m", "bundlerun"]
    shown = subprocess.run([*asked, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("bundlerun")
    wrong = subprocess.run([*asked, "no-such-verb"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "__main__" not in wrong.stderr
