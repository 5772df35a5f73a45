"""What a context leaves behind when it is bound to another remote."""

from __future__ import annotations

from dataclasses import dataclass

from bundlerun.errors import OtherRemote
from bundlerun.remotes.base import Remote
from bundlerun.store.contexts import Context
from bundlerun.store.entries import Entry
from bundlerun.store.store import Store


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
        there = uuid is not None and store.known.expected(uuid, root.digest) is not None
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
