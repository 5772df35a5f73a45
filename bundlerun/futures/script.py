"""The function of a script's image: an argument list in, standard output out."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import IO

from bundlerun.errors import ScriptFailed, UsageError
from bundlerun.images.layout import SCRIPT

_KEPT_LINES = 200
"""So many last lines of standard error are the evidence of a failure."""


def run_script(arguments: Iterable[object]) -> str:
    """Run the script of this image with ``arguments``, and return its standard output.

    Arguments are texts, numbers or paths. The output is text (UTF-8; what is not stands in it as
    surrogates, so that ``encode("utf-8", "surrogateescape")`` gives the bytes); what goes to
    standard error is passed on as it comes. Raises ScriptFailed where the exit code is not 0,
    UsageError for an item that is not a list of arguments, and outside of a script's image.
    """
    words = script_arguments(arguments)
    place = os.environ.get(SCRIPT)
    if not place:
        raise UsageError(
            "this is not the image of a script", hint="br.DockerImage(script_path='fit.py')"
        )
    command = [*([sys.executable] if place.endswith(".py") else []), place, *words]
    # Standard input belongs to who gives out the items.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        passing = threading.Thread(target=_pass_on, args=(process.stderr, last), daemon=True)
        passing.start()
        output = process.stdout.read()
        passing.join()
        code = process.wait()
    if code != 0:
        raise _failed([Path(place).name, *words], code, last)
    return output.decode("utf-8", "surrogateescape")


def script_arguments(item: object) -> list[str]:
    """The arguments that ``item`` is, as texts.

    Raises UsageError for what is not a list of texts, numbers or paths.
    """
    if isinstance(item, (str, bytes)) or not isinstance(item, Iterable):
        raise UsageError(
            f"an item for a script must be a list of arguments, not {item!r:.80}",
            hint=f"[{item!r:.80}]",
        )
    words = list(item)
    for word in words:
        if isinstance(word, bool) or not isinstance(word, (str, int, float, PurePath)):
            raise UsageError(
                f"an argument of a script must be a text, a number or a path, not {word!r:.80}",
                hint="str(...) of it, or a file that is named",
            )
    return [str(word) for word in words]


def _pass_on(source: IO[bytes], last: deque[str]) -> None:
    for line in source:
        text = line.decode("utf-8", "replace")
        last.append(text)
        sys.stderr.write(text)
        sys.stderr.flush()


def _failed(command: list[str], code: int, last: deque[str]) -> ScriptFailed:
    if code < 0:
        try:
            how = f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was ended by signal {-code}"
    else:
        how = f"ended with exit code {code}"
    told = next((line.strip() for line in reversed(last) if line.strip()), "")
    shown = shlex.join(command)
    return ScriptFailed(
        f"{shown} {how}" + (f": {told}" if told else ""),
        hint=shown,
        evidence="".join(last),
        status=code,
    )
