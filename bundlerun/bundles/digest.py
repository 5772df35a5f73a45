"""SHA-256 digests: the names of bytes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NewType

from bundlerun.errors import IntegrityError

Digest = NewType("Digest", str)
"""The SHA-256 of some bytes, as 64 lower-case hexadecimal digits (FIPS 180-4)."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


def digest_of(data: bytes | memoryview) -> Digest:
    """The digest of ``data``."""
    return Digest(hashlib.sha256(data).hexdigest())


def digest_of_file(path: Path) -> Digest:
    """The digest of the bytes of a file, with bounded memory."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
    return Digest(sha256.hexdigest())


def checked_digest(text: object) -> Digest:
    """``text`` as a Digest.

    Raises IntegrityError for anything else.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise IntegrityError(f"{text!r:.80} is not a SHA-256 digest")
    return Digest(text)


def canonical_json(value: Any) -> bytes:
    """``value`` as canonical JSON, the text that is digested.

    It is UTF-8 without spaces, keys as given. Raises ValueError for NaN and infinities,
    UnicodeEncodeError for lone surrogates.
    """
    return _ENCODER.encode(value).encode()
