"""The project modules that a module imports, found without importing anything.

Imports are read from the syntax tree, wherever they stand (also in functions, conditions and
``importlib.import_module("literal")``), and followed through files under the project's root alone.
What is imported under a computed name is not seen. Data files are the business of ``source``.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.errors import BadModule

_NAME_CHARS = 255


"""No longer text is taken for a file's path."""


# bundlerun's own version is not part of a project's source, also where a project's root is a
# checkout of it: images install it in a layer of its own.
_FOREIGN = frozenset(sys.builtin_module_names) | {"bundlerun"}


# A file that was written this short a time ago may be written again within one clock tick.
_SETTLED_NS = 1_000_000_000


# Two threads that make syntax trees at once fail now and then (SystemError, "AST constructor
# recursion depth mismatch": github.com/python/cpython/issues/106905).
_PARSING = threading.Lock()


os.register_at_fork(after_in_child=_PARSING._at_fork_reinit)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Import:
    """One import statement.

    ``import module`` has no names; ``from module import names`` goes ``level`` dots up.
    """

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


@dataclass(frozen=True)
class _Parsed:
    stamp: tuple[int, ...]
    digest: Digest
    imports: tuple[_Import, ...]
    exports: tuple[str, ...]
    texts: frozenset[str]


_PARSED: dict[str, _Parsed] = {}


def named_files(root: Path, modules: Mapping[str, Path]) -> list[str]:
    """The relative paths named by texts of modules that stand at ``root`` itself.

    These modules are in no package. A text such as that of ``open("words.txt")`` counts; whether
    there is such a file is not looked at.
    """
    base = os.path.abspath(root)
    found: set[str] = set()
    for path in modules.values():
        if os.path.dirname(path) == base:
            found.update(os.path.normpath(text) for text in _parsed(path).texts)
    return sorted(name for name in found if name.partition("/")[0] not in ("", ".", ".."))


def file_digest(path: Path) -> Digest:
    """The digest of a module's file.

    Raises BadModule when it does not parse.
    """
    return _parsed(path).digest


def modules_of(root: Path, module: str, *, within: str | None = None) -> dict[str, Path]:
    """The files of ``module`` and of all project modules it imports, by dotted name.

    ``root`` is the folder in which the top-level packages stand; ``within`` limits the search to
    one of these. The ``__init__`` files on the way to a module count. Raises BadModule when
    ``module`` is not under ``root``, or a file does not parse.
    """
    root = Path(os.path.abspath(root))
    required_file(root, module)
    found: dict[str, Path] = {}
    seen: set[str] = set()
    todo = [module]
    while todo:
        for name in _prefixes(todo.pop()):
            if name in seen:
                continue
            seen.add(name)
            top = name.partition(".")[0]
            if top in _FOREIGN or (within is not None and top != within):
                break
            path = module_file(root, name)
            if path is not None:
                found[name] = path
                todo.extend(imports_of(root, name, path))
    return found


def module_file(root: Path, module: str) -> Path | None:
    """The file that ``import module`` would read under ``root``; None without one.

    A namespace package (a folder without ``__init__.py``) has none.
    """
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    base = os.path.join(root, *parts)
    init = os.path.join(base, "__init__.py")
    for candidate in (init, *(base + suffix for suffix in (*EXTENSION_SUFFIXES, ".py"))):
        if os.path.isfile(candidate):
            return Path(candidate)
    return None


def required_file(root: Path, module: str) -> Path:
    """The file of ``module_file``, which must be there.

    Raises BadModule, naming the path that was looked for.
    """
    found = module_file(root, module)
    if found is None:
        relative = module.replace(".", "/") + ".py"
        near = _near(root, module)
        raise BadModule(
            f"there is no module {module!r}: {Path(root) / relative} does not exist",
            hint=near or f"--pipe-root FOLDER (dockerize: PIPE_ROOT), in which {relative} stands",
        )
    return found


def _near(root: Path, module: str) -> str | None:
    """The module of the same package whose name is nearest, None where none is near."""
    *package, last = module.split(".")
    if not all(part.isidentifier() for part in package):
        return None  # never a path that leaves the root
    folder = Path(root, *package)
    there = [path.stem for path in folder.glob("*.py")] if folder.is_dir() else []
    near = difflib.get_close_matches(last, there, n=1, cutoff=0.65)
    return ".".join([*package, near[0]]) if near else None


