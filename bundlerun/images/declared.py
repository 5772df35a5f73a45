"""The dependencies that a project declares in pyproject.toml, setup.cfg or setup.py."""

from __future__ import annotations

import ast
import configparser
import sys
from pathlib import Path
from typing import Any

from bundlerun.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def declared_requirements(root: Path) -> tuple[list[str], Path | None]:
    """The requirements (PEP 508) that the project at ``root`` declares, and the file that does.

    The first of pyproject.toml, setup.cfg and setup.py that says something. setup.py is read, not
    run. Raises UsageError when a file does not parse, or when only running it would tell.
    """
    for name, read in (
        ("pyproject.toml", _from_pyproject),
        ("setup.cfg", _from_setup_cfg),
        ("setup.py", _from_setup_py),
    ):
        path = root / name
        if path.is_file():
            found = read(path)
            if found is not None:
                return found, path
    return [], None


def _cannot_tell(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: {why}; write them to {path.parent / 'requirements.txt'}")


def _from_pyproject(path: Path) -> list[str] | None:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    project: dict[str, Any] = found.get("project", {})
    if "dependencies" in project:
        return [str(line) for line in project["dependencies"]]
    if "dependencies" in project.get("dynamic", ()):
        if (path.parent / "setup.cfg").is_file() or (path.parent / "setup.py").is_file():
            return None
        raise _cannot_tell(path, "the dependencies are dynamic")
    if "dependencies" in found.get("tool", {}).get("poetry", {}):
        raise _cannot_tell(path, "the dependencies are in Poetry's own form")
    return None


def _from_setup_cfg(path: Path) -> list[str] | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    text = parser.get("options", "install_requires", fallback=None)
    if text is None:
        return None
    if text.strip().startswith("file:"):
        raise _cannot_tell(path, "install_requires is taken from another file")
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _from_setup_py(path: Path) -> list[str] | None:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    names = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "setup":
            return _install_requires(node, names, path)
    return None


def _called(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None


def _install_requires(call: ast.Call, names: dict[str, ast.expr], path: Path) -> list[str] | None:
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _cannot_tell(path, "setup() takes keywords from elsewhere (**)")
        if keyword.arg == "install_requires":
            value = keyword.value
            if isinstance(value, ast.Name):
                value = names.get(value.id, value)
            try:
                found = ast.literal_eval(value)
            except ValueError as error:
                raise _cannot_tell(path, "install_requires is computed") from error
            lines = found.splitlines() if isinstance(found, str) else list(found)
            return [str(line).strip() for line in lines if str(line).strip()]
    return None
