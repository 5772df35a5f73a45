"""The container engine, as the ``docker`` command would find it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bundlerun.errors import EngineError

TIMEOUT_S = 600.0
"""How long one answer of the engine may take: it is silent while it sends or unpacks a layer."""


@contextmanager
def engine() -> Iterator[Any]:
    """A connected ``docker.DockerClient``, closed at the end.

    DOCKER_HOST wins, then DOCKER_CONTEXT, then the context that ``docker context use`` chose, then
    the local socket. Errors of the engine inside of the block leave it as EngineError.
    """
    with translated("the container engine refuses"):
        try:
            client = _client()
            client.ping()
        except BaseException as error:
            if not _is_foreign(error):
                raise
            raise EngineError(
                f"no container engine answers at {_address()} ({_reason(error)})",
                hint="bundlerun doctor",
            ) from error
        try:
            yield client
        finally:
            client.close()


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of the Docker SDK and of its connection become EngineError: ``what``, and why."""
    import docker.errors
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EngineError(f"{what}: {_reason(error)}", hint="bundlerun doctor") from error


def _is_foreign(error: BaseException) -> bool:
    import docker.errors
    import requests

    kinds = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)
    return isinstance(error, kinds)


def _reason(error: BaseException) -> str:
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())[:300]


def _address() -> str:
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    context = _context_name()
    return "the local socket" if context == "default" else f"the docker context {context!r}"


def _context_name() -> str:
    from docker.context.config import get_current_context_name

    return os.environ.get("DOCKER_CONTEXT") or str(get_current_context_name() or "default")


def _client() -> Any:
    # docker.from_env alone knows nothing of contexts.
    import docker
    from docker.context import ContextAPI

    name = _context_name()
    if os.environ.get("DOCKER_HOST") or name == "default":
        over_ssh = os.environ.get("DOCKER_HOST", "").startswith("ssh://")
        return docker.from_env(timeout=TIMEOUT_S, use_ssh_client=over_ssh)
    context = ContextAPI.get_context(name)
    if context is None:
        raise EngineError(f"there is no docker context {name!r}", hint="docker context use default")
    host = context.Host
    return docker.DockerClient(
        base_url=host,
        tls=context.TLSConfig or False,
        timeout=TIMEOUT_S,
        use_ssh_client=bool(host and host.startswith("ssh://")),
    )
