"""The S3 calls that a remote needs: ranges, create-only writes, lists, multipart uploads.

Every write carries Content-MD5, which all servers enforce; no call relies on another condition
than ``If-None-Match: *`` of a single-part PUT, since servers differ in the rest.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from bundlerun.aws.failures import code_of, translated
from bundlerun.aws.session import Aws
from bundlerun.errors import AccessDenied, RemoteUnreachable

PART_BYTES = 16 << 20
"""Bytes of a part of a multipart upload; four are in memory at a time."""

_PARTS_AT_ONCE = 4
_MAX_PARTS = 10_000
_PAGE = 1_000
_CHUNK = 1 << 20
_TRIES = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """A key of the bucket and its size in bytes."""

    key: str
    size: int


class Bucket:
    """One bucket, as ``aws`` sees it. ``where`` is how error messages name it.

    Methods raise NoCredentials, AccessDenied, RemoteUnreachable (no bucket, no answer) or
    CloudError (any other refusal). Safe to use from threads.
    """

    def __init__(self, aws: Aws, name: str, where: str) -> None:
        self.aws = aws
        self.name = name
        self.where = where

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """``length`` bytes of ``key`` from ``start``; None when there is no such key."""
        with translated(f"reading {key}", self.where):
            return self._retried(lambda: self._get(key, start, length))

    def get_file(self, key: str, target: BinaryIO, length: int | None = None) -> bool:
        """Copy the first ``length`` bytes of ``key`` to ``target``; whether there is such a key.

        A connection that breaks is taken up again where it broke.
        """

        def rest() -> bool:
            done = target.tell()
            body = self._body(key, done, None if length is None else length - done)
            if body is None:
                return False
            for chunk in iter(lambda: body.read(_CHUNK), b""):
                target.write(chunk)
            return True

        if length == 0:
            return self.get(key, 0, 0) is not None
        with translated(f"reading {key}", self.where):
            return self._retried(rest)

    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``."""
        with translated(f"writing {key}", self.where):
            self._client.put_object(
                Bucket=self.name, Key=key, Body=data, ContentMD5=_content_md5(data)
            )

    def put_if_none_match(self, key: str, data: bytes) -> bool:
        """Store ``data`` under ``key`` unless the key exists; whether it was stored."""
        from botocore.exceptions import ClientError

        with translated(f"creating {key}", self.where):
            for attempt in range(_TRIES):
                try:
                    self._client.put_object(
                        Bucket=self.name,
                        Key=key,
                        Body=data,
                        ContentMD5=_content_md5(data),
                        IfNoneMatch="*",
                    )
                    return True
                except ClientError as error:
                    if code_of(error) in ("PreconditionFailed", "412"):
                        return False
                    # 409: another write of this key was under way; S3 asks for the same again.
                    if code_of(error) not in ("ConditionalRequestConflict", "409"):
                        raise
                time.sleep(0.05 * 2**attempt)
        raise RemoteUnreachable(f"creating {key} at {self.where}: writers keep colliding (409)")

    def upload(self, key: str, source: Path, tail: bytes = b"") -> None:
        """Store the bytes of ``source`` and then ``tail`` under ``key``, in parts where large.

        At most four parts are in memory. A failed upload is aborted, so nothing is left to pay.
        """
        size = source.stat().st_size + len(tail)
        if size <= PART_BYTES:
            self.put(key, source.read_bytes() + tail)
            return
        part_bytes = max(PART_BYTES, -(-size // (_MAX_PARTS - 1)))
        with translated(f"writing {key}", self.where):
            upload = self._client.create_multipart_upload(Bucket=self.name, Key=key)["UploadId"]
            named = {"Bucket": self.name, "Key": key, "UploadId": upload}
            pool = ThreadPoolExecutor(_PARTS_AT_ONCE)
            try:
                sent = pool.map(
                    lambda number: self._upload_part(
                        named, number, _part(source, tail, number * part_bytes, part_bytes)
                    ),
                    range(-(-size // part_bytes)),
                )
                parts = {"Parts": list(sent)}
                self._client.complete_multipart_upload(**named, MultipartUpload=parts)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                self._abort(named)
                raise
            pool.shutdown()

    def list(
        self, prefix: str, start_after: str = "", limit: int | None = None
    ) -> Iterator[Listed]:
        """The keys that start with ``prefix``, after ``start_after``, in ascending UTF-8 order."""
        left = limit
        token: dict[str, str] = {"StartAfter": start_after} if start_after else {}
        while left is None or left > 0:
            with translated(f"listing {prefix}", self.where):
                page = self._client.list_objects_v2(
                    Bucket=self.name,
                    Prefix=prefix,
                    MaxKeys=_PAGE if left is None else min(left, _PAGE),
                    **token,
                )
            found = page.get("Contents", [])
            for entry in found:
                yield Listed(entry["Key"], entry["Size"])
            if left is not None:
                left -= len(found)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, keys: Sequence[str]) -> None:
        """Remove ``keys``, a thousand a request; one that is not there is no error."""
        for start in range(0, len(keys), _PAGE):
            some = [{"Key": key} for key in keys[start : start + _PAGE]]
            with translated(f"deleting {len(some)} keys", self.where):
                answer = self._client.delete_objects(
                    Bucket=self.name, Delete={"Objects": some, "Quiet": True}
                )
            for error in answer.get("Errors", []):
                raise AccessDenied(
                    f"deleting {error.get('Key')} at {self.where} was refused"
                    f" ({error.get('Code')}: {error.get('Message')})",
                    hint="aws sts get-caller-identity",
                )

    @property
    def _client(self) -> Any:
        return self.aws.client("s3")

    def _get(self, key: str, start: int, length: int | None) -> bytes | None:
        # HTTP knows no empty range: one byte is asked for, to see whether there is such a key.
        body = self._body(key, start, 1 if length == 0 else length)
        if body is None:
            return None
        data: bytes = body.read()
        return b"" if length == 0 else data

    def _body(self, key: str, start: int, length: int | None) -> Any:
        """A stream of the asked bytes; None when there is no such key."""
        from io import BytesIO

        from botocore.exceptions import ClientError

        asked = {}
        if start or length is not None:
            end = "" if length is None else str(start + length - 1)
            asked = {"Range": f"bytes={start}-{end}"}
        try:
            return self._client.get_object(Bucket=self.name, Key=key, **asked)["Body"]
        except ClientError as error:
            code = code_of(error)
            if code in ("NoSuchKey", "404"):
                return None
            if code in ("InvalidRange", "416"):
                return BytesIO()
            # Where listing is allowed below a prefix only, AWS calls a missing key forbidden:
            # the condition on the prefix does not hold for a GET.
            if code in ("AccessDenied", "403") and not self._is_listed(key):
                return None
            raise

    def _is_listed(self, key: str) -> bool:
        page = self._client.list_objects_v2(Bucket=self.name, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in page.get("Contents", []))

    def _upload_part(self, named: dict[str, str], number: int, data: bytes) -> dict[str, Any]:
        answer = self._client.upload_part(
            **named, PartNumber=number + 1, Body=data, ContentMD5=_content_md5(data)
        )
        return {"PartNumber": number + 1, "ETag": answer["ETag"]}

    def _abort(self, named: dict[str, str]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        # The error that led here says more than one of the clean-up would.
        with suppress(BotoCoreError, ClientError):
            self._client.abort_multipart_upload(**named)

    def _retried(self, attempt: Callable[[], T]) -> T:
        """botocore repeats a request, but not one whose answer breaks off in the middle."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for number in range(1, _TRIES):
            try:
                return attempt()
            except (IncompleteReadError, HTTPClientError) as error:
                if not _broke_off(error):
                    raise
                time.sleep(0.1 * 2**number)
        return attempt()


def _broke_off(error: Exception) -> bool:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    return isinstance(error, (IncompleteReadError, ReadTimeoutError, ResponseStreamingError))


def _content_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _part(source: Path, tail: bytes, start: int, length: int) -> bytes:
    """``length`` bytes from ``start`` of the file and then the tail."""
    with source.open("rb") as file:
        file.seek(start)
        data = file.read(length)
    size = source.stat().st_size
    rest = max(start - size, 0)
    return data + tail[rest : rest + length - len(data)]
