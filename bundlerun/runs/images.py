"""From a pipeline's source to its image, and back to it when a run needs it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlerun.backends.base import ImageAt
from bundlerun.backends.open import backend_type
from bundlerun.errors import BadModule, ImageNotFound, StaleImage
from bundlerun.images.described import Described
from bundlerun.images.image import ImageInfo, ImageRef, image_name
from bundlerun.images.recipe import Code, ImageOptions, Recipe, plan_image
from bundlerun.pipelines.git import git_version
from bundlerun.pipelines.imports import check_names_class, top_level_names
from bundlerun.pipelines.loader import no_such_class
from bundlerun.pipelines.source import Digests, digests_of, source_digest, source_of

if TYPE_CHECKING:
    from bundlerun.connections import Connections
    from bundlerun.progress import Progress
    from bundlerun.runs.request import RunRequest
    from bundlerun.runs.scope import RunScope
    from bundlerun.settings import ImageSettings
    from bundlerun.store.store import Store


@dataclass(frozen=True)
class ImageRequest:
    """A request to ``dockerize``: the source's folder, the pipe, the image's options."""

    pipe_root: Path
    pipe: str
    config_dir: Path | None = None
    base_image: str | None = None
    platform: str | None = None

    @property
    def module(self) -> str:
        """The module of the pipe.

        Raises BadModule when ``pipe`` names none.
        """
        module = self.pipe.rpartition(".")[0]
        if not module:
            raise BadModule(
                f"{self.pipe!r} is not a dotted class name", hint="package.module.Class"
            )
        return module

    def to_json(self) -> dict[str, Any]:
        """The JSON form, with absolute paths."""
        return {
            "pipe_root": str(self.pipe_root.resolve()),
            "pipe": self.pipe,
            "config_dir": self.config_dir and str(self.config_dir.resolve()),
            "base_image": self.base_image,
            "platform": self.platform,
        }

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> ImageRequest:
        """The inverse of ``to_json``."""
        config_dir = found["config_dir"]
        return ImageRequest(
            pipe_root=Path(found["pipe_root"]),
            pipe=found["pipe"],
            config_dir=None if config_dir is None else Path(config_dir),
            base_image=found["base_image"],
            platform=found["platform"],
        )


def recipe_of(
    request: ImageRequest, settings: ImageSettings, *, digests: Digests = digests_of
) -> Recipe:
    """The recipe for ``request``: reads the source, changes nothing.

    Raises BadModule when the module does not stand below its root, UsageError for requirements
    that no image can have.
    """
    root = request.pipe_root
    if not root.is_dir():
        raise BadModule(
            f"{root} is not a folder", hint="bundlerun dockerize PIPE_ROOT pkg.module.Pipe"
        )
    _check_named(root, request)
    source = source_of(root, request.module, digests=digests)
    git = git_version(root, source.files)
    code = Code(
        root=root,
        module=request.module,
        source=source.digest,
        files=sorted(source.modules.values()),
        named=source.named,
        left_out=source.left_out,
        commit=git and git[0],
        dirty=bool(git and git[1]),
    )
    options = ImageOptions(request.config_dir, request.base_image, request.platform)
    return plan_image(code, settings, options)


def _check_named(root: Path, request: ImageRequest) -> None:
    """Refuse a misspelt class before its image is built, as the source shows it.

    Raises BadModule.
    """
    name = request.pipe.rpartition(".")[2]
    check_names_class(root, request.pipe)
    there = top_level_names(root, request.module)
    if there is not None and name not in there:
        raise no_such_class(request.module, name, there)


def build_image(recipe: Recipe, pipe: str, *, progress: Progress) -> ImageInfo:
    """The image of ``recipe``, built unless it is there.

    Raises BadModule when its module has no such pipe, EngineError, BuildFailed.
    """
    from bundlerun.images.build import build

    for left in recipe.left_out:
        progress.line(f"left out of the image: {left}")
    info = ImageInfo.of(build(recipe, progress=progress))
    check_pipe(info.described, pipe)
    return info


def make_image(
    request: ImageRequest,
    *,
    store: Store,
    connections: Connections,
    push: bool,
    platform: str | None = None,
) -> ImageInfo:
    """Build the image of ``request`` unless it is there, and remember it.

    With ``push`` it is sent to the registry of the settings, which is remembered too; that there is
    one is looked at first. ``platform`` counts where ``request`` names none. Raises as
    ``recipe_of``, ``build_image`` and ``publish``.
    """
    settings = connections.settings.images
    wanted = dataclasses.replace(request, platform=request.platform or platform)
    recipe = recipe_of(wanted, settings, digests=store.stats.digests)
    if push:
        from bundlerun.images.publish import publish, registry_of

        registry_of(settings)  # before minutes are spent on a build
    image = build_image(recipe, request.pipe, progress=connections.progress)
    if push:
        image = publish(image, connections)
    note_image(store, request, image, settings)
    return image


def image_of_run(request: RunRequest, scope: RunScope, *, build: bool) -> ImageInfo:
    """The image that ``request`` runs in.

    With ``build`` it is made first, as it was made before, where its source changed. Raises as
    ``make_image`` and ``image_for``.
    """
    store, settings = scope.store, scope.settings.images
    backend = backend_type(request.backend)
    on_engine = backend.traits.image is ImageAt.ENGINE
    if not build:
        return image_for(request.pipe, store=store, settings=settings, on_engine=on_engine)
    noted = noted_request(store, request.module, settings) or ImageRequest(Path.cwd(), "")
    return make_image(
        dataclasses.replace(noted, pipe=request.pipe),
        store=store,
        connections=scope.connections,
        push=not on_engine and settings.registry is not None,
        platform=backend.platform(scope.settings),
    )


def check_pipe(described: Described, pipe: str) -> None:
    """Refuse a pipe that the module does not have.

    Raises BadModule.
    """
    pipes = described.schema["pipes"]
    if pipe not in pipes:
        there = ", ".join(sorted(pipes)) or "none"
        near = difflib.get_close_matches(pipe, list(pipes), n=1, cutoff=0.0)
        raise BadModule(
            f"{described.module} has no pipe {pipe}; it has: {there}",
            hint=f"bundlerun run IN OUT {near[0] if near else pipe}",
        )


def note_image(
    store: Store, request: ImageRequest, image: ImageInfo, settings: ImageSettings
) -> None:
    """Remember how the image was made, and what it is."""
    name = image_name(request.module, settings)
    store.noted_images.save(
        name, {"request": request.to_json(), "image": dataclasses.asdict(image.ref)}
    )


def noted_request(store: Store, module: str, settings: ImageSettings) -> ImageRequest | None:
    """How the image of ``module`` was last made with this store, or None."""
    noted = store.noted_images.find(image_name(module, settings))
    return None if noted is None else ImageRequest.from_json(noted["request"])


def image_for(pipe: str, *, store: Store, settings: ImageSettings, on_engine: bool) -> ImageInfo:
    """The image of the pipe's module, made of the source as it is now.

    ``on_engine``: the local engine must have it. Otherwise what was noted counts, so that a
    machine without an engine can submit to AWS Batch. Raises ImageNotFound, and StaleImage when
    the source at the recorded root differs.
    """
    from bundlerun.images.build import find_image

    module = pipe.rpartition(".")[0]
    name = image_name(module, settings)
    noted = store.noted_images.find(name)
    ref = find_image(name) if on_engine or noted is None else ImageRef(**noted["image"])
    if ref is None:
        root = noted["request"]["pipe_root"] if noted else "PIPE_ROOT"
        raise ImageNotFound(
            f"there is no image {name} for the module {module}",
            hint=f"bundlerun dockerize {root} {pipe}",
        )
    info = ImageInfo.of(ref)
    root = Path(noted["request"]["pipe_root"] if noted else info.described.pipe_root)
    source, digests = info.described.source, store.stats.digests
    if root.is_dir() and source_digest(root, module, digests=digests) != source:
        raise StaleImage(
            f"the source of {module} below {root} differs from its image",
            hint=f"bundlerun run --build IN OUT {pipe}",
        )
    check_pipe(info.described, pipe)
    return info
