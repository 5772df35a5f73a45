"""Which files stay behind: the built-in rules, and those of .dockerignore after them.

The rules are Docker's: the last pattern that matches a path or a folder above it decides, and a
pattern with ``!`` takes back (https://docs.docker.com/build/concepts/context/#dockerignore-files).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from bundlerun.errors import UsageError

BUILT_IN = (
    ".git",
    ".hg",
    ".svn",
    ".dockerignore",
    "__pycache__",
    "*.pyc",
    "*.pyo",
    "*.egg-info",
    ".venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".tox",
    ".nox",
    ".DS_Store",
    ".env",
    ".env.*",
    ".envrc",
    ".netrc",
    ".pypirc",
    ".aws",
    ".ssh",
    ".docker",
    ".bundlerun",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
)
"""Globs of file and folder names that stay behind wherever they stand."""

LITTER = ("__pycache__",)
"""What Python leaves among the files of an image that was made already."""


class IgnoreRules:
    """The rules in force below one folder: ``names``, globs of names that stay behind wherever they
    stand, then ``patterns``, as .dockerignore has them."""

    def __init__(self, patterns: Sequence[str], names: Sequence[str] = ()) -> None:
        self._names = re.compile("|".join(map(fnmatch.translate, names)) or r"(?!)")
        self._rules = _read(patterns) if patterns else []

    @staticmethod
    def of(root: Path) -> IgnoreRules:
        """The built-in rules and those of ``root/.dockerignore``. Raises UsageError when that
        cannot be read."""
        path = root / ".dockerignore"
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        own = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return IgnoreRules(own, BUILT_IN)

    def leaves_out(self, path: PurePosixPath | str) -> bool:
        """Whether the file at ``path``, relative to the folder, stays behind."""
        parts = str(path).split("/")
        left_out = any(map(self._names.match, parts))
        trail = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)] if self._rules else []
        for takes_back, regex in self._rules:
            if left_out is takes_back and any(map(regex.match, trail)):
                left_out = not takes_back
        return left_out

    def leaves_out_folder(self, path: PurePosixPath | str) -> bool:
        """Whether nothing below the folder ``path`` can be wanted, so that none of it is read."""
        return not any(takes_back for takes_back, _ in self._rules) and self.leaves_out(path)

    def takes_back(self, path: PurePosixPath | str) -> bool:
        """Whether a ``!`` pattern names this very file, and not only a folder above it."""
        return any(back and regex.match(str(path)) for back, regex in self._rules)


def _read(patterns: Sequence[str]) -> list[tuple[bool, re.Pattern[str]]]:
    """Each pattern, and whether it takes back."""
    # How a pattern is read and what it means is the Docker SDK's business. Its matcher is not
    # used: it folds case, and asks `**/name` of too few of the folders above a file. Imported
    # here: an apply whose project has no .dockerignore needs none of it.
    from docker.utils.build import Pattern
    from docker.utils.fnmatch import translate

    parsed = [pattern for pattern in map(Pattern, patterns) if pattern.dirs]
    return [(each.exclusion, re.compile(translate(each.cleaned_pattern))) for each in parsed]
