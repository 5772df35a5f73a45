"""Which files of PIPE_ROOT travel: the top-level packages and modules that the pipe reaches."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bundlerun.errors import BadModule
from bundlerun.images.ignore import IgnoreRules

MAX_DATA_BYTES = 1 << 20
"""A file that is not Python and larger than this stays behind: it is data, which bundles hold."""


@dataclass(frozen=True)
class LeftOut:
    """A file of a chosen package that stays behind for its size (bytes)."""

    path: str
    size: int

    def __str__(self) -> str:
        return f"{self.path} ({self.size / 2**20:.1f} MiB)"


@dataclass(frozen=True)
class Selection:
    """``files`` are (path relative to PIPE_ROOT, where its bytes are), sorted by path."""

    files: tuple[tuple[str, Path], ...]
    left_out: tuple[LeftOut, ...]


def select(pipe_root: Path, modules: Sequence[Path]) -> Selection:
    """The files that go in: each top-level package or module that holds one of ``modules`` (files
    below ``pipe_root`` that the pipe's module imports, itself included).

    Of a package all Python files go in, and others up to MAX_DATA_BYTES unless .dockerignore has a
    ``!`` line that names them. Raises BadModule when a module is outside ``pipe_root`` or kept
    out by .dockerignore.
    """
    root = pipe_root.resolve()
    rules = IgnoreRules.of(root)
    reached = {_relative(root, module) for module in modules}
    files: dict[str, Path] = {}
    left_out: list[LeftOut] = []
    for top in sorted({path.parts[0] for path in reached}):
        for path, source in _below(root, PurePosixPath(top), rules):
            size = source.stat().st_size
            if path.suffix == ".py" or size <= MAX_DATA_BYTES or rules.takes_back(path):
                files[str(path)] = source
            else:
                left_out.append(LeftOut(str(path), size))
    for path in sorted(reached, key=str):
        if str(path) not in files:
            raise BadModule(
                f"the pipe imports {path}, which {root / '.dockerignore'} keeps out of the image",
                hint=f"add the line '!{path}' to it",
            )
    return Selection(tuple(sorted(files.items())), tuple(sorted(left_out, key=lambda f: f.path)))


def _relative(root: Path, module: Path) -> PurePosixPath:
    path = root / module
    try:
        return PurePosixPath(path.relative_to(root).as_posix())
    except ValueError:
        pass
    try:
        return PurePosixPath(path.resolve().relative_to(root).as_posix())
    except ValueError as error:
        raise BadModule(f"the module {module} is not below {root}") from error


def _below(
    root: Path, path: PurePosixPath, rules: IgnoreRules
) -> Iterator[tuple[PurePosixPath, Path]]:
    """The regular files at or below ``path`` that the rules let go in, and where they are."""
    place = root / path
    if place.is_symlink() and not place.resolve().is_relative_to(root):
        return  # What a link brings from outside of PIPE_ROOT was not meant to be sent.
    mode = place.stat().st_mode if place.exists() else 0
    if stat.S_ISREG(mode) and not rules.leaves_out(path):
        yield path, place.resolve()
    elif stat.S_ISDIR(mode) and not _skipped(place, path, rules):
        for name in sorted(os.listdir(place)):
            yield from _below(root, path / name, rules)


def _skipped(place: Path, path: PurePosixPath, rules: IgnoreRules) -> bool:
    # A virtual environment can have any name. A linked folder may lead round in a circle.
    return place.is_symlink() or (place / "pyvenv.cfg").exists() or rules.leaves_out_folder(path)
