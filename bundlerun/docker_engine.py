"""The Docker engine of the user: which one it is, and a connection to it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundlerun.errors import EngineError, SettingsError

TIMEOUT_S = 600.0
"""The longest wait for one answer of the engine.

It is silent while it sends or unpacks a layer.
"""


def connect(host: DockerHost) -> Any:
    """A ``docker.DockerClient`` of the engine at ``host``.

    Raises EngineError when the engine does not answer.
    """
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
    """The client of the user's engine, closed at the end.

    Raises EngineError when none answers; its errors inside of the block leave it as EngineError.
    """
    with translated("the container engine refuses"):
        host = docker_host()
        client = connect(host)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def translated(what: str, host: DockerHost | None = None) -> Iterator[None]:
    """Turn errors of the Docker SDK and of its connection into EngineError.

    The message has ``what``, and why. An OSError about a file passes. ``host`` None: the user's
    engine.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as error:
        raise EngineError(f"{what}: {reason(error)}", hint="docker info") from error
    # The SDK reads streams, such as logs, from urllib3 and from bare sockets.
    except (DockerException, RequestException, HTTPError, ConnectionError, TimeoutError) as error:
        raise unreachable(host or docker_host(), error) from error


def reason(error: BaseException) -> str:
    """The engine's own reason, on one line."""
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())[:300]


DEFAULT_SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class DockerHost:
    """The address of an engine.

    ``ca``, ``cert`` and ``key`` are files; ``tls`` says whether TLS is spoken and ``verify``
    whether the server's certificate is checked.
    """

    base_url: str = DEFAULT_SOCKET
    context: str = "default"
    tls: bool = False
    verify: bool = True
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def environment(self) -> dict[str, str]:
        """The variables that make a program without contexts talk to this engine."""
        found = {"DOCKER_HOST": self.base_url}
        if self.tls and self.ca is not None:
            found["DOCKER_CERT_PATH"] = str(Path(self.ca).parent)
            if self.verify:
                found["DOCKER_TLS_VERIFY"] = "1"
        return found


def docker_host(environ: Mapping[str, str] | None = None) -> DockerHost:
    """The engine that ``environ`` and the Docker CLI's configuration name.

    ``environ`` is the process's own unless given.
    """
    env = os.environ if environ is None else environ
    config = Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME") or "/nonexistent") / ".docker")
    if env.get("DOCKER_HOST"):
        return _from_variables(env, config)
    name = env.get("DOCKER_CONTEXT") or _chosen_context(config)
    if name in ("", "default"):
        return _from_variables(env, config)
    return _from_context(name, config)


def unreachable(host: DockerHost, error: Exception) -> EngineError:
    """The error for an engine that does not answer, with its cure."""
    where = host.base_url + (f" (context {host.context})" if host.context != "default" else "")
    text = str(error)
    if "ermission denied" in text:
        return EngineError(
            f"you may not use the Docker engine at {where}",
            hint="sudo usermod -aG docker $USER, then log in again",
        )
    if host != DockerHost():
        return EngineError(
            f"no Docker engine answers at {where}: {_last_words(text)}",
            hint="docker context ls, or set DOCKER_HOST to an engine that runs",
        )
    return EngineError(
        f"no Docker engine answers at {where}: {_last_words(text)}",
        hint="sudo systemctl start docker (install: https://docs.docker.com/engine/install/)",
    )


def _last_words(text: str) -> str:
    """The innermost of the errors that the SDK nests."""
    for known in ("No such file or directory", "Connection refused", "timed out", "Not supported"):
        if known.lower() in text.lower():
            return known.lower()
    return text[-200:]


def _from_variables(env: Mapping[str, str], config: Path) -> DockerHost:
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    certificates = env.get("DOCKER_CERT_PATH")
    base_url = env.get("DOCKER_HOST") or DEFAULT_SOCKET
    if not verify and not certificates:
        return DockerHost(base_url)
    folder = Path(certificates or config)
    return DockerHost(
        base_url,
        tls=True,
        verify=verify,
        ca=str(folder / "ca.pem"),
        cert=str(folder / "cert.pem"),
        key=str(folder / "key.pem"),
    )


def _chosen_context(config: Path) -> str:
    try:
        found = json.loads((config / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "default"
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{config / 'config.json'} cannot be read: {error}",
            hint=f"ls -l {config / 'config.json'}",
        ) from error
    return str(found.get("currentContext") or "default") if isinstance(found, dict) else "default"


def _from_context(name: str, config: Path) -> DockerHost:
    # The folder's name is the digest of the context's: the CLI's own layout.
    folder = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / folder / "meta.json"
    try:
        endpoint: dict[str, Any] = json.loads(meta.read_text(encoding="utf-8"))["Endpoints"][
            "docker"
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"the docker context {name!r} is not there or cannot be read ({meta})",
            hint="docker context ls; docker context use default",
        ) from error
    tls = config / "contexts" / "tls" / folder / "docker"

    def file(part: str) -> str | None:
        return str(tls / part) if (tls / part).exists() else None

    skip = bool(endpoint.get("SkipTLSVerify"))
    return DockerHost(
        str(endpoint.get("Host") or DEFAULT_SOCKET),
        context=name,
        tls=tls.is_dir() or skip,
        verify=not skip,
        ca=file("ca.pem"),
        cert=file("cert.pem"),
        key=file("key.pem"),
    )
