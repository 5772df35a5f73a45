"""From "package.module.Class" to the class, and from a class to name and source."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bundlerun.errors import BadModule
from bundlerun.pipelines.imports import check_names_class, module_file, required_file
from bundlerun.pipelines.loaded import check_own

if TYPE_CHECKING:
    from bundlerun.pipelines.pipe import Pipe

_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class ModuleLocation:
    """The place of a pipe's module.

    ``root`` is the folder that top-level packages stand in, ``within``, for an installed package,
    the one of them that counts as the project.
    """

    module: str
    root: Path
    within: str | None = None


def load_pipe(name: str, root: Path) -> type[Pipe]:
    """The Pipe class ``package.module.Class`` of the project at ``root``.

    What its pipes import when they run is found in a block of ``importing_from``. Raises BadModule
    when the module is not under ``root`` or cannot be imported, or the class is not there or is
    not a Pipe.
    """
    module_name, _, class_name = name.rpartition(".")
    if not module_name:
        raise BadModule(f"{name!r} names no class", hint="package.module.Class")
    check_names_class(root, name)
    module = load_module(module_name, root)
    if not hasattr(module, class_name):
        raise no_such_class(module_name, class_name, vars(module))
    return pipe_class(getattr(module, class_name), name)


def no_such_class(module: str, name: str, there: Iterable[str]) -> BadModule:
    """The error for a class ``name`` that is not in ``module``.

    ``there`` are the names that it has.
    """
    near = difflib.get_close_matches(name, list(there), n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    file = module.replace(".", "/") + ".py"
    return BadModule(
        f"the module {module} has no class {name}{meant}",
        hint=f"{module}.{near[0]}" if near else f"grep '^class ' {file}",
    )


def pipe_class(found: object, name: str) -> type[Pipe]:
    """``found``, checked to be a Pipe class.

    It was asked for as ``name``. Raises BadModule.
    """
    from bundlerun.pipelines.pipe import Pipe

    if isinstance(found, Pipe):
        raise BadModule(
            f"{found} is not a Pipe class but an object of one",
            hint=f"{type(found).__name__}, with its parameters as params={{...}}",
        )
    if not isinstance(found, type) or not issubclass(found, Pipe) or found is Pipe:
        raise BadModule(f"{name} is not a Pipe", hint="class Name(bundlerun.Pipe)")
    return found


@contextlib.contextmanager
def importing_from(root: Path) -> Iterator[None]:
    """Put the project at ``root`` in front of the import path while the block runs.

    Afterwards another project is not hidden by it.
    """
    place = os.path.abspath(root)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(place)


def load_module(name: str, root: Path) -> ModuleType:
    """The module ``name`` of the project at ``root``, imported.

    Raises BadModule.
    """
    root = Path(os.path.abspath(root))
    path = required_file(root, name)
    try:
        with importing_from(root):
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        raise BadModule(
            f"{name} cannot be imported: {type(error).__name__}: {_said(error)}",
            hint=f"python -c 'import {name}', in {root}",
        ) from error
    check_own(name, path)
    return module


def _said(error: BaseException) -> str:
    """The text of what was raised, and its place in the user's code.

    A SyntaxError says its own place.
    """
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({error.filename}, line {error.lineno})"
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{error} ({at.filename}, line {at.lineno})"


def pipe_name(pipe: type[Pipe] | str) -> str:
    """``package.module.Class`` of a Pipe class, or as it was named.

    Raises BadModule.
    """
    if isinstance(pipe, str):
        return pipe
    cls = pipe_class(pipe, getattr(pipe, "__qualname__", repr(pipe)))
    return f"{location_of(cls).module}.{cls.__name__}"


def location_of(cls: type[Pipe], pipe_root: Path | None = None) -> ModuleLocation:
    """The location of the class, so that it can be found and told from others again.

    A script that runs as ``__main__`` counts as the module of its file, below ``pipe_root`` (the
    working directory unless given) or else in its own folder. Raises BadModule for a class made
    inside a function, in an interpreter or a notebook, or replaced since.
    """
    module = sys.modules.get(cls.__module__)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__qualname__ != cls.__name__ or getattr(module, cls.__name__, None) is not cls:
        raise BadModule(
            f"{name} is not at the top level of its module (any more), so it cannot be "
            "imported again",
            hint="move the class to the top level, and import it again",
        )
    file = getattr(module, "__file__", None)
    if module is None or file is None or not os.path.isfile(file):
        raise BadModule(
            f"{name} was defined in an interpreter or a notebook, so it cannot be imported again",
            hint="put the class in a file, and import it from there",
        )
    path = Path(os.path.abspath(file))
    known = _module_name(module, path, pipe_root)
    root = _root_of(path, known)
    if root is None:
        raise BadModule(
            f"{path} is not the file of a module called {known!r}",
            hint=f"import it by its name from the folder {path.parent}",
        )
    installed = not _INSTALLED.isdisjoint(root.parts)
    return ModuleLocation(known, root, known.partition(".")[0] if installed else None)


def _module_name(module: ModuleType, path: Path, pipe_root: Path | None) -> str:
    if module.__name__ != "__main__":
        return module.__name__
    spec = getattr(module, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    root = Path(os.path.abspath(pipe_root or Path.cwd()))
    for base in (root, path.parent):
        if path.is_relative_to(base):
            parts = path.relative_to(base).with_suffix("").parts
            if all(part.isidentifier() for part in parts):
                return ".".join(parts)
    raise BadModule(
        f"{path.name} cannot be imported under any name, so its pipes cannot either",
        hint=f"rename it to {path.stem.replace('-', '_')}.py",
    )


def _root_of(path: Path, module: str) -> Path | None:
    root = path.parent.parent if path.name == "__init__.py" else path.parent
    for _ in module.split(".")[:-1]:
        root = root.parent
    found = module_file(root, module)
    return root if found is not None and os.path.samefile(found, path) else None
