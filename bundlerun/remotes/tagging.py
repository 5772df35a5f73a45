"""What is said of a version after it was written: tags set later, and its removal."""

from __future__ import annotations

from bundlerun.errors import RemoteError
from bundlerun.remotes.base import Remote
from bundlerun.remotes.records import (
    TagsRecord,
    create,
    read_record,
    removed_key,
    reuse_key,
    tags_key,
    twice,
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
        record = TagsRecord(tags_key(name, n, k + 1), {**there, **pending})
        if remote.put_new(record.key, record.to_bytes()) or _is_there(remote, record):
            store.catalog.tags_sent(context, id, pending)
            return
    raise RemoteError(f"{version_key(name, n)} at {remote.url} is tagged by others all the time")


def read_tags(remote: Remote, name: str, n: int, k: int) -> TagsRecord:
    """The tags of a version after they were set the ``k``-th time. Raises IntegrityError."""
    key = tags_key(name, n, k)
    return twice(lambda: TagsRecord.from_bytes(read_record(remote, key) or b"", key))


def _is_there(remote: Remote, record: TagsRecord) -> bool:
    """Whether what stands there is ``record``: our own write, of which the answer was lost."""
    return read_record(remote, record.key) == record.to_bytes()


def withdraw(store: Store, context: Context, remote: Remote, entry: Entry) -> None:
    """Mark the version on the remote as removed: it is never the latest again, for anybody, and
    its work is not found again. Doing it again changes nothing.

    Its version record stays, so the versions have no hole; a clean-up takes the rest. Nothing for
    what is no version there.
    """
    if entry.version is not None:
        give_up(remote, entry)
        store.catalog.mark_removed(context, entry.bundle.name, entry.version)


def give_up(remote: Remote, entry: Entry) -> None:
    """The remote's half of ``withdraw``."""
    if entry.version is None:
        return
    create(remote, removed_key(entry.bundle.name, entry.version), b"")
    lineage = entry.bundle.lineage
    keys = [key for key in (lineage.task, lineage.request) if key is not None]
    if keys:
        remote.delete([reuse_key(key.digest, entry.bundle.id) for key in keys])


def _times_tagged(remote: Remote, name: str, n: int) -> int:
    prefix = f"{version_key(name, n)}+t"
    numbers = [entry.key.removeprefix(prefix) for entry in remote.list(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
