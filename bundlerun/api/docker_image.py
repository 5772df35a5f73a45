"""The image that a function or script runs in, in the caller's hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlerun.connections import Connections
from bundlerun.errors import UsageError
from bundlerun.images.image import ENVIRONMENTS, ImageRef, checked_tags, environment_name
from bundlerun.images.recipe import checked_script
from bundlerun.images.requirements import checked_packages, find_system_packages, given_requirements
from bundlerun.settings import ImageSettings, read_settings

if TYPE_CHECKING:
    from bundlerun.images.recipe import Recipe
    from bundlerun.runs.calls.environment import EnvironmentRequest


class DockerImage:
    """The image that a function, or a script, runs in.

    That of a function has what the function runs on and no code: the code travels with each run.
    That of a script has the script and the project modules that it imports; then each item is a
    list of arguments, and the result what the script writes to standard output.

    ``requirements`` are lines or the path of a file; None: those of the project, else what is
    imported, as it is installed here. ``system_packages`` are Debian's; ``base_image`` has this
    Python, ``python:X.Y-slim`` unless given; ``name`` stands in place of ``bundlerun-env``.

    Raises UsageError for what cannot be meant; nothing is built yet.
    """

    ref: ImageRef | None = None
    """The image on the engine, None until it is built."""

    connections: Connections | None = None
    """The settings that count, and the listener to what goes on.

    None: the present settings, and nobody.
    """

    platform: str | None = None
    """Docker's ``os/arch`` that it is built for; None: that of the engine here."""

    tags: tuple[str, ...] = ()
    """Its tags, next to the one that names its content."""

    owner: str = ""
    """Who it is pushed for: a map pushes again what was pushed for another one."""

    def __init__(
        self,
        func: Callable[..., Any] | None = None,
        script_path: str | Path | None = None,
        requirements: Sequence[str] | str | Path | None = None,
        system_packages: Sequence[str] = (),
        base_image: str | None = None,
        name: str | None = None,
    ) -> None:
        if (func is None) == (script_path is None):
            given = "neither is given" if func is None else "both are given"
            raise UsageError(
                f"an image is for a function or for a script, and {given}",
                hint="br.DockerImage(func) or br.DockerImage(script_path='fit.py')",
            )
        if func is not None and not callable(func):
            raise UsageError(
                f"an image is for a function, not for a {type(func).__name__}",
                hint=f"br.DockerImage(script_path={func!r:.80})",
            )
        if isinstance(system_packages, str):
            raise UsageError(
                f"system_packages must be a list, not {system_packages!r}",
                hint=f"system_packages=[{system_packages!r}]",
            )
        environment_name(name, ImageSettings())
        if requirements is not None:
            given_requirements(requirements, {})
        self.func = func
        self.script = None if script_path is None else checked_script(Path(script_path).absolute())
        self.requirements = requirements
        self.system_packages = checked_packages(system_packages)
        self.base_image = base_image
        self.name = name

    def __repr__(self) -> str:
        of = self.func if hasattr(self.func, "__qualname__") else type(self.func)
        called = self.script or f"{of.__module__}.{getattr(of, '__qualname__', '')}"
        if self.ref is None:
            return f"<DockerImage {self.name or ENVIRONMENTS} of {called}, not built>"
        return f"<DockerImage {self.ref.pullable} of {called}>"

    @property
    def request(self) -> EnvironmentRequest:
        """What is asked of the environment, from the sources as they are now.

        Raises UsageError, BadModule.
        """
        from bundlerun.runs.calls.environment import EnvironmentRequest, script_request

        if self.script is not None:
            found = script_request(self.script)
        else:
            from bundlerun.runs.calls.sources import sources_of

            assert self.func is not None
            sources = sources_of(self.func)
            found = EnvironmentRequest(sources.root, sources.imports)
        return dataclasses.replace(
            found,
            requirements=self.requirements,
            system_packages=self.system_packages,
            base_image=self.base_image,
            name=self.name,
            tags=self.tags,
            owner=self.owner,
            built=self.ref,
            needed=True,
        )

    def build(self, tags: Iterable[str] = (), no_cache: bool = False) -> str:
        """Build the image unless one of the same content is there, and return its name.

        Its tag names its content; ``tags`` are more of them. ``no_cache``: it is built in any case,
        and no layer is reused. Raises UsageError, SettingsError, EngineError, BuildFailed.
        """
        from bundlerun.images.build import tag_image
        from bundlerun.runs.calls.environment import built

        more = checked_tags(tags)
        self.ref = built(self._recipe(), self._connections.progress, no_cache=no_cache)
        self.tags = more
        if more:
            tag_image(self.ref, more)
        return self.ref.pullable

    def push(self, repository: str | None = None) -> str:
        """Push the image, built first where it is not, and return its name by digest.

        ``repository`` is ``HOST[:PORT]/NAME``, or ``ecr`` for the account's own registry; None: the
        image's own name in the registry of the settings. Its tags go along. Raises SettingsError
        where none is configured or it is not an address, UsageError, EngineError, CloudError.
        """
        from bundlerun.images.image import checked_registry, is_named
        from bundlerun.images.publish import push_image, registry_of

        if repository is None:
            registry_of(self._connections.settings.images)
        elif not is_named(repository) and "/" not in checked_registry(repository):
            raise UsageError(
                f"{repository!r} is a registry, not a repository in it",
                hint=f"push('{repository}/{self.name or ENVIRONMENTS}')",
            )
        if self.ref is None:
            self.build()
        assert self.ref is not None
        tags = (self.ref.tag, *self.tags)
        return push_image(self.ref, self._connections, tags=tags, repository=repository).pullable

    def write(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write to ``folder`` what a build would send, and return the Dockerfile.

        ``docker build FOLDER`` makes the image. With ``overwrite`` the folder may hold what an
        earlier ``write`` left, and nothing else. Raises UsageError for a folder that is not empty.
        """
        from bundlerun.images.context import write_context

        return write_context(self._recipe(), Path(folder), overwrite=overwrite)

    def clobber(self) -> list[str]:
        """Remove the image from the engine here, under all its names, and return these.

        What is in a registry stays. Twice is not an error. Raises Conflict where a container uses
        it, EngineError.
        """
        from bundlerun.images.build import remove_image
        from bundlerun.images.image import CONTENT, NAME

        if self.ref is not None:
            name, content = self.ref.labels[NAME], self.ref.labels[CONTENT]
        else:
            recipe = self._recipe()
            name, content = recipe.name, recipe.content
        found = remove_image(name, content)
        self.ref, self.tags = None, ()
        return found

    @property
    def _connections(self) -> Connections:
        return self.connections or Connections(read_settings())

    def _recipe(self) -> Recipe:
        from bundlerun.runs.calls.environment import recipe_of

        return recipe_of(self.request, self._connections, platform=self.platform)


def script_image(
    script: Path,
    connections: Connections,
    *,
    config_dir: Path | None = None,
    base_image: str | None = None,
    platform: str | None = None,
) -> DockerImage:
    """The image of ``script`` by the settings of ``connections``, for ``platform``.

    ``config_dir`` holds deb.txt and requirements.txt. Raises UsageError as ``DockerImage``.
    """
    packages: tuple[str, ...] = ()
    requirements: Path | None = None
    if config_dir is not None:
        if not config_dir.is_dir():
            raise UsageError(
                f"the configuration folder {config_dir} is not there",
                hint="--config-dir FOLDER, or leave it out",
            )
        packages = find_system_packages(config_dir)
        found = config_dir / "requirements.txt"
        requirements = found if found.is_file() else None
    image = DockerImage(None, script, requirements, packages, base_image)
    image.connections, image.platform = connections, platform
    return image
