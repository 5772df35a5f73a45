"""The requirements of a pipeline besides bundlerun: Python and system packages.

Python packages are taken from the first of: CONFIG_DIR/requirements.txt, and in PIPE_ROOT
requirements.txt, pyproject.toml, setup.cfg, setup.py. Nothing of the pipeline is executed.
"""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlerun.errors import UsageError
from bundlerun.images.lock_files import is_lock_file, locked_requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"(?:-r\s*|--requirement[\s=]\s*)(\S.*)")
_CONSTRAIN = re.compile(r"(?:-c\s*|--constraint[\s=]\s*)(\S.*)")
_EDITABLE = re.compile(r"(?:-e\b|--editable\b)")
_LINKS = re.compile(r"(?:-f\s*|--find-links[\s=]\s*)(\S.*)")
_HASH = re.compile(r"\s+--hash[=\s]\s*\S+")
_SECRET = re.compile(r"https?://[^/\s@]+@")
_PATH = re.compile(r"[./~]|file:|[^@:;]*\.(?:whl|zip|tar\.gz|tgz)$|[^:@;]*/")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_GIT = re.compile(r"(?:^|[\s@])git\+")
# Names of Debian packages (Debian policy 5.6.7), with an architecture or a version at choice.
_DEB = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?")


@dataclass(frozen=True)
class Requirements:
    """Lines that pip reads.

    ``locked`` are the same lines with their hashes, when they have some; ``origin`` is where they
    are from.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    locked: tuple[str, ...] = ()
    origin: str | None = None

    @property
    def from_git(self) -> bool:
        """Whether a line names a git repository, for which pip needs git."""
        return any(_GIT.search(line) for line in (*self.lines, *self.constraints))


def find_requirements(
    pipe_root: Path, config_dir: Path | None, extras: Mapping[str, tuple[str, ...]]
) -> Requirements:
    """The pipeline's Python requirements; none when no file declares some.

    A line that names bundlerun itself is replaced by what the named ``extras`` bring: bundlerun
    is put in from the installed one. Raises UsageError for what no image can install (a path of
    this machine, an editable install), for credentials in a line, and for dependencies that are
    only known by running the pipeline's setup.py.
    """
    for folder in (config_dir, pipe_root):
        if folder is not None and (folder / "requirements.txt").is_file():
            path = folder / "requirements.txt"
            return _sorted_out(_logical_lines(path, frozenset()), str(path), extras)
    lines, declared = declared_requirements(pipe_root)
    origin = str(declared) if declared else None
    return _sorted_out([(line, str(declared)) for line in lines], origin, extras)


def given_requirements(
    given: Sequence[str] | str | Path, extras: Mapping[str, tuple[str, ...]]
) -> Requirements:
    """The requirements that a caller names: lines, or the path of a file with them.

    Such a file is a requirements.txt with or without hashes, a lock file (pylock.toml), or what a
    project declares (pyproject.toml, setup.cfg, setup.py). Raises UsageError as
    ``find_requirements``, and for a file that is not there.
    """
    if not isinstance(given, (str, Path)):
        lines = [str(line).strip() for line in given]
        for line in lines:
            if _INCLUDE.fullmatch(line) or _CONSTRAIN.fullmatch(line):
                raise UsageError(
                    f"the requirement {line!r} names a file of this machine",
                    hint="requirements='requirements.txt', a file that has this line",
                )
        return _sorted_out(
            [(line, "requirements") for line in lines if line], "requirements", extras
        )
    path = Path(given)
    if not path.is_file():
        raise UsageError(
            f"there is no file of requirements {path}",
            hint=f"requirements=[{str(given)!r}], if it is a package",
        )
    read = _DECLARING.get(path.name)
    if read is not None:
        found = [(line, str(path)) for line in read(path) or ()]
    elif is_lock_file(path):
        found = [(line, str(path)) for line in locked_requirements(path)]
    else:
        found = _logical_lines(path, frozenset())
    return _sorted_out(found, str(path), extras)


def find_system_packages(config_dir: Path | None) -> tuple[str, ...]:
    """The Debian packages of ``config_dir/deb.txt``, one a line, ``#`` for comments.

    Raises UsageError for a line that is not the name of a package.
    """
    if config_dir is None or not (config_dir / "deb.txt").is_file():
        return ()
    path = config_dir / "deb.txt"
    names: set[str] = set()
    for number, line in enumerate(_text(path).splitlines(), 1):
        name = _COMMENT.sub("", line).strip()
        if name:
            names.update(checked_packages([name], f"{path}, line {number}"))
    return tuple(sorted(names))


def checked_packages(names: Iterable[str], where: str = "system_packages") -> tuple[str, ...]:
    """``names`` sorted and once each.

    Raises UsageError for one that is not a Debian package's.
    """
    found = sorted({*names})
    for name in found:
        if not _DEB.fullmatch(name):
            raise UsageError(
                f"{where}: {name!r} is not the name of a Debian package",
                hint="one name each, such as libgomp1",
            )
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error


def _logical_lines(path: Path, above: frozenset[Path]) -> list[tuple[str, str]]:
    """The lines of ``path`` and of what it includes, each with where it stands."""
    if path.resolve() in above:
        raise UsageError(f"{path} includes itself", hint=f"grep -n -- -r {path}")
    above |= {path.resolve()}
    found: list[tuple[str, str]] = []
    for line in _CONTINUED.sub(" ", _text(path)).splitlines():
        line = _COMMENT.sub("", line).strip()
        include = _INCLUDE.fullmatch(line)
        constrain = _CONSTRAIN.fullmatch(line)
        if include:
            found += _logical_lines(_beside(path, include[1]), above)
        elif constrain:
            inner = _logical_lines(_beside(path, constrain[1]), above)
            found += [(f"-c {text.removeprefix('-c ')}", where) for text, where in inner]
        elif line:
            found.append((line, str(path)))
    return found


def _beside(path: Path, name: str) -> Path:
    name = name.strip("\"'")
    if "://" in name or not (path.parent / name).is_file():
        raise UsageError(
            f"{path} includes {name}, which is not a file in its folder", hint=f"ls {path.parent}"
        )
    return path.parent / name


def _sorted_out(
    found: list[tuple[str, str]], origin: str | None, extras: Mapping[str, tuple[str, ...]]
) -> Requirements:
    from packaging.utils import canonicalize_name

    lines: dict[str, None] = {}
    constraints: dict[str, None] = {}
    for line, where in found:
        is_constraint = line.startswith("-c ")
        text = line.removeprefix("-c ")
        named = _checked(text, where)
        if named is None or canonicalize_name(named.name) != "bundlerun":
            (constraints if is_constraint else lines)[text] = None
        elif not is_constraint:
            for extra in sorted(named.extras):
                lines.update(dict.fromkeys(extras.get(extra, ())))
    plain = tuple(dict.fromkeys(_HASH.sub("", line) for line in lines))
    return Requirements(
        lines=plain,
        constraints=tuple(dict.fromkeys(_HASH.sub("", line) for line in constraints)),
        locked=tuple(lines) if plain != tuple(lines) else (),
        origin=origin,
    )


def _checked(line: str, where: str) -> Requirement | None:
    """The requirement (PEP 508) in a line, or None.

    None for an option of pip's, and for a URL alone. Raises UsageError for what an image cannot
    have.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    if _EDITABLE.match(line):
        raise UsageError(
            f"{where}: {line!r} is an editable install, which an image cannot have",
            hint="a release, such as NAME==1.0",
        )
    if _SECRET.search(line):
        # The line itself is not repeated: messages end up in logs.
        raise UsageError(
            f"{where} holds a URL with credentials, which would stay in the image",
            hint="export PIP_EXTRA_INDEX_URL=URL, and the line without its URL",
        )
    if line.startswith("-"):
        links = _LINKS.fullmatch(line)
        if links and "://" not in links[1]:
            raise _path_of_this_machine(line, where)
        return None
    # Options of the one requirement, hashes above all, are pip's and not of PEP 508.
    text = line.partition(" --")[0].strip()
    if _PATH.match(text):
        raise _path_of_this_machine(line, where)
    if _URL.match(text):
        return None
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(
            f"{where}: {line!r:.200} is not a requirement that pip reads:"
            f" {str(error).splitlines()[0]}",
            hint="NAME, NAME==1.0 or NAME>=1,<2, one a line",
        ) from error
    if found.url is not None and (_PATH.match(found.url) or not _URL.match(found.url)):
        raise _path_of_this_machine(line, where)
    return found


