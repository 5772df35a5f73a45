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
from bundlerun.errors import BundlerunError
from bundlerun.remotes.folder import FileRemote
from bundlerun.remotes.identity import check_remote
from bundlerun.remotes.records import create
from bundlerun.remotes.staging import publish
from bundlerun.runs.envelope import MOST_BYTES

if TYPE_CHECKING:
    from bundlerun.backends.base import Backend
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.record import RunRecord
    from bundlerun.runs.scope import RunScope


_RESULT = re.compile(r"runs/[^/]+/[0-9]+/result\.[0-9]+\.json")


def staging_of(record: RunRecord, backend: Backend, scope: RunScope) -> Path | None:
    """The folder that the run's container writes to, None where there is none."""
    here = scope.staging(record.run_id)
    if here.is_dir():
        return here
    if record.handle is None or not record.adopted or scope.remote_of(record).folder is None:
        return None
    found = backend.staging(record.handle)
    return found if found is not None and found.is_dir() else None


def publish_staged(record: RunRecord, backend: Backend, scope: RunScope) -> None:
    """Bring what the container staged to the run's remote: bundles, then envelopes.

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
    for entry in list(upper.list(f"runs/{record.run_id}/")):
        if not _RESULT.fullmatch(entry.key):
            continue
        data = upper.get(entry.key, 0, MOST_BYTES + 1)
        if data is not None:
            create(remote, entry.key, data)
