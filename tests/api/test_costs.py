"""What the verbs that programs call thousands of times cost: counted, never timed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import bundlerun as br
from bundlerun.api import default
from bundlerun.settings import read_settings

PACKAGE = str(Path(br.__file__).parent)


def calls_of(work: Callable[[], object]) -> int:
    """How many of the package's functions ``work`` calls, once it has been called before."""
    found = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal found
        found += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    work()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def statements_of(work: Callable[[], object]) -> list[str]:
    """What ``work`` asks of the store's database."""
    found: list[str] = []
    with default().scope.store._database.reading() as connection:
        connection.set_trace_callback(found.append)
        work()
        connection.set_trace_callback(None)
    return found


def test_the_latest_of_a_name_is_four_questions_to_the_store() -> None:
    """The context, the bundle by two, and its value."""
    br.add("name", {"number": [1]}, commit=True)
    assert br.get("name") == {"number": [1]}
    asked = statements_of(lambda: br.get("name"))
    assert [each.split()[0] for each in asked] == ["SELECT"] * len(asked)
    assert len(asked) == 4


def test_a_verb_calls_few_functions() -> None:
    """A quarter more than today is refused: look at what was added before the number is raised."""
    br.add("name", {"number": [1]}, commit=True)
    assert calls_of(lambda: br.get("name")) <= 145
    assert calls_of(lambda: br.add("name", {"number": [1]}, commit=True)) <= 185


def test_settings_are_made_once_and_seen_when_they_change() -> None:
    """The file is believed by its bytes, not by its times."""
    before = read_settings()
    assert read_settings() is before
    before.home.mkdir(parents=True, exist_ok=True)
    before.file.write_text("[run]\nvcpus = 2\n")
    two, times = read_settings(), before.file.stat()
    assert two.run.vcpus == 2
    assert read_settings() is two
    before.file.write_text("[run]\nvcpus = 3\n")
    os.utime(before.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read_settings().run.vcpus == 3
