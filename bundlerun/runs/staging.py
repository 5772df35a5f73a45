"""The folder that a local container writes to where its remote is a folder too.

It lies in the store that submitted the run; another store of the same machine learns of it from the
engine's own record of the container. Stores share no lock: each of them may publish it, and it is
moved aside as one before it is removed, so that none of them sees a part.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.bundles.record import new_id
from bundlerun.errors import BundlerunError, IntegrityError
from bundlerun.futures.item_packs import PACK_BYTES, entries_of
from bundlerun.futures.outcome import Outcome
from bundlerun.futures.sealing import TAG_BYTES, Seal, Sealed
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.identity import check_remote
from bundlerun.remotes.records import create
from bundlerun.remotes.staging import publish, publish_packs
from bundlerun.runs.envelope import MOST_BYTES
from bundlerun.runs.keys import Written, outcomes_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bundlerun.backends.base import Backend
    from bundlerun.bundles.packs import PackInfo
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope


_RESULT = re.compile(r"runs/[^/]+/[0-9]+/result\.[0-9]+\.json")


def staging_of(record: RunRecord, backend: Backend, scope: RunScope) -> Path | None:
    """The folder that the run's container writes to, None where there is none."""
    here = scope.staging(record.run_id)
    if here.is_dir():
        return here
    handles = record.handles
    if not handles or not record.adopted or scope.remote_of(record).folder is None:
        return None
    found = backend.staging(handles[0])
    return found if found is not None and found.is_dir() else None


def publish_staged(record: RunRecord, backend: Backend, scope: RunScope) -> None:
    """Bring what the container staged to the run's remote.

    Those are bundles, the outcomes of a call, envelopes. Of a call that goes on, what is staged
    until now: safe to repeat, what is there stays.

    Raises IntegrityError for what cannot be published, RemoteErrors.
    """
    staging = staging_of(record, backend, scope)
    if staging is None:
        return
    remote = scope.remote_of(record)
    if record.remote_uuid is not None:
        check_remote(remote, record.remote_uuid)
    try:
        _publish(record, staging, remote)
    except (BundlerunError, OSError):
        # The folder is removed only once all of it is published.
        if staging.is_dir():
            raise


def remove_staging(staging: Path) -> None:
    """Remove the folder, whole; that it is gone, or another user's, is not an error."""
    aside = staging.with_name(f"{staging.name}.{new_id()}")
    with contextlib.suppress(OSError):
        staging.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _publish(record: RunRecord, staging: Path, remote: Remote) -> None:
    upper = FileRemote(staging.absolute().as_uri())
    publish(remote, upper)
    if record.items is not None:
        _publish_outcomes(record, record.items, upper, remote)
    for entry in list(upper.list(f"runs/{record.run_id}/")):
        if not _RESULT.fullmatch(entry.key):
            continue
        data = upper.get(entry.key, 0, MOST_BYTES + 1)
        if data is not None:
            create(remote, entry.key, data)


def _publish_outcomes(record: RunRecord, items: int, upper: FileRemote, remote: Remote) -> None:
    """Bring the outcomes of a call's items that are not on the remote yet.

    Each object after the packs that its values need.
    """
    prefix = outcomes_prefix(record.run_id)
    there = {entry.key for entry in remote.list(prefix)}
    seal = None if record.key is None else Seal.from_hex(record.key)
    for entry in list(upper.list(prefix)):
        written = Written.of(entry.key)
        if entry.key in there or written is None or written.first + written.items > items:
            continue
        data = upper.get(entry.key, 0, PACK_BYTES + 1)
        if data is not None and len(data) <= PACK_BYTES:
            packs = {pack.uuid: pack for pack in _packs_of(data, written, seal)}
            if packs:
                publish_packs(remote, upper, packs.values())
            remote.put_new(entry.key, data)


def _packs_of(data: bytes, written: Written, seal: Seal | None) -> Iterator[PackInfo]:
    """The packs that the values in an object of outcomes need.

    What the run did not seal names none; readers find that out as well.
    """
    from bundlerun.futures.codec import packs_in

    try:
        entries = entries_of(data)
    except IntegrityError:
        return
    for index, entry in enumerate(entries, written.first):
        try:
            told = entry[TAG_BYTES:] if seal is None else seal.opened(Sealed.OUTCOME, index, entry)
            value = Outcome.from_bytes(told).value
        except IntegrityError:
            continue
        if value is not None:
            yield from (share.pack for share in packs_in(value))
