"""Giving versions up for everybody: ``rm --remote``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from bundlerun.bundles.record import is_id
from bundlerun.errors import BundleNotFound, Conflict
from bundlerun.remotes.base import Remote
from bundlerun.remotes.identity import bound_uuid, check_remote
from bundlerun.remotes.pull import pull_all, pull_id
from bundlerun.remotes.versions import give_up
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


def chosen(
    store: Store, context: Context, remote: Remote | None, name: str, *, old: bool, every: bool
) -> list[Entry]:
    """What ``name`` (``name`` or ``name@id-prefix``) chooses: that bundle, all versions of its name
    (``every``), or all but it (``old``); with ``remote`` also what is known there alone.

    Raises BundleNotFound, and with ``remote`` as ``look_for``.
    """
    found = None if remote is None else look_for(store, context, remote, name, old or every)
    latest = found or store.catalog.named(context, name)
    if not (old or every):
        return [latest]
    versions = store.catalog.search(context, name=latest.bundle.name)
    return [entry for entry in versions if every or entry.bundle.id != latest.bundle.id]


def look_for(
    store: Store, context: Context, remote: Remote, name: str, every_version: bool
) -> Entry | None:
    """Bring the records of what ``name`` (``name`` or ``name@id-prefix``) may mean there and that
    are not here: all versions of the name, or the bundle of that full id, which is returned, given
    up before or not.

    Nothing for a name alone: what is removed is what the caller knows, not what came since. Raises
    NoRemote, RemoteErrors, IntegrityError.
    """
    bound_uuid(context)
    bare, _, prefix = name.partition("@")
    with suppress(BundleNotFound):  # never pushed: the caller looks here alone
        if every_version:
            pull_all(store, context, remote, bare, all_versions=True)
        elif is_id(prefix) and store.catalog.by_id(context, prefix) is None:
            pull_id(store, context, remote, prefix)
    found = store.catalog.by_id(context, prefix) if prefix else None
    return found if found is not None and found.bundle.name == bare else None


def forget(store: Store, context: Context, remote: Remote, entries: Sequence[Entry]) -> list[Entry]:
    """Mark the versions of ``entries`` on the remote as removed, then remove them here; what was
    removed. What is not on the remote is removed here alone. Doing it again changes nothing.

    The versions keep their numbers, and what was made of them its lineage; their bytes stay until a
    clean-up. Raises NoRemote, RemoteChanged, RemoteErrors, and Conflict for a bundle that the
    remote holds without a version.
    """
    check_remote(remote, bound_uuid(context))
    for entry in [_numbered(store, context, remote, entry) for entry in entries]:
        give_up(remote, entry)
    return store.catalog.give_up(context, [entry.bundle.id for entry in entries])


def _numbered(store: Store, context: Context, remote: Remote, entry: Entry) -> Entry:
    """``entry`` with its version, which it may have got on the remote since it came here."""
    if entry.pushed and entry.version is None:
        entry = pull_id(store, context, remote, entry.bundle.id)
        if entry.version is None:
            raise Conflict(
                f"{entry.bundle.name}@{entry.bundle.id} is at {remote.url} only as a part "
                "of a run: there is no version to remove",
                hint=f"bundlerun rm {entry.bundle.name}@{entry.bundle.id}",
            )
    return entry
