"""What a failing build shows. The transcripts are the two builders' own."""

from __future__ import annotations

from bundlerun.errors import BuildFailed
from bundlerun.images.builders import TAIL_LINES, Steps

CLASSIC = """\
Step 1/3 : FROM base
 ---> cec4306b71b2
Step 2/3 : RUN python -m bundlerun.pipelines.describe a.b
 ---> Running in 1948cea4503e
\x1b[91mTraceback (most recent call last):
\x1b[0m\x1b[91mModuleNotFoundError: No module named 'sklearn.tree'
\x1b[0mRemoving intermediate container 1948cea4503e
"""

BUILDKIT = """\
#1 [internal] load remote build context
#1 DONE 0.0s

#4 [1/3] FROM docker.io/library/base
#4 DONE 0.0s

#5 [2/3] RUN apt-get update
#5 sha256:bd949a503d90a6eb2bc4b7a0500f7e9c1d782cbf49c4d18487038918a894983e
#5 0.194 Reading package lists...
#6 [other 1/1] RUN sleep 1
#6 0.200 not of the failing step
#5 0.196 ERROR: of the command, not of the step
#5 0.196 E: Unable to locate package nothing
#5 ERROR: executor failed running [/bin/sh -c apt-get update]: exit code: 100
------
 > [2/3] RUN apt-get update:
------
executor failed running [/bin/sh -c apt-get update]: exit code: 100
"""


def failure(transcript: str, reason: str) -> BuildFailed:
    """What is made of a transcript."""
    steps = Steps()
    for line in transcript.splitlines():
        assert "\x1b" not in steps.line(line)
    return steps.failure("bundlerun-a-b", reason)


def test_the_classic_builder_s_failing_step_is_shown() -> None:
    """With the command's own lines, the builder's reason, and the cure."""
    error = failure(CLASSIC, "The command '/bin/sh -c python\n-m' returned a non-zero code: 1")
    assert "Step 2/3 : RUN python -m bundlerun.pipelines.describe a.b\nTraceback" in error.message
    assert "No module named 'sklearn.tree'\nthe step returned" in error.message
    assert error.hint is not None
    assert "'sklearn'" in error.hint
    assert "requirements.txt" in error.hint


def test_buildkit_s_failing_step_is_shown_among_parallel_ones() -> None:
    """By its number."""
    error = failure(BUILDKIT, "")
    assert error.message == (
        "the build of bundlerun-a-b failed at: [2/3] RUN apt-get update\n"
        "Reading package lists...\nERROR: of the command, not of the step\n"
        "E: Unable to locate package nothing"
    )
    assert error.hint == "correct 'nothing' in deb.txt, or in system_packages"


def test_only_the_last_lines_are_kept() -> None:
    """A failing pip can print thousands."""
    steps = Steps()
    steps.line("Step 1/1 : RUN pip")
    for number in range(1000):
        steps.line(f"line {number}")
    shown = steps.failure("x", "").message.splitlines()[1:]
    assert shown == [f"line {number}" for number in range(1000 - TAIL_LINES, 1000)]


def test_a_traceback_is_shown_whole() -> None:
    """However deep the import went."""
    steps = Steps()
    frames = [f"  File {number}" for number in range(2 * TAIL_LINES)]
    lines = ["noise", "Traceback (most recent call last):", *frames, "ValueError: x"]
    for line in ["Step 1/1 : RUN python", *lines]:
        steps.line(line)
    assert steps.failure("x", "").message.splitlines()[1:] == lines[1:]


def test_a_step_without_lines_of_its_own_shows_what_buildkit_says_of_it() -> None:
    """A base image that cannot be pulled."""
    step = "[internal] load metadata for docker.io/library/python:3.11-slim"
    error = failure(f"#2 {step}\n#2 ERROR: failed to do request: no such host\n", "")
    assert error.message == (
        f"the build of bundlerun-a-b failed at: {step}\nfailed to do request: no such host"
    )
