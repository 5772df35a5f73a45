"""A store: a folder with every bundle of its contexts that is on this disk."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundlerun.bundles.lineage import Lineage
from bundlerun.bundles.link import Link
from bundlerun.bundles.record import BundleRecord, checked_id, checked_name, checked_tags, new_id
from bundlerun.errors import BundleNotFound, Conflict
from bundlerun.progress import SILENT, Progress
from bundlerun.settings import StoreSettings
from bundlerun.store.catalog import Catalog
from bundlerun.store.contexts import Context, Contexts
from bundlerun.store.database import Database, open_database
from bundlerun.store.failures import read_only
from bundlerun.store.journal import Journal
from bundlerun.store.mounts import Trust
from bundlerun.store.noted_images import NotedImages
from bundlerun.store.objects import Objects
from bundlerun.store.reader import Fetch, StoreSource
from bundlerun.store.remote_cache import Known, Uploads
from bundlerun.store.rows import Entry
from bundlerun.store.spare import keep_spare, lent_spare
from bundlerun.store.stat_cache import CachedWriter, StatCache
from bundlerun.store.visibility import Visibility

if TYPE_CHECKING:
    from bundlerun.bundles.value import Picked, View

_NOTHING: Mapping[str, str] = {}
_BY_HAND = Lineage()

DEFAULTS = StoreSettings()
"""How a store is kept unless the user configured it otherwise."""


class Store:
    """Bundles at rest.

    Safe to use from threads, from many processes, and after fork. Each change is one durable
    transaction. Methods raise StoreBusy when another process holds the store for a minute, and
    BundlerunError, with nothing half done, when the disk is full or read-only.
    """

    def __init__(self, path: Path, database: Database, settings: StoreSettings) -> None:
        self.path = path
        self._database = database
        self.objects = Objects(database, path, settings)
        self.stats = StatCache(database, path, Trust(settings.trusted))
        self.catalog = Catalog(database)
        self.contexts = Contexts(database)
        self.known = Known(database)
        self.uploads = Uploads(database)
        self.journal = Journal(database)
        self.noted_images = NotedImages(database)

    @staticmethod
    def open(path: Path, settings: StoreSettings = DEFAULTS) -> Store:
        """The store in the folder ``path``, made when there is none.

        Nothing is scanned, whatever its size. Raises IntegrityError when it has a format that this
        bundlerun does not know.
        """
        folder = Path(path).absolute()
        return Store(folder, open_database(folder), settings)

    def seen_from(self, visibility: Visibility) -> Store:
        """The store as a pipe at work sees it, and adds to it."""
        seen = copy.copy(self)
        seen.catalog = Catalog(self._database, visibility)
        return seen

    @property
    def read_only(self) -> bool:
        """Whether this store may be read here, and not written."""
        return self._database.read_only

    def check_writable(self) -> None:
        """Raise StoreReadOnly before work that takes long."""
        if self.read_only:
            raise read_only(self.path)

    @contextmanager
    def freeing(self) -> Iterator[None]:
        """Lend a block that removes the room of the spare file, where the disk is full.

        A new spare file is made when the block ends, as far as there is room.
        """
        with lent_spare(self.path):
            try:
                yield
            finally:
                # The log goes, before its room is taken again.
                self.close()
        keep_spare(self.path)

    def delete_context(self, name: str, *, force: bool = False) -> None:
        """Delete the context ``name`` and its bundles.

        Raises Conflict when it has committed bundles that were never pushed, unless ``force``.
        """
        unpushed = self.catalog.unpushed(self.contexts.get(name))
        if unpushed and not force:
            raise Conflict(
                f"{name} has {len(unpushed)} committed bundles that were never pushed",
                hint=f"bundlerun context {name} -d --force",
            )
        with self.freeing():
            self.contexts.delete(name)

    def close(self) -> None:
        """Close the files.

        The next use opens them again.
        """
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
        scratch: Path | None = None,
        reread: bool = False,
        progress: Progress = SILENT,
    ) -> Entry:
        """Keep ``value`` as a new bundle, whole or not at all.

        ``scratch`` is a folder that is removed afterwards: a text that names a file there, or one
        of the store's, is refused. ``reread``: every file is read, also one whose times say that
        it did not change.

        Its small objects and its record are one transaction. Raises BadName, BadValue with the
        path in the tree, BadPath for a file that changes meanwhile, Conflict for an ``id`` that is
        there already, ContextNotFound.
        """
        # Imported here: what only looks names up needs no codec.
        from bundlerun.bundles.value import LostPaths, encode_value

        checked_name(name)
        wanted = checked_tags(tags)
        self.check_writable()
        number = new_id() if id is None else checked_id(id)
        bar = progress.start(f"add {name}", None, "bytes")
        try:
            with self.objects.guard.sharing():
                intake = CachedWriter(
                    self.objects.intake(lambda count: progress.advance(bar, count)),
                    self.stats,
                    reread=reread,
                )
                lost = LostPaths(scratch=scratch, store=self.path)
                root = intake.settled(lambda: encode_value(value, intake, lost))
                bundle = BundleRecord(number, name, root, dict(params), wanted, lineage)
                with self._database.writing() as tx:
                    # The record last: a crash leaves litter, never a lie.
                    intake.write(tx)
                    return self.catalog.add(context, bundle, committed=commit)
        finally:
            progress.finish(bar)

    def keep(self, value: object) -> Link:
        """Keep the objects of ``value``, which no record names, and give its root.

        They stay until the next clean-up, which ``objects.guard`` holds off. Raises BadValue with
        the path in the tree, BadPath.
        """
        from bundlerun.bundles.value import encode_value

        with self.objects.guard.sharing():
            intake = CachedWriter(self.objects.intake(), self.stats)
            root = intake.settled(lambda: encode_value(value, intake))
            with self._database.writing() as tx:
                intake.write(tx)
        return root

    def add_root(self, context: Context, bundle: BundleRecord, *, commit: bool) -> Entry:
        """Keep a new bundle over a value that is here already, or on the remote.

        Raises BadName, BundleNotFound where the value is neither, Conflict for an id that is there
        already, ContextNotFound.
        """
        checked_name(bundle.name)
        checked_tags(bundle.tags)
        with self.objects.guard.sharing():
            # It may have been removed, and swept, since the caller found it.
            if not self.objects.has(bundle.root.digest) and not self.known.has_root(bundle.root):
                raise BundleNotFound(
                    f"the value of {bundle.name!r} is neither on this disk nor known to be on a"
                    " remote",
                    hint="bundlerun ls",
                )
            return self.catalog.add(context, bundle, committed=commit)

    def value(self, bundle: BundleRecord, fetch: Fetch | None = None) -> object:
        """The value back, equal to what was added.

        ``fetch`` is called for objects that are not on this disk; files and folders are brought
        when they are touched. Raises BundleNotFound where there is no ``fetch``, IntegrityError
        where it did not bring what it should, or for a malformed value.
        """
        from bundlerun.bundles.value import decode_value

        return decode_value(bundle.root, StoreSource(self.objects, bundle.name, fetch))

    def view(self, bundle: BundleRecord, fetch: Fetch | None = None) -> View:
        """The value as a view, read part by part as it is touched.

        What is wrong or absent is raised as by ``value``, at the touch.
        """
        from bundlerun.bundles.value import view

        return view(bundle.root, StoreSource(self.objects, bundle.name, fetch))

    def pick(self, root: Link, patterns: Sequence[str]) -> Picked:
        """The parts of the value ``root`` that fit ``patterns``, by nodes on this disk.

        They are given as by ``bundles.value.pick``. Raises IntegrityError.
        """
        from bundlerun.bundles.value import pick

        return pick(root, self.objects.find, patterns)

    def outline(self, bundle: BundleRecord, fetch: Fetch | None = None) -> dict[str, Any]:
        """The outline of a bundle's value, as ``bundles.value.outline`` gives it.

        Nodes alone are read. Raises as ``value``.
        """
        from bundlerun.bundles.value import outline

        return outline(bundle.root, StoreSource(self.objects, bundle.name, fetch).read)

    def absent(self, root: Link) -> list[Link]:
        """The objects of the value ``root`` that are not on this disk, nodes first.

        While nodes are absent, what stands below them is unknown: bring them and ask again until
        nothing is absent. Raises IntegrityError for a malformed node.
        """
        from bundlerun.bundles.value import links

        found = list(links(root, self.objects.find))
        missing = self.objects.missing(link.digest for link, _ in found)
        gone = [(link, is_node) for link, is_node in found if link.digest in missing]
        return [link for link, _ in sorted(gone, key=lambda each: not each[1])]
