"""The lock file that pip does not read itself: ``pylock.toml`` (PEP 751).

Others keep their markers in a form of their own: for these there is the command that exports them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundlerun.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_STANDARD = re.compile(r"pylock(\.[^.]+)?\.toml")  # PEP 751, "File name"
_CHOSEN = re.compile(r"\b(extras|dependency_groups)\b")

_EXPORTS: Mapping[str, str] = {
    "uv.lock": "uv export --no-emit-project -o requirements.txt",
    "poetry.lock": "poetry export -o requirements.txt",
    "pdm.lock": "pdm export -o requirements.txt",
    "Pipfile.lock": "pipenv requirements --hash > requirements.txt",
    "Pipfile": "pipenv requirements --hash > requirements.txt",
    "environment.yml": "pip list --format=freeze > requirements.txt",
    "environment.yaml": "pip list --format=freeze > requirements.txt",
    "conda-lock.yml": "pip list --format=freeze > requirements.txt",
}


def is_lock_file(path: Path) -> bool:
    """Whether ``locked_requirements`` reads ``path``, going by its name.

    Raises UsageError for the file of a tool whose form is its own, with the command that exports
    it.
    """
    if path.name in _EXPORTS:
        raise UsageError(
            f"{path} is in a form of its own, which pip does not read",
            hint=f"{_EXPORTS[path.name]}, and requirements='requirements.txt'",
        )
    return _STANDARD.fullmatch(path.name) is not None


def locked_requirements(path: Path) -> list[str]:
    """The packages of the lock file ``path`` as lines for pip, with their hashes.

    They have none where one package has none: pip takes hashes of all or of none. Raises UsageError
    for a file that does not parse, for a package that is a folder, and for one that only some extra
    or dependency group has.
    """
    try:
        packages = tomllib.loads(path.read_text(encoding="utf-8"))["packages"]
        found = [_line(path, package) for package in packages]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a lock file of PEP 751: {error!r}", hint="pip lock -o pylock.toml"
        ) from error
    if not all(hashes for _, hashes in found):
        return [line for line, _ in found]
    return [f"{line} {' '.join(f'--hash=sha256:{each}' for each in h)}" for line, h in found]


def _line(path: Path, package: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The package as a requirement (PEP 508), and the SHA-256 of each of its files."""
    name, marker = str(package["name"]), str(package.get("marker", ""))
    if _CHOSEN.search(marker):
        raise UsageError(
            f"{path}: {name} is there for some extra or dependency group alone ({marker})",
            hint="a lock file of what is needed, without extras and groups",
        )
    if "directory" in package:
        raise UsageError(
            f"{path}: {name} is a folder of this machine, which an image cannot have",
            hint=f"a release, such as {name}==1.0",
        )
    ending = f" ; {marker}" if marker else ""
    if "vcs" in package:
        vcs = package["vcs"]
        below = f"#subdirectory={vcs['subdirectory']}" if "subdirectory" in vcs else ""
        return f"{name} @ {vcs['type']}+{vcs['url']}@{vcs['commit-id']}{below}{ending}", []
    if "archive" in package:
        return f"{name} @ {package['archive']['url']}{ending}", _hashes([package["archive"]])
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    return f"{name}=={package['version']}{ending}", _hashes(files)


def _hashes(files: list[Mapping[str, Any]]) -> list[str]:
    return [str(file["hashes"]["sha256"]) for file in files if "sha256" in file["hashes"]]
