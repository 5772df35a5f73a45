"""The scope that all verbs share: the store, the context and the remote."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from bundlerun.connections import Connections
from bundlerun.errors import Conflict, ContextNotFound, NoRemote, UsageError
from bundlerun.pipelines.inner import Inner, present
from bundlerun.progress import Progress
from bundlerun.settings import Settings

if TYPE_CHECKING:
    from bundlerun.bundles.link import Link
    from bundlerun.bundles.record import BundleRecord
    from bundlerun.pipelines.targets import Targets
    from bundlerun.remotes.base import Remote
    from bundlerun.remotes.binding import Binding
    from bundlerun.runs.scope import RunScope
    from bundlerun.store.catalog import Entry
    from bundlerun.store.contexts import Context
    from bundlerun.store.reader import Fetch
    from bundlerun.store.store import Store

BEFORE = "the same before or after the pipeline, outside of its pipes"
TRAVELS = "nothing: what a pipe makes travels with its output"
COMES = "br.external(name) in requires(): it is brought before the pipe begins"
APPLY = "br.apply, or the pipe in requires()"

OUTSIDE_ONLY: dict[str, str] = {}
"""The verbs refused inside a pipe, and what to do instead."""

FIRST_CONTEXT = "default"
"""The default context, made at its first use, also where it is named."""


class Scope:
    """Settings and what is opened by them, a store, a context in it, and its remote.

    The store is opened at its first use.

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
        self.connections = Connections(settings)
        self._store_path = store or settings.store
        self._context_name = context or settings.context
        self._create = create
        self._remotes: dict[str, Remote] = {}

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.connections.settings

    @property
    def place(self) -> str:
        """The store's folder, and the context where one was named, without opening either."""
        named = f", context {self._context_name}" if self._context_name else ""
        return f"{self._store_path}{named}"

    @property
    def progress(self) -> Progress:
        """The listener to what goes on."""
        return self.connections.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self.connections.progress = progress

    @property
    def store(self) -> Store:
        """The store; inside of a pipe, as that pipe sees it.

        Raises IntegrityError when its format is not known here.
        """
        inner = self.inner
        return self._store if inner is None else inner.store

    @property
    def inner(self) -> Inner | None:
        """The workspace of the pipe that calls, in place of this one, or None.

        None outside of any pipe, and for a store of the user's that is not the pipe's.
        """
        found = present()
        if found is None:
            return None
        mine = self._store_path.absolute()
        return found if mine in (self.settings.store.absolute(), found.store.path) else None

    @cached_property
    def _store(self) -> Store:
        from bundlerun.store.store import Store

        return Store.open(self._store_path, self.settings.storage)

    def close(self) -> None:
        """Close the store; the next verb opens it again."""
        if "_store" in self.__dict__:
            self._store.close()
            del self.__dict__["_store"]

    def context(self, name: str | None = None) -> Context:
        """The context ``name``, else the workspace's own.

        Raises ContextNotFound, and UsageError inside of a pipe for another one than that of the
        pipe.
        """
        inner = self.inner
        if inner is not None:
            return _only(inner.context, name)
        contexts = self.store.contexts
        chosen = name or self._context_name
        if chosen is None and (found := contexts.chosen(FIRST_CONTEXT)) is not None:
            return found
        may_make = chosen in (None, FIRST_CONTEXT) or (self._create and name is None)
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
        """The remote of ``context``, which gets that of the settings where it has none.

        Raises NoRemote when there is neither.
        """
        return self.binding(context).remote

    def binding(self, context: Context) -> Binding:
        """``context`` as it is bound to its remote, or is now to that of the settings.

        Raises NoRemote when there is neither.
        """
        from bundlerun.remotes.binding import Binding, bound_url

        if self.inner is not None:
            raise NoRemote("inside of a pipe no remote is asked", hint="br.external(name)")
        context = self.bound(self.store, context)
        return Binding.of(self.store, context, self.remote_at(bound_url(context)))

    def bound(self, store: Store, context: Context) -> Context:
        """``context`` at a use that needs its remote; see ``remotes.binding.bound``."""
        from bundlerun.remotes.binding import bound

        return bound(store, context, self.settings.run.bucket, self.remote_at, self.progress)

    def remote_at(self, url: str) -> Remote:
        """The remote at ``url``, opened once.

        Raises UsageError for what is not such a URL.
        """
        from bundlerun.remotes.open import open_remote

        if url not in self._remotes:
            self._remotes[url] = open_remote(url, self.connections)
        return self._remotes[url]

    def entry(
        self,
        name: str | BundleRecord,
        tags: Mapping[str, str] | None = None,
        context: Context | None = None,
    ) -> Entry:
        """The bundle meant by ``name`` in ``context`` (None: the workspace's).

        ``name`` is ``name``, ``name@id-prefix`` or a BundleRecord. Raises BundleNotFound.
        """
        context = context or self.context()
        if not isinstance(name, str):
            return self.store.catalog.get(context, name.name, id_prefix=name.id)
        return self.store.catalog.named(context, name, tags=tags or None)

    def found(
        self, name: str | BundleRecord, tags: Mapping[str, str] | None = None
    ) -> tuple[BundleRecord, Fetch]:
        """The bundle of ``entry`` and its ``fetch_of``, in one context.

        The context is looked up once.
        """
        context = self.context()
        bundle = self.entry(name, tags, context).bundle
        return bundle, self.fetch_of(bundle, context)

    def fetch_of(self, bundle: BundleRecord, context: Context | None = None) -> Fetch:
        """The function that brings the bytes of ``bundle`` from the remote to this disk.

        It is the remote of ``context`` (None: the workspace's), opened when the function is called.
        """
        inner = self.inner
        if inner is not None and inner.fetch is not None:
            return inner.fetch(bundle)
        return self._fetch(self.store, context or self.context(), bundle)

    def _fetch(self, store: Store, context: Context, bundle: BundleRecord) -> Fetch:
        made: list[Fetch] = []

        def fetch(links: Sequence[Link]) -> None:
            from bundlerun.remotes.binding import bound_url
            from bundlerun.remotes.fetch import fetcher

            if not made:
                remote = self.remote_at(bound_url(self.bound(store, context)))
                made.append(fetcher(store, remote, bundle, progress=self.progress))
            made[0](links)

        return fetch

    def targets(self) -> Targets:
        """The targets of an apply."""
        from bundlerun.pipelines.targets import Targets

        store, context = self.store, self.context()
        # Bytes are brought for pipes at work too, which have no remote of their own.
        fetch = functools.partial(self._fetch, store, context)
        return self.inner or Targets(store, context, fetch=fetch)

    def runs(self) -> RunScope:
        """The scope of a run."""
        from bundlerun.runs.scope import RunScope

        return RunScope(self.store, self.context(), self.remote_at, self.connections)


