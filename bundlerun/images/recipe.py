"""The plan of an image: decided from files alone, without an engine.

Of a module's pipes (``plan_image``), or of an environment (``plan_environment``): what functions
run on, without any code of theirs, so that an edited function needs no other image.

Layers, from what changes least to what changes most: base, system packages, Python dependencies
(bundlerun's and the pipeline's, resolved in one call of pip), bundlerun, code. What differs from
edit to edit (digests, git's word, times) is in labels, which are put on when all layers stand.
"""

from __future__ import annotations

import platform as machine
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from bundlerun.bundles.digest import Digest, canonical_json, digest_of, digest_of_file
from bundlerun.errors import BadModule, UsageError
from bundlerun.images.dockerfile import Ingredients, dockerfile
from bundlerun.images.image import environment_name, image_name
from bundlerun.images.requirements import (
    Requirements,
    checked_packages,
    find_requirements,
    find_system_packages,
)
from bundlerun.images.selection import MAX_DATA_BYTES, LeftOut, select
from bundlerun.images.wheel import Wheel, repack
from bundlerun.settings import ImageSettings

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7"}
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
_BASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_VERSIONED = re.compile(r"(?:^|[/:-])(?:python:|py)?(3\.\d+)(?![\d])")


@dataclass(frozen=True)
class Code:
    """What is known of the pipeline's source, which stands below ``root``.

    ``module`` is the pipe's (``pkg.module``); ``source`` the digest of all that it is made of;
    ``files`` those of the project modules among that; ``named`` the paths of files at the root that
    these modules name; ``left_out`` the digests of what stays behind for its size, by path;
    ``commit`` and ``dirty`` are git's word on it.
    """

    root: Path
    module: str
    source: Digest
    files: Sequence[Path]
    named: Sequence[str] = ()
    left_out: Mapping[str, Digest] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool = False


@dataclass(frozen=True)
class ImageOptions:
    """The options of one image.

    ``config_dir`` holds deb.txt and requirements.txt; ``base_image`` wins over the settings';
    ``platform`` is Docker's ``os/arch[/variant]``.
    """

    config_dir: Path | None = None
    base_image: str | None = None
    platform: str | None = None


@dataclass(frozen=True)
class Script:
    """A program that an image is made for.

    ``files`` are those of the project modules that it imports, below the script's own folder, and
    ``named`` the paths of files there that they name.
    """

    path: Path
    files: Sequence[Path] = ()
    named: Sequence[str] = ()


@dataclass(frozen=True)
class EnvironmentOptions:
    """What is asked of an environment's image.

    ``system_packages`` are Debian's; ``base_image`` wins over the settings'; ``platform`` is
    Docker's ``os/arch[/variant]``, None for this machine's; ``name`` stands in place of
    ``bundlerun-env``; ``script`` is the program that goes in.
    """

    system_packages: tuple[str, ...] = ()
    base_image: str | None = None
    platform: str | None = None
    name: str | None = None
    script: Script | None = None


