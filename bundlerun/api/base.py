"""What all verbs share: the store, the context and the remote that they act on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bundlerun.errors import Conflict, ContextNotFound
from bundlerun.progress import SILENT, Progress
from bundlerun.settings import Settings

if TYPE_CHECKING:
    from bundlerun.aws.session import Aws
    from bundlerun.bundles.bundle import Bundle
    from bundlerun.bundles.links import Link
    from bundlerun.remotes.base import Remote
    from bundlerun.runs.conduct import World
    from bundlerun.store.catalog import Entry
    from bundlerun.store.contexts import Context
    from bundlerun.store.source import Fetch
    from bundlerun.store.store import Store

FIRST_CONTEXT = "default"
"""The context of whoever has chosen none, made at its first use."""


class Base:
    """A store, opened at the first use, and a context in it.

    ``context`` None: the settings' one, else the one that ``switch`` chose, else "default".
    ``create``: a named context that is not there is made instead of refused.
    """

    def __init__(
        self,
        settings: Settings,
        store: Path | None = None,
        context: str | None = None,
        *,
        create: bool = False,
    ) -> None:
        self.settings = settings
        self.progress: Progress = SILENT
        self._store_path = store or settings.store
        self._context_name = context or settings.context
        self._create = create
        self._remotes: dict[str, Remote] = {}

    @cached_property
    def store(self) -> Store:
        """The store. Raises IntegrityError when its format is not known here."""
        from bundlerun.store.store import Store

        return Store.open(self._store_path, self.settings.storage)

    @cached_property
    def aws(self) -> Aws:
        """AWS as the settings name it; nothing is asked of it before it is used."""
        from bundlerun.aws.session import Aws

        return Aws(self.settings.aws, progress=self.progress)

    def close(self) -> None:
        """Close the store; the next verb opens it again."""
        if "store" in self.__dict__:
            self.store.close()
            del self.__dict__["store"]

    def context(self, name: str | None = None) -> Context:
        """The context ``name``, else the workspace's own. Raises ContextNotFound."""
        contexts = self.store.contexts
        chosen = name or self._context_name or contexts.current()
        may_make = chosen is None or (self._create and name is None)
        chosen = chosen or FIRST_CONTEXT
        try:
            return contexts.get(chosen)
        except ContextNotFound:
            if not may_make:
                raise
        try:
            return contexts.create(chosen)
        except Conflict:  # another process was first
            return contexts.get(chosen)

    def remote(self, context: Context) -> Remote:
        """The remote of ``context``. Raises NoRemote when it has none."""
        from bundlerun.remotes.binding import bound_url

        return self.remote_at(bound_url(context))

    def remote_at(self, url: str) -> Remote:
        """The remote at ``url``, opened once. Raises UsageError for what is not such a URL."""
        from bundlerun.remotes.opening import open_remote

        if url not in self._remotes:
            self._remotes[url] = open_remote(url, self.settings, self.progress)
        return self._remotes[url]

    def entry(self, name: str | Bundle, tags: dict[str, str] | None = None) -> Entry:
        """The bundle that ``name`` (``name``, ``name@id-prefix`` or a Bundle) means here.

        Raises BundleNotFound.
        """
        if not isinstance(name, str):
            return self.store.catalog.get(self.context(), name.name, id_prefix=name.id)
        bare, _, prefix = name.partition("@")
        return self.store.catalog.get(
            self.context(), bare, id_prefix=prefix or None, tags=tags or None
        )

    def fetch_of(self, bundle: Bundle) -> Fetch:
        """What brings the bytes of ``bundle`` from the context's remote to this disk; the remote
        is opened when it is called."""

        made: list[Fetch] = []

        def fetch(links: Sequence[Link]) -> None:
            from bundlerun.remotes.pull import fetcher

            if not made:
                remote = self.remote(self.context())
                made.append(fetcher(self.store, remote, bundle, progress=self.progress))
            made[0](links)

        return fetch

    def world(self) -> World:
        """What a run acts on."""
        from bundlerun.runs.conduct import World

        return World(
            self.store, self.context(), self.remote_at, self.settings, self.aws, self.progress
        )
