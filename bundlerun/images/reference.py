"""A made image, and what its labels say of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundlerun.bundles.digest import Digest, checked_digest
from bundlerun.errors import ImageNotFound, IntegrityError

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
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
OCI_REVISION = "org.opencontainers.image.revision"
OCI_CREATED = "org.opencontainers.image.created"
OCI_SOURCE = "org.opencontainers.image.source"
OCI_TITLE = "org.opencontainers.image.title"
OCI_VERSION = "org.opencontainers.image.version"
OCI_BASE = "org.opencontainers.image.base.name"


@dataclass(frozen=True)
class ImageRef:
    """An image: ``[registry/][prefix/]bundlerun-pkg-module``, one of its tags, the engine's id.

    ``digest`` is what a registry answered when the image was pushed to ``name``, else None.
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
    """What the build recorded: ``name`` is the image's on the engine (``ref`` may say where it was
    pushed to); ``schema`` is the JSON of ``bundlerun.pipelines.describe``; ``left_out`` has the
    digests of the files that stayed behind for their size, by path; ``commit`` and ``dirty`` are
    git's word on the source, None and False outside of git."""

    ref: ImageRef
    name: str
    module: str
    schema: Mapping[str, Any]
    source: Digest
    left_out: Mapping[str, Digest]
    environment: Digest
    content: Digest
    pipe_root: str
    commit: str | None
    dirty: bool

    @staticmethod
    def of(ref: ImageRef) -> ImageInfo:
        """The labels of ``ref``, parsed. Raises ImageNotFound when bundlerun did not make it."""
        labels = ref.labels
        try:
            schema = json.loads(labels[SCHEMA])
            if not isinstance(schema, dict) or not {"pipes", "config"} <= schema.keys():
                raise ValueError("no pipes in the schema")
            return ImageInfo(
                ref=ref,
                name=labels[NAME],
                module=labels[MODULE],
                schema=schema,
                source=checked_digest(labels[SOURCE]),
                left_out={p: checked_digest(d) for p, d in json.loads(labels[LEFT_OUT]).items()},
                environment=checked_digest(labels[ENVIRONMENT]),
                content=checked_digest(labels[CONTENT]),
                pipe_root=labels[PIPE_ROOT],
                commit=labels.get(OCI_REVISION) or None,
                dirty=labels.get(DIRTY) == "true",
            )
        except (KeyError, ValueError, AttributeError, IntegrityError) as error:
            raise ImageNotFound(
                f"the image {ref.name}:{ref.tag} lacks the labels that bundlerun writes ({error})",
                hint="bundlerun dockerize PIPE_ROOT pkg.module.Pipe",
            ) from error
