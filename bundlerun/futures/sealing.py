"""Seals: proof, before anything is opened, that a run itself has written it.

A seal is HMAC-SHA256 (RFC 2104, FIPS 180-4) over the kind, NUL, the index as 8 bytes (big-endian),
and the bytes. So the result of one item cannot stand in for that of another, nor an item for a
result; and without the run's key nobody can make one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum

from bundlerun.errors import IntegrityError

KEY_BYTES = 32
TAG_BYTES = 32

KEY_VARIABLE = "BUNDLERUN_RUN_KEY"
"""The variable in which a job has the key of its run, as hexadecimal digits."""


class Sealed(Enum):
    """What is sealed; the value is the word that is hashed."""

    PLAN = "plan"
    FUNCTION = "function"
    ITEM = "item"
    OUTCOME = "outcome"
    PART = "part"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Seal:
    """The key of one run: ``key`` has 32 random bytes and is never shown."""

    key: bytes = field(repr=False)

    @staticmethod
    def new() -> Seal:
        """The seal of a new run."""
        return Seal(secrets.token_bytes(KEY_BYTES))

    @staticmethod
    def from_hex(text: str) -> Seal:
        """The inverse of ``hex``.

        Raises IntegrityError for anything else, which it does not show.
        """
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            # Without the text, and without the error that would show it: it may be most of a key.
            raise IntegrityError(
                f"the key of a run must be {2 * KEY_BYTES} hexadecimal digits", hint=_AGAIN
            )
        return Seal(key)

    def hex(self) -> str:
        """The key as hexadecimal digits, for the journal and the jobs of the run alone."""
        return self.key.hex()

    def tag(self, kind: Sealed, index: int, data: bytes) -> bytes:
        """The 32 bytes that prove ``data`` to be the ``kind`` of number ``index``, from 0."""
        mac = hmac.new(self.key, kind.value.encode() + b"\0" + index.to_bytes(8, "big"), _SHA256)
        mac.update(data)
        return mac.digest()

    def sealed(self, kind: Sealed, index: int, data: bytes) -> bytes:
        """``data`` behind its tag."""
        return self.tag(kind, index, data) + data

    def opened(self, kind: Sealed, index: int, sealed: bytes) -> bytes:
        """The data that ``sealed`` was made of.

        Raises IntegrityError, which names kind and index, unless this run sealed it as just that.
        """
        tag, data = sealed[:TAG_BYTES], sealed[TAG_BYTES:]
        if not hmac.compare_digest(tag, self.tag(kind, index, data)):
            raise IntegrityError(
                f"the seal of {kind.value} {index} is wrong: these are not the bytes that the run"
                " wrote, and none of them was opened",
                hint=_AGAIN,
            )
        return data


_SHA256 = hashlib.sha256

_AGAIN = "the map again, on a remote that only its users can write to"
