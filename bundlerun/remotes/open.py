"""From a URL to the remote that it names."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from bundlerun import registry
from bundlerun.aws.session import Aws
from bundlerun.errors import UsageError
from bundlerun.progress import SILENT, Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.folder import folder_of
from bundlerun.remotes.s3 import bucket_and_prefix
from bundlerun.settings import Settings

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and the older
# rules with capitals and underscores, which some servers keep.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")

# `*`, `?` and `$` have a meaning of their own in the policies that narrow a job's credentials.
_PREFIX = re.compile(r"[^\x00-\x1f\x7f*?$\\]*")


def open_remote(url: str, settings: Settings, progress: Progress = SILENT) -> Remote:
    """The remote at ``url``; nothing is asked of it yet. ``progress`` is told where it lets us wait
    long. Raises UsageError for no such URL."""
    url = checked_url(url)
    scheme = url.partition("://")[0]
    remote = registry.load(registry.REMOTES, scheme, what="kind of remote")
    aws = (Aws(settings.aws, progress=progress),) if scheme == "s3" else ()
    opened: Remote = remote(url, *aws)
    return opened


def checked_url(url: str) -> str:
    """``url`` in its one form: ``s3://bucket/prefix`` or ``file:///dir``, no slash at the end.

    Raises UsageError for another scheme, a relative folder, or a bucket that cannot be one.
    """
    scheme, colon, _ = url.partition("://")
    if not colon or scheme not in registry.REMOTES:
        folder = None if colon else "file://" + quote(os.path.abspath(url))
        raise UsageError(
            f"{url!r:.200} is not the URL of a remote",
            hint=folder or "s3://bucket/prefix, or file:///dir",
        )
    if scheme == "file":
        return "file://" + quote(str(folder_of(url)))
    if scheme == "s3":
        return _checked_s3(url)
    return url


def _checked_s3(url: str) -> str:
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
