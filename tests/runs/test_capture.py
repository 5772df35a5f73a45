"""A job's output: whole lines, in order, whoever writes them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def captured(body: str, *, timeout_s: float = 60, hidden: tuple[str, ...] = ()) -> tuple[str, str]:
    """What passes through, and the text kept, where ``body`` runs inside a capture."""
    program = (
        "import os, subprocess, sys, threading, time\n"
        "from bundlerun.runs.capture import Capture\n"
        "def job():\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        f"with Capture(1 << 20, {hidden!r}) as capture:\n    job()\n"
        "open(sys.argv[1], 'w').write(capture.text)\n"
    )
    with tempfile.NamedTemporaryFile("r") as kept:
        done = subprocess.run(
            # Python 3.12 and later warn of a fork beside threads, into the output.
            [sys.executable, "-W", "ignore::DeprecationWarning", "-u", "-c", program, kept.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            cwd=ROOT,
            check=True,
        )
        return done.stdout, kept.read()


def test_lines_of_both_streams_are_whole_and_in_order() -> None:
    """print() writes in pieces; two streams that alternate neither tear nor overtake."""
    out, kept = captured(
        """
        for n in range(300):
            print("doubling", [n])
            print("to stderr", n, file=sys.stderr)
        """
    )
    expected = [line for n in range(300) for line in (f"doubling [{n}]", f"to stderr {n}")]
    assert out.splitlines() == expected
    assert kept == out


def test_lines_of_threads_and_processes_are_whole() -> None:
    """Four processes of four threads each: every line comes once and entire."""
    out, _ = captured(
        """
        def talk(who):
            for n in range(50):
                print(who, "says", n, file=sys.stdout if n % 2 else sys.stderr)
        def threads(process):
            made = [threading.Thread(target=talk, args=(f"{process}.{t}",)) for t in range(4)]
            for thread in made: thread.start()
            for thread in made: thread.join()
        children = []
        for process in range(4):
            pid = os.fork()
            if not pid:
                threads(process)
                os._exit(0)
            children.append(pid)
        for pid in children: os.waitpid(pid, 0)
        """
    )
    expected = {f"{p}.{t} says {n}" for p in range(4) for t in range(4) for n in range(50)}
    assert sorted(out.splitlines()) == sorted(expected)


def test_a_childs_output_stays_in_order_with_ours() -> None:
    """Within a stream, what a program wrote comes between the lines before and after it."""
    out, _ = captured(
        """
        print("before")
        subprocess.run(["sh", "-c", "echo child; echo wrong >&2"], check=True)
        print("after")
        """
    )
    lines = out.splitlines()
    assert [line for line in lines if line != "wrong"] == ["before", "child", "after"]
    assert "wrong" in lines


@pytest.mark.heavy
def test_text_without_its_newline_follows_after_a_second() -> None:
    """A progress dot is not held back until the job's end, nor is 64 KiB."""
    program = (
        "import sys, time\nfrom bundlerun.runs.capture import Capture\n"
        "with Capture(1 << 20):\n"
        "    print('loading', end='')\n"
        "    sys.stdin.readline()\n"
        "    print('.' * 70_000, end='')\n"
        "    sys.stdin.readline()\n"
        "    print(' done')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    # Each read returns only because the text arrives while the job waits for our next line.
    assert process.stdout.read(7) == b"loading"
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.read(65536) == b"." * 65536
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stdout.read() == b"." * (70_000 - 65536) + b" done\n"
    assert process.wait(timeout=30) == 0


@pytest.mark.heavy
def test_an_unfinished_line_ends_where_the_other_stream_speaks() -> None:
    """The unfinished text of one stream is never glued to a line of the other."""
    out, _ = captured(
        """
        print("half", end="", flush=True)
        time.sleep(1.5)
        print("an error", file=sys.stderr)
        print(" whole")
        """
    )
    assert out.splitlines() == ["half", "an error", " whole"]


def test_bytes_that_are_not_text_pass_and_the_end_is_kept() -> None:
    """What goes on is exact; what is kept is the end, with undecodable bytes replaced."""
    out, kept = captured(
        """
        sys.stdout.buffer.write(b"caf\\xc3\\xa9\\n")
        os.write(1, b"raw\\n")
        """
    )
    assert out == "café\nraw\n"
    assert kept == out


@pytest.mark.heavy
def test_a_child_that_outlives_the_job_does_not_hold_it() -> None:
    """A daemon that keeps the descriptors open is not waited for."""
    began = time.monotonic()
    out, _ = captured(
        """
        subprocess.Popen(["sleep", "20"], stdout=1, stderr=2)
        print("done")
        """,
        timeout_s=19,
    )
    assert out == "done\n"
    assert time.monotonic() - began < 19


@pytest.mark.heavy
def test_what_is_hidden_is_masked_however_it_is_written() -> None:
    """In pieces with a pause between, over the longest line, with a longer one around it, and line
    by line where it has several."""
    key = "-----BEGIN-----\nfirst line\nlast line"
    out, kept = captured(
        """
        print("half hunt", end="", flush=True)
        time.sleep(1.6)
        print("er22")
        os.write(1, b"x" * (65536 - 4) + b"hunt")
        time.sleep(0.5)
        os.write(1, b"er22\\n")
        print("hunter22 and hunter22-and-more")
        for line in ["-----BEGIN-----", "first line", "last line"]:
            print("key:", line, flush=True)
            time.sleep(0.1)
        print("ends with hunt", end="")
        """,
        hidden=("hunter22", "hunter22-and-more", key),
    )
    assert out == kept
    assert out.splitlines() == [
        "half ***",
        "x" * (65536 - 4) + "***",
        "*** and ***",
        *["key: ***"] * 3,
        "ends with hunt",
    ]
