"""The contract of a remote: a flat space of keys, for a bucket and a folder alike."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bundlerun.bundles.digest import Digest
from bundlerun.connections import Connections
from bundlerun.errors import UsageError

MAX_PARTS = 10_000
"""The most parts of one upload that every server takes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html.
"""


@dataclass(frozen=True)
class KeyInfo:
    """A listed key, relative to the remote's prefix, and its size in bytes.

    ``modified_s``: Unix seconds, by the clock of the remote itself, at or after which it got its
    present bytes; to be compared with ``Remote.now_s`` alone. Unless told, it counts as new.
    """

    key: str
    size: int
    modified_s: float = math.inf


@dataclass(frozen=True)
class Upload:
    """A multipart upload of one key.

    ``name`` is the remote's own word for it; each part but the last has ``part_bytes``. ``digests``
    are those of the parts, as far as they are known.
    """

    key: str
    name: str
    part_bytes: int
    digests: Sequence[Digest | None] = field(default=(), compare=False)

    def digest_of(self, number: int) -> Digest | None:
        """The digest of part ``number`` (from 1), None when it is not known."""
        return self.digests[number - 1] if number <= len(self.digests) else None


@dataclass(frozen=True)
class Part:
    """A part that arrived: its bytes, and the remote's word for it."""

    size: int
    token: str


@dataclass(frozen=True)
class Credentials:
    """The environment variables with which another process acts on a remote.

    ``secret`` are the names of the secret ones.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: frozenset[str] = frozenset()


class Remote(ABC):
    """Bytes under keys.

    Keys are relative to ``url``, ``/`` between the parts. Every method raises NoCredentials,
    AccessDenied or RemoteUnreachable, naming ``url`` and the cure; none of them believes a digest:
    that is the caller's work. Safe to use from threads.
    """

    url: str

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def open(cls, url: str, connections: Connections) -> Remote:
        """The remote at ``url``, in its ``checked_url`` form; nothing is asked of it yet."""
        return cls(url)

    @classmethod
    def checked_url(cls, url: str) -> str:
        """``url``, which has the scheme of this kind, in its one form.

        Raises UsageError.
        """
        return url

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that the remote is, None for any other."""
        return None

    def credentials(self, *, private: bool, seconds: int | None = None) -> Credentials:
        """The credentials of a job to act on this remote, besides its URL.

        ``private``: nobody else can read the job's variables, so our own credentials may be among
        them; else it has a role. ``seconds`` asks for credentials of this life that reach this
        remote alone; None: as the settings say. A folder asks for none.
        """
        return Credentials()

    def prepare(self) -> None:
        """Make the folder of a folder remote; a bucket must exist."""
        return

    def check_carries(self, size: int) -> None:
        """Refuse an object of ``size`` bytes that the server at ``url`` cannot carry.

        Raises RemoteError, with the cure.
        """
        return

    @abstractmethod
    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of ``key``, or ``length`` of them from ``start``.

        None when there is no such key. Fewer than ``length`` come back where the object ends
        earlier.
        """

    @abstractmethod
    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        """Write the bytes of ``key`` to the file ``target``; whether there was such a key.

        At most the first ``length`` bytes are written. Memory is bounded.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``, whole or not at all, over what is there."""

    @abstractmethod
    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        """Store the file ``source``, then ``tail``, under ``key``, whole or not at all.

        Memory is bounded.
        """

    def begin(self, key: str, part_bytes: int) -> Upload | None:
        """Begin a multipart upload of ``key``; None where the remote has none.

        Parts may come in any order, from several threads, and after a break; nothing is there
        before ``complete``. A remote that gives None takes ``put_file``.
        """
        return None

    def parts(self, upload: Upload) -> dict[int, Part] | None:
        """The parts that arrived, numbered from 1; None when ``upload`` is not under way."""
        return None

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        """Store one part, whole or not at all.

        Raises IntegrityError, and stores nothing, where ``upload`` knows another digest of it.
        """
        raise UsageError(f"{self.url} takes no parts")

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        """Make the key of all its parts, durably.

        Not to be asked twice.
        """
        raise UsageError(f"{self.url} takes no parts")

    def abort(self, upload: Upload) -> None:
        """Abort an upload; one that is gone already is not an error."""
        return

    @abstractmethod
    def put_new(self, key: str, data: bytes) -> bool:
        """Store ``data`` under ``key`` unless the key exists; whether it was stored.

        Exactly one of any number of racing callers stores. An answer lost on the way and asked
        for again may come back as False: compare what is there.
        """

    @abstractmethod
    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[KeyInfo]:
        """The entries whose keys start with ``prefix``, in ascending UTF-8 order.

        Only those after the key ``after``, at most ``limit``. One request a 1,000 keys on S3.
        """

    @abstractmethod
    def now_s(self) -> float:
        """Unix seconds by the remote's own clock, not later than it is.

        ``KeyInfo.modified_s`` goes by the same clock. No other clock will do: a machine's own may
        be wrong by years.
        """

    def litter(self, older_than_s: float) -> Sequence[KeyInfo]:
        """The remains of broken writes, last touched more than ``older_than_s`` ago.

        No listing shows them; the key is the remote's own word for each.
        """
        return []

    def discard(self, litter: Sequence[KeyInfo]) -> None:
        """Remove what ``litter`` gave; what is gone already is not an error."""
        return

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> None:
        """Remove ``keys``; one that is not there is not an error."""


def checked_key(key: str) -> str:
    """``key`` as one that every remote keeps.

    Raises UsageError for an absolute key, an empty part, ``.``, ``..``, NUL and what is not valid
    Unicode.
    """
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{key!r:.200} is not a key of a remote") from error
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise UsageError(f"{key!r:.200} is not a key of a remote")
    return key
