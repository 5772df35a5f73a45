"""The least rate of a connection: one that hardly moves is given up.

It is like a silent one: timeouts count silence alone, so a byte every few seconds would hold a
request for ever. Counted is the time that is spent waiting in the socket, both ways, not what the
reader does meanwhile.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bundlerun.aws.failures import TooSlow

_ASSEMBLING = 10
"""The factor of patience while S3 puts a large upload together.

That takes minutes, with a blank now and then.
"""

_logger = logging.getLogger("bundlerun.aws")


@dataclass(frozen=True)
class LeastRate:
    """At least ``bytes_s`` bytes a second, taken over ``over_s`` seconds of waiting."""

    bytes_s: float = 1000
    over_s: float = 60


LEAST_RATE = LeastRate()


class Meter:
    """The bytes of one request and of its answer, and how long they were waited for."""

    def __init__(self, least: LeastRate, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = least
        self._clock = clock
        self.begin()

    def begin(self, *, assembling: bool = False) -> None:
        """Begin the measure of a new request.

        ``assembling``: the server has work to do before it answers.
        """
        self._over_s = self._least.over_s * (_ASSEMBLING if assembling else 1)
        self._count, self._waited_s, self._since = 0, 0.0, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure the block as waiting for the socket.

        Raises TooSlow where that leads nowhere.
        """
        self._since = self._clock()
        try:
            yield
        finally:
            self._waited_s += self._clock() - self._since

    def moved(self, count: int) -> None:
        """Count the bytes that went or came.

        Raises TooSlow where they are too few for the time.
        """
        self._count += count
        if self._waited_s < self._over_s:
            return
        if self._count < self._least.bytes_s * self._waited_s:
            raise TooSlow(
                f"{self._count} bytes in {self._waited_s:.0f} s, fewer than"
                f" {self._least.bytes_s:,.0f} a second"
            )
        self._count, self._waited_s = 0, 0.0


class _Watched:
    """A connected socket whose bytes are metered."""

    def __init__(self, link: Any, meter: Meter) -> None:
        self._link = link
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def sendall(self, data: Any, *flags: int) -> None:
        """As a socket's, but its timeout is for each step: a slow line is not silence."""
        left = memoryview(data).cast("B")
        while left:
            with self._meter.waiting():
                sent = self._link.send(left, *flags)
            self._meter.moved(sent)
            left = left[sent:]

    def makefile(self, mode: str = "r", buffering: int = -1) -> Any:
        """As a socket's, for reading bytes."""
        raw = _WatchedFile(self._link.makefile("rb", buffering=0), self._meter)
        return raw if buffering == 0 else io.BufferedReader(raw)


class _WatchedFile(io.RawIOBase):
    """An unbuffered file of a socket for reading, metered."""

    def __init__(self, file: Any, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        """Whether this stream is for reading: yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See io.RawIOBase."""
        with self._meter.waiting():
            count = self._file.readinto(buffer)
        self._meter.moved(count or 0)
        return int(count) if count is not None else None

    def fileno(self) -> int:
        """The socket's."""
        return int(self._file.fileno())

    def close(self) -> None:
        """Close the socket's own file too: the socket counts them."""
        self._file.close()
        super().close()


def watch(client: Any, least: LeastRate) -> None:
    """Hold the connections of a boto3 client to a least rate."""
    from botocore.awsrequest import AWSHTTPConnectionPool, AWSHTTPSConnectionPool

    try:
        pools = client._endpoint.http_session._pool_classes_by_scheme
    except AttributeError:
        # botocore has no door for this; one that is built in another way goes unwatched.
        _logger.info("the rate of transfers is not watched: another botocore than expected")
        return
    for scheme, pool in (("http", AWSHTTPConnectionPool), ("https", AWSHTTPSConnectionPool)):
        connection = _watching(pool.ConnectionCls, least)
        pools[scheme] = type(f"Watched{pool.__name__}", (pool,), {"ConnectionCls": connection})


def _watching(base: Any, least: LeastRate) -> Any:
    class Connection(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._meter = Meter(least)
            super().__init__(*args, **kwargs)

        def connect(self) -> None:
            super().connect()
            self.sock: Any = _Watched(self.sock, self._meter)

        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            self._meter.begin(assembling=method == "POST" and "uploadId=" in url)
            return super().request(method, url, *args, **kwargs)

    return Connection
