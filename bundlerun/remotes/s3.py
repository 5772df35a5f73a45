"""A remote in an S3 bucket, below a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundlerun.aws import sandbox_env
from bundlerun.aws.s3 import Bucket
from bundlerun.aws.session import SECRET, Aws
from bundlerun.connections import Connections
from bundlerun.errors import RemoteError, UsageError
from bundlerun.remotes.base import Credentials, KeyInfo, Part, Remote, Upload, checked_key
from bundlerun.remotes.multipart import put_in_parts

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and the older
# rules with capitals and underscores, which some servers keep.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")

# `*`, `?` and `$` have a meaning of their own in the policies that narrow a job's credentials.
_PREFIX = re.compile(r"[^\x00-\x1f\x7f*?$\\]*")


class S3Remote(Remote):
    """A remote whose keys are those of a bucket, below the URL's prefix.

    aws/s3 says what a server must do.
    """

    def __init__(self, url: str, aws: Aws) -> None:
        super().__init__(url)
        self.bucket, self.prefix = bucket_and_prefix(url)
        self._below = f"{self.prefix}/" if self.prefix else ""
        self._bucket = Bucket(aws, self.bucket, url)

    @classmethod
    def open(cls, url: str, connections: Connections) -> S3Remote:
        """See Remote."""
        return cls(url, Aws.of(connections))

    @classmethod
    def checked_url(cls, url: str) -> str:
        """See Remote."""
        bucket, prefix = bucket_and_prefix(url)
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(
                f"{url!r:.200}: {bucket!r} is not the name of a bucket: 3 to 63 of a-z 0-9 - .",
                hint="s3://bucket/prefix",
            )
        parts = prefix.split("/") if prefix else []
        if not _PREFIX.fullmatch(prefix) or any(part in ("", ".", "..") for part in parts):
            raise UsageError(
                f"{url!r:.200}: the prefix has a control character, one of * ? $ and \\, or "
                "an empty part, '.' or '..'",
                hint=f"s3://{bucket}/prefix",
            )
        return "/".join([f"s3://{bucket}", *parts])

    def credentials(self, *, private: bool, seconds: int | None = None) -> Credentials:
        """See Remote.

        A role needs none; narrowed ones are made for this job.
        """
        aws = self._bucket.aws
        seconds = seconds or aws.settings.session_seconds
        if seconds:
            role = aws.settings.session_role_arn
            found = aws.narrowed(role, seconds, self.session_policy())
        else:
            found = aws.credentials_env() if private else aws.place_env()
        return Credentials(found, SECRET & found.keys())

    def session_policy(self) -> dict[str, Any]:
        """The most that a job may do with this remote, for Aws.narrowed."""
        return self._bucket.aws.prefix_policy(self.bucket, self.prefix)

    def check_carries(self, size: int) -> None:
        """See Remote: the sandbox has a limit."""
        limit = sandbox_env.LARGEST_BYTES
        if size > limit and sandbox_env.leads_to(self._bucket.endpoint):
            raise RemoteError(
                f"{self.url} is in the sandbox, which cannot hold a file of "
                f"{size / 1e9:.1f} GB ({limit / 1e9:.1f} GB at most); nothing was "
                "transferred",
                hint="bundlerun remote CONTEXT file:///FOLDER for runs on this machine, or export"
                " AWS_ENDPOINT_URL_S3=URL of another S3 server",
            )

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        """See Remote."""
        return self._bucket.get(self._key(key), start, length)

    def get_file(self, key: str, target: Path, length: int | None = None) -> bool:
        """See Remote."""
        with target.open("wb") as file:
            return self._bucket.get_file(self._key(key), file, length)

    def put(self, key: str, data: bytes) -> None:
        """See Remote."""
        self._bucket.put(self._key(key), data)

    def put_file(self, key: str, source: Path, tail: bytes = b"") -> None:
        """See Remote."""
        put_in_parts(self, key, source, tail)

    def begin(self, key: str, part_bytes: int) -> Upload | None:
        """See Remote."""
        return Upload(key, self._bucket.begin(self._key(key)), part_bytes)

    def parts(self, upload: Upload) -> dict[int, Part] | None:
        """See Remote."""
        found = self._bucket.parts(self._key(upload.key), upload.name)
        if found is None:
            return None
        return {number: Part(size, tag) for number, (size, tag) in found.items()}

    def put_part(self, upload: Upload, number: int, data: bytes) -> Part:
        """See Remote."""
        digest = upload.digest_of(number)
        tag = self._bucket.put_part(self._key(upload.key), upload.name, number, data, digest)
        return Part(len(data), tag)

    def complete(self, upload: Upload, parts: Mapping[int, Part]) -> None:
        """See Remote."""
        tags = {number: part.token for number, part in parts.items()}
        self._bucket.complete(self._key(upload.key), upload.name, tags)

    def abort(self, upload: Upload) -> None:
        """See Remote."""
        self._bucket.abort(self._key(upload.key), upload.name)

    def put_new(self, key: str, data: bytes) -> bool:
        """See Remote."""
        return self._bucket.put_if_none_match(self._key(key), data)

    def list(self, prefix: str, *, after: str = "", limit: int | None = None) -> Iterator[KeyInfo]:
        """See Remote."""
        start_after = self._below + after if after else ""
        for found in self._bucket.list(self._below + prefix, start_after, limit):
            yield KeyInfo(found.key[len(self._below) :], found.size, found.modified_s)

    def now_s(self) -> float:
        """See Remote."""
        return self._bucket.now_s(self._below)

    def litter(self, older_than_s: float) -> Sequence[KeyInfo]:
        """See Remote: uploads in parts that were never completed; their size is not told."""
        before_s = self.now_s() - older_than_s
        return [
            KeyInfo(f"{upload.upload} {upload.key}", 0, upload.begun_s)
            for upload in self._bucket.uploads(self._below)
            if upload.begun_s < before_s
        ]

    def discard(self, litter: Sequence[KeyInfo]) -> None:
        """See Remote."""
        for entry in litter:
            upload, _, key = entry.key.partition(" ")
            self._bucket.abort(key, upload)

    def delete(self, keys: Sequence[str]) -> None:
        """See Remote."""
        self._bucket.delete([self._key(key) for key in keys])

    def _key(self, key: str) -> str:
        return self._below + checked_key(key)


def bucket_and_prefix(url: str) -> tuple[str, str]:
    """The two parts of ``s3://bucket/prefix``, the prefix without slashes at its ends."""
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{url!r} names no bucket", hint="s3://bucket/prefix")
    return bucket, prefix.strip("/")
