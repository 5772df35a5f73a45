"""Which files of PIPE_ROOT travel: the top-level packages and modules that the pipe reaches, and
what these modules name of the files that stand at PIPE_ROOT itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bundlerun.errors import BadModule
from bundlerun.images.ignore import IgnoreRules

MAX_DATA_BYTES = 1 << 20
"""A file that is not Python and larger than this stays behind: it is data, which bundles hold."""


@dataclass(frozen=True)
class LeftOut:
    """A file of a chosen package that stays behind for its size (bytes), and where it is."""

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
        """The files that are not Python, those that stay behind for their size included: together
        with the modules they are what a result is made of."""
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
    """Each top-level package or module that holds one of ``modules`` (files below ``pipe_root``
    that the pipe's module imports, itself included), and the files ``named`` (paths relative to
    ``pipe_root``; what is no file there does not count), as far as ``rules`` let them go in.

    Of a package all Python files go in, and others up to MAX_DATA_BYTES unless .dockerignore has a
    ``!`` line that names them. Raises BadModule when a module is outside ``pipe_root``, OSError
    for a folder that cannot be read.
    """
    root = pipe_root.resolve()
    files: dict[str, Path] = {}
    left_out: dict[str, LeftOut] = {}
    tops = {PurePosixPath(_relative(root, module).parts[0]) for module in modules}
    beside = (PurePosixPath(path) for path in named if (root / path).is_file())
    for top in sorted({*tops, *beside}):
        for path, source in _below(root, top, rules):
            size = source.stat().st_size
            if path.suffix == ".py" or size <= MAX_DATA_BYTES or rules.takes_back(path):
                files[str(path)] = source
            else:
                left_out[str(path)] = LeftOut(str(path), size, source)
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
        raise BadModule(f"the module {module} is not below {root}") from error


def _below(
    root: Path, path: PurePosixPath, rules: IgnoreRules
) -> Iterator[tuple[PurePosixPath, Path]]:
    """The regular files at or below ``path`` that the rules let go in, and where they are."""
    place = root / path
    linked = place.is_symlink()
    if linked:
        place = Path(os.path.realpath(place))
        if not place.is_relative_to(root):
            return  # What a link brings from outside of PIPE_ROOT was not meant to be sent.
    mode = place.stat().st_mode if place.exists() else 0
    if stat.S_ISREG(mode) and not rules.leaves_out(path):
        yield path, place
    # A linked folder may lead round in a circle.
    elif stat.S_ISDIR(mode) and not linked and not _skipped(place, path, rules):
        for name in sorted(os.listdir(place)):
            yield from _below(root, path / name, rules)


def _skipped(place: Path, path: PurePosixPath, rules: IgnoreRules) -> bool:
    # A virtual environment can have any name.
    return (place / "pyvenv.cfg").exists() or rules.leaves_out_folder(path)