class SharedScope(Scope):
    """A scope with other connections.

    Store, context and remotes are those of ``scope``.
    """

    def __init__(self, scope: Scope, connections: Connections) -> None:
        self.__dict__.update(scope.__dict__)
        self.connections = connections
        self._shared = scope

    @property
    def store(self) -> Store:
        """See Scope."""
        return self._shared.store


def _only(context: Context, name: str | None) -> Context:
    if name is not None and name != context.name:
        raise UsageError(
            f"inside of a pipe there is the context {context.name!r} alone, not {name!r}",
            hint="br.external(name) in requires(), for a bundle of the pipe's own context",
        )
    return context


def called(name: str | BundleRecord) -> str:
    """``name`` as commands take it, ``name@id`` for a bundle."""
    return name if isinstance(name, str) else f"{name.name}@{name.id}"


class _Scoped(Protocol):
    @property
    def scope(self) -> Scope: ...


W = TypeVar("W", bound=_Scoped)
P = ParamSpec("P")
T = TypeVar("T")
Verb = Callable[Concatenate[W, P], T]


def outside_only(cure: str) -> Callable[[Verb[W, P, T]], Verb[W, P, T]]:
    """The verb raises UsageError inside of a pipe, with ``cure`` as its hint."""

    def decorated(verb: Verb[W, P, T]) -> Verb[W, P, T]:
        OUTSIDE_ONLY[verb.__name__] = cure

        @functools.wraps(verb)
        def refusing(self: W, /, *args: P.args, **kwargs: P.kwargs) -> T:
            if self.scope.inner is not None:
                raise UsageError(f"{verb.__name__} cannot be used inside of a pipe", hint=cure)
            return verb(self, *args, **kwargs)

        return refusing

    return decorated
