"""Sending an image to a registry, so that jobs elsewhere can name it by digest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bundlerun import registry
from bundlerun.aws import sandbox_env
from bundlerun.connections import Connections
from bundlerun.docker_engine import engine
from bundlerun.errors import EngineError, SettingsError
from bundlerun.images.image import ImageInfo, ImageRef, checked_registry, is_named
from bundlerun.progress import Progress
from bundlerun.settings import ImageSettings


@dataclass(frozen=True)
class _Target:
    """The target of a push: the image's full name there, and a login.

    ``login`` None is the client's own.
    """

    name: str
    login: Mapping[str, str] | None


def publish(image: ImageInfo, connections: Connections) -> ImageInfo:
    """Push ``image`` to the registry of the settings, and name it there by digest.

    It is tagged by its content and ``latest``; the result is ``image`` with ``ref`` naming it
    there. Raises as ``push_image``.
    """
    ref = replace(image.ref, name=image.name)
    return replace(image, ref=push_image(ref, connections, tags=(ref.tag, "latest")))


def push_image(
    ref: ImageRef, connections: Connections, *, tags: Sequence[str], repository: str | None = None
) -> ImageRef:
    """Push ``ref``, named as on the engine, under its ``tags``; the same by digest.

    The first of ``tags`` names its content. ``repository`` is the whole name there, or ``ecr``;
    None: the image's own name, in the registry of the settings. ``ecr`` as registry is the
    account's own (the repository is made when it is missing; ``ecr@HOST`` reaches it through HOST);
    an address is any other, with the login of ``docker login``. Raises SettingsError without a
    registry or for an address that cannot be one, EngineError when the push fails, and what AWS's
    failures are translated to.
    """
    progress = connections.progress
    if repository is None or is_named(repository):
        configured = repository or registry_of(connections.settings.images)
        target = _target(ref.name, configured, connections)
    else:
        target = _Target(checked_registry(repository), None)
    with engine() as client:
        for tag in tags:
            if not client.api.tag(ref.id, target.name, tag, force=True):
                raise EngineError(f"the engine did not tag {target.name}:{tag}")
        digests = [_pushed(client, target, tag, progress) for tag in tags]
    return replace(ref, name=target.name, digest=digests[0])


def needs_none(settings: ImageSettings) -> bool:
    """Whether images can stay on the engine here, though jobs are a service's.

    No registry is configured, and the service is the sandbox, whose containers that engine runs.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_BATCH") or os.environ.get("AWS_ENDPOINT_URL")
    return not settings.registry and endpoint is not None and sandbox_env.leads_to(endpoint)


def registry_of(settings: ImageSettings) -> str:
    """The registry of the settings.

    Raises SettingsError where none is configured.
    """
    if not settings.registry:
        raise SettingsError(
            "no registry is configured",
            hint="export BUNDLERUN_REGISTRY=ecr, or =HOST:PORT of another one",
        )
    return settings.registry


def noted_registry(connections: Connections) -> str:
    """The registry of the settings in words that no other registry has.

    An account's own is another one in another account or region. Raises SettingsError, and what
    AWS's failures are translated to.
    """
    configured = registry_of(connections.settings.images)
    if not is_named(configured):
        return configured
    kind = configured.partition("@")[0]
    owner = registry.load(registry.REGISTRY_OWNERS, kind, what="registry")
    return f"{configured} {owner(connections)}"


def _target(name: str, configured: str, connections: Connections) -> _Target:
    if not is_named(configured):
        address = checked_registry(configured)
        return _Target(f"{address}/{name.removeprefix(f'{address}/')}", None)
    kind, _, other = configured.partition("@")
    repository = registry.load(registry.IMAGE_REGISTRIES, kind, what="registry")
    found = repository(connections, name)
    address = checked_registry(other) if other else found.address
    login = {"username": found.username, "password": found.password}
    return _Target(f"{address}/{name}", login)


def _pushed(client: Any, target: _Target, tag: str, progress: Progress) -> str:
    """Push one tag; the digest that the registry gave the image."""
    answers = client.api.push(target.name, tag, stream=True, decode=True, auth_config=target.login)
    digest = ""
    sent = _Sent(progress, f"pushing {target.name}:{tag}")
    try:
        for answer in answers:
            error = (answer.get("errorDetail") or {}).get("message") or answer.get("error")
            if error:
                raise _refused(target, str(error))
            digest = str((answer.get("aux") or {}).get("Digest") or digest)
            sent.note(answer)
    finally:
        sent.finish()
    if not digest:
        raise EngineError(
            f"the registry returned no digest for {target.name}:{tag}",
            hint="the same command again",
        )
    return digest


def _refused(target: _Target, reason: str) -> EngineError:
    host = target.name.partition("/")[0]
    denied = ("denied", "unauthorized", "authentication", "no basic auth")
    login = target.login is None and any(word in reason.lower() for word in denied)
    return EngineError(
        f"{target.name} could not be pushed: {reason}",
        hint=f"docker login {host}" if login else f"docker push {target.name}",
    )


class _Sent:
    """The progress of a push as one bar.

    The engine tells the bytes of each layer so far.
    """

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._bar = progress.start(what, None, "bytes")
        self._layers: dict[str, int] = {}

    def note(self, answer: Mapping[str, Any]) -> None:
        current = (answer.get("progressDetail") or {}).get("current")
        layer = str(answer.get("id", ""))
        if answer.get("status") == "Pushing" and isinstance(current, int):
            more = current - self._layers.get(layer, 0)
            if more > 0:
                self._layers[layer] = current
                self._progress.advance(self._bar, more)
        elif answer.get("status") in ("Pushed", "Layer already exists"):
            self._progress.line(f"{layer}: {answer['status']}")

    def finish(self) -> None:
        self._progress.finish(self._bar)
