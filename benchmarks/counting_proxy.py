"""A reverse proxy that counts requests and bytes, to stand before an S3 server.

Both sides of the benchmark talk to the same server through one of these, so that what is
counted is what was really sent. A request goes on unchanged, its Host header included, because
S3 signatures cover it: configure the client with the proxy's address and the signature stays
valid, since the server checks it against the Host header that it was given.

Only the standard library is used. Connections are kept alive, bodies are streamed, and
``Expect: 100-continue`` is passed through in both directions.

Control address (never forwarded or counted): ``GET /-/counts`` answers the counters as JSON;
``GET /-/reset`` does the same and sets them to zero.

From the command line: ``python counting_proxy.py --upstream http://127.0.0.1:7480 --port 7481``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

_CHUNK_BYTES = 256 * 1024
_HEAD_LIMIT_BYTES = 256 * 1024
_CONTROL = "/-/"


@dataclass
class Counts:
    """What went through: requests by method, body bytes in each direction, answers by status."""

    methods: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    up_bytes: int = 0
    down_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The counters as plain values, for JSON."""
        return {
            "requests": sum(self.methods.values()),
            "methods": dict(sorted(self.methods.items())),
            "statuses": dict(sorted(self.statuses.items())),
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
        }


@dataclass(frozen=True)
class Head:
    """First line and headers of a message, with the bytes as they came."""

    raw: bytes
    first: tuple[str, str, str]
    headers: dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        """Whether the sender lets the connection stay open (HTTP/1.1 rules)."""
        version = self.first[0] if self.first[0].startswith("HTTP/") else self.first[2]
        asked = self.headers.get("connection", "").lower()
        return asked != "close" if version == "HTTP/1.1" else asked == "keep-alive"


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next message's head, or None where the peer closed before sending one."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    words = [*first.split(" ", 2), "", ""]
    headers = {}
    for line in lines:
        name, _, text = line.partition(":")
        headers[name.strip().lower()] = text.strip()
    return Head(raw, (words[0], words[1], words[2]), headers)


async def body_of(
    head: Head, reader: asyncio.StreamReader, *, to_end: bool
) -> AsyncIterator[tuple[bytes, int]]:
    """The body's bytes as they stand on the wire, each with how many of them are payload.

    ``to_end``: without a length the body lasts until the peer closes (answers only).
    """
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line, 0
            if size == 0:
                break
            yield await reader.readexactly(size + 2), size
        while True:
            trailer = await reader.readuntil(b"\r\n")
            yield trailer, 0
            if trailer == b"\r\n":
                return
    length = head.headers.get("content-length")
    if length is None:
        while to_end and (piece := await reader.read(_CHUNK_BYTES)):
            yield piece, len(piece)
        return
    left = int(length)
    while left:
        piece = await reader.read(min(left, _CHUNK_BYTES))
        if not piece:
            raise ConnectionError("the peer closed inside a body")
        left -= len(piece)
        yield piece, len(piece)


def acknowledge_at_once(writer: asyncio.StreamWriter) -> None:
    """Do not hold back this connection's acknowledgements; Linux forgets it, so say it often.

    A server that sends head and body apart, without TCP_NODELAY (Ceph's gateway does), waits for
    an acknowledgement between them, and 40 ms of every answer would be the kernel's timer.
    """
    link = writer.get_extra_info("socket")
    quick = getattr(socket, "TCP_QUICKACK", None)
    if link is not None and quick is not None:
        link.setsockopt(socket.IPPROTO_TCP, quick, 1)


class CountingProxy:
    """A proxy in a thread of its own; a context manager. ``url`` is what clients are given.

    ``latency_ms`` is waited once a request before it is sent on, as a far server would.
    """

    def __init__(self, upstream: str, *, port: int = 0, latency_ms: float = 0.0) -> None:
        parts = urlsplit(upstream)
        self._host = parts.hostname or "127.0.0.1"
        self._upstream_port = parts.port or 80
        self._port = port
        self._latency_s = latency_ms / 1000
        self._counts = Counts()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="counting-proxy", daemon=True)

    @property
    def url(self) -> str:
        """The address for clients, ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def wait(self) -> None:
        """Block until the proxy's thread ends (the command line's way of serving)."""
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._client, "127.0.0.1", self._port, limit=_HEAD_LIMIT_BYTES)
        )
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection, with one connection to the server for as long as it lasts."""
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while (head := await read_head(reader)) is not None:
                if head.first[1].startswith(_CONTROL):
                    self._control(head, writer)
                    continue
                if server is None:
                    server = await asyncio.open_connection(
                        self._host, self._upstream_port, limit=_HEAD_LIMIT_BYTES
                    )
                if not await self._exchange(head, (reader, writer), server):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either end went away: closing both is all there is to do
        finally:
            writer.close()
            if server is not None:
                server[1].close()

    async def _exchange(
        self,
        head: Head,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        """One request and its answer; whether both connections can take another."""
        self._counts.methods[head.first[0]] += 1
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        server[1].write(head.raw)
        sending = asyncio.ensure_future(self._send_up(head, client[0], server[1]))
        try:
            acknowledge_at_once(server[1])
            answer = await read_head(server[0])
            while answer is not None and answer.first[1].startswith("1"):
                client[1].write(answer.raw)
                await client[1].drain()
                answer = await read_head(server[0])
            if answer is None:
                return False
            acknowledge_at_once(server[1])
            await self._send_down(head, answer, server[0], client[1])
            # An answer that came before the body was sent (a refused Expect) ends the
            # connection: nobody can say where the next request would begin.
            sent_whole = sending.done()
            return sent_whole and head.keeps_alive and answer.keeps_alive
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                await sending

    async def _send_up(
        self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async for piece, payload in body_of(head, reader, to_end=False):
            self._counts.up_bytes += payload
            writer.write(piece)
            await writer.drain()

    async def _send_down(
        self,
        request: Head,
        answer: Head,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._counts.statuses[answer.first[1]] += 1
        writer.write(answer.raw)
        if request.first[0] != "HEAD" and answer.first[1] not in {"204", "304"}:
            async for piece, payload in body_of(answer, reader, to_end=True):
                self._counts.down_bytes += payload
                writer.write(piece)
                await writer.drain()
        await writer.drain()

    def _control(self, head: Head, writer: asyncio.StreamWriter) -> None:
        body = json.dumps(self._counts.as_dict()).encode()
        if head.first[1] == f"{_CONTROL}reset":
            self._counts = Counts()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )


def main() -> None:
    """Serve until interrupted, and print the address first."""
    parser = argparse.ArgumentParser(description="A counting reverse proxy for an S3 server.")
    parser.add_argument("--upstream", required=True, help="http://HOST:PORT of the server")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="added to each request")
    given = parser.parse_args()
    with CountingProxy(given.upstream, port=given.port, latency_ms=given.latency_ms) as proxy:
        print(proxy.url, flush=True)
        with suppress(KeyboardInterrupt):
            proxy.wait()


if __name__ == "__main__":
    main()
