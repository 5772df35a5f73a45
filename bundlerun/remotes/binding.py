"""Which remote answers at an address: made known once, checked each time."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping

from bundlerun.bundles.bundle import FORMAT, check_format, parse_record
from bundlerun.bundles.digest import canonical_json
from bundlerun.errors import IntegrityError, NoRemote, RemoteChanged, RemoteError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.records import META, checked_uuid, read_record
from bundlerun.store.contexts import Context
from bundlerun.store.store import Store

WINDOW_S = 3600
"""A pusher writes a bundle's record at most so long after it last listed ``meta/``."""

_REMOTE = "meta/remote"
_CONDITIONAL = "meta/conditional"
_CONDEMNED = "meta/condemned-"


def bind(store: Store, context: Context, remote: Remote) -> Context:
    """Bind ``context`` to ``remote``, which becomes one if it is none yet.

    Tried at once: reading, writing and create-only writing. Raises RemoteError and its kinds.
    """
    remote.prepare()
    uuid = found_uuid(remote)
    check_conditional(remote)
    if uuid is None:
        record: Mapping[str, object] = {
            "format": FORMAT,
            "uuid": str(uuids.uuid4()),
            "window_s": WINDOW_S,
        }
        # Of two who bind at once the first wins; both then read the same.
        remote.put_new(_REMOTE, canonical_json(record))
        uuid = found_uuid(remote)
        if uuid is None:
            raise RemoteError(f"{remote.url} forgets what is written: {_REMOTE} is not there")
    remote.put_new(_marker(uuid), b"")
    return store.contexts.bind(context, remote.url, uuid)


def bound_uuid(context: Context) -> str:
    """The uuid of the context's remote. Raises NoRemote."""
    if context.remote_url is None or context.remote_uuid is None:
        raise NoRemote(
            f"{context.name!r} has no remote",
            hint=f"bundlerun remote {context.name} s3://bucket/prefix",
        )
    return context.remote_uuid


def found_uuid(remote: Remote) -> str | None:
    """The uuid of the remote that answers at this address, None when nobody bound it yet.

    Raises IntegrityError for a record of an unknown format.
    """
    data = read_record(remote, _REMOTE)
    if data is None:
        return None
    try:
        found = parse_record(data)
        check_format(found)
        return checked_uuid(found.get("uuid"))
    except IntegrityError as error:
        raise IntegrityError(
            f"{_REMOTE} at {remote.url}: {error.message}", hint=error.hint
        ) from error


def check_remote(remote: Remote, uuid: str) -> None:
    """One listing, which says that the remote ``uuid`` is still there and takes packs.

    Raises RemoteUnreachable where it vanished, RemoteChanged where another one answers.
    """
    keys = [entry.key for entry in remote.list(META)]
    if _marker(uuid) not in keys:
        check_uuid(remote, found_uuid(remote), uuid)
    if any(key.startswith(_CONDEMNED) for key in keys):
        # Packs that a later version's clean-up condemned must not be built upon.
        raise RemoteError(
            f"{remote.url} is cleaned up by a later version of bundlerun, whose rules this one"
            " does not know",
            hint="pip install --upgrade bundlerun",
        )


def check_uuid(remote: Remote, found: str | None, bound: str) -> None:
    """Raises RemoteChanged unless ``found`` is the uuid that was bound."""
    if found != bound:
        said = "no remote of bundlerun" if found is None else f"the remote {found}"
        raise RemoteChanged(
            f"at {remote.url} there is {said}, not {bound} as when it was bound",
            hint=f"bundlerun remote CONTEXT {remote.url}",
        )


def check_conditional(remote: Remote) -> None:
    """Try a create-only write twice. Raises RemoteError where the second one is let through."""
    remote.put_new(_CONDITIONAL, b"")
    if remote.put_new(_CONDITIONAL, b""):
        raise RemoteError(
            f"{remote.url} does not keep create-only keys (If-None-Match: *), which versions"
            " need; another S3 server does"
        )


def _marker(uuid: str) -> str:
    return f"meta/uuid-{uuid}"
