"""The identity of the remote at an address: made known once, checked each time."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.record import FORMAT, check_format, parse_record
from bundlerun.errors import IntegrityError, RemoteChanged, RemoteError
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.keys import META
from bundlerun.remotes.records import checked_uuid, create, read_record, twice

WINDOW_S = 3600
"""The longest time from a push's last listing of ``meta/`` to its next record."""

MAX_WINDOW_S = 366 * 86_400
"""A longer window is a mistake."""

_REMOTE = "meta/remote"
_CONDITIONAL = "meta/conditional"


@dataclass(frozen=True)
class Identity:
    """The content of ``meta/remote``: the uuid of the remote, and its window.

    The window is how long, in seconds, a push may rely on its last listing of ``meta/``.
    """

    uuid: str
    window_s: float

    def to_bytes(self) -> bytes:
        """The record, with its own digest: no other record names it."""
        record = {"format": FORMAT, "uuid": self.uuid, "window_s": self.window_s}
        return canonical_json({**record, "digest": digest_of(canonical_json(record))})

    @staticmethod
    def from_bytes(data: bytes) -> Identity:
        """The inverse of ``to_bytes``.

        Raises IntegrityError for anything else.
        """
        found = parse_record(data)
        check_format(found)
        window_s = found.get("window_s")
        if type(window_s) is not float or not 0 < window_s <= MAX_WINDOW_S:
            raise IntegrityError(f"window_s is {window_s!r:.40}")
        identity = Identity(checked_uuid(found.get("uuid")), window_s)
        if identity.to_bytes() != data:
            raise IntegrityError("the digest belongs to other bytes")
        return identity


def made_known(remote: Remote, found: Identity | None, window_s: float) -> Identity:
    """The identity of ``remote``, created with this window where it has none yet.

    ``found`` is the identity as read before. Raises RemoteError for a remote that does not keep it.
    """
    if found is None:
        # Of two who bind at once the first wins; both then read the same.
        made = Identity(str(uuids.uuid4()), float(window_s))
        create(remote, _REMOTE, made.to_bytes())
        found = found_identity(remote)
        if found is None:
            raise RemoteError(
                f"{remote.url} does not keep what is written: {_REMOTE} is gone again",
                hint="another folder or bucket: bundlerun remote CONTEXT URL",
            )
    create(remote, _marker(found.uuid), b"")
    return found


def found_uuid(remote: Remote) -> str | None:
    """The uuid of the remote at this address; None when nobody bound it yet.

    Raises as ``found_identity``.
    """
    found = found_identity(remote)
    return None if found is None else found.uuid


def identity_of(remote: Remote, uuid: str) -> Identity:
    """The identity of the remote ``uuid``, as it says itself.

    Raises RemoteChanged where another remote answers, or none.
    """
    found = found_identity(remote)
    if found is None or found.uuid != uuid:
        check_uuid(remote, None if found is None else found.uuid, uuid)
    assert found is not None  # None is not a uuid
    return found


def found_identity(remote: Remote) -> Identity | None:
    """The identity of the remote at this address, None when nobody bound it yet.

    Raises IntegrityError for a record that is malformed or of an unknown format.
    """

    def read() -> Identity | None:
        data = read_record(remote, _REMOTE)
        return None if data is None else Identity.from_bytes(data)

    try:
        return twice(read)
    except IntegrityError as error:
        raise IntegrityError(
            f"{_REMOTE} at {remote.url}: {error.message}", hint=error.hint
        ) from error


def check_remote(remote: Remote, uuid: str) -> list[KeyInfo]:
    """List ``meta/``, and check that the remote ``uuid`` is still there.

    Raises RemoteUnreachable where it vanished, RemoteChanged where another one answers.
    """
    listed = list(remote.list(META))
    if all(entry.key != _marker(uuid) for entry in listed):
        check_uuid(remote, found_uuid(remote), uuid)
    return listed


def check_uuid(remote: Remote, found: str | None, bound: str) -> None:
    """Raise RemoteChanged unless ``found`` is the uuid that was bound."""
    if found != bound:
        said = "no bundlerun remote" if found is None else f"the remote {found}"
        raise RemoteChanged(
            f"{remote.url} has {said}, not the remote {bound} to which the context was bound",
            hint=f"bundlerun remote CONTEXT {remote.url} --rebind",
        )


def check_conditional(remote: Remote) -> None:
    """Try a create-only write twice.

    Raises RemoteError where the second one is let through.
    """
    create(remote, _CONDITIONAL, b"")
    if remote.put_new(_CONDITIONAL, b""):
        raise RemoteError(
            f"{remote.url} does not support create-only writes (If-None-Match: *), "
            "which versions need",
            hint="bundlerun remote CONTEXT URL, on a server that does (AWS S3, Ceph, MinIO)",
        )


def _marker(uuid: str) -> str:
    return f"meta/uuid-{uuid}"
