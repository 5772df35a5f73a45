"""The source of a module's pipes: imported project modules and data files.

Data files are those that are not Python in the packages of these modules. One rule for apply, for
images and for run: what an image takes along of the packages counts (``images.selection``), with
what it leaves out for its size alone; what .dockerignore keeps out does not. Of a module that
stands in no package, the files below the root that a text of it names count: a pipe root may well
be a home folder, and all that lies there is nobody's source.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from bundlerun.bundles.digest import Digest, canonical_json, digest_of, digest_of_file
from bundlerun.errors import BadModule
from bundlerun.images.selection import LITTER, IgnoreRules, reached
from bundlerun.pipelines.imports import file_digest, modules_of, named_files

RECORD_BYTES = 8192
"""The room in a bundle's record for files one by one; else folders are recorded."""

_DIGITS = 16

Digests = Callable[[Sequence[Path]], Sequence[Digest]]
"""The digests of files' bytes, in their order."""


@dataclass(frozen=True)
class Source:
    """The files of which a module's pipes are made.

    ``modules`` are the Python files by dotted name; ``data`` are the others, by their paths
    relative to the root (with /); ``named`` the paths that modules at the root have as texts.
    ``digests`` has each file's digest by its path, ``left_out`` those among them that no image
    takes along for their size.
    """

    modules: Mapping[str, Path]
    data: Mapping[str, Path]
    named: Sequence[str]
    digests: Mapping[str, Digest]
    left_out: Mapping[str, Digest]

    @cached_property
    def digest(self) -> Digest:
        """The digest of all paths and contents."""
        return digest_of(_rows(self.digests))

    @property
    def files(self) -> list[Path]:
        """All files that are here, sorted."""
        return sorted({*self.modules.values(), *self.data.values()})

    def recorded(self) -> dict[str, str]:
        """The first digits of each file's digest by its path, for a lineage.

        Folders (``folder/``) stand in their place where the files are too many for a record, and
        nothing where the folders are as well.
        """
        files = {path: digest[:_DIGITS] for path, digest in self.digests.items()}
        if len(canonical_json(files)) <= RECORD_BYTES:
            return files
        folders: dict[str, dict[str, Digest]] = {}
        for path, digest in self.digests.items():
            folders.setdefault(f"{PurePosixPath(path).parent}/", {})[path] = digest
        rows = {folder: digest_of(_rows(inside))[:_DIGITS] for folder, inside in folders.items()}
        return rows if len(canonical_json(rows)) <= RECORD_BYTES else {}


def digests_of(files: Sequence[Path]) -> list[Digest]:
    """The digests of ``files``, each read.

    Raises OSError.
    """
    return [digest_of_file(file) for file in files]


def source_of(
    root: Path,
    module: str,
    *,
    within: str | None = None,
    digests: Digests = digests_of,
    left_out: Mapping[str, Digest] | None = None,
) -> Source:
    """The source of the pipes of ``module`` below ``root``.

    ``within`` limits the modules to one top-level package. ``left_out`` None: this is the project
    itself. Else ``root`` is what an image took along of it, and these are the files that its build
    left out for their size. Raises BadModule for a module that is not there or does not parse, and
    for a file that cannot be read.
    """
    root = Path(os.path.abspath(root))
    modules = modules_of(root, module, within=within)
    named = named_files(root, modules)
    rows = {_relative(root, path): file_digest(path) for path in modules.values()}
    rules = IgnoreRules.of(root) if left_out is None else IgnoreRules((), LITTER)
    try:
        chosen = reached(root, [Path(path) for path in rows], named, rules)
        data = {path: file for path, file in chosen.data.items() if path not in rows}
        held = dict(zip(data, digests(list(data.values())), strict=True))
    except OSError as error:
        raise BadModule(
            f"{error.filename or root} cannot be read: {error.strerror or error}",
            hint=f"name it in {root / '.dockerignore'} where no pipe needs it",
        ) from error
    absent = _absent(left_out, rows, named)
    large = {each.path: held[each.path] for each in chosen.left_out if each.path in held}
    return Source(modules, data, named, {**absent, **held, **rows}, {**absent, **large})


def _absent(
    left_out: Mapping[str, Digest] | None, modules: Mapping[str, Digest], named: Sequence[str]
) -> dict[str, Digest]:
    """The files of ``left_out`` in the packages of ``modules``, or named."""
    tops = {path.partition("/")[0] for path in modules} | set(named)
    return {
        path: digest
        for path, digest in (left_out or {}).items()
        if path in tops or path.partition("/")[0] in tops
    }


def source_digest(root: Path, module: str, *, digests: Digests = digests_of) -> Digest:
    """The digest of the source of the pipes of ``module`` below ``root``.

    Raises BadModule.
    """
    return source_of(root, module, digests=digests).digest


def _relative(root: Path, path: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _rows(digests: Mapping[str, Digest]) -> bytes:
    # A file's name need not be UTF-8; backslashes stand for such bytes.
    rows = sorted(
        [path.encode(errors="backslashreplace").decode(), d] for path, d in digests.items()
    )
    return canonical_json(rows)
