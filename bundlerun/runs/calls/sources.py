"""The sources that travel with a function: its project's modules.

They are found statically. From the modules that the pickle of the function names
(``bundlerun.futures.pickles``) their imports are followed, lazy ones included, by the rules for
pipes (``bundlerun.pipelines.imports``); so are those of the script that is ``__main__``. A module
belongs to a project where it is neither in the standard library nor installed; several folders of
``sys.path`` may hold some. What is installed does not travel: it is in the image.
"""

from __future__ import annotations

import importlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bundlerun.bundles.digest import Digest, canonical_json, digest_of
from bundlerun.errors import BadModule
from bundlerun.futures.payload import pickled_call
from bundlerun.images.selection import IgnoreRules, LeftOut, reached
from bundlerun.pipelines.imports import file_digest, imports_of, module_file, named_files
from bundlerun.pipelines.loaded import check_loaded

_OURS = frozenset({"bundlerun", "cloudpickle"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Sources:
    """What travels with a function.

    ``files`` are the modules and data files of its project by the paths that they have in a job's
    import folder, ``data`` their bytes as they were read, once. ``root`` is the folder of the
    project (None: it has none), ``imports`` are the top-level names that it imports from
    elsewhere, sorted. ``left_out`` are data files that stay behind for their size. ``digest`` is of
    all paths and bytes, and of what the function's own pickle holds.
    """

    root: Path | None
    files: Mapping[str, Path]
    data: Mapping[str, bytes]
    imports: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    digest: Digest


def sources_of(
    func: Callable[..., Any],
    kwargs: Mapping[str, Any] = _NOTHING,
    modules: Iterable[str] = (),
) -> Sources:
    """The sources that ``func`` with ``kwargs`` needs, and those of ``modules``.

    ``modules`` are those that the items of a map name. Nothing is imported. Raises BadModule for a
    module that does not parse, that is hidden by another one or was edited after this process
    imported it, and for a file that cannot be read; BadValue and UsageError as
    ``payload.dump_function``.
    """
    call = pickled_call(func, kwargs)
    # Python remembers what stands in a folder, also a moment after that has changed.
    importlib.invalidate_caches()
    closure = _Closure()
    closure.follow([*sorted(call.modules), *modules])
    script = _script() if call.from_script else None
    if script is not None:
        closure.follow(_names_in(script), alone=True)
    files, left_out = closure.files()
    data = {path: _read(file) for path, file in sorted(files.items())}
    return Sources(
        root=_root(func, closure, script, call.from_script),
        files=dict(sorted(files.items())),
        data=data,
        imports=tuple(sorted(closure.foreign)),
        left_out=tuple(left_out),
        digest=digest_of(
            canonical_json(
                [
                    digest_of(call.data),
                    *([_shown(path), digest_of(each)] for path, each in data.items()),
                ]
            )
        ),
    )


class _Closure:
    """The reached modules of the project, by the folder of their top-level packages."""

    def __init__(self) -> None:
        self.modules: dict[Path, dict[str, Path]] = {}
        self.foreign: set[str] = set()
        self._seen: set[str] = set()

    def follow(self, names: Iterable[str], *, alone: bool = False) -> None:
        """Reach ``names`` and what they import.

        ``alone``: what is foreign among ``names`` themselves does not count.
        """
        todo = [(name, not alone) for name in names]
        while todo:
            name, counts = todo.pop()
            root = self._root_of(name.partition(".")[0], counts)
            for prefix in _prefixes(name) if root is not None else ():
                if prefix in self._seen or root is None:
                    continue
                self._seen.add(prefix)
                path = module_file(root, prefix)
                if path is None:
                    _check_there(prefix)
                else:
                    check_loaded(prefix, path, file_digest(path))
                    self.modules.setdefault(root, {})[prefix] = path
                    todo += [(each, True) for each in imports_of(root, prefix, path)]

    def _root_of(self, top: str, counts: bool) -> Path | None:
        if not top.isidentifier() or top == "__main__" or top in _OURS:
            return None
        root = _project_of(top)
        if root is None and counts and top not in sys.stdlib_module_names:
            self.foreign.add(top)
        return root

    def files(self) -> tuple[dict[str, Path], list[LeftOut]]:
        """The files by their paths in a job, and those that stay behind.

        Raises BadModule.
        """
        found: dict[str, Path] = {}
        left_out: list[LeftOut] = []
        for root, modules in self.modules.items():
            try:
                chosen = reached(
                    root,
                    list(modules.values()),
                    named_files(root, modules),
                    IgnoreRules.of(root),
                )
            except OSError as error:
                raise _unreadable(Path(error.filename or root), error) from error
            rows = {path.relative_to(root).as_posix(): path for path in modules.values()}
            own = {path: file for path, file in chosen.files if not path.endswith(".py")}
            for path, file in {**own, **rows}.items():
                if found.setdefault(path, file) != file:
                    raise BadModule(
                        f"{found[path]} and {file} would be one file in a job",
                        hint=f"another name for one of them: git mv {path} NAME",
                    )
            left_out += chosen.left_out
        return found, left_out


def _project_of(top: str) -> Path | None:
    """The folder of the top-level package or module ``top`` of a project, or None.

    None for what is installed, built in, or nowhere. Raises BadModule where its file is gone.
    """
    if top in sys.stdlib_module_names:
        return None
    for place in _places(top):
        if module_file(place.parent, top) is not None or place.is_dir():
            if not _is_installed(place):
                return place.parent
            return None
    _check_there(top)
    return None


def _check_there(name: str) -> None:
    """Refuse a module of a project whose file is gone since its import.

    Raises BadModule.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is None or type(spec.loader) is not SourceFileLoader or spec.origin is None:
        return
    path = Path(spec.origin).absolute()
    if not path.exists() and not _is_installed(path):
        raise BadModule(
            f"{path} is gone, from which this process imported {name}: a job could not import it",
            hint="the file again, or the function in the program that maps it",
        )


def _places(top: str) -> Iterator[Path]:
    """Where ``import top`` finds it: folders of a package, or the file of a module."""
    module = sys.modules.get(top)
    try:
        spec = importlib.util.find_spec(top) if module is None else module.__spec__
    except (ImportError, ValueError, AttributeError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is not None:
        yield from (Path(each).absolute() for each in spec.submodule_search_locations)
    elif spec.has_location and spec.origin is not None:
        yield Path(spec.origin).absolute()


def _is_installed(path: Path) -> bool:
    return not _INSTALLED.isdisjoint(path.parts) or any(
        path.is_relative_to(folder) for folder in _folders()
    )


@cache
def _folders() -> Sequence[Path]:
    """Where Python itself, its scripts, and what is installed stand."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    found = [*(paths[name] for name in names), *site.getsitepackages()]
    return [Path(folder) for folder in dict.fromkeys([*found, site.getusersitepackages()])]


def _script() -> Path | None:
    """The file that runs as ``__main__``, or None.

    None in a notebook, an interpreter, and where it is a program that is installed.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    path = None if file is None else Path(file).absolute()
    if path is None or path.suffix != ".py" or not path.is_file() or _is_installed(path):
        return None
    return path


def _names_in(script: Path) -> Iterator[str]:
    """What the script imports, and its own name where it is the module of a package."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = script.stem if spec is None else str(spec.name)
    if spec is not None:
        yield name
    yield from imports_of(script.parent, name, script)


def _root(
    func: Callable[..., Any], closure: _Closure, script: Path | None, from_script: bool
) -> Path | None:
    """The folder of the project of a function.

    It is that of the function's module, of the script, or of the first module that travels; the
    working directory for what was typed in.
    """
    name = str(getattr(func, "__module__", None) or type(func).__module__)
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if name == "__main__" and spec is not None:
        name = str(spec.name)
    own = [root for root, modules in closure.modules.items() if name in modules]
    if own:
        return own[0]
    if from_script:
        return Path.cwd() if script is None else script.parent
    return next(iter(closure.modules), None)


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> BadModule:
    return BadModule(f"{file} cannot be read: {error.strerror or error}", hint=f"ls -l {file}")


def _shown(path: str) -> str:
    # A file's name need not be UTF-8; backslashes stand for such bytes.
    return path.encode(errors="backslashreplace").decode()
