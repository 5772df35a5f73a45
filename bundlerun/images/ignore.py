"""Which files stay behind: the built-in rules, and those of .dockerignore after them.

The rules are Docker's: the last pattern that matches a path or a folder above it decides, and a
pattern with ``!`` takes back (https://docs.docker.com/build/concepts/context/#dockerignore-files).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from bundlerun.errors import UsageError

BUILT_IN = (
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/.dockerignore",
    "**/__pycache__",
    "**/*.pyc",
    "**/*.pyo",
    "**/*.egg-info",
    "**/.venv",
    "**/node_modules",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.ruff_cache",
    "**/.ipynb_checkpoints",
    "**/.tox",
    "**/.nox",
    "**/.DS_Store",
    "**/.env",
    "**/.env.*",
    "**/.envrc",
    "**/.netrc",
    "**/.pypirc",
    "**/.aws",
    "**/.ssh",
    "**/.docker",
    "**/.bundlerun",
    "**/*.pem",
    "**/*.key",
    "**/*.p12",
    "**/*.pfx",
    "**/id_rsa*",
    "**/id_dsa*",
    "**/id_ecdsa*",
    "**/id_ed25519*",
)


class IgnoreRules:
    """The patterns in force below one folder."""

    def __init__(self, patterns: list[str]) -> None:
        # How a pattern is read and what it means is the Docker SDK's business. Its matcher is not
        # used: it folds case, and asks `**/name` of too few of the folders above a file.
        from docker.utils.build import Pattern
        from docker.utils.fnmatch import translate

        parsed = [pattern for pattern in map(Pattern, patterns) if pattern.dirs]
        self._rules: list[tuple[bool, re.Pattern[str]]] = [
            (pattern.exclusion, re.compile(translate(pattern.cleaned_pattern)))
            for pattern in parsed
        ]

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
        return IgnoreRules([*BUILT_IN, *own])

    def leaves_out(self, path: PurePosixPath) -> bool:
        """Whether the file at ``path``, relative to the folder, stays behind."""
        left_out = False
        trail = [str(part) for part in (path, *path.parents) if part.name]
        for takes_back, regex in self._rules:
            if left_out is takes_back and any(regex.match(part) for part in trail):
                left_out = not takes_back
        return left_out

    def leaves_out_folder(self, path: PurePosixPath) -> bool:
        """Whether nothing below the folder ``path`` can be wanted, so that none of it is read."""
        return not any(takes_back for takes_back, _ in self._rules) and self.leaves_out(path)

    def takes_back(self, path: PurePosixPath) -> bool:
        """Whether a ``!`` pattern names this very file, and not only a folder above it."""
        return any(back and regex.match(str(path)) for back, regex in self._rules)
