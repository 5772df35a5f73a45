"""From the name of a backend to what it is like, and to the backend itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundlerun import registry
from bundlerun.errors import SettingsError

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend, Traits
    from bundlerun.connections import Connections
    from bundlerun.settings import Settings


def backend_type(name: str) -> type[Backend]:
    """The class of the backend ``name``.

    Other distributions are asked for a name that is not built in alone. Raises UsageError for an
    unknown name.
    """
    rows = registry.BACKENDS if name in registry.BACKENDS else all_backends()
    found: type[Backend] = registry.load(rows, name, what="backend")
    return found


def all_backends() -> dict[str, registry.Row]:
    """Every backend that can be named here.

    The built-in ones come first, then those of other installed distributions.
    """
    return {**registry.BACKENDS, **registry.installed_backends()}


def traits_of(name: str) -> Traits:
    """The traits of the backend ``name``; nothing is asked of it.

    Raises UsageError.
    """
    return backend_type(name).traits


def open_backend(name: str, connections: Connections) -> Backend:
    """The backend ``name``; nothing is asked of it yet.

    Raises UsageError for an unknown name, SettingsError for options that it does not have, or a
    section of an unknown backend.
    """
    _check_sections(connections.settings)
    return _paced(backend_type(name).open(connections), connections.settings)


def shared_backend(name: str, connections: Connections) -> Backend:
    """The backend ``name`` as all who follow its runs share it.

    One poll serves them together. Raises as ``open_backend``.
    """
    _check_sections(connections.settings)
    return _paced(connections.once(backend_type(name).open), connections.settings)


def _paced(backend: Backend, settings: Settings) -> Backend:
    # Here, and not in constructors: a backend of others cannot forget it.
    backend.poll_s = settings.run.poll_s
    return backend


def _check_sections(settings: Settings) -> None:
    strangers = settings.backends.keys() - registry.BACKENDS.keys()
    unknown = strangers and strangers - all_backends().keys()
    for section in sorted(unknown):
        raise SettingsError(
            f"{settings.file}: [backends.{section}] names an unknown backend; there "
            f"are: {', '.join(all_backends())}",
            hint=f"remove the section, or install what brings {section}",
        )
