"""A connection to the Docker engine, and its refusals in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bundlerun.engine.host import DockerHost, docker_host, unreachable
from bundlerun.errors import EngineError

TIMEOUT_S = 600.0
"""How long one answer of the engine may take: it is silent while it sends or unpacks a layer."""


def connect(host: DockerHost) -> Any:
    """A ``docker.DockerClient`` of the engine at ``host``. Raises EngineError when it does not
    answer."""
    import docker
    from docker.errors import DockerException
    from docker.tls import TLSConfig
    from requests.exceptions import RequestException

    try:
        tls = (
            TLSConfig(
                client_cert=(host.cert, host.key) if host.cert and host.key else None,
                ca_cert=host.ca if host.verify else None,
                verify=host.verify,
            )
            if host.tls
            else False
        )
        return docker.DockerClient(
            base_url=host.base_url,
            tls=tls,
            timeout=TIMEOUT_S,
            use_ssh_client=host.base_url.startswith("ssh://"),
        )
    except (DockerException, RequestException, OSError) as error:
        raise unreachable(host, error) from error


@contextmanager
def engine() -> Iterator[Any]:
    """The client of the user's engine, closed at the end. Raises EngineError when none answers;
    its errors inside of the block leave it as EngineError."""
    with translated("the container engine refuses"):
        host = docker_host()
        client = connect(host)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def translated(what: str, host: DockerHost | None = None) -> Iterator[None]:
    """Errors of the Docker SDK and of its connection become EngineError: ``what``, and why. An
    OSError about a file passes. ``host`` None: the user's engine."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as error:
        raise EngineError(f"{what}: {reason(error)}") from error
    # The SDK reads streams, such as logs, from urllib3 and from bare sockets.
    except (DockerException, RequestException, HTTPError, ConnectionError, TimeoutError) as error:
        raise unreachable(host or docker_host(), error) from error


def reason(error: BaseException) -> str:
    """What the engine said, on one line."""
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())[:300]
