"""The contract of a remote: a flat space of keys that a bucket and a folder both keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundlerun.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """A listed key, relative to the remote's prefix, and its size in bytes."""

    key: str
    size: int


class Remote(ABC):
    """Bytes under keys. Keys are relative to ``url``, ``/`` between the parts.

    Every method raises NoCredentials, AccessDenied or RemoteUnreachable, naming ``url`` and the
    cure; none of them believes a digest: that is the caller's work. Safe to use from threads.
    """

    url: str

    def prepare(self) -> None:
        """Make the place itself where that is ours to do: a folder is made, a bucket is not."""
        return

    @abstractmethod
    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of ``key``, or ``length`` of them from ``start``; None when there is no such
        key. Fewer than ``length`` come back where the object ends earlier."""

    @abstractmethod
    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        """Write the bytes of ``key``, the first ``length`` of them at most, to the file ``target``
        with bounded memory; whether there was such a key."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``, whole or not at all, over what is there."""

    @abstractmethod
    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        """Store the bytes of the file ``source``, then ``tail``, under ``key``, whole or not at
        all, with bounded memory."""

    @abstractmethod
    def put_new(self, key: str, data: bytes) -> bool:
        """Store ``data`` under ``key`` unless the key exists; whether it was stored.

        Exactly one of any number of racing callers stores. An answer lost on the way and asked
        for again may come back as False: compare what is there.
        """

    @abstractmethod
    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[Entry]:
        """The entries whose keys start with ``prefix``, in ascending UTF-8 order, those after the
        key ``after`` only, at most ``limit``. One request a 1,000 keys on S3."""

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Remove ``keys``; one that is not there is no error."""


def checked_key(key: str) -> str:
    """``key`` as one that every remote keeps. Raises UsageError for an absolute key, an empty part,
    ``.``, ``..``, NUL and what is no valid Unicode."""
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{key!r:.200} is no key of a remote") from error
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise UsageError(f"{key!r:.200} is no key of a remote")
    return key