def _path_of_this_machine(line: str, where: str) -> UsageError:
    return UsageError(
        f"{where}: {line!r} is a path of this machine, which an image cannot have",
        hint="a release, such as NAME==1.0, or a URL that the image can reach",
    )


if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def declared_requirements(root: Path) -> tuple[list[str], Path | None]:
    """The requirements (PEP 508) declared by the project at ``root``, and their file.

    It is the first of pyproject.toml, setup.cfg and setup.py that says something. setup.py is read,
    not run. Raises UsageError when a file does not parse, or when only running it would tell.
    """
    for name, read in _DECLARING.items():
        path = root / name
        if path.is_file():
            found = read(path)
            if found is not None:
                return found, path
    return [], None


def _cannot_tell(path: Path, why: str) -> UsageError:
    return UsageError(
        f"{path}: {why}", hint=f"write the requirements to {path.parent / 'requirements.txt'}"
    )


def _from_pyproject(path: Path) -> list[str] | None:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error
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
        raise UsageError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error
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
        raise UsageError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error
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


_DECLARING: Mapping[str, Callable[[Path], list[str] | None]] = {
    "pyproject.toml": _from_pyproject,
    "setup.cfg": _from_setup_cfg,
    "setup.py": _from_setup_py,
}
"""The readers of a project's declarations, by file name.

The first file that says something counts.
"""
