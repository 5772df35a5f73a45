"""The S3 calls that a remote needs: ranges, create-only writes, lists, multipart.

Every write carries a digest of its body, which all servers enforce: over http the SHA-256 that is
signed, over https, where none is, Content-MD5. No call relies on another condition than
``If-None-Match: *`` of a single-part PUT, since servers differ in the rest.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, TypeVar

from bundlerun.aws.failures import code_of, translated
from bundlerun.aws.retries import Failed
from bundlerun.aws.session import Aws
from bundlerun.errors import AccessDenied, IntegrityError, RemoteUnreachable

_NO_UPLOAD = ("NoSuchUpload", "NoSuchKey", "404")
"""The error codes for an upload that is gone.

Ceph says NoSuchKey when the upload's parts are asked for.
"""

_PAGE = 1_000
_CHUNK = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Listed:
    """A key of the bucket and its size in bytes.

    ``modified_s`` is the Unix second by the server's clock before whose end it was written.
    """

    key: str
    size: int
    modified_s: float


@dataclass(frozen=True)
class Begun:
    """An upload in parts that was not completed; ``begun_s`` as ``Listed.modified_s``."""

    key: str
    upload: str
    begun_s: float


class Bucket:
    """One bucket, as ``aws`` sees it.

    ``where`` is how error messages name it. Methods raise NoCredentials, AccessDenied,
    RemoteUnreachable (no bucket, no answer) or CloudError (any other refusal). Safe to use from
    threads.
    """

    def __init__(self, aws: Aws, name: str, where: str) -> None:
        self.aws = aws
        self.name = name
        self.where = where

    @property
    def endpoint(self) -> str:
        """The URL of the service that is asked."""
        return str(self._client.meta.endpoint_url)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """``length`` bytes of ``key`` from ``start``; None when there is no such key."""
        with translated(f"reading {key}", self.where):
            return self._retried(key, lambda: self._get(key, start, length))

    def get_file(self, key: str, target: BinaryIO, length: int | None = None) -> bool:
        """Copy the first ``length`` bytes of ``key`` to ``target``; whether it exists.

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
            return self._retried(key, rest)

    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``."""
        with translated(f"writing {key}", self.where):
            check = self._check_of(data)
            self._client.put_object(Bucket=self.name, Key=key, Body=data, **check)

    def put_if_none_match(self, key: str, data: bytes) -> bool:
        """Store ``data`` under ``key`` unless the key exists; whether it was stored."""
        from botocore.exceptions import ClientError

        with translated(f"creating {key}", self.where):
            try:
                self._client.put_object(
                    Bucket=self.name, Key=key, Body=data, IfNoneMatch="*", **self._check_of(data)
                )
            except ClientError as error:
                if code_of(error) in ("PreconditionFailed", "412"):
                    return False
                raise
        return True

    def begin(self, key: str) -> str:
        """Begin a multipart upload of ``key``; its id."""
        with translated(f"writing {key}", self.where):
            answer = self._client.create_multipart_upload(Bucket=self.name, Key=key)
            return str(answer["UploadId"])

    def parts(self, key: str, upload: str) -> dict[int, tuple[int, str]] | None:
        """The parts of an upload that arrived, by number: size in bytes and ETag.

        None when there is no such upload any more, or this identity may not ask.
        """
        from botocore.exceptions import ClientError

        found: dict[int, tuple[int, str]] = {}
        marker = 0
        while True:
            with translated(f"listing the parts of {key}", self.where):
                try:
                    page = _page(
                        self._client.list_parts,
                        **self._named(key, upload),
                        PartNumberMarker=marker,
                    )
                except ClientError as error:
                    if code_of(error) in (*_NO_UPLOAD, "AccessDenied", "403"):
                        return None
                    raise
            for part in page.get("Parts", []):
                found[part["PartNumber"]] = (part["Size"], part["ETag"])
            if not page.get("IsTruncated"):
                return found
            marker = page["NextPartNumberMarker"]

    def put_part(
        self, key: str, upload: str, number: int, data: bytes, sha256: str | None = None
    ) -> str:
        """Send part ``number`` (from 1) of an upload; return its ETag.

        Raises IntegrityError, and sends nothing, where the digest of ``data`` is not ``sha256``.
        """
        with translated(f"writing {key}", self.where):
            check = self._check_of(data)
            if check:
                _check_part(sha256, hashlib.sha256(data).hexdigest() if sha256 else None)
            else:
                # Once hashed is enough: the signature needs the digest too.
                events = self._client.meta.events
                events.register("before-send.s3.UploadPart", _check_signed, "bundlerun-part")
            _wanted.sha256 = sha256
            try:
                answer = self._client.upload_part(
                    **self._named(key, upload), PartNumber=number, Body=data, **check
                )
            finally:
                _wanted.sha256 = None
            return str(answer["ETag"])

    def _check_of(self, data: bytes) -> dict[str, str]:
        """The parameters by which a server refuses ``data`` that changed on its way.

        Nothing where the signature covers the body, as it does over http unless the user's AWS
        configuration says no.
        """
        meta = self._client.meta
        signs = (meta.config.s3 or {}).get("payload_signing_enabled") is not False
        if signs and not str(meta.endpoint_url).startswith("https:"):
            return {}
        md5 = hashlib.md5(data, usedforsecurity=False)
        return {"ContentMD5": base64.b64encode(md5.digest()).decode()}

    def complete(self, key: str, upload: str, tags: Mapping[int, str]) -> None:
        """Make ``key`` of the parts with these ETags."""
        from botocore.exceptions import ClientError

        parts = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
        with translated(f"writing {key}", self.where):
            try:
                self._client.complete_multipart_upload(
                    **self._named(key, upload), MultipartUpload={"Parts": parts}
                )
            except ClientError as error:
                # A completion that was carried out, and asked for again as its answer was lost.
                if code_of(error) != "NoSuchUpload" or not self._is_listed(key):
                    raise

    def abort(self, key: str, upload: str) -> None:
        """Abort an upload; one that is gone already is not an error."""
        from botocore.exceptions import ClientError

        with translated(f"giving up {key}", self.where):
            try:
                self._client.abort_multipart_upload(**self._named(key, upload))
            except ClientError as error:
                if code_of(error) not in _NO_UPLOAD:
                    raise

    def list(
        self, prefix: str, start_after: str = "", limit: int | None = None
    ) -> Iterator[Listed]:
        """The keys with ``prefix``, after ``start_after``, in ascending UTF-8 order."""
        left = limit
        token: dict[str, str] = {"StartAfter": start_after} if start_after else {}
        while left is None or left > 0:
            with translated(f"listing {prefix}", self.where):
                page = _page(
                    self._client.list_objects_v2,
                    Bucket=self.name,
                    Prefix=prefix,
                    MaxKeys=_PAGE if left is None else min(left, _PAGE),
                    **token,
                )
            found = page.get("Contents", [])
            for entry in found:
                # Servers tell whole seconds, cut off.
                modified_s = entry["LastModified"].timestamp() + 1
                yield Listed(entry["Key"], entry["Size"], modified_s)
            if left is not None:
                left -= len(found)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def uploads(self, prefix: str) -> Sequence[Begun]:
        """The uploads in parts below ``prefix`` that were not completed."""
        found: list[Begun] = []
        token: dict[str, str] = {}
        while True:
            with translated("listing uploads", self.where):
                page = _page(
                    self._client.list_multipart_uploads, Bucket=self.name, Prefix=prefix, **token
                )
            found += [
                Begun(each["Key"], each["UploadId"], each["Initiated"].timestamp() + 1)
                for each in page.get("Uploads", [])
            ]
            if not page.get("IsTruncated"):
                return found
            token = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def now_s(self, prefix: str) -> float:
        """Unix seconds by the server's clock, cut off to whole ones.

        Raises RemoteUnreachable where it tells no time.
        """
        with translated("asking for the time", self.where):
            page = _page(self._client.list_objects_v2, Bucket=self.name, Prefix=prefix, MaxKeys=1)
        told = page["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        if not told:
            raise RemoteUnreachable(
                f"{self.where} does not tell the time (no Date header), which ages are measured by",
                hint=f"curl -sI {self.endpoint}",
            )
        return parsedate_to_datetime(told).timestamp()

    def delete(self, keys: Sequence[str]) -> None:
        """Remove ``keys``, a thousand a request; one that is not there is not an error."""
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
        page = _page(self._client.list_objects_v2, Bucket=self.name, Prefix=key, MaxKeys=1)
        return any(entry["Key"] == key for entry in page.get("Contents", []))

    def _named(self, key: str, upload: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": key, "UploadId": upload}

    def _retried(self, key: str, attempt: Callable[[], T]) -> T:
        """Send a request again whose answer broke off in the middle."""
        from botocore.exceptions import BotoCoreError

        failed = Failed()
        while True:
            try:
                return attempt()
            except BotoCoreError as error:
                if not self.aws.retries.waited(f"GET {key}", error, failed):
                    raise


def _page(ask: Callable[..., Any], **asked: Any) -> Any:
    """A page of a listing, asked for once more where it is not XML.

    It may have been changed on its way.
    """
    from botocore.parsers import ResponseParserError

    try:
        return ask(**asked)
    except ResponseParserError:
        return ask(**asked)


class _Wanted(threading.local):
    """The digest that the part has to have which this thread sends."""

    sha256: str | None = None


_wanted = _Wanted()


def _check_signed(request: Any, **_: Any) -> None:
    signed = request.headers.get("X-Amz-Content-SHA256", b"")
    _check_part(_wanted.sha256, signed.decode() if isinstance(signed, bytes) else str(signed))


def _check_part(wanted: str | None, found: str | None) -> None:
    if wanted is not None and wanted != found:
        raise IntegrityError(f"a part has the digest {found}, not {wanted}")
