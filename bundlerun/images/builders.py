"""The two builders of a context: BuildKit by the docker command, the engine's own."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundlerun.child_processes import client_process
from bundlerun.errors import BuildFailed, EngineError
from bundlerun.images.context import context_tar
from bundlerun.images.dockerfile import OTHER_PYTHON, PIP_SECRET, Index
from bundlerun.images.recipe import Recipe
from bundlerun.progress import Progress

# Docker keeps these out of an image's history by itself.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_CREDENTIALS = re.compile(r"://[^/\s]*@")


@dataclass(frozen=True)
class BuildSurroundings:
    """The client's environment for a build: proxies, and the package index."""

    proxies: Mapping[str, str]
    indexes: Mapping[str, str]

    @staticmethod
    def of(environ: Mapping[str, str]) -> BuildSurroundings:
        """From variables; an index in a folder of this machine is not passed on."""
        proxies = {
            name: environ[name]
            for upper in _PROXIES
            for name in (upper, upper.lower())
            if environ.get(name)
        }
        indexes = {}
        for name in _INDEXES:
            found = [url for url in environ.get(name, "").split() if url.startswith("http")]
            if found:
                indexes[name] = " ".join(found)
        return BuildSurroundings(proxies, indexes)


def buildkit_command() -> tuple[str, ...] | None:
    """The command that calls BuildKit here, or None.

    None where there is none or DOCKER_BUILDKIT=0 forbids it.
    """
    if os.environ.get("DOCKER_BUILDKIT") == "0":
        return None
    return _buildkit_on(os.environ.get("PATH", os.defpath))


@functools.cache
def _buildkit_on(path: str) -> tuple[str, ...] | None:
    # Each docker on PATH is asked: the first may lack the buildx that a later one has or, being
    # older, does not need.
    for folder in path.split(os.pathsep):
        docker = os.path.join(folder or ".", "docker")
        if not os.access(docker, os.X_OK):
            continue
        if _answers((docker, "buildx", "version")):
            return (docker, "buildx", "build", "--load")
        if _answers((docker, "build", "--help")):
            return (docker, "build")
    return None


