"""The description of a module, wherever its jobs run.

An image has it as labels, and an environment without a container tells the same. Where an image
lies is not part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.bundles.digest import Digest

JOB_PROTOCOL = "4"
"""The form of a job's command, plan and result.

Raise it with every change of one of these: an image or environment of another form cannot carry out
what this bundlerun submits.
"""


@dataclass(frozen=True)
class Described:
    """The facts on a pipeline's module, known without importing it.

    Plans and keys are made of it. ``schema`` is the JSON of ``bundlerun.pipelines.describe``: its
    pipes, and which configuration they take. ``source`` digests what the pipes are made of,
    ``environment`` what they run on: an image's is a digest, an interpreter's the text of
    ``local_environment``, so that they never equal. ``left_out`` has the digests of the files that
    an image left out for their size, by path, and is None where the job sees the project itself.
    ``commit`` and ``dirty`` are git's word on the source, None and False outside of git.
    """

    module: str
    schema: Mapping[str, Any]
    source: Digest
    environment: str
    left_out: Mapping[str, Digest] | None
    pipe_root: str
    commit: str | None
    dirty: bool


def schema_in(text: str) -> dict[str, Any] | None:
    """The schema in what ``describe`` wrote, None where there is none.

    A module may print while it is imported; the description comes last, on one line.
    """
    for candidate in (text, *reversed(text.strip().splitlines()[-1:])):
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("pipes"), dict):
            return found
    return None
