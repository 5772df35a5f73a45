"""What a builder prints, followed line by line, so that a failure can show its step."""

from __future__ import annotations

import re
from collections import deque

from bundlerun.errors import BuildFailed

TAIL_LINES = 20
"""So many of a failing step's last lines are shown, and more where a traceback began before."""

_KEPT_LINES = 200
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CLASSIC = re.compile(r"Step \d+/\d+ : (.*)")
_VERTEX = re.compile(r"#(\d+) (\d+\.\d+ )?(.*)")
_STEP_NAME = re.compile(r"\[(?:[\w-]+ )?\s*\d+/\d+\] ")
_NOISE = re.compile(r" ---> |Removing intermediate container |The command '.*' returned a non-zero")
_MISSING = re.compile(r"No module named '([^'.]+)")
_NO_PACKAGE = re.compile(r"Unable to locate package (\S+)")


class Steps:
    """The steps of one build: which one runs, and the last lines of each.

    BuildKit mixes the lines of parallel steps and says by number whose each is; the classic
    builder has one step at a time.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._tails: dict[str, deque[str]] = {}
        self._current = ""
        self._failed: str | None = None

    def line(self, line: str) -> str:
        """Take note of one line of output; the line without terminal escapes."""
        line = _ESCAPES.sub("", line).rstrip()
        classic = _CLASSIC.match(line)
        vertex = _VERTEX.match(line)
        if classic:
            self._current = line
            self._names[line] = line
        elif vertex:
            # A step's own output has a time before it; what BuildKit says of the step has none.
            self._current, time_s, text = vertex.groups()
            if time_s:
                self._note(text)
            elif text.startswith("ERROR"):
                self._failed = self._current
            elif _STEP_NAME.match(text) or self._current not in self._names:
                self._names[self._current] = text
            elif not text.startswith(("sha256:", "DONE ", "CACHED")):
                self._note(text)
        elif line.strip() and self._failed is None and not _NOISE.match(line):
            # After a failure BuildKit repeats it, under no step's number.
            self._note(line)
        return line

    def _note(self, line: str) -> None:
        self._tails.setdefault(self._current, deque(maxlen=_KEPT_LINES)).append(line)

    def failure(self, image: str, reason: str) -> BuildFailed:
        """The error for the step that failed: its name, its last lines, and the builder's
        ``reason``; with the cure where the lines tell it."""
        step = self._failed or self._current
        tail = "\n".join(_last(list(self._tails.get(step, ()))))
        name = self._names.get(step, "its start")
        hint = None
        if "describe" in name and (missing := _MISSING.search(tail)):
            hint = f"add the package that has {missing[1]!r} to the pipeline's requirements.txt"
        elif unknown := _NO_PACKAGE.search(tail):
            hint = f"correct {unknown[1]!r} in deb.txt"
        elif re.search(r"\bFROM |load metadata for", name):
            hint = "name an image that can be had with --base-image"
        message = f"the build of {image} failed at: {name}\n{tail}"
        # The classic builder repeats the whole command in its reason.
        reason = re.sub(r"^The command '.*' (?=returned)", "the step ", reason, flags=re.DOTALL)
        if reason and reason not in tail:
            message += f"\n{reason}"
        return BuildFailed(message, hint=hint)


def _last(lines: list[str]) -> list[str]:
    start = max(0, len(lines) - TAIL_LINES)
    traces = [at for at, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    return lines[min(start, traces[-1]) if traces else start :]
