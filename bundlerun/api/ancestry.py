"""What a bundle was made of, upward: from what is here, and the remote's records of the rest."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import LineageTree, Parent
from bundlerun.errors import IntegrityError, RemoteError, SettingsError

if TYPE_CHECKING:
    from bundlerun.api.base import Base
    from bundlerun.bundles.bundle import Bundle
    from bundlerun.store.contexts import Context

MOST_GENERATIONS = 200
"""How far ``lineage`` climbs."""


class Ancestry:
    """One climb through the ancestors of a bundle of ``context``; each is looked up once.

    What a container or another machine made is on the remote: one read of its record there. A
    remote that does not answer is asked no more, and is no reason to show less than what is here.
    """

    def __init__(self, base: Base, context: Context) -> None:
        self._base = base
        self._context = context
        self._asks = context.remote_url is not None
        self._seen: dict[str, LineageTree] = {}

    def tree(self, at: Parent, generations: int = MOST_GENERATIONS) -> LineageTree:
        """The bundle that ``at`` mentions, and its ancestors."""
        if at.id not in self._seen:
            self._seen[at.id] = self._made(at, generations)
        return dataclasses.replace(self._seen[at.id], role=at.role)

    def _made(self, at: Parent, generations: int) -> LineageTree:
        bundle = self.find(at)
        if bundle is None:
            return LineageTree(at.role, at.name, at.id, at.root, known=False)
        parents = bundle.lineage.parents if generations else ()
        return LineageTree(
            at.role,
            bundle.name,
            bundle.id,
            bundle.root.digest,
            known=True,
            lineage=bundle.lineage,
            params=bundle.params,
            tags=bundle.tags,
            parents=tuple(self.tree(parent, generations - 1) for parent in parents),
        )

    def find(self, at: Parent) -> Bundle | None:
        """The bundle that ``at`` mentions; None where only its mention is left."""
        entry = self._base.store.catalog.by_id(self._context, at.id)
        if entry is not None:
            return entry.bundle
        if not self._asks:
            return None
        try:
            return self._read(at)
        except IntegrityError:
            return None
        except (RemoteError, SettingsError):
            self._asks = False
            return None

    def _read(self, at: Parent) -> Bundle | None:
        from bundlerun.remotes.records import BundleRecord, bundle_key, read_record

        data = read_record(self._base.remote(self._context), bundle_key(at.id))
        if data is None:
            return None
        found = BundleRecord.from_bytes(data, at.id).bundle
        return found if found.root.digest == at.root else None