@dataclass(frozen=True)
class ContextFile:
    """One file of the build context.

    ``data`` is its bytes, or None for a large one, which is read from ``source`` again when it is
    sent, and must then still have ``digest``.
    """

    path: str
    digest: Digest
    executable: bool = False
    data: bytes | None = None
    source: Path | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that goes into an image, and the names of it.

    ``environment`` digests what the code runs on: base reference, system packages, requirements,
    Python X.Y and platform. ``content`` digests all that goes in: equal content, equal image.
    ``code`` is None where no pipes are in it.
    """

    name: str
    code: Code | None
    ingredients: Ingredients
    requirements: Requirements
    platform: str | None
    files: tuple[ContextFile, ...]
    left_out: tuple[LeftOut, ...]
    environment: Digest
    content: Digest
    bundlerun_version: str

    @property
    def tag(self) -> str:
        """The tag that is made of the content."""
        return self.content[:16]


def plan_image(
    code: Code, settings: ImageSettings | None = None, options: ImageOptions | None = None
) -> Recipe:
    """The recipe of the image of ``code.module``.

    Reads files, changes nothing. Raises BadModule when the module is not there or kept out,
    UsageError for requirements that no image can have and for a base or platform that cannot be
    meant, SettingsError for names.
    """
    settings, options = settings or ImageSettings(), options or ImageOptions()
    if not code.files:
        raise BadModule(
            f"there is no module {code.module} below {code.root}",
            hint="bundlerun dockerize PIPE_ROOT pkg.module.Pipe, with the folder that holds pkg",
        )
    if options.config_dir is not None and not options.config_dir.is_dir():
        raise UsageError(
            f"the configuration folder {options.config_dir} is not there",
            hint="--config-dir FOLDER, or leave it out",
        )
    wheel = repack()
    requirements = find_requirements(code.root, options.config_dir, wheel.extras)
    base, python = _base(options.base_image or settings.base_image)
    ingredients = Ingredients(
        module=code.module,
        base=base,
        packages=find_system_packages(options.config_dir),
        wheel=wheel.filename,
        constrained=bool(requirements.constraints),
        locked=bool(requirements.locked),
        git=requirements.from_git,
    )
    chosen = select(code.root, code.files, code.named)
    files = (
        *_made(wheel, requirements),
        *(_context_file(f"code/{path}", source) for path, source in chosen.files),
    )
    return _recipe(
        image_name(code.module, settings),
        _Parts(ingredients, requirements, files, python, options.platform, wheel.version),
        code=code,
        left_out=chosen.left_out,
    )


def plan_environment(
    requirements: Requirements,
    settings: ImageSettings | None = None,
    options: EnvironmentOptions | None = None,
) -> Recipe:
    """The recipe of the image of an environment.

    It is for this Python X.Y, with the cloudpickle that is installed here: what one version pickled
    of a function no other version can surely read. Reads files, changes nothing. Raises UsageError
    for a base of another Python, for requirements that contradict the cloudpickle, and for a
    package, base or platform that cannot be meant; SettingsError for names.
    """
    settings, options = settings or ImageSettings(), options or EnvironmentOptions()
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    base, python = _base(options.base_image or settings.base_image)
    if python not in ("", running):
        raise UsageError(
            f"the base image {base} has Python {python}, and functions pickled by Python {running}"
            " run on that alone",
            hint=f"python:{running}-slim as the base image",
        )
    version = metadata.version("cloudpickle")
    _check_cloudpickle(requirements, version)
    wheel = repack()
    script = options.script
    ingredients = Ingredients(
        module=None,
        base=base,
        packages=checked_packages(options.system_packages),
        wheel=wheel.filename,
        constrained=bool(requirements.constraints),
        locked=bool(requirements.locked),
        git=requirements.from_git,
        python=running,
        script=None if script is None else checked_script(script.path).name,
    )
    files = [*_made(wheel, requirements, f"cloudpickle=={version}")]
    left_out: tuple[LeftOut, ...] = ()
    if script is not None:
        chosen = select(script.path.parent, [script.path, *script.files], script.named)
        files += [_context_file(f"code/{path}", source) for path, source in chosen.files]
        # A user may well have started it as ``sh fit.sh``.
        place = f"code/{ingredients.script}"
        files = [replace(f, executable=True) if f.path == place else f for f in files]
        left_out = chosen.left_out
    return _recipe(
        environment_name(options.name, settings),
        _Parts(ingredients, requirements, tuple(files), running, options.platform, wheel.version),
        left_out=left_out,
    )


def checked_script(path: Path) -> Path:
    """``path`` when a container can run what stands there.

    That is Python's ``.py``, or a file whose first line names its interpreter. Raises UsageError.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise UsageError(
            f"the script {path} cannot be read: {error.strerror}", hint=f"ls -l {path}"
        ) from error
    if not _SCRIPT.fullmatch(path.name):
        raise UsageError(
            f"{path.name!r} is not a name that a script can have in an image",
            hint=f"mv {str(path)!r} {str(path.with_name('script' + path.suffix))!r}",
        )
    if path.suffix != ".py" and start != b"#!":
        raise UsageError(
            f"{path} is not Python (.py), and its first line names no interpreter",
            hint="#!/bin/sh as its first line",
        )
    return path


