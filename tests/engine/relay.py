"""A relay in front of the Docker engine's socket, which notes what is asked."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import services

_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (?:/v[\d.]+)?(/\S*) HTTP/1\.1\r\n")


@dataclass
class Relay:
    """Where it listens, and the requests so far: ``GET /images/NAME/json``."""

    url: str
    asked: list[str] = field(default_factory=list)


def _engine() -> str:
    host = os.environ.get("DOCKER_HOST") or services.docker_host() or "unix:///var/run/docker.sock"
    assert host.startswith("unix://"), "the relay speaks to a socket"
    return host.removeprefix("unix://")


def _pump(source: socket.socket, target: socket.socket, asked: list[str] | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if asked is not None:
                asked += [b" ".join(found).decode() for found in _REQUEST.findall(data)]
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _serve(listening: socket.socket, engine: str, asked: list[str]) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX)
        server.connect(engine)
        for source, target, noted in ((client, server, asked), (server, client, None)):
            threading.Thread(target=_pump, args=(source, target, noted), daemon=True).start()


@contextlib.contextmanager
def relaying(path: Path) -> Iterator[Relay]:
    """A relay that listens at ``path`` while the block lasts."""
    engine = _engine()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        relay = Relay(f"unix://{path}")
        threading.Thread(target=_serve, args=(listening, engine, relay.asked), daemon=True).start()
        yield relay
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
