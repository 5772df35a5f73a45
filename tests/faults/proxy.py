"""A reverse proxy before a real S3 server that makes what networks and busy servers make.

It is the benchmarks' forwarder with a fault for some of the requests.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum

from benchmarks.counting_proxy import CountingProxy, Head, acknowledge_at_once, body_of, read_head

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""One end's connection, both directions."""

DELAY_S = 0.15
"""How long a slow request waits before it goes on, and again before its answer does."""


DRIP_S = 0.01
"""How long each byte of a dripping answer takes."""


class Fault(Enum):
    """What happens to one request."""

    NONE = "goes through"
    SLOW_DOWN = "503 SlowDown"
    TOO_MANY = "429"
    FAILED = "500"
    CUT_REQUEST = "its body is cut in the middle, on the way to the server too"
    CUT_ANSWER = "it is carried out, and the answer's body is cut in the middle"
    NO_BODY = "it is carried out, and the answer ends after its head"
    DROPPED = "it is carried out, and its answer never comes"
    FAILED_AFTER = "it is carried out, and answered with 500"
    RESET = "its connection is reset before it gets anywhere"
    SLOW = "it takes long, and comes in small pieces"
    FLIPPED = "it is carried out, and a bit in the middle of the answer's body is another"
    SHORTENED = "it is carried out, and the answer has, and promises, half of its body"
    DRIPPING = "it is carried out, and its answer comes a byte at a time"
    EXISTS = "412, though there is no such key"
    MOVED = "301 PermanentRedirect, which does not say where to"
    GONE = "404 NoSuchUpload, which AWS says when a completed upload is completed again"


_CHOSEN_BY_HAND = (
    Fault.NONE,
    Fault.GONE,
    Fault.FLIPPED,
    Fault.SHORTENED,
    Fault.DRIPPING,
    Fault.EXISTS,
    Fault.MOVED,
    Fault.FAILED_AFTER,
)

CHOSEN = tuple(fault for fault in Fault if fault not in _CHOSEN_BY_HAND)
"""What networks and busy servers do to any request."""

ANSWERS = {
    Fault.SLOW_DOWN: ("503 Slow Down", "SlowDown"),
    Fault.TOO_MANY: ("429 Too Many Requests", "TooManyRequests"),
    Fault.FAILED: ("500 Internal Server Error", "InternalError"),
    Fault.FAILED_AFTER: ("500 Internal Server Error", "InternalError"),
    Fault.GONE: ("404 Not Found", "NoSuchUpload"),
    Fault.EXISTS: ("412 Precondition Failed", "PreconditionFailed"),
    Fault.MOVED: ("301 Moved Permanently", "PermanentRedirect"),
}

Chooser = Callable[[str, str], Fault]
"""Method and path of a request to its fault; called in the proxy's thread, one at a time."""


def seeded(seed: int, share: float = 0.2, among: Iterable[Fault] = CHOSEN) -> Chooser:
    """A fault for ``share`` of the requests, each kind as likely as the others."""
    dice = random.Random(seed)
    kinds = tuple(among)
    return lambda method, path: dice.choice(kinds) if dice.random() < share else Fault.NONE


def first_of_each(fault: Fault) -> Chooser:
    """``fault`` for the first request of each kind: a listing, the reading of a pack, the writing
    of a version, the beginning of an upload in parts, ..."""
    had: set[tuple[str, str]] = set()

    def choose(method: str, path: str) -> Fault:
        kind = (method, kind_of(path))
        if kind in had:
            return Fault.NONE
        had.add(kind)
        return fault

    return choose


def always(fault: Fault) -> Chooser:
    """``fault`` for every request."""
    return lambda method, path: fault


def kind_of(path: str) -> str:
    """What a request is about: "list", a step of an upload, or the first part of the key below
    the remote's prefix, which is ``some/prefix`` here."""
    for word in ("list-type", "partNumber", "uploadId", "uploads"):
        if word in path:
            return word
    return path.partition("/some/prefix/")[2].split("/")[0]