def _check_cloudpickle(requirements: Requirements, version: str) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in (*requirements.lines, *requirements.constraints):
        try:
            named = Requirement(line.partition(" --")[0])
        except InvalidRequirement:
            continue  # an option of pip's, or an address alone
        if named.name.lower() == "cloudpickle" and not named.specifier.contains(
            version, prereleases=True
        ):
            raise UsageError(
                f"{requirements.origin} has {line!r}, and here is cloudpickle {version}: a function"
                " must be read by the version that pickled it",
                hint=f"cloudpickle=={version} there, or pip install {line!r} here",
            )


@dataclass(frozen=True)
class _Parts:
    """The parts of an image's digests; ``platform`` None: this machine's."""

    ingredients: Ingredients
    requirements: Requirements
    files: tuple[ContextFile, ...]
    python: str
    platform: str | None
    version: str


def _recipe(
    name: str, parts: _Parts, *, left_out: tuple[LeftOut, ...], code: Code | None = None
) -> Recipe:
    platform = _platform(parts.platform)
    return Recipe(
        name=name,
        code=code,
        ingredients=parts.ingredients,
        requirements=parts.requirements,
        platform=parts.platform,
        files=parts.files,
        left_out=left_out,
        environment=_environment(parts.ingredients, parts.requirements, parts.python, platform),
        content=_content(parts.ingredients, parts.files, platform),
        bundlerun_version=parts.version,
    )


def _base(chosen: str | None) -> tuple[str, str]:
    """The base image, and the Python X.Y that its name tells (empty when it does not)."""
    if chosen is None:
        running = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"python:{running}-slim", running
    if not _BASE.fullmatch(chosen):
        raise UsageError(
            f"{chosen!r} is not the name of an image", hint="--base-image python:3.11-slim"
        )
    told = _VERSIONED.search(chosen)
    return chosen, told[1] if told else ""


def _platform(chosen: str | None) -> str:
    if chosen is None:
        arch = machine.machine().lower()
        return f"linux/{_ARCHITECTURES.get(arch, arch)}"
    if not _PLATFORM.fullmatch(chosen):
        raise UsageError(f"{chosen!r} is not a platform", hint="--platform linux/amd64")
    return chosen


def _made(wheel: Wheel, requirements: Requirements, *pinned: str) -> list[ContextFile]:
    """The files that are made for the build.

    ``pinned`` are requirements next to bundlerun's.
    """
    texts = {
        "requirements/bundlerun.txt": (*wheel.requires, *pinned),
        "requirements/pipeline.txt": requirements.lines,
    }
    if requirements.constraints:
        texts["requirements/constraints.txt"] = requirements.constraints
    if requirements.locked:
        texts["requirements/locked.txt"] = requirements.locked
    made = {path: "".join(f"{line}\n" for line in lines).encode() for path, lines in texts.items()}
    made[f"wheel/{wheel.filename}"] = wheel.data
    return [ContextFile(path, digest_of(data), data=data) for path, data in made.items()]


def _context_file(path: str, source: Path) -> ContextFile:
    status = source.stat()
    executable = bool(status.st_mode & 0o100)
    if status.st_size <= MAX_DATA_BYTES:
        data = source.read_bytes()
        return ContextFile(path, digest_of(data), executable, data=data)
    return ContextFile(path, digest_of_file(source), executable, source=source)


def _environment(
    ingredients: Ingredients, requirements: Requirements, python: str, platform: str
) -> Digest:
    parts = {
        "environment": 1,
        "base": ingredients.base,
        "packages": list(ingredients.packages),
        "requirements": sorted(requirements.locked or requirements.lines),
        "constraints": sorted(requirements.constraints),
        "python": python,
        "platform": platform,
    }
    return digest_of(canonical_json(parts))


def _content(ingredients: Ingredients, files: Sequence[ContextFile], platform: str) -> Digest:
    parts = {
        "content": 1,
        "dockerfile": dockerfile(ingredients),
        "platform": platform,
        "files": [[file.path, file.digest, file.executable] for file in files],
    }
    return digest_of(canonical_json(parts))
