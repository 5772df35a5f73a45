"""What functions run on: an image without their code, or this Python.

An edited function needs no other image: what is in one is named by its content, and code travels
with the run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.backends.base import ImageAt
from bundlerun.backends.open import backend_type
from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.errors import UsageError
from bundlerun.images.image import CONTENT, ImageRef
from bundlerun.images.installed import installed_requirements
from bundlerun.images.recipe import (
    EnvironmentOptions,
    Recipe,
    Script,
    checked_script,
    plan_environment,
)
from bundlerun.images.requirements import Requirements, find_requirements, given_requirements
from bundlerun.images.wheel import extras
from bundlerun.pipelines.environment import local_environment
from bundlerun.pipelines.imports import imports_of, module_file, named_files

if TYPE_CHECKING:
    from bundlerun.connections import Connections
    from bundlerun.progress import Progress
    from bundlerun.runs.scope import RunScope


@dataclass(frozen=True)
class EnvironmentRequest:
    """What a function needs, and what was said of its image.

    ``root`` is the folder of its project (None: it has none) and ``imports`` are the top-level
    names that it and its project's modules import from elsewhere. ``requirements`` are lines or
    the path of a file; None: those that the project declares, else the installed distributions of
    ``imports``. ``script`` is the program that an image is for. ``image`` is an image of the
    user's own, used as it is; ``built`` the one of this content that the caller has built,
    ``tags`` more tags of it where it is published, and ``needed`` says that an image was asked for,
    whatever the backend. What was published for another ``owner`` is not taken to be there.
    """

    root: Path | None = None
    imports: tuple[str, ...] = ()
    requirements: Sequence[str] | str | Path | None = None
    system_packages: tuple[str, ...] = ()
    base_image: str | None = None
    name: str | None = None
    script: Script | None = None
    image: str | None = None
    built: ImageRef | None = None
    tags: tuple[str, ...] = ()
    owner: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Environment:
    """What the jobs of a call run on.

    ``image`` is the most exact name that an engine or service can start, None where jobs run
    without one: then ``interpreter`` is the Python that has bundlerun. ``environment`` is what
    keys and records say of it. ``python`` is X.Y and ``cloudpickle`` the version that pickles the
    function; ``requirements`` are the lines that the image was made of.
    """

    image: str | None
    environment: str
    interpreter: str | None
    python: str
    cloudpickle: str
    requirements: tuple[str, ...] = ()


def environment_for(request: EnvironmentRequest, backend: str, scope: RunScope) -> Environment:
    """The environment of ``request`` for jobs on ``backend``.

    Where these need an image it is found, or else built, and for a backend that pulls its images
    published: one that was published before asks neither the engine nor the registry.

    Raises UsageError for what cannot be meant, SettingsError without a registry, EngineError,
    BuildFailed, and what AWS's failures are translated to.
    """
    kind = backend_type(backend)
    at = kind.traits.image
    if at is ImageAt.NONE:
        _check_no_image(request, backend)
        return _environment(None, local_environment())
    if request.image is not None:
        named = {"environment": 1, "image": request.image}
        return _environment(request.image, digest_of(canonical_json(named)))
    platform = kind.platform(scope.settings)
    recipe = recipe_of(request, scope.connections, platform=platform)
    ref = (
        built(recipe, scope.progress)
        if at is ImageAt.ENGINE
        else _published(recipe, request, scope)
    )
    return _environment(ref.pullable, recipe.environment, recipe.requirements.lines)


def is_inferred(request: EnvironmentRequest) -> bool:
    """Whether the image of ``request`` gets what is imported.

    It does where nobody said what it must have.
    """
    return request.image is None and _said(request) is None


def script_request(path: Path) -> EnvironmentRequest:
    """What the script at ``path`` needs.

    It goes in with the project modules that it imports. These are found below its own folder,
    without importing anything. Raises UsageError for what no container can run, BadModule for a
    module that does not parse.
    """
    path = checked_script(path.absolute())
    root = path.parent
    if path.suffix != ".py":
        return EnvironmentRequest(root, script=Script(path))
    own: dict[str, Path] = {}
    foreign: set[str] = set()
    todo = list(imports_of(root, path.stem, path))
    while todo:
        name = todo.pop()
        parts = name.split(".")
        prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        files = {each: module_file(root, each) for each in prefixes}
        if not any(files.values()):
            foreign.add(parts[0])
        for each, file in files.items():
            if file is not None and each not in own:
                own[each] = file
                todo += imports_of(root, each, file)
    foreign -= {each.partition(".")[0] for each in own}
    modules = {path.stem: path, **own}
    script = Script(path, sorted({*own.values()}), named_files(root, modules))
    return EnvironmentRequest(root, tuple(sorted(foreign)), script=script)


def recipe_of(
    request: EnvironmentRequest, connections: Connections, *, platform: str | None = None
) -> Recipe:
    """The recipe of the image of ``request``.

    What was chosen is shown, nothing is changed. Raises UsageError, SettingsError.
    """
    progress = connections.progress
    options = EnvironmentOptions(
        system_packages=request.system_packages,
        base_image=request.base_image,
        platform=platform,
        name=request.name,
        script=request.script,
    )
    requirements, notes = _requirements(request)
    recipe = plan_environment(requirements, connections.settings.images, options)
    lines = ", ".join(requirements.lines) or "none"
    origin = requirements.origin or "nothing is imported"
    for line in (f"requirements of the image: {lines} ({origin})", *notes):
        progress.line(line)
    for left in recipe.left_out:
        progress.line(f"left out of the image: {left}")
    return recipe


def built(recipe: Recipe, progress: Progress, *, no_cache: bool = False) -> ImageRef:
    """The image of ``recipe`` on the engine, built unless it is there.

    Raises EngineError, BuildFailed.
    """
    from bundlerun.images.build import build

    return build(recipe, progress=progress, no_cache=no_cache)


def _environment(
    image: str | None, environment: str, requirements: tuple[str, ...] = ()
) -> Environment:
    return Environment(
        image=image,
        environment=environment,
        interpreter=sys.executable if image is None else None,
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        cloudpickle=metadata.version("cloudpickle"),
        requirements=requirements,
    )


def _check_no_image(request: EnvironmentRequest, backend: str) -> None:
    asked = {
        "image": request.image or request.needed,
        "requirements": request.requirements,
        "system_packages": request.system_packages,
        "base_image": request.base_image,
        "a script's image": request.script,
    }
    for name, value in asked.items():
        if value:
            raise UsageError(
                f"a job on {backend} runs without an image: {name} would change nothing",
                hint=f"leave out {name}",
            )


def _requirements(request: EnvironmentRequest) -> tuple[Requirements, list[str]]:
    """What to install, and what must be said of it."""
    said = _said(request)
    if said is not None:
        return said, []
    inferred = installed_requirements(request.imports)
    missing = (f"{name} is imported and not installed here" for name in inferred.missing)
    public = (f"{name} is a local version" for name in inferred.public)
    return inferred.requirements, [
        *(f"{each}: left out of the image" for each in missing),
        *(f"{each}: the image gets the published one" for each in public),
    ]


def _said(request: EnvironmentRequest) -> Requirements | None:
    """The requirements of the argument, or those that the project declares."""
    if request.requirements is not None:
        return given_requirements(request.requirements, extras())
    found = None if request.root is None else find_requirements(request.root, None, extras())
    return None if found is None or found.origin is None else found


def _published(recipe: Recipe, request: EnvironmentRequest, scope: RunScope) -> ImageRef:
    from bundlerun.images.build import tag_image
    from bundlerun.images.publish import needs_none, noted_registry, push_image

    if needs_none(scope.settings.images):
        ref = built(recipe, scope.progress)
        if request.tags:
            tag_image(ref, request.tags)
        return ref
    noted = scope.store.noted_images
    registry = f"{noted_registry(scope.connections)} {request.owner}".rstrip()
    tags = (recipe.tag, *request.tags)
    known = [noted.find_pushed(f"{recipe.name}:{tag}", registry) for tag in tags]
    first = known[0]
    # A tag may have been given to another image since.
    is_there = first is not None and all(each == first for each in known)
    if first and is_there and not _is_another(request.built, first["id"], recipe):
        return ImageRef(**first)
    ref = push_image(built(recipe, scope.progress), scope.connections, tags=tags)
    for tag in tags:
        noted.save_pushed(f"{recipe.name}:{tag}", registry, dataclasses.asdict(ref))
    return ref


def _is_another(there: ImageRef | None, pushed: str, recipe: Recipe) -> bool:
    """Whether the caller built the content of ``recipe`` again since it was pushed."""
    return there is not None and there.labels[CONTENT] == recipe.content and there.id != pushed
