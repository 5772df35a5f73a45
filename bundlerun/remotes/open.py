"""From a URL to the remote that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from bundlerun import registry
from bundlerun.errors import UsageError

if TYPE_CHECKING:
    from bundlerun.connections import Connections
    from bundlerun.remotes.base import Remote


def open_remote(url: str, connections: Connections) -> Remote:
    """The remote at ``url``.

    Nothing is asked of it yet. Raises UsageError for a URL of no known kind.
    """
    return _kind(url).open(checked_url(url), connections)


def checked_url(url: str) -> str:
    """``url`` in its one form: ``s3://bucket/prefix`` or ``file:///dir``.

    It has no slash at the end. Raises UsageError for another scheme, a relative folder, or a bucket
    that cannot be one.
    """
    return _kind(url).checked_url(url)


def _kind(url: str) -> type[Remote]:
    scheme, colon, _ = url.partition("://")
    if not colon or scheme not in registry.REMOTES:
        folder = None if colon or url.startswith("s3:") else "file://" + quote(os.path.abspath(url))
        raise UsageError(
            f"{url!r:.200} is not the URL of a remote",
            hint=folder or "s3://bucket/prefix, or file:///dir",
        )
    found: type[Remote] = registry.load(registry.REMOTES, scheme, what="kind of remote")
    return found
