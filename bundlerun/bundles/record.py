"""A bundle's record: one immutable version of named data."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bundlerun.bundles.digest import canonical_json
from bundlerun.bundles.fields import Fields
from bundlerun.bundles.lineage import Lineage
from bundlerun.bundles.link import Link
from bundlerun.errors import BadName, IntegrityError

FORMAT = 1
"""The version of the record's format; another one is refused."""

MAX_NAME_BYTES = 200
"""Bytes of a name once percent-encoded: file names end at 255 (POSIX NAME_MAX)."""

MAX_TAG_BYTES = 1024
"""Bytes of a tag's key and of its value, in UTF-8."""

_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f@]")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class BundleRecord:
    """One immutable version of named data.

    ``id`` is a UUIDv7 (RFC 9562), so it also says when the bundle was made; ``root`` names the
    value and holds no location; ``params`` are the pipe's, serialised; tags may be added later.
    """

    id: str
    name: str
    root: Link
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def made_at_s(self) -> float:
        """Unix seconds of the bundle's making, by the clock of the machine that made it."""
        return uuid.UUID(self.id).int / (1 << 80) / 1000

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the record."""
        return {
            "format": FORMAT,
            "id": self.id,
            "name": self.name,
            "root": self.root.to_json(),
            "params": dict(sorted(self.params.items())),
            "tags": dict(sorted(self.tags.items())),
            "lineage": self.lineage.to_json(),
        }

    def to_bytes(self) -> bytes:
        """The record as canonical JSON."""
        return canonical_json(self.to_json())

    @staticmethod
    def from_json(found: Any) -> BundleRecord:
        """The inverse of ``to_json``.

        Raises IntegrityError for anything else.
        """
        check_format(found)
        fields = Fields(found, "not a bundle record")
        try:
            name = checked_name(fields.any("name"))
        except BadName as error:
            raise IntegrityError(f"not a bundle record: {error.message}") from error
        return BundleRecord(
            id=checked_id(fields.any("id")),
            name=name,
            root=Link.from_json(fields.any("root")),
            params=fields.texts("params"),
            tags=fields.texts("tags"),
            lineage=Lineage.from_json(fields.any("lineage")),
        )

    @staticmethod
    def from_bytes(data: bytes) -> BundleRecord:
        """The inverse of ``to_bytes``.

        Raises IntegrityError.
        """
        return BundleRecord.from_json(parse_record(data))


def parse_record(data: bytes) -> Any:
    """The value of JSON that came from elsewhere.

    Raises IntegrityError for anything else.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"a record is not JSON: {error!s:.200}") from error


def check_format(found: Any) -> None:
    """Refuse what is not an object of the known format version.

    Raises IntegrityError.
    """
    if not isinstance(found, dict):
        raise IntegrityError("a record is not a JSON object")
    version = found.get("format")
    if type(version) is not int or version != FORMAT:
        raise IntegrityError(
            f"a record has format {version!r:.20}; this bundlerun reads format {FORMAT}",
            hint="pip install --upgrade bundlerun",
        )


def new_id() -> str:
    """A new UUIDv7; ids that one process makes one after the other are in that order.

    It has 48 bits of Unix milliseconds, 12 of their fraction, 62 random bits (RFC 9562, 5.7 and
    6.2, method 3).
    """
    millis, nanos = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8), "big")
    value = (millis & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | (nanos * 4096 // 1_000_000) << 64
    value |= 0b10 << 62 | random & ((1 << 62) - 1)
    return str(uuid.UUID(int=value))


def checked_id(text: object) -> str:
    """``text`` as an id.

    Raises IntegrityError when it is not a UUIDv7.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise IntegrityError(f"{text!r:.80} is not the id of a bundle")
    return text


def is_id(text: str) -> bool:
    """Whether ``text`` is a bundle's or a run's id."""
    return _ID.fullmatch(text) is not None


def checked_name(name: object) -> str:
    """``name`` as a bundle or context name, without white space or ``@``.

    Control characters are refused too. Names are exact: no wildcard, no case folding. Raises
    BadName.
    """
    if not isinstance(name, str) or not name:
        raise BadName(
            "a name must be a text of at least one character",
            hint="a name such as sales or raw/2013",
        )
    found = _FORBIDDEN.search(name)
    if found:
        raise BadName(
            f"the name {name!r:.80} has {found[0]!r}; a name must not have white space, "
            "control characters or @",
            hint=repr(_FORBIDDEN.sub("-", name)[:80]),
        )
    try:
        encoded = key_name(name)
    except UnicodeEncodeError as error:
        raise BadName(
            f"the name {name!r:.80} is not valid Unicode", hint="a name such as sales or raw/2013"
        ) from error
    if len(encoded) > MAX_NAME_BYTES:
        raise BadName(
            f"the name {name!r:.40}... has more than {MAX_NAME_BYTES} bytes, percent-encoded",
            hint="a shorter name",
        )
    return name


def key_name(name: str) -> str:
    """``name`` as one part of a remote key, percent-encoded, never ``.`` or ``..``."""
    encoded = quote(name, safe="")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """``tags``, when they are texts without control characters.

    Raises BadName.
    """
    if not isinstance(tags, Mapping):
        raise BadName(f"tags must be a dict of texts, not {tags!r:.80}", hint='{"key": "value"}')
    for text in (text for pair in tags.items() for text in pair):
        if not isinstance(text, str) or not all(c.isprintable() for c in text):
            raise BadName(
                f"a tag's key and value must be text of printable characters, not {text!r:.80}",
                hint="key:value",
            )
        if len(text.encode()) > MAX_TAG_BYTES:
            raise BadName(
                f"the tag {text!r:.40}... has more than {MAX_TAG_BYTES} bytes",
                hint="a shorter one; long texts belong in the value",
            )
    if "" in tags:
        raise BadName("a tag must have a key", hint="key:value")
    return dict(tags)