class FaultProxy(CountingProxy):
    """The proxy; ``seen`` counts the faults that were made, ``asked`` lists all requests."""

    def __init__(self, upstream: str, choose: Chooser) -> None:
        super().__init__(upstream)
        self.choose = choose
        self.seen: Counter[Fault] = Counter()
        self.asked: list[tuple[str, str]] = []

    async def _exchange(self, head: Head, client: Link, server: Link) -> bool:
        method, path = head.first[0], head.first[1]
        self.asked.append((method, path))
        fault = self.choose(method, path)
        self.seen[fault] += 1
        if fault is Fault.NONE:
            return await super()._exchange(head, client, server)
        if fault is Fault.FAILED_AFTER:
            await self._answer(head, client, server)
            await self._say(client, fault)
        elif fault in ANSWERS:
            await _whole_body(head, client)
            await self._say(client, fault)
        elif fault is Fault.RESET:
            _reset(client[1])
        elif fault is Fault.CUT_REQUEST:
            await self._cut_request(head, client, server)
        elif fault is Fault.SLOW:
            await self._slow(head, client, server)
        else:
            await self._carry_out(head, client, server, fault)
        return False

    async def _say(self, client: Link, fault: Fault) -> None:
        status, code = ANSWERS[fault]
        body = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
        client[1].write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await client[1].drain()

    async def _cut_request(self, head: Head, client: Link, server: Link) -> None:
        body = await _whole_body(head, client)
        # The server sees the promise of a body, half of it, and the end.
        server[1].write(_without_expect(head) + body[: len(body) // 2] if body else b"")
        await server[1].drain()

    async def _carry_out(self, head: Head, client: Link, server: Link, fault: Fault) -> None:
        answer, body = await self._answer(head, client, server)
        if fault is Fault.FLIPPED:
            middle = len(body) // 2
            flipped = bytes([body[middle] ^ 1]) if body else b""
            client[1].write(answer + body[:middle] + flipped + body[middle + 1 :])
        elif fault is Fault.SHORTENED:
            client[1].write(_of_length(answer, len(body) // 2) + body[: len(body) // 2])
        elif fault is Fault.DRIPPING:
            for byte in answer + body:
                client[1].write(bytes([byte]))
                await client[1].drain()
                await asyncio.sleep(DRIP_S)
        elif fault is Fault.CUT_ANSWER and body:
            client[1].write(answer + body[: len(body) // 2])
        elif fault in (Fault.CUT_ANSWER, Fault.NO_BODY) and body:
            client[1].write(answer)
        await client[1].drain()

    async def _slow(self, head: Head, client: Link, server: Link) -> None:
        await asyncio.sleep(DELAY_S)
        answer, body = await self._answer(head, client, server)
        await asyncio.sleep(DELAY_S)
        whole = answer + body
        piece = max(len(whole) // 8, 1)
        for start in range(0, len(whole), piece):
            client[1].write(whole[start : start + piece])
            await client[1].drain()
            await asyncio.sleep(0.005)

    async def _answer(self, head: Head, client: Link, server: Link) -> tuple[bytes, bytes]:
        """Have the server do it; its answer's head and body, none where the server went away."""
        server[1].write(_without_expect(head) + await _whole_body(head, client))
        await server[1].drain()
        acknowledge_at_once(server[1])
        answer = await read_head(server[0])
        while answer is not None and answer.first[1].startswith("1"):
            answer = await read_head(server[0])
        if answer is None:
            return b"", b""
        acknowledge_at_once(server[1])
        body = b""
        if head.first[0] != "HEAD" and answer.first[1] not in {"204", "304"}:
            body = b"".join([piece async for piece, _ in body_of(answer, server[0], to_end=True)])
        return answer.raw, body


def _of_length(head: bytes, length: int) -> bytes:
    """The head of an answer, promising another length."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [
        line for line in lines if not line.lower().startswith((b"content-length:", b"transfer"))
    ]
    return b"\r\n".join([*kept, b"Content-Length: %d" % length, b"", b""])


async def _whole_body(head: Head, client: Link) -> bytes:
    if "expect" in head.headers:
        client[1].write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await client[1].drain()
    return b"".join([piece async for piece, _ in body_of(head, client[0], to_end=False)])


def _without_expect(head: Head) -> bytes:
    """The head as it came, less the wish to be told to go on."""
    lines = head.raw.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"expect:"))


def _reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
