"""A version given up on the remote and in the store, as `rm` of a pushed one does it."""

from __future__ import annotations

from bundlerun.remotes.base import Remote
from bundlerun.remotes.versions import give_up
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


def withdraw(store: Store, context: Context, remote: Remote, entry: Entry) -> None:
    """Give the version ``entry`` up; nothing for what is not a version there."""
    if entry.version is not None:
        give_up(remote, entry)
        store.catalog.mark_removed(context, entry.bundle.name, entry.version)
