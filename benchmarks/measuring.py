"""What both sides of the benchmark share: making the inputs, timing, and reading the counters.

Standard library only, Python 3.10 or newer, since it is imported in two environments.
"""

from __future__ import annotations

import json
import os
import random
import resource
import stat
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FILE_BYTES = 10_000
SMALL_FILE_BYTES = 1_000


@contextmanager
def home_folder(prefix: str) -> Iterator[Path]:
    """A new folder for one piece of work. At the end what is large in it goes; the rest stays until
    the whole bench is over, in whose TMPDIR it lies.

    For a minute or more after thousands of files were deleted, ext4 makes new ones ten times more
    slowly (recently_deleted() in Linux' fs/ext4/ialloc.c), and whoever comes next would pay.
    """
    home = Path(tempfile.mkdtemp(prefix=prefix))
    yield home
    for above, _, names in os.walk(home):
        for path in (Path(above, name) for name in names):
            if path.lstat().st_size >= 1 << 20:
                path.unlink()


def write_random(path: Path, size_bytes: int, seed: int) -> None:
    """A file of ``size_bytes`` incompressible bytes, the same for the same seed."""
    path.write_bytes(random.Random(seed).randbytes(size_bytes))


def write_large(path: Path, size_bytes: int) -> None:
    """A large file of incompressible bytes, a megabyte at a time."""
    with path.open("wb") as file:
        for start in range(0, size_bytes, 10**6):
            file.write(os.urandom(min(10**6, size_bytes - start)))


def many_path(folder: Path, number: int) -> Path:
    """Where `write_many` puts the file ``number``: a thousand a folder."""
    return folder / f"part{number // 1000:03}" / f"file{number:06}.bin"


