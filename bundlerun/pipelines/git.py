"""A project's version by git: its commit, and whether files differ from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

GIT_TIMEOUT_S = 10.0


GIT_FILES = 1000


"""So many files at most are named in one call of git: a command line is limited."""


def git_version(root: Path, files: Sequence[Path] = ()) -> tuple[str, bool] | None:
    """git's commit, and whether ``files`` differ from it.

    All of them are below ``root``; none given stands for every file there. None without git,
    outside a checkout, before the first commit, or when git takes longer than ``GIT_TIMEOUT_S``
    seconds. A file that git does not track counts as different.
    """
    found = [
        _git_status(root, files[start : start + GIT_FILES])
        for start in range(0, max(len(files), 1), GIT_FILES)
    ]
    commits = [each[0] for each in found if each is not None]
    if len(commits) < len(found):
        return None
    return commits[0], any(each is not None and each[1] for each in found)


def _git_status(root: Path, files: Sequence[Path]) -> tuple[str, bool] | None:
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(root), "status", "--porcelain=v2"]
    command += ["--branch", "--untracked-files=all"]
    if files:
        command += ["--ignored=matching", "--", *map(str, files)]
    else:
        command += ["--", "."]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            # status would refresh the index, and so fight with the user's own git.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    heads = [line.rpartition(" ")[2] for line in lines if line.startswith("# branch.oid ")]
    if done.returncode != 0 or not heads or heads[0] == "(initial)":
        return None
    return heads[0], any(not line.startswith("#") for line in lines)
