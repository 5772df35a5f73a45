"""Keeps one job of ``Processes``: starts it, and writes down its end. Its argument is a folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def keep(job: Path) -> None:
    """Run the job of this folder to its end, unless another keeper has it."""
    with contextlib.suppress(FileExistsError), (job / "keeper").open("x"):
        _keep(job)


def _keep(job: Path) -> None:
    spec = json.loads((job / "spec").read_text())
    started_s, timed_out = time.time(), False
    with (job / "log").open("wb") as log:
        process = subprocess.Popen(
            spec["argv"],
            env={**os.environ, **spec["env"]},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        write(job / "pid", str(process.pid))
        if (job / "cancelled").exists():
            os.killpg(process.pid, signal.SIGKILL)
        try:
            code = process.wait(spec["timeout_s"])
        except subprocess.TimeoutExpired:
            timed_out = True
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    write(job / "end", json.dumps([code, timed_out, started_s, time.time()]))


def write(path: Path, text: str) -> None:
    """All of it at once."""
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(text)
    aside.rename(path)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
