"""Pull: what the remote has, and what runs that have ended since left there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundlerun.errors import BundleNotFound, UsageError
from bundlerun.remotes.fetch import localise, localise_parts
from bundlerun.remotes.pull import pull
from bundlerun.runs.listing import named_with_its_maker, settle_open_runs

if TYPE_CHECKING:
    from bundlerun.runs.scope import RunScope
    from bundlerun.store.rows import Entry


def pull_home(
    scope: RunScope,
    name: str | None,
    *,
    localize: bool,
    all_versions: bool,
    paths: str | Sequence[str],
) -> list[Entry]:
    """The records of ``name`` (None: every name), pulled once ended runs are settled.

    The latest version or all of them; with ``localize`` their bytes come too, of ``paths`` alone
    where there are any. Raises BundleNotFound, with the run that makes it where there is one,
    IntegrityError, RemoteErrors.
    """
    if paths and not localize:
        raise UsageError(
            "paths choose among the bytes that localize brings",
            hint="pull(name, localize=True, paths=paths)",
        )
    binding, progress = scope.binding, scope.progress
    store, remote = binding.store, binding.remote
    settle_open_runs(scope)
    try:
        entries = pull(binding, name, all_versions=all_versions)
    except BundleNotFound as error:
        if name is None or all_versions or "@" in name:
            raise
        raise named_with_its_maker(error, name, scope) from error
    bundles = [entry.bundle for entry in entries]
    patterns = [paths] if isinstance(paths, str) else list(paths)
    for bundle in bundles if patterns else ():
        localise_parts(store, remote, bundle, patterns, progress=progress)
    if localize and not patterns:
        localise(store, remote, bundles, progress=progress)
    return entries