def _answers(command: tuple[str, ...]) -> bool:
    env = {**os.environ, "DOCKER_BUILDKIT": "1"}
    try:
        asked = subprocess.run(command, env=env, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    # --secret exists for BuildKit alone; a client whose buildx is missing fails here.
    return asked.returncode == 0 and (command[-1] == "version" or b"--secret" in asked.stdout)


def build_with_buildkit(
    command: tuple[str, ...], recipe: Recipe, around: BuildSurroundings, progress: Progress
) -> str:
    """Build with ``command``; return the image's id.

    Raises BuildFailed.
    """
    index = Index.SECRET if around.indexes else Index.DEFAULT
    with tempfile.TemporaryDirectory(prefix="bundlerun-build-") as folder:
        id_file = Path(folder) / "id"
        arguments = [*command, "--progress=plain", f"--iidfile={id_file}"]
        if recipe.platform:
            arguments.append(f"--platform={recipe.platform}")
        for name in around.proxies:
            arguments.append(f"--build-arg={name}")  # The value is taken from the environment.
        if around.indexes:
            secret = Path(folder) / PIP_SECRET
            secret.touch(mode=0o600)
            secret.write_text(_pip_conf(around.indexes), encoding="utf-8")
            arguments.append(f"--secret=id={PIP_SECRET},src={secret}")
        steps = Steps()
        code = _streamed([*arguments, "-"], recipe, index, steps, progress)
        if code != 0:
            raise steps.failure(recipe.name, "")
        return id_file.read_text(encoding="utf-8").strip()


def _pip_conf(indexes: Mapping[str, str]) -> str:
    rows = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url"}
    return "[global]\n" + "".join(f"{rows[name]} = {value}\n" for name, value in indexes.items())


def _streamed(
    arguments: list[str], recipe: Recipe, index: Index, steps: Steps, progress: Progress
) -> int:
    # Attestations would make the image an index of manifests, which cannot be labelled.
    env = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    with (
        context_tar(recipe, index) as archive,
        # Where it is told to end the engine drops the build.
        client_process(
            arguments,
            env=env,
            stdin=archive,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if shown := steps.line(line):
                progress.line(shown)
        return process.wait()


def build_classic(
    client: Any,
    recipe: Recipe,
    around: BuildSurroundings,
    progress: Progress,
    *,
    no_cache: bool = False,
) -> str:
    """Build with the engine's classic builder; return the image's id.

    Raises BuildFailed, and EngineError for an index with credentials, which this builder would
    write into the image's history.
    """
    if any(_CREDENTIALS.search(url) for url in around.indexes.values()):
        raise EngineError(
            "PIP_INDEX_URL or PIP_EXTRA_INDEX_URL holds credentials, and without "
            "BuildKit they would stay in the image's history",
            hint="sudo apt-get install docker-buildx-plugin (or docker-buildx)",
        )
    index = Index.ARGUMENTS if around.indexes else Index.DEFAULT
    steps = Steps()
    image_id = ""
    with context_tar(recipe, index) as archive:
        answers = client.api.build(
            fileobj=archive,
            custom_context=True,
            decode=True,
            rm=True,
            forcerm=True,
            nocache=no_cache,
            platform=recipe.platform,
            buildargs={**around.proxies, **around.indexes},
            use_config_proxy=True,
        )
        for line, found_id, error in _parsed(answers):
            image_id = found_id or image_id
            if shown := steps.line(line):
                progress.line(shown)
            if error:
                raise steps.failure(recipe.name, error)
    if not image_id:
        raise steps.failure(recipe.name, "the engine named no image")
    return image_id


def _parsed(answers: Iterator[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """The (line, image id, error) of each answer that the engine streams.

    Image id and error are mostly empty.
    """
    for answer in answers:
        image_id = str((answer.get("aux") or {}).get("ID", ""))
        error = str((answer.get("errorDetail") or {}).get("message") or answer.get("error") or "")
        if image_id or error:
            yield "", image_id, error
        for line in str(answer.get("stream", "")).splitlines():
            yield line, "", ""


TAIL_LINES = 20
"""The last lines shown of a failing step.

They are more where a traceback began before.
"""

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
        self._reason = ""

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
                self._reason = text.removeprefix("ERROR:").strip()
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
        """The error for the step that failed: its name and its last lines.

        Also the builder's ``reason``, and the cure where the lines tell it.
        """
        step = self._failed or self._current
        tail = "\n".join(_last(list(self._tails.get(step, ()))))
        name = self._names.get(step, "its start")
        hint = None
        if "describe" in name and (missing := _MISSING.search(tail)):
            hint = f"add the package that has {missing[1]!r} to the pipeline's requirements.txt"
        elif unknown := _NO_PACKAGE.search(tail):
            hint = f"correct {unknown[1]!r} in deb.txt, or in system_packages"
        elif OTHER_PYTHON in tail:
            hint = "a base image of that Python, such as python:X.Y-slim"
        elif re.search(r"\bFROM |load metadata for", name):
            hint = "--base-image IMAGE, with one that can be pulled here"
        message = f"the build of {image} failed at: {name}" + (f"\n{tail}" if tail else "")
        # The classic builder repeats the whole command in its reason.
        reason = re.sub(r"^The command '.*' (?=returned)", "the step ", reason, flags=re.DOTALL)
        reason = reason or ("" if tail else self._reason)
        if reason and reason not in tail:
            message += f"\n{reason}"
        return BuildFailed(message, hint=hint)


def _last(lines: list[str]) -> list[str]:
    start = max(0, len(lines) - TAIL_LINES)
    traces = [at for at, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    return lines[min(start, traces[-1]) if traces else start :]
