"""The targets of pipes: a context of a store, where values come from and go to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.bundles.lineage import Lineage, ReuseKey

if TYPE_CHECKING:
    from bundlerun.bundles.digest import Digest
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.pipelines.pipe import External
    from bundlerun.store.contexts import Context
    from bundlerun.store.reader import Fetch
    from bundlerun.store.rows import Entry
    from bundlerun.store.store import Store


@dataclass(frozen=True)
class Draft:
    """A bundle whose value is not kept yet.

    ``id`` None: any new one; ``scratch`` is the folder that goes with its pipe.
    """

    name: str
    id: str | None = None
    scratch: Path | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=Lineage)


class Targets:
    """The source and target of values: one context of a store.

    ``fetch`` gives what brings a bundle's objects to this disk; ``path`` is that of the pipe which
    sees it (see store.visibility). With several workers, forked children call all but ``finished``
    too. Errors of a store or a remote are raised as they are.
    """

    def __init__(
        self,
        store: Store,
        context: Context,
        *,
        fetch: Callable[[BundleRecord], Fetch] | None = None,
    ) -> None:
        self.store = store
        self.context = context
        self.fetch = fetch
        self.path = ""

    def find(self, task: ReuseKey) -> Entry | None:
        """The newest bundle that equal work made; None: there is none."""
        return self.store.catalog.by_task(self.context, task.digest)

    def latest(self, name: str) -> Entry | None:
        """The latest bundle called ``name``; None: there is none."""
        return self.store.catalog.find(self.context, name)

    def by_id(self, id: str) -> Entry | None:
        """The bundle of that id; None: there is none."""
        return self.store.catalog.by_id(self.context, id)

    def external(self, wanted: External) -> Entry:
        """The latest bundle of that name and tags.

        Raises BundleNotFound.
        """
        tags = dict(wanted.tags) or None
        return self.store.catalog.get(self.context, wanted.name, tags=tags)

    def digests(self, files: Sequence[Path]) -> Sequence[Digest]:
        """The digests of files' bytes.

        Raises OSError.
        """
        return self.store.stats.digests(files)

    def is_own(self, path: str) -> bool:
        """Whether the absolute ``path`` lies in the store, whose files a value may name."""
        return Path(path).is_relative_to(self.store.path)

    def value(self, bundle: BundleRecord) -> object:
        """The value, decoded each time: what a pipe does to it, no other pipe sees."""
        return self.store.value(bundle, self.fetch and self.fetch(bundle))

    def add(self, draft: Draft, value: object, *, commit: bool) -> Entry:
        """Keep ``value``.

        Raises BadValue or BadPath for what cannot be kept.
        """
        return self.store.add(
            self.context,
            draft.name,
            value,
            id=draft.id,
            params=draft.params,
            tags=draft.tags,
            lineage=draft.lineage,
            commit=commit,
            scratch=draft.scratch,
        )

    def add_root(self, bundle: BundleRecord, *, commit: bool) -> Entry:
        """A new bundle over a value that is kept already."""
        return self.store.add_root(self.context, bundle, commit=commit)

    def commit(self, entry: Entry) -> Entry:
        """``entry``, committed."""
        done = self.store.catalog.commit(self.context, [entry.bundle.id])
        return done[0] if done else entry

    def drop(self, entry: Entry) -> None:
        """Forget a bundle that was added a moment ago."""
        self.store.catalog.remove(self.context, [entry.bundle.id])

    def drop_inner(self, token: str) -> None:
        """Forget what pipes of the apply called ``token`` made that did not end well."""
        self.store.catalog.drop_inner(self.context, f"{self.path}{token}/")

    def finished(self, entry: Entry) -> None:
        """Take the entry of a pipe whose value is there, made or found.

        Called once for each pipe, dependencies first, in the process and thread that called
        ``apply``. What it raises ends the apply.
        """
