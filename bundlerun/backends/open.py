"""From the name of a backend to what it is like, and to the backend itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundlerun import registry
from bundlerun.errors import SettingsError

if TYPE_CHECKING:
    from bundlerun.jobs.backend import Backend, Traits
    from bundlerun.settings import Settings


def backend_type(name: str) -> type[Backend]:
    """The class of the backend ``name``. Raises UsageError for an unknown name."""
    found: type[Backend] = registry.load(registry.BACKENDS, name, what="backend")
    return found


def traits_of(name: str) -> Traits:
    """What the backend ``name`` is like; nothing is asked of it. Raises UsageError."""
    return backend_type(name).traits


def open_backend(name: str, settings: Settings) -> Backend:
    """The backend ``name``; nothing is asked of it yet. Raises UsageError for an unknown name,
    SettingsError for options that it does not have, or a section of an unknown backend."""
    for section in settings.backends:
        if section not in registry.BACKENDS:
            there = ", ".join(registry.BACKENDS)
            raise SettingsError(
                f"{settings.file}: [backends.{section}] is of no backend; there are: {there}",
                hint=f"remove the section, or install what brings {section}",
            )
    return backend_type(name)(settings)
