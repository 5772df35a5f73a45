"""Which remote answers at an address: made known once, checked each time; and what a context
leaves behind when it is bound to another one."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass

from bundlerun.bundles.digest import canonical_json, digest_of
from bundlerun.bundles.record import FORMAT, check_format, parse_record
from bundlerun.errors import IntegrityError, NoRemote, OtherRemote, RemoteChanged, RemoteError
from bundlerun.remotes.base import KeyInfo, Remote
from bundlerun.remotes.keys import META
from bundlerun.remotes.records import checked_uuid, create, read_record, twice
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store

WINDOW_S = 3600
"""A pusher writes a bundle's record at most so long after it last listed ``meta/``."""

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
        """The inverse of ``to_bytes``. Raises IntegrityError for anything else."""
        found = parse_record(data)
        check_format(found)
        window_s = found.get("window_s")
        if type(window_s) is not float or not 0 < window_s <= MAX_WINDOW_S:
            raise IntegrityError(f"window_s is {window_s!r:.40}")
        identity = Identity(checked_uuid(found.get("uuid")), window_s)
        if identity.to_bytes() != data:
            raise IntegrityError("the digest belongs to other bytes")
        return identity


def bind(
    store: Store,
    context: Context,
    remote: Remote,
    *,
    rebind: bool = False,
    window_s: float = WINDOW_S,
) -> Context:
    """Bind ``context`` to ``remote``, which gets an identity with this window if it has none yet.

    Tried at once: reading, writing and create-only writing. Raises RemoteError and its kinds, and
    OtherRemote, with what would be left behind, where the context is bound to another remote (not
    merely to another address of this one), unless ``rebind``.
    """
    remote.prepare()
    identity = found_identity(remote)
    if not rebind:
        check_rebind(store, context, remote, None if identity is None else identity.uuid)
    check_conditional(remote)
    if identity is None:
        # Of two who bind at once the first wins; both then read the same.
        made = Identity(str(uuids.uuid4()), float(window_s))
        create(remote, _REMOTE, made.to_bytes())
        identity = found_identity(remote)
        if identity is None:
            raise RemoteError(
                f"{remote.url} does not keep what is written: {_REMOTE} is gone again",
                hint="another folder or bucket: bundlerun remote CONTEXT URL",
            )
    create(remote, _marker(identity.uuid), b"")
    bound = store.contexts.bind(context, remote.url, identity.uuid)
    store.known.note_window(identity.uuid, identity.window_s)
    return bound


def bound_url(context: Context) -> str:
    """The URL of the context's remote. Raises NoRemote."""
    if context.remote_url is None:
        raise _no_remote(context)
    return context.remote_url


def bound_uuid(context: Context) -> str:
    """The uuid of the context's remote. Raises NoRemote."""
    if context.remote_url is None or context.remote_uuid is None:
        raise _no_remote(context)
    return context.remote_uuid


def found_uuid(remote: Remote) -> str | None:
    """The uuid of the remote that answers at this address, None when nobody bound it yet.

    Raises as ``found_identity``.
    """
    found = found_identity(remote)
    return None if found is None else found.uuid


def identity_of(remote: Remote, uuid: str) -> Identity:
    """What the remote ``uuid`` says of itself. Raises RemoteChanged where it does not answer."""
    found = found_identity(remote)
    if found is None or found.uuid != uuid:
        check_uuid(remote, None if found is None else found.uuid, uuid)
    assert found is not None  # None is not a uuid
    return found


def found_identity(remote: Remote) -> Identity | None:
    """What the remote at this address says of itself, None when nobody bound it yet.

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
    """Try a create-only write twice. Raises RemoteError where the second one is let through."""
    create(remote, _CONDITIONAL, b"")
    if remote.put_new(_CONDITIONAL, b""):
        raise RemoteError(
            f"{remote.url} does not support create-only writes (If-None-Match: *), "
            "which versions need",
            hint="bundlerun remote CONTEXT URL, on a server that does (AWS S3, Ceph, MinIO)",
        )


def _no_remote(context: Context) -> NoRemote:
    return NoRemote(
        f"the context {context.name!r} has no remote",
        hint=f"bundlerun remote {context.name} s3://bucket/prefix (or file:///dir)",
    )


def _marker(uuid: str) -> str:
    return f"meta/uuid-{uuid}"


@dataclass(frozen=True)
class Leaving:
    """``bundles`` are those of which bytes lie on the old remote alone, as far as is known here;
    ``runs`` the ids of those on the old remote that have not ended."""

    url: str
    bundles: tuple[Entry, ...]
    runs: tuple[str, ...]


def leaving(store: Store, context: Context, uuid: str | None) -> Leaving:
    """What ``context`` leaves on its remote when it is bound to the remote ``uuid`` (None: to one
    that holds nothing yet). Nothing is asked of either."""
    alone = []
    for entry in store.catalog.search(context, committed=True):
        root = entry.bundle.root
        there = uuid is not None and store.known.noted_value(uuid, root.digest) is not None
        if entry.pushed and not there and store.absent(root):
            alone.append(entry)
    runs = [row.run for row in store.journal.unsettled(context)]
    out = [str(run["id"]) for run in runs if run.get("remote_uuid") in (None, context.remote_uuid)]
    return Leaving(_url_of(store, context), tuple(alone), tuple(out))


def check_rebind(store: Store, context: Context, remote: Remote, uuid: str | None) -> None:
    """Raises OtherRemote unless ``context`` is bound to no remote, or to the remote ``uuid``, which
    is what answers at ``remote`` (None: nobody bound it yet)."""
    if context.remote_uuid in (None, uuid):
        return
    found = leaving(store, context, uuid)
    if found.url == remote.url:
        said = [f"{context.name} was bound to another remote than the one now at {remote.url}"]
    else:
        said = [f"{context.name} is bound to {found.url}, and {remote.url} is another remote"]
    if found.bundles:
        said.append(f"bundles of which bytes lie on the old one alone: {len(found.bundles)}")
    if found.runs:
        said.append(f"runs on the old one that have not ended: {len(found.runs)}")
    raise OtherRemote(
        "; ".join(said),
        hint=f"bundlerun remote {context.name} {remote.url} --rebind",
        leaving=found,
    )


def _url_of(store: Store, context: Context) -> str:
    uuid = context.remote_uuid or ""
    return context.remote_url or store.known.url(uuid) or f"the remote {uuid}"