def check_names_class(root: Path, name: str) -> None:
    """Refuse ``name`` where it is that of a module and not of a class.

    Raises BadModule, naming the classes of the module.
    """
    path = module_file(root, name)
    if path is None or path.suffix != ".py":
        return
    module, _, last = name.rpartition(".")
    if module_file(root, module) is not None:
        there = top_level_names(root, module)
        if there is None or last in there:
            return
    body = _tree(path, path.read_bytes()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    pipes = [node.name for node in classes if _has_method(node, "pipe_run")]
    raise BadModule(
        f"{name} is a module; name a class of it",
        hint=" or ".join(f"{name}.{found}" for found in pipes[:3] or ["Class"]),
    )


def _has_method(cls: ast.ClassDef, name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in cls.body)


def top_level_names(root: Path, module: str) -> frozenset[str] | None:
    """The names that the module's own statements bind.

    None where one cannot tell (a star import, a ``__getattr__``). Raises BadModule.
    """
    path = required_file(root, module)
    names: set[str] = set()
    for node in ast.walk(_tree(path, path.read_bytes())):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return None if names & {"*", "__getattr__"} else frozenset(names)


def _prefixes(module: str) -> Iterator[str]:
    at = module.find(".")
    while at != -1:
        yield module[:at]
        at = module.find(".", at + 1)
    yield module


def imports_of(root: Path, name: str, path: Path) -> Iterator[str]:
    """Every dotted name that the module might import.

    Many of them are attributes or foreign.
    """
    for found in _parsed(path).imports:
        base = _absolute(found, name, path)
        if base is None:
            continue
        if base:
            yield base
        for item in found.names:
            if item != "*":
                yield f"{base}.{item}" if base else item
                continue
            package = module_file(root, base)
            if package is not None:
                yield from (f"{base}.{export}" for export in _parsed(package).exports)


def _absolute(found: _Import, name: str, path: Path) -> str | None:
    if not found.level:
        return found.module
    parts = name.split(".")
    package = parts if path.name == "__init__.py" else parts[:-1]
    keep = len(package) - (found.level - 1)
    if keep <= 0:
        return None
    return ".".join([*package[:keep], *filter(None, [found.module])])


def _parsed(path: Path) -> _Parsed:
    key = str(path)
    try:
        stat = os.stat(key)
        stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        known = _PARSED.get(key)
        if known is not None and known.stamp == stamp:
            return known
        data = path.read_bytes()
    except OSError as error:
        raise BadModule(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    tree = ast.Module([], []) if path.suffix != ".py" else _tree(path, data)
    parsed = _Parsed(
        stamp=stamp,
        digest=Digest(hashlib.sha256(data).hexdigest()),
        imports=tuple(_imports(tree)),
        exports=tuple(_exports(tree)),
        texts=frozenset(_texts(tree)),
    )
    if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
        _PARSED[key] = parsed
    return parsed


def _tree(path: Path, data: bytes) -> ast.Module:
    try:
        with _PARSING:
            return ast.parse(data, filename=str(path))
    except SyntaxError as error:
        raise BadModule(
            f"{path}, line {error.lineno}: {error.msg}", hint=f"python -m py_compile {path}"
        ) from error
    except ValueError as error:
        raise BadModule(
            f"{path} is not Python source: {error}", hint=f"python -m py_compile {path}"
        ) from error


def _imports(tree: ast.Module) -> Iterator[_Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (_Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield _Import(node.module or "", names, node.level)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            named = getattr(node.args[0], "value", None)
            if called in ("import_module", "__import__") and isinstance(named, str):
                yield _Import(named)


def _exports(tree: ast.Module) -> Iterator[str]:
    """The literal texts of ``__all__``.

    A star import imports the submodules among them.
    """
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            for item in ast.walk(node):
                if isinstance(item, ast.Constant) and isinstance(item.value, str):
                    yield item.value


def _texts(tree: ast.Module) -> Iterator[str]:
    """The literal texts that might be the path of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if 0 < len(text) <= _NAME_CHARS and text.isprintable() and not text.endswith(".py"):
                yield text
