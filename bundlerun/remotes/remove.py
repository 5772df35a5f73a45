"""Giving versions up for everybody: ``rm --remote``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from bundlerun.bundles.record import is_id
from bundlerun.errors import BundleNotFound, Conflict
from bundlerun.remotes.binding import Binding
from bundlerun.remotes.identity import check_remote
from bundlerun.remotes.pull import pull_all, pull_id
from bundlerun.remotes.versions import give_up
from bundlerun.store.contexts import Context
from bundlerun.store.rows import Entry
from bundlerun.store.store import Store


def chosen(store: Store, context: Context, given: Entry, *, old: bool, every: bool) -> list[Entry]:
    """The entries that ``rm`` removes for a name that means ``given``.

    Those are that bundle, all versions of its name (``every``), or all but it (``old``).
    """
    if not (old or every):
        return [given]
    versions = store.catalog.search(context, name=given.bundle.name)
    return [entry for entry in versions if every or entry.bundle.id != given.bundle.id]


def look_for(binding: Binding, name: str, every_version: bool) -> Entry | None:
    """Bring the records of what ``name`` may mean on the remote and that are not here.

    ``name`` is ``name`` or ``name@id-prefix``: all versions of the name (with ``every_version``),
    or the bundle of that full id, which is returned, given up before or not. Nothing for a name
    alone: what is removed is what the caller knows, not what came since. Raises RemoteErrors,
    IntegrityError.
    """
    store, context = binding.store, binding.context
    bare, _, prefix = name.partition("@")
    with suppress(BundleNotFound):  # never pushed: the caller looks here alone
        if every_version:
            pull_all(binding, bare, all_versions=True)
        elif is_id(prefix) and store.catalog.by_id(context, prefix) is None:
            pull_id(binding, prefix)
    found = store.catalog.by_id(context, prefix) if prefix else None
    return found if found is not None and found.bundle.name == bare else None


def forget(binding: Binding, entries: Sequence[Entry]) -> list[Entry]:
    """Remove the versions of ``entries``: marked on the remote first, then here.

    Returns what was removed. What is not on the remote is removed here alone. Doing it again
    changes nothing. The versions keep their numbers, and what was made of them its lineage; their
    bytes stay until a clean-up. Raises RemoteChanged, RemoteErrors, and Conflict for a bundle that
    the remote holds without a version.
    """
    check_remote(binding.remote, binding.uuid)
    for entry in [_numbered(binding, entry) for entry in entries]:
        give_up(binding.remote, entry)
    return binding.store.catalog.give_up(binding.context, [entry.bundle.id for entry in entries])


def _numbered(binding: Binding, entry: Entry) -> Entry:
    """``entry`` with its version on the remote.

    It may have got one since it came here. Raises Conflict where it has none.
    """
    if entry.pushed and entry.version is None:
        entry = pull_id(binding, entry.bundle.id)
        if entry.version is None:
            raise Conflict(
                f"{entry.bundle.name}@{entry.bundle.id} is at {binding.remote.url} only as a part "
                "of a run: there is no version to remove",
                hint=f"bundlerun rm {entry.bundle.name}@{entry.bundle.id}",
            )
    return entry
