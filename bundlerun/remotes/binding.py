"""A context bound to a remote, as one value.

Also what it leaves behind when it is bound to another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bundlerun.errors import NoRemote, OtherRemote, SettingsError, UsageError
from bundlerun.progress import Progress
from bundlerun.remotes.base import Remote
from bundlerun.remotes.identity import WINDOW_S, check_conditional, found_identity, made_known
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


@dataclass(frozen=True)
class Binding:
    """A context of a store, bound to a remote that is known by its uuid.

    ``remote`` is where that remote should answer: who asks it first checks that it still does.
    """

    store: Store
    context: Context
    remote: Remote
    uuid: str

    @staticmethod
    def of(store: Store, context: Context, remote: Remote) -> Binding:
        """The binding of ``context``, with the uuid that the store noted.

        Nothing is asked of ``remote``. Raises NoRemote where the context is not bound.
        """
        if context.remote_url is None or context.remote_uuid is None:
            raise _no_remote(context)
        return Binding(store, context, remote, context.remote_uuid)


def bind(
    store: Store,
    context: Context,
    remote: Remote,
    *,
    rebind: bool = False,
    window_s: float = WINDOW_S,
) -> Context:
    """Bind ``context`` to ``remote``.

    A remote without an identity gets one with this window. Reading, writing and create-only writing
    are tried at once. Raises RemoteError and its kinds, and OtherRemote, with what would be left
    behind, where the context is bound to another remote (not merely to another address of this
    one), unless ``rebind``.
    """
    remote.prepare()
    identity = found_identity(remote)
    if not rebind:
        check_rebind(store, context, remote, None if identity is None else identity.uuid)
    check_conditional(remote)
    identity = made_known(remote, identity, window_s)
    bound = store.contexts.bind(context, remote.url, identity.uuid)
    store.known.note_window(identity.uuid, identity.window_s)
    return bound


def bound(
    store: Store,
    context: Context,
    bucket: str | None,
    open: Callable[[str], Remote],
    progress: Progress,
) -> Context:
    """``context`` at a use that needs its remote.

    Where it has none, it is bound to that of the setting ``bucket``, and that is said; where there
    is no such setting either, it is as it was. Raises SettingsError for what names no remote, and
    as ``bind``.
    """
    if context.remote_url is not None or bucket is None:
        return context
    # The caller's is as it was when it was read.
    context = store.contexts.get(context.name)
    if context.remote_url is not None:
        return context
    try:
        remote = open(bucket if "://" in bucket else f"s3://{bucket}")
    except UsageError as error:
        raise SettingsError(f"[run] bucket: {error.message}", hint=error.hint) from error
    made = bind(store, context, remote)
    progress.line(f"the context {made.name!r} is bound to {made.remote_url} ([run] bucket)")
    return made


def bound_url(context: Context) -> str:
    """The URL of the context's remote.

    Raises NoRemote.
    """
    if context.remote_url is None:
        raise _no_remote(context)
    return context.remote_url


def _no_remote(context: Context) -> NoRemote:
    return NoRemote(
        f"the context {context.name!r} has no remote",
        hint=f"bundlerun remote {context.name} s3://bucket/prefix (or file:///dir)",
    )


@dataclass(frozen=True)
class Leaving:
    """The bundles and runs that a context leaves on its old remote.

    ``bundles`` are those of which bytes lie on the old remote alone, as far as is known here;
    ``runs`` the ids of those on the old remote that have not ended.
    """

    url: str
    bundles: tuple[Entry, ...]
    runs: tuple[str, ...]


def leaving(store: Store, context: Context, uuid: str | None) -> Leaving:
    """What ``context`` leaves on its remote when it is bound to the remote ``uuid``.

    None for ``uuid``: a remote that holds nothing yet. Nothing is asked of either.
    """
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
    """Refuse to move ``context`` from its remote to another one.

    ``uuid`` is that of ``remote``, None where nobody bound it yet. Raises OtherRemote unless the
    context is unbound, or bound to ``uuid`` already.
    """
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
