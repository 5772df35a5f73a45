"""What the maps of a Knot call, and the image that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bundlerun.api.docker_image import DockerImage
from bundlerun.errors import Conflict, EngineError, UsageError
from bundlerun.images.image import checked_tags
from bundlerun.provision.stacks import Left

if TYPE_CHECKING:
    from bundlerun.connections import Connections
    from bundlerun.provision.ensure import KnotMade
    from bundlerun.provision.options import KnotOptions
    from bundlerun.runs.calls.options import MapOptions

Called = Callable[..., Any] | DockerImage


class KnotImage:
    """The function or script of a Knot, and the image for it.

    ``given`` is the image that was given; None: one is made as ``asked`` says, or it names one.
    Raises UsageError for what cannot be meant; nothing is built yet.
    """

    def __init__(self, asked: KnotOptions, given: DockerImage | None) -> None:
        self._asked = asked
        self._tags = checked_tags(asked.image_tags)
        self._func = asked.func if given is None else asked.func or given.func
        if given is not None:
            self._image: DockerImage | None = _copy(given)
        elif asked.image is None and (self._func or asked.script_path):
            self._image = DockerImage(
                self._func,
                asked.script_path,
                asked.requirements,
                base_image=asked.base_image,
            )
        else:
            self._image = None
            _check_unused(asked)

    def place(self, made: KnotMade, connections: Connections) -> None:
        """Call its images after the Knot's repository, for the Knot's machines."""
        self._name, self._platform = made.outputs.repository, made.options.platform
        # A repository may have been deleted with an earlier Knot of the name.
        self._owner = made.stack_id
        self._connections = connections
        if self._image is not None:
            self._placed(self._image)

    def called(self, chosen: MapOptions) -> tuple[Called, MapOptions]:
        """What is mapped under the options ``chosen``, and these with the image for it.

        Builds the image where that was asked for in any case. Raises UsageError where there is
        nothing to call, and as ``DockerImage.build``.
        """
        image = self._image
        if self._func is None and image is None:
            name = self._asked.name
            raise UsageError(
                f"the Knot {name} was given nothing to call", hint=f"br.Knot({name!r}, function)"
            )
        if chosen.image is not None:
            return self._func or image, chosen  # type: ignore[return-value]
        if chosen.requirements is not None or chosen.base_image is not None:
            other = _copy(
                image or DockerImage(self._func),
                requirements=chosen.requirements,
                base_image=chosen.base_image,
            )
            image = self._placed(other)
            chosen = chosen.but(requirements=None, base_image=None)
        if image is None:
            return self._func, chosen.but(image=self._asked.image)  # type: ignore[return-value]
        if self._asked.no_cache and image is self._image and image.ref is None:
            image.build(image.tags, no_cache=True)
        return (image, chosen) if self._func is None else (self._func, chosen.but(image=image))

    def clobber(self) -> tuple[Left, ...]:
        """Remove the image from the engine here; what remains, and why."""
        if self._image is None:
            return ()
        try:
            self._image.clobber()
        except (Conflict, EngineError) as error:
            return (Left("image on the engine here", self._name, error.message),)
        return ()

    def _placed(self, image: DockerImage) -> DockerImage:
        image.name, image.tags, image.owner = self._name, self._tags, self._owner
        image.connections, image.platform = self._connections, self._platform
        return image


def _copy(image: DockerImage, *, requirements: Any = None, base_image: Any = None) -> DockerImage:
    """An image of the same, with these requirements and base where they are not None."""
    return DockerImage(
        image.func,
        image.script,
        image.requirements if requirements is None else requirements,
        image.system_packages,
        image.base_image if base_image is None else base_image,
    )


def _check_unused(asked: KnotOptions) -> None:
    """Refuse what would change nothing, for nothing is made.

    An image that is there already is looked at with the other options.
    """
    for option in ("requirements", "base_image", "image_tags", "no_cache"):
        if asked.image is None and getattr(asked, option):
            raise UsageError(
                f"{option} is for the image of a function, and the Knot is given none",
                hint=f"br.Knot({asked.name!r}, function, {option}=...)",
            )
