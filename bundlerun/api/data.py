"""The verbs on data: contexts, bundles, remotes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bundlerun.api.compare import Ancestry
from bundlerun.api.scope import Base
from bundlerun.bundles.lineage import LineageTree, Parent
from bundlerun.bundles.record import Bundle, checked_id, checked_name, checked_tags
from bundlerun.errors import BundleNotFound, Conflict, NotCommitted, UsageError

if TYPE_CHECKING:
    from bundlerun.remotes.base import Remote
    from bundlerun.remotes.push import PushReport
    from bundlerun.store.catalog import Entry
    from bundlerun.store.contexts import Context


class Data(Base):
    """Verbs that need a store and at most a remote."""

    def context_create(self, name: str) -> Context:
        """A new context, chosen when none was. Raises Conflict when there is one of that name."""
        context = self.store.contexts.create(checked_name(name))
        if self.store.contexts.current() is None:
            self.store.contexts.switch(name)
        return context

    def context_list(self) -> list[Context]:
        """All contexts of the store, by name."""
        return self.store.contexts.list()

    def context_delete(self, name: str, *, force: bool = False) -> None:
        """Delete the context ``name`` and its bundles here; its remote keeps what was pushed.

        Raises Conflict when it has committed bundles that were never pushed, unless ``force``.
        """
        context = self.store.contexts.get(name)
        unpushed = self.store.catalog.unpushed(context)
        if unpushed and not force:
            raise Conflict(
                f"{name} has {len(unpushed)} committed bundles that were never pushed",
                hint=f"bundlerun context {name} -d --force",
            )
        with self.store.freeing():
            self.store.contexts.delete(name)

    def switch(self, name: str) -> Context:
        """Choose the context that verbs act on from now on. Raises ContextNotFound."""
        self.store.contexts.switch(name)
        return self.store.contexts.get(name)

    def bind_remote(self, context: str, url: str, *, rebind: bool = False) -> Context:
        """Bind ``context`` to the remote at ``url`` after reading and writing there.

        What was pushed to, and pulled from, a remote is known by the remote itself, whatever its
        address, also when the context is bound to it again later. Raises UsageError for a URL that
        is none, RemoteError when it cannot be used, and OtherRemote, with what would be left
        behind, where the context is bound to another remote, unless ``rebind``.
        """
        from bundlerun.remotes.identity import bind
        from bundlerun.remotes.open import checked_url, open_remote

        found = self.store.contexts.get(context)
        remote = open_remote(checked_url(url), self.settings, self.progress)
        return bind(self.store, found, remote, rebind=rebind)

    def add(
        self,
        name: str,
        value: object,
        *,
        tags: Mapping[str, str] | None = None,
        commit: bool = False,
        reread: bool = False,
    ) -> Bundle:
        """A new version of ``name`` with this value, kept whole or not at all.

        A file that did not change since it was read last is not read again; with ``reread`` it is.

        Raises BadName, BadValue (naming the place in the value that cannot be kept) or BadPath.
        """
        entry = self.store.add(
            self.context(),
            checked_name(name),
            value,
            tags=checked_tags(tags or {}),
            commit=commit,
            reread=reread,
            progress=self.progress,
        )
        return entry.bundle

    def get(self, name: str | Bundle, *, tags: Mapping[str, str] | None = None) -> Any:
        """The value of the bundle ``name``, equal to what went in. Bytes that are not on this
        disk come from the remote when they are touched. Raises BundleNotFound, IntegrityError."""
        bundle = self.entry(name, checked_tags(tags or {})).bundle
        return self.store.value(bundle, self.fetch_of(bundle))

    def view(self, name: str | Bundle, *, tags: Mapping[str, str] | None = None) -> Any:
        """The value of the bundle ``name`` as a read-only View: dicts, lists and tuples are views,
        each leaf is brought and made when it is first touched, and ``.value`` makes all of a part.

        Raises as ``get``, later as things are touched.
        """
        bundle = self.entry(name, checked_tags(tags or {})).bundle
        return self.store.view(bundle, self.fetch_of(bundle))

    def find(self, name: str, *, tags: Mapping[str, str] | None = None) -> Bundle:
        """The record of the bundle ``name``: the latest, or the one of ``name@id-prefix``, among
        those with all of ``tags``. Raises BundleNotFound."""
        return self.entry(name, checked_tags(tags or {})).bundle

    def search(
        self,
        name: str | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        committed: bool | None = None,
    ) -> list[Entry]:
        """All versions, newest first, of this exact name (None: any), with all of ``tags``,
        committed or not (None: both)."""
        return self.store.catalog.search(
            self.context(), name=name, tags=checked_tags(tags or {}) or None, committed=committed
        )

    def latest(self) -> list[Entry]:
        """The latest version of each name, newest first."""
        return self.store.catalog.latest(self.context())

    def commit(self, name: str) -> Bundle:
        """Mark the bundle ``name`` to be kept; again is no error. Raises BundleNotFound."""
        entry = self.entry(name)
        self.store.catalog.commit(self.context(), [entry.bundle.id])
        return entry.bundle

    def tag(self, name: str, tags: Mapping[str, str]) -> Bundle:
        """Set ``tags`` on the bundle ``name``, over those of the same key; the next push sends
        them. Raises BundleNotFound."""
        entry = self.entry(name)
        self.store.catalog.tag(self.context(), entry.bundle.id, checked_tags(tags or {}))
        return self.entry(entry.bundle).bundle

    def remove(
        self, name: str, *, old: bool = False, all: bool = False, remote: bool = False
    ) -> list[Bundle]:
        """Remove here the bundle ``name``, or every version of it (``all``), or all but the
        latest (``old``); what was removed.

        With ``remote`` on the context's remote too, for everybody: nobody gets it as the latest
        again; ``gc(remote=True)`` frees the space. What was made of it keeps its lineage. Raises
        BundleNotFound when there is none, and with ``remote`` NoRemote and RemoteErrors.
        """
        chosen = self._chosen(name, old=old, all=all, remote=remote)
        context = self.context()
        with self.store.freeing():
            if remote:
                from bundlerun.remotes.remove import forget

                removed = forget(self.store, context, self.remote(context), chosen)
            else:
                removed = self.store.catalog.remove(context, [e.bundle.id for e in chosen])
        return [entry.bundle for entry in removed]

    def to_remove(
        self, name: str, *, old: bool = False, all: bool = False, remote: bool = False
    ) -> list[Bundle]:
        """What ``remove`` with the same arguments would remove now; nothing is removed.

        Raises as ``remove``.
        """
        chosen = self._chosen(name, old=old, all=all, remote=remote)
        return [entry.bundle for entry in chosen]

    def _chosen(self, name: str, *, old: bool, all: bool, remote: bool) -> list[Entry]:
        found = None
        if remote:
            from bundlerun.remotes.remove import look_for

            context = self.context()
            found = look_for(self.store, context, self.remote(context), name, old or all)
        latest = found or self.entry(name)
        if not (old or all):
            return [latest]
        every = self.search(latest.bundle.name)
        return [e for e in every if all or e.bundle.id != latest.bundle.id]

    def push(self, name: str | None = None) -> PushReport:
        """Send the bundle ``name`` with its ancestors and older versions to the remote, or
        everything committed, and every tag, that is not there yet.

        Raises NoRemote, NotCommitted, RemoteError.
        """
        from bundlerun.remotes.push import push

        context = self.context()
        remote = self.remote(context)
        if name is None:
            catalog = self.store.catalog
            entries = [*catalog.unpushed(context), *catalog.retagged(context)]
        else:
            entries = [self.entry(name)]
            if not entries[0].committed:
                raise NotCommitted(
                    f"{name} is not committed, and only committed bundles travel",
                    hint=f"bundlerun commit {name}",
                )
        return push(self.store, context, remote, entries, progress=self.progress)

    def pull(
        self,
        name: str | None = None,
        *,
        localize: bool = False,
        all_versions: bool = False,
        paths: Sequence[str] = (),
    ) -> list[Bundle]:
        """Bring the records of ``name`` (None: every name) from the remote: the latest version or
        ``all_versions``, and with ``localize`` their bytes.

        ``paths`` (with ``localize``): only the parts whose path in the value fits one of them, as
        ``raw/flights.csv``, ``images/*`` or ``models``: keys, indexes and a folder's relative paths
        joined by ``/``; ``*``, ``?`` and ``[...]`` as in a shell, over ``/`` too.

        Raises BundleNotFound when the remote has no such name or the value no such path,
        IntegrityError for what is damaged.
        """
        from bundlerun.remotes.fetch import localise, localise_parts
        from bundlerun.remotes.pull import pull_all, pull_id

        if paths and not localize:
            raise UsageError("paths say which bytes are brought", hint="localize=True")
        context = self.context()
        remote = self.remote(context)
        self._settle_open_runs()
        bare, _, prefix = (name or "").partition("@")
        if prefix:
            known = self.store.catalog.find(context, bare, id_prefix=prefix)
            id = known.bundle.id if known else checked_id(prefix)
            entries = [pull_id(self.store, context, remote, id)]
        elif name is None or all_versions:
            entries = pull_all(self.store, context, remote, name, all_versions=all_versions)
        else:
            entries = [self._newest_of(name, context, remote)]
        bundles = [entry.bundle for entry in entries]
        patterns = [paths] if isinstance(paths, str) else list(paths)
        for bundle in bundles if patterns else ():
            localise_parts(self.store, remote, bundle, patterns, progress=self.progress)
        if localize and not paths:
            localise(self.store, remote, bundles, progress=self.progress)
        return bundles

    def lineage(self, name: str | Bundle) -> LineageTree:
        """The bundle ``name`` and what it was made of, upward, as far as it is known here and, for
        what other machines and containers made, on the remote, of which only records are read."""
        bundle = self.entry(name).bundle
        at = Parent("", bundle.name, bundle.id, bundle.root.digest)
        return Ancestry(self, self.context()).tree(at)

    def outline(self, name: str | Bundle) -> Any:
        """What the bundle ``name`` holds: a tree of type names, sizes and short values, without
        its files' bytes."""
        bundle = self.entry(name).bundle
        return self.store.outline(bundle, self.fetch_of(bundle))

    def _newest_of(self, name: str, context: Context, remote: Remote) -> Entry:
        from bundlerun.remotes.pull import pull_latest

        try:
            return pull_latest(self.store, context, remote, name)
        except BundleNotFound as error:
            run = self._maker_of(name)
            if run is None:
                raise
            raise BundleNotFound(
                f"{remote.url} has no bundle {name!r} yet: run {run} makes it",
                hint=f"bundlerun wait {run[:13]}",
            ) from error

    def _settle_open_runs(self) -> None:
        """Whoever first sees a run's end brings its result home: here, a pull."""

    def _maker_of(self, name: str) -> str | None:
        """The id of a run that is to make ``name`` and has not ended, None where none is known."""
        return None
