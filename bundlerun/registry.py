"""Lazy rows "name -> module:attribute", so that naming a thing does not import it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundlerun.errors import SettingsError, UsageError


@dataclass(frozen=True)
class Row:
    """Where a named thing lives: ``target`` is ``module:attribute``; ``extra`` what it needs."""

    target: str
    extra: str | None = None


DEFAULT_BACKEND = "Local"
"""Where a job runs unless something else is asked for."""

BACKENDS: Mapping[str, Row] = {
    DEFAULT_BACKEND: Row("bundlerun.backends.local_docker:LocalDocker"),
    "AWSBatch": Row("bundlerun.backends.aws_batch:AWSBatch"),
}

REMOTES: Mapping[str, Row] = {
    "file": Row("bundlerun.remotes.folder:FileRemote"),
    "s3": Row("bundlerun.remotes.s3:S3Remote"),
}


def load(rows: Mapping[str, Row], name: str, *, what: str) -> Any:
    """The thing that the row ``name`` points at.

    Raises UsageError for an unknown name, SettingsError when what it needs is not installed.
    """
    row = rows.get(name)
    if row is None:
        raise UsageError(f"no {what} is called {name!r}; there are: {', '.join(rows)}")
    module, _, attribute = row.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if row.extra is None or (error.name or "").startswith("bundlerun"):
            raise
        raise SettingsError(
            f"the {what} {name!r} needs {error.name}, which is not installed",
            hint=f"pip install 'bundlerun[{row.extra}]'",
        ) from error


def needed(package: str) -> Any:
    """The module ``package``. Raises SettingsError with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise SettingsError(
            f"the value holds data of {package}, which is not installed here",
            hint=f"pip install {package}",
        ) from error
