"""Remotes that hand every call on to a real one: one counts them, one loses answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bundlerun.errors import RemoteUnreachable
from bundlerun.remotes.base import KeyInfo, Part, Remote, Upload


class Counting(Remote):
    """Notes each request with its key, and how many bytes went each way."""

    def __init__(self, inner: Remote) -> None:
        self.inner = inner
        self.url = inner.url
        self.forget()

    def forget(self) -> None:
        """Start counting anew."""
        self.requests: list[tuple[str, str]] = []
        self.sent = 0
        self.received = 0

    def prepare(self) -> None:
        self.inner.prepare()

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        self.requests.append(("get", key))
        data = self.inner.get(key, start, length)
        self.received += len(data or b"")
        return data

    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        self.requests.append(("get", key))
        found = self.inner.get_file(key, target, length)
        self.received += target.stat().st_size if found else 0
        return found

    def put(self, key: str, data: bytes) -> None:
        self.requests.append(("put", key))
        self.sent += len(data)
        self.inner.put(key, data)

    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        self.requests.append(("put", key))
        self.sent += source.stat().st_size + len(tail)
        self.inner.put_file(key, source, tail)

    def begin(self, key: str, part_bytes: int) -> Upload | None:
        self.requests.append(("begin", key))
        return self.inner.begin(key, part_bytes)

    def parts(self, upload: Upload) -> dict[int, Part] | None:
        self.requests.append(("parts", upload.key))
        return self.inner.parts(upload)

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        self.requests.append(("part", upload.key))
        self.sent += len(data)
        return self.inner.put_part(upload, number, data)

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        self.requests.append(("complete", upload.key))
        self.inner.complete(upload, parts)

    def abort(self, upload: Upload) -> None:
        self.requests.append(("abort", upload.key))
        self.inner.abort(upload)

    def put_new(self, key: str, data: bytes) -> bool:
        self.requests.append(("create", key))
        self.sent += len(data)
        return self.inner.put_new(key, data)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[KeyInfo]:
        for number, entry in enumerate(self.inner.list(prefix, after=after, limit=limit)):
            if number % 1000 == 0:
                self.requests.append(("list", prefix))
            yield entry
        if not self.requests or self.requests[-1] != ("list", prefix):
            self.requests.append(("list", prefix))

    def now_s(self) -> float:
        self.requests.append(("now", ""))
        return self.inner.now_s()

    def litter(self, older_than_s: float) -> Sequence[KeyInfo]:
        return self.inner.litter(older_than_s)

    def discard(self, litter: Sequence[KeyInfo]) -> None:
        self.inner.discard(litter)

    def delete(self, keys: Sequence[str]) -> None:
        self.requests.append(("delete", ""))
        self.inner.delete(keys)


class Lossy(Counting):
    """Carries the ``number``-th create-only write under ``prefix`` out and loses its answer.

    With ``repeats`` the caller sees what botocore's own repetition gives, "it exists"; without, the
    connection is gone.
    """

    def __init__(self, inner: Remote, prefix: str, *, repeats: bool, number: int = 1) -> None:
        super().__init__(inner)
        self.prefix = prefix
        self.repeats = repeats
        self.left = number

    def put_new(self, key: str, data: bytes) -> bool:
        stored = super().put_new(key, data)
        if key.startswith(self.prefix):
            self.left -= 1
            if self.left == 0:
                if self.repeats:
                    return self.inner.put_new(key, data)
                raise RemoteUnreachable(f"creating {key} at {self.url}: the answer was lost")
        return stored
