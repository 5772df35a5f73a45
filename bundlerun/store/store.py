"""A store: a folder with every bundle of its contexts that is on this disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundlerun.bundles.bundle import Bundle, checked_id, checked_name, new_id
from bundlerun.bundles.lineage import Lineage
from bundlerun.bundles.links import Link
from bundlerun.progress import SILENT, Progress
from bundlerun.store.catalog import Catalog
from bundlerun.store.contexts import Context, Contexts
from bundlerun.store.database import Database, open_database
from bundlerun.store.entries import Entry, checked_tags
from bundlerun.store.journal import Journal
from bundlerun.store.known import Known
from bundlerun.store.noted import Noted
from bundlerun.store.objects import Objects
from bundlerun.store.refusals import translated
from bundlerun.store.source import Fetch, StoreSource

_NOTHING: Mapping[str, str] = {}
_BY_HAND = Lineage()


class Store:
    """Bundles at rest. Safe to use from threads, from many processes, and after fork.

    Each change is one durable transaction. Methods raise StoreBusy when another process holds the
    store for a minute, and BundlerunError, with nothing half done, when the disk is full or
    read-only.
    """

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self._database = database
        self.objects = Objects(database, path)
        self.catalog = Catalog(database)
        self.contexts = Contexts(database)
        self.known = Known(database)
        self.journal = Journal(database)
        self.noted = Noted(database)

    @staticmethod
    def open(path: Path) -> Store:
        """The store in the folder ``path``, made when there is none; no scan, whatever its size.

        Raises IntegrityError when it has a format that this bundlerun does not know.
        """
        folder = Path(path).absolute()
        return Store(folder, open_database(folder))

    def close(self) -> None:
        """Let go of the files. The next use opens them again."""
        self._database.close()

    def add(
        self,
        context: Context,
        name: str,
        value: object,
        *,
        id: str | None = None,
        params: Mapping[str, str] = _NOTHING,
        tags: Mapping[str, str] = _NOTHING,
        lineage: Lineage = _BY_HAND,
        commit: bool = False,
        progress: Progress = SILENT,
    ) -> Entry:
        """Keep ``value`` as a new bundle, whole or not at all.

        Its small objects and its record are one transaction. Raises BadName, BadValue with the
        path in the tree, BadPath for a file that changes meanwhile, Conflict for an ``id`` that is
        there already, ContextNotFound.
        """
        # Imported here: what only looks names up needs no codec.
        from bundlerun.bundles.manifest import freeze

        checked_name(name)
        wanted = checked_tags(tags)
        number = new_id() if id is None else checked_id(id)
        bar = progress.start(f"add {name}", None, "bytes")
        try:
            with self._sharing():
                intake = self.objects.intake(lambda count: progress.advance(bar, count))
                root = freeze(value, intake)
                bundle = Bundle(number, name, root, dict(params), wanted, lineage)
                with self._database.writing() as tx:
                    # The record last: a crash leaves litter, never a lie.
                    intake.write(tx)
                    return self.catalog.add(context, bundle, committed=commit)
        finally:
            progress.finish(bar)

    def add_root(self, context: Context, bundle: Bundle, *, commit: bool) -> Entry:
        """Keep a new bundle over a value that is here already, or on the remote.

        Raises BadName, Conflict for an id that is there already, ContextNotFound.
        """
        checked_name(bundle.name)
        checked_tags(bundle.tags)
        with self._sharing():
            return self.catalog.add(context, bundle, committed=commit)

    def value(self, bundle: Bundle, fetch: Fetch | None = None) -> object:
        """The value back, equal to what was added.

        ``fetch`` is called for objects that are not on this disk; files and folders are brought
        when they are touched. Raises BundleNotFound where there is no ``fetch``, IntegrityError
        where it did not bring what it should, or for a value that is none.
        """
        from bundlerun.bundles.manifest import thaw

        return thaw(bundle.root, StoreSource(self.objects, bundle.name, fetch))

    def outline(self, bundle: Bundle, fetch: Fetch | None = None) -> dict[str, Any]:
        """What the value holds, as ``bundles.outlining.outline`` gives it; nodes alone are read.

        Raises as ``value``.
        """
        from bundlerun.bundles.manifest import outline

        return outline(bundle.root, StoreSource(self.objects, bundle.name, fetch).read)

    def absent(self, root: Link) -> list[Link]:
        """What of the value ``root`` is not on this disk, each object once, nodes first.

        While nodes are absent, what stands below them is unknown: bring them and ask again until
        nothing is absent. Raises IntegrityError for a malformed node.
        """
        from bundlerun.bundles.manifest import links

        found = list(links(root, self.objects.find))
        missing = self.objects.missing(link.digest for link, _ in found)
        gone = [(link, is_node) for link, is_node in found if link.digest in missing]
        return [link for link, _ in sorted(gone, key=lambda each: not each[1])]

    @contextlib.contextmanager
    def _sharing(self) -> Iterator[None]:
        """Hold off a sweep: it takes this lock alone, adding shares it, so that no object goes
        between the moment it is found here and the record that uses it."""
        with translated(self.path):
            path = self.path / "sweep.lock"
            handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield
        finally:
            os.close(handle)
