"""What is said of a version after it was written: tags set later, and its removal."""

from __future__ import annotations

from bundlerun.errors import RemoteError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.records import (
    TagsRecord,
    read_record,
    removed_key,
    tags_key,
    version_key,
)
from bundlerun.store.contexts import Context
from bundlerun.store.entries import Entry
from bundlerun.store.store import Store

_TRIES = 100


def send_tags(store: Store, context: Context, remote: Remote, id: str) -> None:
    """Write the tags of a version that were set here since it was pushed, over those that others
    set meanwhile. No request when there are none."""
    pending = store.catalog.pending_tags(context, id)
    entry = store.catalog.by_id(context, id)
    if not pending or entry is None or entry.version is None:
        return
    name, n = entry.bundle.name, entry.version
    for _ in range(_TRIES):
        k = _times_tagged(remote, name, n)
        there = {key: v for key, v in entry.bundle.tags.items() if key not in pending}
        if k:
            there = dict(read_tags(remote, name, n, k).tags)
        record = TagsRecord({**there, **pending})
        if remote.put_new(tags_key(name, n, k + 1), record.to_bytes()):
            store.catalog.tags_sent(context, id, pending)
            return
    raise RemoteError(f"{version_key(name, n)} at {remote.url} is tagged by others all the time")


def read_tags(remote: Remote, name: str, n: int, k: int) -> TagsRecord:
    """The tags of a version after they were set the ``k``-th time. Raises IntegrityError."""
    key = tags_key(name, n, k)
    return TagsRecord.from_bytes(read_record(remote, key) or b"", key)


def withdraw(store: Store, context: Context, remote: Remote, entry: Entry) -> None:
    """Mark the version on the remote as removed: it is never the latest again, for anybody.

    Its records stay, so the versions have no hole. Nothing for what is no version there.
    """
    if entry.version is not None:
        remote.put_new(removed_key(entry.bundle.name, entry.version), b"")
        store.catalog.mark_removed(context, entry.bundle.name, entry.version)


def _times_tagged(remote: Remote, name: str, n: int) -> int:
    prefix = f"{version_key(name, n)}+t"
    numbers = [entry.key.removeprefix(prefix) for entry in remote.list(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
