"""The keys of a remote, and the small JSON records that stand under them.

::

    meta/remote                    *  {format, uuid, window_s, digest}
    meta/uuid-UUID                 *  empty: lets one listing of meta/ say which remote answers
    meta/conditional               *  empty: what binding tries create-only writes on
    meta/condemned-<E>             *  CondemnedRecord: packs that may be deleted; E from 1
    packs/UUID                        see packs
    b/ID                           *  PushedBundle
    v/NAME/<9999999999-n>          *  VersionRecord, n from 1; inverted: the newest comes first
    v/NAME/<9999999999-n>+t<k>     *  TagsRecord, k from 1
    v/NAME/<9999999999-n>+x        *  empty: version n was removed
    k/DIGEST/ID                       empty: reuse look-up
    runs/RUN/...                      see runs/
    r/<9999999999999-ms>-RUN.MARK     empty: a run made at ``ms`` (Unix); the newest come first

``*`` is create-only. Every record has a format version, and an unknown one is refused.
"""

from __future__ import annotations

import logging
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bundlerun.bundles.digest import Digest, canonical_json, checked_digest, digest_of
from bundlerun.bundles.fields import Fields
from bundlerun.bundles.packs import check_claims
from bundlerun.bundles.record import (
    FORMAT,
    BundleRecord,
    check_format,
    checked_id,
    checked_name,
    parse_record,
)
from bundlerun.errors import BadName, IntegrityError, RemoteChanged, RemoteError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.keys import MAX_VERSION, bundle_key, version_key
from bundlerun.store.remote_cache import PackInfo, Share

MAX_RECORD_BYTES = 16 << 20


"""The largest record: nothing is read beyond."""


RECORDS_AT_ONCE = 8


"""Reads of small records that are under way at a time."""


_CREATES = 5


"""Attempts at a key that neither can be created nor is there."""


_logger = logging.getLogger("bundlerun.remotes")


T = TypeVar("T")


@dataclass(frozen=True)
class PushedBundle:
    """``b/ID``: a bundle, and the packs in which its bytes lie.

    ``after`` is the newest version of its name that its writer knew (0: none).
    """

    bundle: BundleRecord
    after: int
    shares: tuple[Share, ...]

    def to_bytes(self) -> bytes:
        """The record as canonical JSON."""
        packs = [share_row(share) for share in self.shares]
        return canonical_json(
            {
                "format": FORMAT,
                "bundle": self.bundle.to_json(),
                "after": self.after,
                "packs": packs,
            }
        )

    @staticmethod
    def from_bytes(data: bytes, id: str) -> PushedBundle:
        """The inverse of ``to_bytes``.

        Raises IntegrityError when it is not the record of bundle ``id`` or claims what no pack
        has.
        """
        with reading(bundle_key(id)):
            found = parsed(data)
            bundle = BundleRecord.from_json(found.any("bundle"))
            after = _number(found.any("after"), 0, MAX_VERSION - 1)
            shares = tuple(share_of(row) for row in found.items("packs"))
            if bundle.id != id:
                raise IntegrityError(f"the record is of another bundle, {bundle.id}")
        return PushedBundle(bundle, after, shares)


@dataclass(frozen=True)
class VersionRecord:
    """``v/NAME/...``: a version of a name on a remote, and its bundle.

    Version ``n`` of ``name`` on the remote ``remote`` is the bundle ``id``, and the bundle's record
    has the digest ``record``.
    """

    remote: str
    name: str
    n: int
    id: str
    record: Digest

    @property
    def key(self) -> str:
        """The key of the record."""
        return version_key(self.name, self.n)

    def to_bytes(self) -> bytes:
        """The record as canonical JSON."""
        return canonical_json({"format": FORMAT, **self.__dict__})

    @staticmethod
    def from_bytes(data: bytes, name: str, n: int) -> VersionRecord:
        """The inverse of ``to_bytes``.

        Raises IntegrityError when it is not the record of version ``n`` of ``name``.
        """
        with reading(version_key(name, n)):
            found = parsed(data)
            record = VersionRecord(
                remote=checked_uuid(found.any("remote")),
                name=checked_name(found.any("name")),
                n=_number(found.any("n"), 1, MAX_VERSION),
                id=checked_id(found.any("id")),
                record=checked_digest(found.any("record")),
            )
            if (record.name, record.n) != (name, n):
                raise IntegrityError(f"the record is of version {record.n} of {record.name!r}")
        return record


