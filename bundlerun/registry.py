"""Lazy rows "name -> module:attribute", so that naming a thing does not import it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.errors import SettingsError, UsageError


@dataclass(frozen=True)
class Row:
    """The place of a named thing.

    ``target`` is ``module:attribute``; ``extra`` is the extra it needs; ``brought_by`` is the
    installed distribution whose entry point it is.
    """

    target: str
    extra: str | None = None
    brought_by: str | None = None


DEFAULT_BACKEND = "Local"
"""The backend of a job unless another one is asked for."""

KNOT_BACKEND = "AWSBatch"
"""The backend whose jobs run on the queue of a Knot."""

BACKENDS: Mapping[str, Row] = {
    DEFAULT_BACKEND: Row("bundlerun.backends.local_docker:LocalDocker"),
    KNOT_BACKEND: Row("bundlerun.backends.aws_batch:AWSBatch"),
}

REMOTES: Mapping[str, Row] = {
    "file": Row("bundlerun.remotes.folder:FileRemote"),
    "s3": Row("bundlerun.remotes.s3:S3Remote"),
}


IMAGE_REGISTRIES: Mapping[str, Row] = {
    "ecr": Row("bundlerun.aws.ecr:open_repository"),
}
"""Registries whose address and login are asked for: ``NAME`` or ``NAME@HOST``.

The latter goes through HOST. Each row makes, of Connections and an image's name, the repository.
"""

REGISTRY_OWNERS: Mapping[str, Row] = {
    "ecr": Row("bundlerun.aws.ecr:registry_owner"),
}
"""The owner of each named registry: words that a row makes of Connections."""

BACKENDS_GROUP = "bundlerun.backends"
"""The group of entry points for backends of other installed distributions."""


def installed_backends() -> dict[str, Row]:
    """The backends of installed distributions, by name.

    A built-in name cannot be taken. Reads the metadata of every distribution: for a name
    that is not built in, and doctor.
    """
    from importlib.metadata import entry_points

    return {
        found.name: Row(found.value, brought_by=found.dist.name if found.dist else found.value)
        for found in entry_points(group=BACKENDS_GROUP)
        if found.name not in BACKENDS
    }


def _nearest(name: str, names: Iterable[str], what: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)
    return f"--{what} {near[0]}" if near and what == "backend" else "bundlerun doctor"


def load(rows: Mapping[str, Row], name: str, *, what: str) -> Any:
    """The object that the row ``name`` points at.

    Raises UsageError for an unknown name, SettingsError when what it needs is not installed or
    what a distribution brings cannot be loaded.
    """
    row = rows.get(name)
    if row is None:
        raise UsageError(
            f"no {what} is called {name!r}; there are: {', '.join(rows)}",
            hint=_nearest(name, rows, what),
        )
    module, _, attribute = row.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if row.brought_by is not None:
            raise SettingsError(
                f"the {what} {name!r} of {row.brought_by} ({row.target}) cannot be loaded: {error}",
                hint=f"pip install --upgrade {row.brought_by}",
            ) from error
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else "bundlerun"
        if row.extra is None or missing.startswith("bundlerun"):
            raise
        raise SettingsError(
            f"the {what} {name!r} needs {missing}, which is not installed",
            hint=f"pip install 'bundlerun[{row.extra}]'",
        ) from error


def needed(package: str) -> Any:
    """The module ``package``.

    Raises SettingsError with the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise SettingsError(
            f"the value holds data of {package}, which is not installed here",
            hint=f"pip install {package}",
        ) from error
