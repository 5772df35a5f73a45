"""Copies of a store's bundles on its remotes, for a store that is damaged itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord
from bundlerun.remotes.base import Remote
from bundlerun.remotes.fetch import Fetcher
from bundlerun.remotes.identity import check_remote
from bundlerun.remotes.keys import bundle_key
from bundlerun.remotes.records import PushedBundle, read_record
from bundlerun.store.contexts import Context
from bundlerun.store.fsck.bundles import User
from bundlerun.store.store import Store


class RemoteCopies:
    """The Remotes of store.fsck.

    What comes from a remote lies in a store of its own meanwhile, so that the damaged one is not
    touched before all is proven; ``close`` removes it.
    """

    def __init__(self, remote_of: Callable[[Context], Remote]) -> None:
        self._remote_of = remote_of
        self._folder = TemporaryDirectory(prefix="bundlerun-fsck-")
        self._store: Store | None = None
        self._fetchers: dict[tuple[str, str], Fetcher] = {}
        self._checked: set[str] = set()

    def record(self, context: Context, id: str) -> BundleRecord | None:
        """See store.fsck.Remotes."""
        record = self._record(context, id)
        return None if record is None else record.bundle

    def bring(self, user: User, link: Link) -> bytes | Path:
        """See store.fsck.Remotes."""
        if self._store is None:
            self._store = Store.open(Path(self._folder.name) / "store")
        key = (user.context.name, user.bundle.id)
        if key not in self._fetchers:
            remote = self._remote(user.context)
            record = self._record(user.context, user.bundle.id)
            shares = () if record is None else record.shares
            uuid = user.context.remote_uuid or ""
            self._fetchers[key] = Fetcher(self._store, remote, uuid, user.label, shares)
        self._fetchers[key].bring([link])
        return self._store.objects.held(link)

    def close(self) -> None:
        """Remove what was brought."""
        if self._store is not None:
            self._store.close()
        self._folder.cleanup()

    def _record(self, context: Context, id: str) -> PushedBundle | None:
        data = read_record(self._remote(context), bundle_key(id))
        return None if data is None else PushedBundle.from_bytes(data, id)

    def _remote(self, context: Context) -> Remote:
        remote = self._remote_of(context)
        if context.remote_uuid is not None and context.name not in self._checked:
            check_remote(remote, context.remote_uuid)
            self._checked.add(context.name)
        return remote