@dataclass(frozen=True)
class TagsRecord:
    """``...+t<k>``, its ``key``: all tags of a version, once set ``k`` times."""

    key: str
    tags: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The record as canonical JSON.

        It has a digest of the tags and the key, so that another version's tags are refused.
        """
        tags = dict(sorted(self.tags.items()))
        digest = digest_of(canonical_json([self.key, tags]))
        return canonical_json({"format": FORMAT, "tags": tags, "digest": digest})

    @staticmethod
    def from_bytes(data: bytes, key: str) -> TagsRecord:
        """The inverse of ``to_bytes``.

        Raises IntegrityError.
        """
        with reading(key):
            record = TagsRecord(key, parsed(data).texts("tags"))
            if record.to_bytes() != data:
                raise IntegrityError("the tags are not those that were written")
        return record


def read_record(remote: Remote, key: str) -> bytes | None:
    """The bytes of a record, None when there is none.

    Raises IntegrityError for one that is too long.
    """
    data = remote.get(key, 0, MAX_RECORD_BYTES + 1)
    if data is not None and len(data) > MAX_RECORD_BYTES:
        raise IntegrityError(f"{key} at {remote.url} has more than {MAX_RECORD_BYTES} bytes")
    return data


def twice(read: Callable[[], T]) -> T:
    """The result of ``read``, called again where the answer is damaged.

    ``read`` asks a remote, and must be safe to do again; it is done again too where another remote
    answers. An answer may be shortened or changed on its way: damage is what comes twice. Raises
    what it raises the second time.
    """
    try:
        return read()
    except (IntegrityError, RemoteChanged) as error:
        _logger.info("asked once more: %s", error.message)
        return read()


def create(remote: Remote, key: str, data: bytes) -> bytes | None:
    """Store ``data`` under ``key`` unless the key exists; None where it was stored.

    Else the bytes that are there, which may be ``data`` of an attempt whose answer was lost. A key
    that neither can be created nor is there is tried again: servers err, and a clean-up may have
    been between. Raises RemoteError where that does not end.
    """
    for _ in range(_CREATES):
        if remote.put_new(key, data):
            return None
        there = read_record(remote, key)
        if there is not None:
            return there
    raise RemoteError(
        f"{key} at {remote.url} can be neither created nor read, {_CREATES} times in a row",
        hint="the same command again, later",
    )


def checked_uuid(text: object) -> str:
    """``text`` as a UUID in its usual form.

    Raises IntegrityError.
    """
    try:
        if isinstance(text, str) and str(uuids.UUID(text)) == text:
            return text
    except ValueError as error:
        raise IntegrityError(f"{text!r:.80} is not a UUID") from error
    raise IntegrityError(f"{text!r:.80} is not a UUID")


def share_row(share: Share) -> list[str | int]:
    """A share as a record has it."""
    return [share.pack.uuid, share.pack.size, share.pack.index_length, share.used]


def share_of(row: Any) -> Share:
    """The inverse of ``share_row``.

    Raises IntegrityError, also for what no pack has.
    """
    if not isinstance(row, list) or len(row) != 4:
        raise IntegrityError(f"{row!r:.200} does not say of a pack what is used of it")
    pack, size, index_length, used = row
    share = Share(
        PackInfo(checked_uuid(pack), _number(size, 1), _number(index_length, 1)), _number(used, 0)
    )
    check_claims(share.pack)
    return share


@contextmanager
def reading(key: str) -> Iterator[None]:
    """Name the key of the record in the errors of the block.

    They become IntegrityError.
    """
    try:
        yield
    except IntegrityError as error:
        raise IntegrityError(f"the record {key}: {error.message}", hint=error.hint) from error
    except (UnicodeEncodeError, BadName) as error:
        # JSON can name half a surrogate, which no record is written with.
        raise IntegrityError(f"the record {key} is malformed: {error!r:.200}") from error


def parsed(data: bytes) -> Fields:
    """A record of the format known here, as JSON.

    Raises IntegrityError.
    """
    found = parse_record(data)
    check_format(found)
    return Fields(found, "not a record")


def _number(found: object, least: int, most: int = (1 << 62)) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise IntegrityError(f"{found!r:.80} is not a number from {least} to {most}")
    return found
