"""Sending an image to a registry, so that jobs elsewhere can name it by digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bundlerun import registry
from bundlerun.connections import Connections
from bundlerun.docker_engine import engine
from bundlerun.errors import EngineError, SettingsError
from bundlerun.images.image import ImageInfo, checked_registry, is_named
from bundlerun.progress import Progress


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
    there. ``ecr`` is the account's own registry (the repository is made when it is missing;
    ``ecr@HOST`` reaches it through HOST); an address is any other, with the login of ``docker
    login``. Raises SettingsError without a registry, EngineError when the push fails, and what
    AWS's failures are translated to.
    """
    progress = connections.progress
    target = _target(image, connections)
    with engine() as client:
        for tag in (image.ref.tag, "latest"):
            if not client.api.tag(image.ref.id, target.name, tag, force=True):
                raise EngineError(f"the engine did not tag {target.name}:{tag}")
        digest = _pushed(client, target, image.ref.tag, progress)
        _pushed(client, target, "latest", progress)
    return replace(image, ref=replace(image.ref, name=target.name, digest=digest))


def _target(image: ImageInfo, connections: Connections) -> _Target:
    configured = connections.settings.images.registry
    if not configured:
        raise SettingsError(
            "no registry is configured",
            hint="export BUNDLERUN_REGISTRY=ecr, or =HOST:PORT of another one",
        )
    if not is_named(configured):
        address = checked_registry(configured)
        return _Target(f"{address}/{image.name.removeprefix(f'{address}/')}", None)
    kind, _, other = configured.partition("@")
    repository = registry.load(registry.IMAGE_REGISTRIES, kind, what="registry")
    found = repository(connections, image.name)
    address = checked_registry(other) if other else found.address
    login = {"username": found.username, "password": found.password}
    return _Target(f"{address}/{image.name}", login)


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
