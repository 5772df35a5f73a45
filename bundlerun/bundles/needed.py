"""Packages that some values need and that bundlerun does not install."""

from __future__ import annotations

import importlib
from typing import Any

from bundlerun.errors import SettingsError


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
