"""What both sides of the benchmark share: making the inputs, timing, and reading the counters.

Standard library only, Python 3.10 or newer, since it is imported in two environments.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FILE_BYTES = 10_000
SMALL_FILE_BYTES = 1_000


def write_random(path: Path, size_bytes: int, seed: int) -> None:
    """A file of ``size_bytes`` incompressible bytes, the same for the same seed."""
    path.write_bytes(random.Random(seed).randbytes(size_bytes))


def write_files(folder: Path, count: int) -> None:
    """``count`` files of 10 KB in ``folder``, named ``file0000.bin`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        write_random(folder / f"file{number:04}.bin", FILE_BYTES, number)


def change_one_file(folder: Path) -> None:
    """Version 2 of what `write_files` made: one file has other bytes."""
    files = sorted(folder.iterdir())
    write_random(files[len(files) // 2], FILE_BYTES, 1_000_000)


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of one call, seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def best_seconds(work: Callable[[], object], times: int, pause_s: float = 0.0) -> float:
    """The least wall time of ``times`` calls, seconds: what others do to the machine only adds.

    ``pause_s`` between the calls spreads them, so that one busy moment does not meet them all.
    """
    found = []
    for _ in range(times):
        found.append(seconds_of(work))
        time.sleep(pause_s)
    return min(found)


def output_of(command: list[str], given: str | None = None) -> str:
    """What a command prints to its standard output, ``given`` being its standard input.

    Raises RuntimeError with the end of all its output where its exit code is not 0.
    """
    source = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
    done = subprocess.run(command, capture_output=True, text=True, **source)
    if done.returncode:
        tail = (done.stdout + done.stderr)[-3000:]
        raise RuntimeError(f"{' '.join(command)} exited {done.returncode}:\n{tail}")
    text: str = done.stdout
    return text


def process_seconds(command: list[str], times: int = 1) -> float:
    """The least wall time of a whole process, seconds. Raises RuntimeError where it fails."""
    return best_seconds(lambda: output_of(command), times)


def _proxy(verb: str) -> dict[str, Any]:
    address = f"{os.environ['AWS_ENDPOINT_URL_S3']}/-/{verb}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=30) as answer:
        counts: dict[str, Any] = json.loads(answer.read())
    return counts


@contextmanager
def counted() -> Iterator[dict[str, Any]]:
    """Times a block, and counts the requests and bytes that passed the proxy in it.

    The given dictionary is filled at the end: seconds, requests, methods, statuses, up_bytes,
    down_bytes. The proxy's address is AWS_ENDPOINT_URL_S3.
    """
    found: dict[str, Any] = {}
    _proxy("reset")
    begin = time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - begin
    found.update(_proxy("counts"))


def disk_use(folder: Path) -> dict[str, int]:
    """Files and bytes on disk below ``folder``; a file with several links counts once."""
    files = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    blocks = {(info.st_dev, info.st_ino): info.st_blocks * 512 for info in files}
    return {"files": len(files), "bytes": sum(blocks.values())}


def image_size_bytes(image: str) -> int:
    """The size of an image as the engine gives it, with its base, bytes."""
    return int(output_of(["docker", "image", "inspect", "--format", "{{.Size}}", image]))


def image_ids(image: str) -> list[str]:
    """The id of the image that a name stands for; none where there is no such image."""
    return output_of(["docker", "images", "--quiet", "--no-trunc", image]).split()


def bare_run_seconds(image: str, times: int = 3) -> float:
    """The least time of ``docker run IMAGE python -c pass``, seconds: the floor of any run."""
    command = ["docker", "run", "--rm", "--entrypoint", "python", image, "-c", "pass"]
    return process_seconds(command, times)


def add_a_line(module: Path) -> None:
    """A one-line edit of a pipeline's source, a different one each time."""
    with module.open("a") as text:
        text.write(f"EDITED = {time.time_ns()}\n")
