"""What runs in an interpreter of its own, as the container of a map does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def in_child(program: str, *given: str, data: bytes = b"", path: Path | None = None) -> bytes:
    """What ``program`` writes to its stdout, as bytes; ``data`` is its stdin, ``given`` its
    arguments, and ``path``, where there is one, stands on its import path."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, filter(None, (path, ROOT)))),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *given],
        input=data,
        capture_output=True,
        cwd="/",
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
