"""Which engine is meant, as the docker command sees it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from bundlerun.docker_engine import DEFAULT_SOCKET, DockerHost, docker_host, unreachable
from bundlerun.errors import SettingsError


def make_context(
    config: Path, name: str, url: str, *, skip: bool = False, tls: bool = False
) -> None:
    """A context in the CLI's own layout."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    endpoint = {"Host": url, "SkipTLSVerify": skip}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": endpoint}}))
    if tls:
        folder = config / "contexts" / "tls" / digest / "docker"
        folder.mkdir(parents=True)
        for part in ("ca.pem", "cert.pem", "key.pem"):
            (folder / part).write_text("")


def test_nothing_configured_is_the_usual_socket(tmp_path: Path) -> None:
    """No variable, no configuration: the default socket."""
    assert docker_host({"HOME": str(tmp_path)}) == DockerHost(DEFAULT_SOCKET)
    assert docker_host({}) == DockerHost(DEFAULT_SOCKET)


def test_docker_host_wins_over_contexts(tmp_path: Path) -> None:
    """The order is the docker command's: DOCKER_HOST, DOCKER_CONTEXT, the chosen context."""
    make_context(tmp_path, "chosen", "unix:///chosen.sock")
    make_context(tmp_path, "named", "unix:///named.sock")
    (tmp_path / "config.json").write_text('{"currentContext": "chosen"}')
    env = {"DOCKER_CONFIG": str(tmp_path)}
    assert docker_host(env).base_url == "unix:///chosen.sock"
    env["DOCKER_CONTEXT"] = "named"
    assert docker_host(env) == DockerHost("unix:///named.sock", context="named")
    env["DOCKER_HOST"] = "tcp://10.0.0.1:2375"
    assert docker_host(env) == DockerHost("tcp://10.0.0.1:2375")
    env = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "default"}
    assert docker_host(env) == DockerHost(DEFAULT_SOCKET)


def test_tls_comes_from_variables_or_the_context(tmp_path: Path) -> None:
    """The certificates' files, and whether the server's is checked."""
    env = {
        "DOCKER_HOST": "tcp://10.0.0.1:2376",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": "/certs",
    }
    found = docker_host(env)
    assert (found.tls, found.verify, found.ca) == (True, True, "/certs/ca.pem")
    assert found.environment() == env
    make_context(tmp_path, "far", "tcp://10.0.0.2:2376", tls=True)
    found = docker_host({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert found.tls
    assert found.verify
    assert found.cert is not None
    assert found.cert.endswith("docker/cert.pem")
    make_context(tmp_path, "lax", "tcp://10.0.0.3:2376", skip=True)
    found = docker_host({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "lax"})
    assert (found.tls, found.verify, found.ca) == (True, False, None)


def test_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing or broken context is an error that says how to choose another."""
    with pytest.raises(SettingsError, match=r"'gone'.*docker context use default"):
        docker_host({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "gone"})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingsError, match=r"config\.json"):
        docker_host({"DOCKER_CONFIG": str(tmp_path)})


def test_unreachable_engine_comes_with_its_cure() -> None:
    """What to type depends on why it does not answer."""
    usual = DockerHost()
    assert "systemctl start docker" in str(unreachable(usual, OSError("Connection refused")))
    assert "usermod" in str(unreachable(usual, OSError("Permission denied")))
    away = DockerHost("tcp://10.0.0.1:2375", context="away")
    assert "context away" in str(unreachable(away, OSError("timed out")))