def write_many(folder: Path, count: int) -> None:
    """``count`` files of 1 KB below ``folder``."""
    for number in range(count):
        path = many_path(folder, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_random(path, SMALL_FILE_BYTES, number)


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


def repeated(
    key: str, work: Callable[[], object], times: int, pause_s: float = 0.0, share: int = 1
) -> dict[str, float]:
    """The wall time of ``times`` calls over ``share``, seconds: ``key`` is the median, ``key_best``
    the least, which is what there is where others use the machine too.

    ``pause_s`` between the calls spreads them, so that one busy moment does not meet them all.
    """
    found = []
    for _ in range(times):
        found.append(seconds_of(work) / share)
        time.sleep(pause_s)
    return median_and_best(key, found)


def median_and_best(key: str, seconds: Sequence[float]) -> dict[str, float]:
    """Several times as two figures."""
    return {key: statistics.median(seconds), f"{key}_best": min(seconds)}


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


def tenths(home: Path, count: int, add: Callable[[int, Path], object]) -> dict[str, float]:
    """``add`` called for ``count`` new files of 1 KB below ``home``, a tenth after the other.

    Seconds a call: the median and the best of the tenths, the mean of all; ``growth`` is the last
    tenth over the first. Writing the files is not in it. ``disk`` is what a bare durable write
    takes meanwhile.
    """
    found: list[float] = []
    disk: list[float] = []
    some = count // 10
    for tenth in range(10):
        sources = {}
        for number in range(tenth * some, (tenth + 1) * some):
            sources[number] = home / f"source{number:06}.bin"
            write_random(sources[number], SMALL_FILE_BYTES, number)
        begin = time.perf_counter()
        for number, source in sources.items():
            add(number, source)
        found.append((time.perf_counter() - begin) / some)
        disk.append(durable_write_seconds(home))
    mean = sum(found) / len(found)
    times = {**median_and_best("seconds", found), **median_and_best("disk", disk)}
    return {**times, "mean": mean, "growth": found[-1] / found[0]}


def durable_write_seconds(home: Path) -> float:
    """The median time of appending 4 KiB to a file and waiting until it is on the disk."""
    block = os.urandom(4096)
    with open(home / "durable.bin", "ab", buffering=0) as file:

        def write() -> None:
            file.write(block)
            os.fdatasync(file.fileno())

        return statistics.median(seconds_of(write) for _ in range(20))


def processes(key: str, command: list[str], times: int) -> dict[str, float]:
    """`repeated` of a whole process. Raises RuntimeError where it fails."""
    return repeated(key, lambda: output_of(command), times)


def peak_bytes() -> int:
    """The most memory that this process held so far (resident), bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def open_files() -> int:
    """How many files this process has open, sockets and pipes included."""
    return len(os.listdir("/proc/self/fd"))


def control(verb: str) -> dict[str, Any]:
    """What the counting server at AWS_ENDPOINT_URL_S3, a proxy or a box, answers to a verb."""
    address = f"{os.environ['AWS_ENDPOINT_URL_S3']}/-/{verb}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=30) as answer:
        counts: dict[str, Any] = json.loads(answer.read())
    return counts


@contextmanager
def counted() -> Iterator[dict[str, Any]]:
    """Times a block, and counts the requests and bytes that passed the proxy in it.

    The given dictionary is filled at the end: seconds, requests, and of a proxy methods, statuses,
    up_bytes, down_bytes, of a box operations.
    """
    found: dict[str, Any] = {}
    control("reset")
    begin = time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - begin
    found.update(control("counts"))


def of_services(found: dict[str, Any]) -> dict[str, Any]:
    """What `counted` found of a box, with its requests parted: ``s3``; ``polls``, which ask after
    jobs; ``calls``, all others beside STS."""
    operations: dict[str, int] = found["operations"]
    polls = {"batch.describejobs", "batch.listjobs"}
    s3 = sum(n for name, n in operations.items() if name.startswith("s3."))
    asked = sum(n for name, n in operations.items() if name in polls)
    sts = sum(n for name, n in operations.items() if name.startswith("sts."))
    return {**found, "s3": s3, "polls": asked, "calls": found["requests"] - s3 - asked - sts}


def asked_while_waiting(seconds: float) -> dict[str, Any]:
    """What a box is asked from now on, within ``seconds``: ``requests``, and ``early``, those in
    the first third."""
    control("reset")
    time.sleep(seconds / 3)
    early = control("counts")["requests"]
    time.sleep(seconds * 2 / 3)
    return {"early": early, "requests": control("counts")["requests"]}


def disk_use(folder: Path) -> dict[str, int]:
    """Files and bytes on disk below ``folder``; a file with several links counts once."""
    blocks = {}
    for path in folder.rglob("*"):
        # It may be gone meanwhile, where somebody works in the folder.
        with suppress(FileNotFoundError):
            info = path.lstat()
            if stat.S_ISREG(info.st_mode):
                blocks[path] = (info.st_dev, info.st_ino, info.st_blocks * 512)
    inodes = {each[:2]: each[2] for each in blocks.values()}
    return {"files": len(blocks), "bytes": sum(inodes.values())}


@contextmanager
def disk_watched(folder: Path, found: dict[str, Any], key: str) -> Iterator[None]:
    """Looks at a folder of few files all the while; ``found[key]`` is the most bytes on disk."""
    ended = threading.Event()
    most = [disk_use(folder)["bytes"]]

    def watch() -> None:
        while not ended.wait(0.05):
            most.append(disk_use(folder)["bytes"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    ended.set()
    watcher.join()
    found[key] = max(most)


def image_size_bytes(image: str) -> int:
    """The size of an image as the engine gives it, with its base, bytes."""
    return int(output_of(["docker", "image", "inspect", "--format", "{{.Size}}", image]))


def image_ids(image: str) -> list[str]:
    """The id of the image that a name stands for; none where there is no such image."""
    return output_of(["docker", "images", "--quiet", "--no-trunc", image]).split()


def bare_runs(image: str) -> dict[str, float]:
    """``docker run IMAGE python -c pass`` as ``bare``, seconds: the floor of any run."""
    command = ["docker", "run", "--rm", "--entrypoint", "python", image, "-c", "pass"]
    return processes("bare", command, 3)


def add_a_line(module: Path) -> None:
    """A one-line edit of a pipeline's source, a different one each time."""
    with module.open("a") as text:
        text.write(f"EDITED = {time.time_ns()}\n")
