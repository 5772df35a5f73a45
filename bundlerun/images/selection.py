"""The selection of files of PIPE_ROOT that travel in an image.

Those are the top-level packages and modules that the pipe reaches, and what these modules name of
the files that stand at PIPE_ROOT itself.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bundlerun.errors import BadModule, UsageError

MAX_DATA_BYTES = 1 << 20
"""The largest file taken along that is not Python.

A larger one stays behind: it is data, which bundles hold.
"""


@dataclass(frozen=True)
class LeftOut:
    """A file of a chosen package that stays behind for its size (bytes).

    ``source`` is where it is.
    """

    path: str
    size: int
    source: Path

    def __str__(self) -> str:
        return f"{self.path} ({self.size / 2**20:.1f} MiB)"


@dataclass(frozen=True)
class Selection:
    """``files`` are (path relative to PIPE_ROOT, where its bytes are), sorted by path."""

    files: tuple[tuple[str, Path], ...]
    left_out: tuple[LeftOut, ...]

    @property
    def data(self) -> dict[str, Path]:
        """The files that are not Python, those too that stay behind for their size.

        Together with the modules they are what a result is made of.
        """
        small = {path: source for path, source in self.files if not path.endswith(".py")}
        return small | {each.path: each.source for each in self.left_out}


def select(pipe_root: Path, modules: Sequence[Path], named: Iterable[str] = ()) -> Selection:
    """The files that go in: what ``reached`` gives, and it must have all ``modules``.

    Raises BadModule when a module is outside ``pipe_root`` or kept out by .dockerignore.
    """
    root = pipe_root.resolve()
    selection = reached(root, modules, named, IgnoreRules.of(root))
    inside = {path for path, _ in selection.files}
    for path in sorted({_relative(root, module) for module in modules}, key=str):
        if str(path) not in inside:
            raise BadModule(
                f"the pipe imports {path}, which {root / '.dockerignore'} keeps out of the image",
                hint=f"add the line '!{path}' to it",
            )
    return selection


def reached(
    pipe_root: Path, modules: Sequence[Path], named: Iterable[str], rules: IgnoreRules
) -> Selection:
    """The files of all packages and modules that a pipe's module reaches.

    With them those that are left out. Each top-level package or module counts that holds one of
    ``modules`` (files below ``pipe_root`` that the pipe's module imports, itself included), and the
    files ``named`` (paths relative to ``pipe_root``; those that are not files do not count), as far
    as ``rules`` let them go in. Of a package all Python files go in, and others up to
    MAX_DATA_BYTES unless .dockerignore has a ``!`` line that names them. Raises BadModule when a
    module is outside ``pipe_root``, OSError for a folder that cannot be read.
    """
    root = pipe_root.resolve()
    files: dict[str, Path] = {}
    left_out: dict[str, LeftOut] = {}
    tops = {_relative(root, module).parts[0] for module in modules}
    for top in sorted({*tops, *(path for path in named if (root / path).is_file())}):
        for path, source, size in _below(str(root), top, rules):
            if path.endswith(".py") or size <= MAX_DATA_BYTES or rules.takes_back(path):
                files[path] = Path(source)
            else:
                left_out[path] = LeftOut(path, size, Path(source))
    return Selection(tuple(sorted(files.items())), tuple(left_out[p] for p in sorted(left_out)))


def _relative(root: Path, module: Path) -> PurePosixPath:
    path = root / module
    try:
        return PurePosixPath(path.relative_to(root).as_posix())
    except ValueError:
        pass
    try:
        return PurePosixPath(path.resolve().relative_to(root).as_posix())
    except ValueError as error:
        raise BadModule(
            f"the module {module} is not below {root}",
            hint="bundlerun dockerize PIPE_ROOT pkg.module.Pipe, with the folder that holds pkg",
        ) from error


def _below(root: str, top: str, rules: IgnoreRules) -> Iterator[tuple[str, str, int]]:
    """The regular files at or below ``top`` that the rules let go in.

    Each has its path relative to ``root``, where it is, and its size (bytes).
    """
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        place = os.path.join(root, folder)
        if os.path.islink(place) or not os.path.isdir(place):  # no folder, and top alone
            if os.path.isfile(place):
                yield from _chosen(root, folder, place, rules)
            continue
        # A virtual environment can have any name.
        if os.path.exists(os.path.join(place, "pyvenv.cfg")) or rules.leaves_out_folder(folder):
            continue
        with os.scandir(place) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file():  # also behind a link; a linked folder may lead in a circle
                    yield from _chosen(root, path, entry.path, rules)


def _chosen(root: str, path: str, place: str, rules: IgnoreRules) -> Iterator[tuple[str, str, int]]:
    if os.path.islink(place):
        place = os.path.realpath(place)
        if not place.startswith(root + os.sep):
            return  # What a link brings from outside of PIPE_ROOT was not meant to be sent.
    if not rules.leaves_out(path):
        yield path, place, os.stat(place).st_size


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
"""The files that Python leaves in an image that was made already."""


class IgnoreRules:
    """The rules in force below one folder.

    First ``names``, globs of names that stay behind wherever they stand, then ``patterns``, as
    .dockerignore has them.
    """

    def __init__(self, patterns: Sequence[str], names: Sequence[str] = ()) -> None:
        self._names = _any_of(tuple(names))
        self._rules = _read(patterns) if patterns else []

    @staticmethod
    def of(root: Path) -> IgnoreRules:
        """The built-in rules and those of ``root/.dockerignore``.

        Raises UsageError when that cannot be read.
        """
        path = root / ".dockerignore"
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error
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
        """Whether nothing below the folder ``path`` can be wanted.

        Then none of it is read.
        """
        return not any(takes_back for takes_back, _ in self._rules) and self.leaves_out(path)

    def takes_back(self, path: PurePosixPath | str) -> bool:
        """Whether a ``!`` pattern names this very file, and not only a folder above it."""
        return any(back and regex.match(str(path)) for back, regex in self._rules)


@functools.cache
def _any_of(names: tuple[str, ...]) -> re.Pattern[str]:
    # Each apply asks for the same few.
    return re.compile("|".join(map(fnmatch.translate, names)) or r"(?!)")


def _read(patterns: Sequence[str]) -> list[tuple[bool, re.Pattern[str]]]:
    """Each pattern, and whether it takes back."""
    # How a pattern is read and what it means is the Docker SDK's business. Its matcher is not
    # used: it folds case, and asks `**/name` of too few of the folders above a file. Imported
    # here: an apply whose project has no .dockerignore needs none of it.
    from docker.utils.build import Pattern
    from docker.utils.fnmatch import translate

    parsed = [pattern for pattern in map(Pattern, patterns) if pattern.dirs]
    return [(each.exclusion, re.compile(translate(each.cleaned_pattern))) for each in parsed]
