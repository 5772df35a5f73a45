"""An image: its reference, its name by its content, and what its labels record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from bundlerun import registry
from bundlerun.bundles.digest import Digest, checked_digest
from bundlerun.errors import (
    BadModule,
    ImageNotFound,
    IntegrityError,
    SettingsError,
    StaleImage,
    UsageError,
)
from bundlerun.images.described import JOB_PROTOCOL, Described
from bundlerun.settings import ImageSettings

PREFIX = "org.bundlerun."
MODULE = PREFIX + "module"
NAME = PREFIX + "image"
SCHEMA = PREFIX + "schema"
SOURCE = PREFIX + "source"
LEFT_OUT = PREFIX + "left_out"
ENVIRONMENT = PREFIX + "environment"
CONTENT = PREFIX + "content"
PIPE_ROOT = PREFIX + "pipe_root"
DIRTY = PREFIX + "dirty"
VERSION = PREFIX + "version"
PROTOCOL = PREFIX + "protocol"
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
OCI_REVISION = "org.opencontainers.image.revision"
OCI_CREATED = "org.opencontainers.image.created"
OCI_SOURCE = "org.opencontainers.image.source"
OCI_TITLE = "org.opencontainers.image.title"
OCI_VERSION = "org.opencontainers.image.version"
OCI_BASE = "org.opencontainers.image.base.name"


@dataclass(frozen=True)
class ImageRef:
    """A reference to an image: its name, one of its tags, the engine's id.

    The name is ``[registry/][prefix/]bundlerun-pkg-module``, or ``bundlerun-env`` in place of that
    where no pipes are in it. ``digest`` is what a registry answered when the image was pushed to
    ``name``, else None.
    """

    name: str
    tag: str
    id: str
    digest: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def pullable(self) -> str:
        """The most exact name that an engine or service can start: by digest when pushed."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


@dataclass(frozen=True)
class ImageInfo:
    """An image of a module: where it lies, and what the module is.

    ``name`` is the image's on the engine (``ref`` may say where it was pushed to); ``content``
    digests all that went in.
    """

    ref: ImageRef
    name: str
    content: Digest
    described: Described

    @staticmethod
    def of(ref: ImageRef) -> ImageInfo:
        """The labels of ``ref``, parsed.

        Raises ImageNotFound when bundlerun did not make it, StaleImage when a bundlerun made it
        whose jobs have another form.
        """
        labels = ref.labels
        if MODULE in labels and labels.get(PROTOCOL) != JOB_PROTOCOL:
            made_by = labels.get(VERSION) or "another version"
            root = labels.get(PIPE_ROOT, "PIPE_ROOT")
            raise StaleImage(
                f"the image {ref.name}:{ref.tag} was made by bundlerun {made_by}, whose jobs have"
                " another form",
                hint=f"bundlerun dockerize {root} {labels[MODULE]}.PIPE",
            )
        try:
            schema = json.loads(labels[SCHEMA])
            if not isinstance(schema, dict) or not {"pipes", "config"} <= schema.keys():
                raise ValueError("no pipes in the schema")
            described = Described(
                module=labels[MODULE],
                schema=schema,
                source=checked_digest(labels[SOURCE]),
                environment=checked_digest(labels[ENVIRONMENT]),
                left_out={p: checked_digest(d) for p, d in json.loads(labels[LEFT_OUT]).items()},
                pipe_root=labels[PIPE_ROOT],
                commit=labels.get(OCI_REVISION) or None,
                dirty=labels.get(DIRTY) == "true",
            )
            return ImageInfo(ref, labels[NAME], checked_digest(labels[CONTENT]), described)
        except (KeyError, ValueError, AttributeError, IntegrityError) as error:
            raise ImageNotFound(
                f"the image {ref.name}:{ref.tag} lacks the labels that bundlerun writes ({error})",
                hint="bundlerun dockerize PIPE_ROOT pkg.module.Pipe",
            ) from error


ENVIRONMENTS = "bundlerun-env"
"""The name of the images that functions run on; the tag tells their contents."""

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
# The grammar of the distribution project's reference package: one component of a repository path.
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_ADDRESS = re.compile(rf"[A-Za-z0-9.-]+(?::[0-9]+)?(?:/{_COMPONENT})*")


def image_name(module: str, settings: ImageSettings | None = None) -> str:
    """``[registry/][prefix/]bundlerun-pkg-module`` for the module ``pkg.module``.

    Repository names have no capitals and no leading underscores: a module that has gets a name
    that says so by eight digits of its hash, so that two modules never share an image. The
    address of a registry that is named (``registry.IMAGE_REGISTRIES``) is asked for, and put before
    the name, when the image is published.

    Raises BadModule for anything but a module's name, SettingsError for a prefix or registry that
    no image can have.
    """
    if not _MODULE.fullmatch(module):
        raise BadModule(f"{module!r} is not the dotted name of a module", hint="pkg.module")
    plain = module.replace(".", "-")
    name = "bundlerun-" + re.sub(r"_*-_*", "-", re.sub(r"___+", "__", plain.lower().strip("_")))
    if name != f"bundlerun-{plain}" or name == ENVIRONMENTS:
        name = f"{name.rstrip('-')}-{sha256(module.encode()).hexdigest()[:8]}"
    return _placed(name, settings or ImageSettings())


def environment_name(name: str | None, settings: ImageSettings) -> str:
    """The name of the image of an environment: ``name``, or ``bundlerun-env``.

    It is placed as ``image_name`` says. Raises UsageError for a name that no image can have,
    SettingsError.
    """
    if name is not None and not _PATH.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of an image (a-z 0-9, and . _ - / between them)",
            hint="name='lab-env'",
        )
    return _placed(name or ENVIRONMENTS, settings)


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """``tags`` in their order.

    Raises UsageError for what cannot be the tag of an image.
    """
    if isinstance(tags, str):
        raise UsageError(f"tags must be a list, not {tags!r}", hint=f"tags=[{tags!r}]")
    for tag in (found := tuple(tags)):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise UsageError(f"{tag!r} is not the tag of an image", hint="tags=['v1']")
    return found


def _placed(name: str, settings: ImageSettings) -> str:
    """``name`` with the prefix and the registry's address of the settings in front."""
    prefix, address = settings.repository_prefix, settings.registry
    if prefix:
        if not _PATH.fullmatch(prefix):
            raise SettingsError(
                f"the repository prefix {prefix!r} is not valid in the name of an image",
                hint="export BUNDLERUN_REPOSITORY_PREFIX=team (a-z 0-9, and . _ - between them)",
            )
        name = f"{prefix}/{name}"
    if address and not is_named(address):
        name = f"{checked_registry(address)}/{name}"
    return name


def is_named(address: str) -> bool:
    """Whether the registry setting names a registry whose address is asked for."""
    return address.partition("@")[0] in registry.IMAGE_REGISTRIES


def checked_registry(address: str) -> str:
    """``address`` when it is ``host[:port][/path]``.

    Raises SettingsError.
    """
    host = address.partition("/")[0]
    if not _ADDRESS.fullmatch(address) or not ("." in host or ":" in host or host == "localhost"):
        raise SettingsError(
            f"the registry {address!r} is not an address",
            hint="export BUNDLERUN_REGISTRY=registry.example.org:5000/team",
        )
    return address
