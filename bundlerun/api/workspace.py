"""A workspace: every verb, on one store, context and remote.

Each method says what its arguments mean, calls one function of a room, and returns what it gave.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from bundlerun.api.bundle import Bundle
from bundlerun.api.scope import (
    APPLY,
    BEFORE,
    COMES,
    TRAVELS,
    Scope,
    called,
    outside_only,
)
from bundlerun.bundles.lineage import LineageTree, Parent
from bundlerun.bundles.record import BundleRecord, checked_name, checked_tags
from bundlerun.errors import BundleNotFound, UsageError
from bundlerun.progress import Progress
from bundlerun.settings import GRACE_S, Settings

if TYPE_CHECKING:
    from bundlerun.api.docker_image import DockerImage
    from bundlerun.api.handle import Run, RunResult
    from bundlerun.backends.base import Check
    from bundlerun.bundles.value.differences import Differences
    from bundlerun.futures.future import MapRun
    from bundlerun.images.image import ImageInfo
    from bundlerun.pipelines.options import ApplyOptions
    from bundlerun.pipelines.pipe import Pipe
    from bundlerun.pipelines.why import Why
    from bundlerun.remotes.push import PushReport
    from bundlerun.runs.calls.options import MapOptions
    from bundlerun.runs.options import RunOptions
    from bundlerun.runs.plan import RunPlan
    from bundlerun.runs.record import RunRecord
    from bundlerun.store.contexts import Context
    from bundlerun.store.reports import GcReport, Proof
    from bundlerun.store.rows import Entry


T = TypeVar("T")


class Workspace:
    """A workspace with every verb.

    Made by ``bundlerun.open``, or from the settings by ``bundlerun.add`` and others. ``progress``
    may be set to whatever shows what goes on. Safe to use from several threads. As a context
    manager it closes its store at the end. Inside of a pipe, verbs on data and ``apply`` see the
    pipe's inputs, its dependencies and what it made itself; all others raise UsageError.
    """

    def __init__(
        self,
        settings: Settings,
        store: Path | None = None,
        context: str | None = None,
        *,
        create: bool = False,
    ) -> None:
        self.scope = Scope(settings, store, context, create=create)

    def __repr__(self) -> str:
        return f"<Workspace {self.scope.place}>"

    @property
    def progress(self) -> Progress:
        """The listener to how long work goes on."""
        return self.scope.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self.scope.progress = progress

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; the next verb opens it again."""
        self.scope.close()

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
        scope = self.scope
        entry = scope.store.add(
            scope.context(),
            checked_name(name),
            value,
            tags=checked_tags(tags or {}),
            commit=commit,
            reread=reread,
            progress=scope.progress,
        )
        return Bundle.of(entry, scope)

    def get(self, name: str | BundleRecord, *, tags: Mapping[str, str] | None = None) -> Any:
        """The value of the bundle ``name``, equal to what went in.

        Bytes that are not on this disk come from the remote when they are touched. Raises
        BundleNotFound, IntegrityError.
        """
        return self.scope.store.value(*self.scope.found(name, checked_tags(tags or {})))

    def view(self, name: str | BundleRecord, *, tags: Mapping[str, str] | None = None) -> Any:
        """The value of the bundle ``name`` as a read-only View.

        Dicts, lists and tuples are views, each leaf is brought and made when it is first touched,
        and ``.value`` makes all of a part. Raises as ``get``, later as things are touched.
        """
        return self.scope.store.view(*self.scope.found(name, checked_tags(tags or {})))

    def find(
        self, name: str | BundleRecord, *, tags: Mapping[str, str] | None = None
    ) -> Bundle | None:
        """The record of the bundle ``name``, or None.

        It is the latest, or the one of ``name@id-prefix``, among those with all of ``tags``. Raises
        BadName for tags that cannot be, UsageError where several ids start so.
        """
        try:
            return self._out(self.scope.entry(name, checked_tags(tags or {})))
        except BundleNotFound:
            return None

    def ls(
        self,
        name: str | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        committed: bool | None = None,
        all_versions: bool = False,
    ) -> list[Bundle]:
        """The latest version of each name, by name.

        With a ``name``, ``tags`` or ``committed``: every version, newest first, that has this
        exact name, all of the tags, and is committed or not. ``all_versions``: every version of
        every name.
        """
        catalog, context = self.scope.store.catalog, self.scope.context()
        wanted = checked_tags(tags or {}) or None
        if name is None and wanted is None and committed is None and not all_versions:
            return self._all_out(catalog.latest(context))
        found = catalog.search(context, name=name, tags=wanted, committed=committed)
        return self._all_out(found)

    def cat(self, name: str | BundleRecord) -> Any:
        """The outline of the bundle ``name``: type names, sizes and short values.

        The bytes of its files are not read.
        """
        return self.scope.store.outline(*self.scope.found(name))

    def commit(self, name: str | BundleRecord) -> Bundle:
        """Mark the bundle ``name`` to be kept.

        To commit it again does nothing. Raises BundleNotFound.
        """
        entry = self.scope.entry(name)
        self.scope.store.catalog.commit(self.scope.context(), [entry.bundle.id])
        return self._out(self.scope.entry(entry.bundle))

    def tag(self, name: str | BundleRecord, tags: Mapping[str, str]) -> Bundle:
        """Set ``tags`` on the bundle ``name``, over those of the same key.

        The next push sends them. Raises BundleNotFound.
        """
        scope = self.scope
        entry = scope.entry(name)
        scope.store.catalog.tag(scope.context(), entry.bundle.id, checked_tags(tags or {}))
        return self._out(scope.entry(entry.bundle))

    def rm(
        self,
        name: str | BundleRecord,
        *,
        old: bool = False,
        all: bool = False,
        remote: bool = False,
        dry_run: bool = False,
    ) -> list[Bundle]:
        """Remove here the bundle ``name``; return what was removed.

        With ``all`` every version of the name, with ``old`` all but the latest. With ``dry_run``
        nothing is removed, and what would be is returned.

        With ``remote`` on the context's remote too, for everybody: nobody gets it as the latest
        again; ``gc(remote=True)`` frees the space. What was made of it keeps its lineage. Raises
        BundleNotFound when there is none, and with ``remote`` NoRemote and RemoteErrors.
        """
        from bundlerun.remotes.remove import chosen, forget, look_for

        store, context = self.scope.store, self.scope.context()
        binding = self.scope.binding(context) if remote else None
        there = None if binding is None else look_for(binding, called(name), old or all)
        given = there or store.catalog.named(context, called(name))
        entries = chosen(store, context, given, old=old, every=all)
        if dry_run:
            return self._all_out(entries)
        with store.freeing():
            if binding is not None:
                removed = forget(binding, entries)
            else:
                removed = store.catalog.remove(context, [entry.bundle.id for entry in entries])
        return self._all_out(removed)

    @outside_only(TRAVELS)
    def push(self, name: str | BundleRecord | None = None) -> PushReport:
        """Send the bundle ``name`` with its ancestors and older versions to the remote.

        Without a ``name``: everything committed, and every tag, that is not there yet.

        Raises NoRemote, NotCommitted, RemoteError.
        """
        from bundlerun.remotes.push import chosen, push

        scope, context = self.scope, self.scope.context()
        binding = scope.binding(context)
        entries = chosen(scope.store, context, None if name is None else scope.entry(name))
        return push(binding, entries, progress=scope.progress)

    @outside_only(COMES)
    def pull(
        self,
        name: str | BundleRecord | None = None,
        *,
        localize: bool = False,
        all_versions: bool = False,
        paths: Sequence[str] = (),
    ) -> list[Bundle]:
        """Bring the records of ``name``, or of every name, from the remote.

        The latest version or ``all_versions``; with ``localize`` also the bytes.

        ``paths`` (with ``localize``): only the parts whose path in the value fits one of them, as
        ``raw/flights.csv``, ``images/*`` or ``models``: keys, indexes and a folder's relative paths
        joined by ``/``; ``*``, ``?`` and ``[...]`` as in a shell, over ``/`` too.

        Raises BundleNotFound when the remote has no such name or the value no such path,
        IntegrityError for what is damaged.
        """
        from bundlerun.runs.pull import pull_home

        wanted = None if name is None else called(name)
        entries = pull_home(
            self.scope.runs(), wanted, localize=localize, all_versions=all_versions, paths=paths
        )
        return self._all_out(entries)

    def lineage(self, name: str | BundleRecord) -> LineageTree:
        """The bundle ``name`` and its ancestors.

        As far as they are known here and, for what other machines and containers made, on the
        remote, of which only records are read.
        """
        from bundlerun.api.compare import Ancestry

        bundle = self.scope.entry(name).bundle
        at = Parent("", bundle.name, bundle.id, bundle.root.digest)
        return Ancestry(self.scope, self.scope.context()).tree(at)

    def diff(self, old: str | BundleRecord, new: str | BundleRecord) -> Differences:
        """The differences between the values of the bundles ``old`` and ``new``.

        Both are names or ``name@id-prefix``. Of what is not on this disk only nodes are fetched,
        and tables of up to 16 MiB to tell their columns.

        Raises BundleNotFound, IntegrityError, RemoteErrors.
        """
        from bundlerun.api.compare import Comparing

        scope = self.scope
        return Comparing(scope).differences(scope.entry(old).bundle, scope.entry(new).bundle)

    def why(self, name: str | BundleRecord) -> Why:
        """The reason why the bundle ``name`` was made instead of found.

        Which parts of its reuse key differ from those of the nearest earlier version (of its name,
        else of its pipe), and in what.

        Raises BundleNotFound.
        """
        from bundlerun.api.compare import Comparing

        return Comparing(self.scope).why(self.scope.entry(name))

    def verify(self, first: str | BundleRecord, second: str | BundleRecord) -> None:
        """Check that two bundles of the same work have equal values.

        Raises NotDeterministic, which names the pipes whose outputs differ although what went into
        them is equal; BundleNotFound.
        """
        from bundlerun.api.compare import Comparing

        scope = self.scope
        Comparing(scope).verify(scope.entry(first).bundle, scope.entry(second).bundle)

    def apply(
        self,
        input: str | BundleRecord | None,
        output: str,
        pipe: type[Pipe] | str,
        params: Mapping[str, Any] | None = None,
        options: ApplyOptions | None = None,
        **more: Any,
    ) -> Bundle:
        """Run the pipe here on the bundle ``input``; return the bundle ``output``.

        The ``output`` may be equal work that was found. None or "-" as ``input``: without one.

        ``pipe`` is a Pipe class or ``package.module.Class``; ``params`` are the pipe's. ``options``
        and keywords of the same names say how it is done:
        ``apply("in", "out", "pkg.module.Pipe", {"top": 5}, workers=2, force=True)``.

        Raises UserError when the pipe raises, BadParameter, BadModule, BundleNotFound,
        SettingsError where a luigi file sets what the pipeline's classes have.
        """
        from bundlerun.api.requests import applied
        from bundlerun.pipelines.options import ApplyOptions

        chosen = ApplyOptions.chosen(options, more)
        return self._out(applied(self.scope, (input, output, pipe), params or {}, chosen))

    @outside_only(BEFORE)
    def dockerize(
        self,
        pipe_root: str | Path,
        pipe: str,
        *,
        push: bool = False,
        config_dir: str | Path | None = None,
        base_image: str | None = None,
        platform: str | None = None,
    ) -> ImageInfo:
        """Make the image of the module of ``pipe`` (``package.module.Class``).

        The module is found below ``pipe_root``; unchanged content is not built again. ``push``
        sends the image to the registry that the settings name. Raises BadModule, EngineError,
        BuildFailed.
        """
        from bundlerun.runs.images import ImageRequest, make_image

        config = None if config_dir is None else Path(config_dir)
        return make_image(
            ImageRequest(Path(pipe_root), pipe, config, base_image, platform),
            store=self.scope.store,
            connections=self.scope.connections,
            push=push,
        )

    @outside_only(BEFORE)
    def write_build_context(
        self,
        folder: str | Path,
        pipe_root: str | Path,
        pipe: str,
        *,
        config_dir: str | Path | None = None,
        base_image: str | None = None,
        platform: str | None = None,
    ) -> Path:
        """Write the build context of ``dockerize`` to the new folder ``folder``.

        That is what would be sent to the engine, the Dockerfile included; nothing is built. Returns
        the Dockerfile's path.
        """
        from bundlerun.images.context import write_context
        from bundlerun.runs.images import ImageRequest, recipe_of

        config = None if config_dir is None else Path(config_dir)
        request = ImageRequest(Path(pipe_root), pipe, config, base_image, platform)
        digests = self.scope.store.stats.digests
        return write_context(
            recipe_of(request, self.scope.settings.images, digests=digests), Path(folder)
        )

    @outside_only(APPLY)
    def plan(
        self,
        /,
        input: str | BundleRecord | None,
        output: str,
        pipe: type[Pipe] | str,
        params: Mapping[str, Any] | None = None,
        options: RunOptions | None = None,
        **more: Any,
    ) -> RunPlan:
        """The plan of ``run`` with the same arguments; nothing is submitted or changed.

        Raises as ``run``, before anything is done.
        """
        from bundlerun.api.requests import planned
        from bundlerun.runs.options import RunOptions

        chosen = RunOptions.chosen(options, more)
        return planned(self.scope, (input, output, pipe), params or {}, chosen)[0]

    @outside_only(APPLY)
    def submit(
        self,
        /,
        input: str | BundleRecord | None,
        output: str,
        pipe: type[Pipe] | str,
        params: Mapping[str, Any] | None = None,
        options: RunOptions | None = None,
        **more: Any,
    ) -> Run:
        """Submit the run, and return it without waiting for its end.

        Raises as ``run``, before anything is done, and where nothing could be submitted.
        """
        from bundlerun.api.handle import Run
        from bundlerun.api.requests import planned
        from bundlerun.runs.options import RunOptions
        from bundlerun.runs.submit import submit

        chosen = RunOptions.chosen(options, more)
        plan, request = planned(self.scope, (input, output, pipe), params or {}, chosen)
        return Run(submit(plan, request, self.scope.runs()), self.scope)

    @outside_only(APPLY)
    def run(
        self,
        /,
        input: str | BundleRecord | None,
        output: str,
        pipe: type[Pipe] | str,
        params: Mapping[str, Any] | None = None,
        options: RunOptions | None = None,
        **more: Any,
    ) -> RunResult:
        """Run the pipe in its container, wait, and bring back ``output``.

        ``submit`` does the same without the waiting.

        ``pipe`` is a Pipe class or ``package.module.Class``; ``params`` are the pipe's. ``options``
        and keywords of the same names say how it is done:
        ``run("in", "out", "pkg.module.Pipe", {"top": 5}, backend="AWSBatch", force=True)``.
        Equal work is found instead of done again, unless ``force`` (the last pipe) or ``force_all``
        (every pipe). An equal run for the same ``output`` that is under way, also one that another
        store submitted, is followed instead, unless either is given.

        Raises what the run failed of (a RunFailed), and before anything is done: BadModule,
        BadParameter, BundleNotFound, NotCommitted, ImageNotFound, StaleImage, NoRemote, UsageError.
        """
        begun = self.submit(input, output, pipe, params, options, **more)
        if begun.run_id is not None and not begun.followed:
            self.progress.line(f"run {begun.run_id}")
        return begun.result()

    @outside_only(APPLY)
    def map(
        self,
        func: Callable[..., T] | DockerImage,
        /,
        *iterables: Iterable[Any],
        options: MapOptions | None = None,
        **more: Any,
    ) -> MapRun[T]:
        """Call ``func`` with each item of ``iterables``, as ``map`` does, on a backend.

        A sequence of futures, in the order of the items; the function is called in containers, with
        the modules of its project, and nothing is waited for. ``options`` and keywords of the same
        names say how: ``map(f, items, backend="AWSBatch", chunksize=10, memory_mib=4096)``; see
        ``help(bundlerun.MapOptions)``. ``func`` may be a DockerImage: what that is for is called, a
        script with a list of arguments an item.

        Nothing is submitted where an iterable raises. Raises, before anything is sent, UsageError
        for what cannot be meant, NoRemote; then BadValue for an item that cannot travel,
        NotCommitted for a bundle among the items, EngineError, BuildFailed, CloudError,
        RemoteErrors, SubmitUnknown.
        """
        from bundlerun.api.calls import mapped
        from bundlerun.runs.calls.options import MapOptions

        return mapped(self.scope, func, iterables, MapOptions.chosen(options, more))

    @outside_only(APPLY)
    def starmap(
        self,
        func: Callable[..., T] | DockerImage,
        tuples: Iterable[tuple[Any, ...]],
        /,
        options: MapOptions | None = None,
        **more: Any,
    ) -> MapRun[T]:
        """Call ``func`` with the arguments of each of ``tuples``, on a backend.

        As ``map``, with inputs that are tuples of positional arguments already.
        """
        from bundlerun.api.calls import starmapped
        from bundlerun.runs.calls.options import MapOptions

        return starmapped(self.scope, func, tuples, MapOptions.chosen(options, more))

    @outside_only(BEFORE)
    def attach(self, run_id: str, trust: bool = False) -> MapRun[Any]:
        """The futures of a map that was begun before, by any process or machine.

        A submit that broke off is gone on with. Pickles among the results are opened where the
        run's key proves them: it is in this store's journal, or known to the run's jobs while their
        backend remembers them; else they raise Untrusted, unless ``trust``.

        Raises RunNotFound, UsageError for the run of a pipe, IntegrityError for what the run did
        not write, and as ``map``.
        """
        from bundlerun.api.calls import attached

        return attached(self.scope, run_id, trust=trust)

    @outside_only(BEFORE)
    def jobs(
        self,
        run: str | None = None,
        *,
        limit: int | None = None,
        before: str | None = None,
        remote: bool = False,
    ) -> list[RunRecord]:
        """The runs of this context, newest first, with their present states.

        With a run id, or its beginning, that run, also one that another store submitted to the
        context's remote.

        ``limit`` is how many at most (None: all); ``before``, the id of a run: those older than
        that one. With ``remote`` all runs of the context's remote: two to
        four requests a run, and nothing is written.

        Raises RunNotFound, and with ``remote`` NoRemote.
        """
        from bundlerun.runs.elsewhere import listed
        from bundlerun.runs.listing import jobs

        if not remote:
            return jobs(run, self.scope.runs(), limit=limit, before=before)
        if run is not None:
            raise UsageError(
                "the runs of the remote are listed; one is shown without it",
                hint=f"bundlerun jobs {run}",
            )
        return listed(self.scope.runs(), limit=limit, before=before)

    @outside_only(BEFORE)
    def logs(self, run: str, *, follow: bool = False) -> Iterator[str]:
        """The lines that a run's job wrote, of a map with ``RUN:INDEX`` those of one item.

        Once the backend has forgotten the job, those that its envelope kept. Raises RunNotFound,
        UsageError for an item that the run does not have.
        """
        from bundlerun.runs.listing import log_lines, named, run_called

        scope, (called, index) = self.scope.runs(), named(run)
        yield from log_lines(run_called(called, scope), scope, follow=follow, index=index)

    @outside_only(BEFORE)
    def wait(self, run: str) -> RunResult:
        """Wait for a run's end and bring its output home, where it makes one.

        From any process of any store that is bound to the run's remote.

        Raises a RunFailed when it failed, RunNotFound, EngineError for a run on another machine's
        own engine, which cannot be asked from here.
        """
        from bundlerun.api.handle import RunResult, handed_out
        from bundlerun.runs.listing import run_called
        from bundlerun.runs.watch import follow

        scope = self.scope.runs()
        record, bundle = follow(run_called(run, scope), scope)
        output = None if bundle is None else handed_out(bundle, self.scope, scope.context.name)
        return RunResult(record, {}, output)

    @outside_only(BEFORE)
    def cancel(self, run: str) -> RunRecord:
        """Stop a run's job, and return the run's record.

        A run that has ended is left as it is.

        One that is being submitted at this moment is stopped by its submitter. Raises
        Conflict, and does nothing, where the job that is noted for the run is not one of it.
        """
        from bundlerun.runs.listing import run_called
        from bundlerun.runs.watch import cancel

        scope = self.scope.runs()
        record = run_called(run, scope)
        return record if record.settled else cancel(record, scope)

    @outside_only(BEFORE)
    def context(self, name: str) -> Context:
        """Make a context; the first one is chosen.

        Raises Conflict where it exists.
        """
        contexts = self.scope.store.contexts
        context = contexts.create(checked_name(name))
        if contexts.current() is None:
            contexts.switch(name)
        return context

    @outside_only(BEFORE)
    def contexts(self) -> list[Context]:
        """All contexts of the store, by name."""
        return self.scope.store.contexts.list()

    @outside_only(BEFORE)
    def delete_context(self, name: str, *, force: bool = False) -> None:
        """Delete the context ``name`` and its bundles here; its remote stays as it is.

        The remote keeps what was pushed. Raises Conflict when it has committed bundles that were
        never pushed, unless ``force``.
        """
        self.scope.store.delete_context(name, force=force)

    @outside_only(BEFORE)
    def switch(self, name: str) -> Context:
        """Choose the context for later verbs.

        Raises ContextNotFound.
        """
        contexts = self.scope.store.contexts
        contexts.switch(name)
        return contexts.get(name)

    @outside_only(BEFORE)
    def remote(self, context: str, url: str, *, rebind: bool = False) -> Context:
        """Bind ``context`` to the remote at ``url``, once reading and writing there work.

        What was pushed to, and pulled from, a remote is known by the remote itself, whatever its
        address, also when the context is bound to it again later. Raises UsageError for a bad URL,
        RemoteError when it cannot be used, and OtherRemote, with what would be left
        behind, where the context is bound to another remote, unless ``rebind``.
        """
        from bundlerun.remotes.binding import bind
        from bundlerun.remotes.open import checked_url, open_remote

        scope = self.scope
        found = scope.context(context)
        remote = open_remote(checked_url(url), scope.connections)
        return bind(scope.store, found, remote, rebind=rebind)

    @outside_only(BEFORE)
    def fsck(self, *, remote: bool = False, repair: bool = False) -> Proof:
        """Check every byte of this store, or with ``remote`` of the context's remote.

        Every object, record and pack is read and hashed. ``repair`` mends what can be mended, the
        store from other copies on this disk and from the remotes of its contexts, a remote from
        this store; what is damaged here goes to ``quarantine/``, never away.

        Raises NoRemote, RemoteChanged, RemoteErrors, StoreBusy; damage is what it returns.
        """
        scope = self.scope
        if remote:
            from bundlerun.remotes.fsck import prove

            return prove(scope.binding(scope.context()), repair=repair, progress=scope.progress)
        from bundlerun.remotes.fsck.copies import RemoteCopies
        from bundlerun.store.fsck import fsck

        with contextlib.closing(RemoteCopies(scope.remote)) as copies:
            return fsck(scope.store, repair=repair, remotes=copies, progress=scope.progress)

    @outside_only(BEFORE)
    def gc(
        self, *, remote: bool = False, delete: bool = False, grace_s: float = GRACE_S
    ) -> GcReport:
        """Find unused data of this store, or with ``remote`` of the context's remote.

        That is what no bundle of any context, or no version there, uses and what is older than
        ``grace_s`` seconds; ``delete`` deletes it.

        A remote takes two calls: the first condemns packs, one that comes ``wait_s`` seconds later
        deletes them, so that a push at the same moment loses nothing. Raises IntegrityError for
        damage that hides what is used (then nothing is deleted), StoreBusy, NoRemote, RemoteErrors.
        """
        scope = self.scope
        if not remote:
            from bundlerun.store.gc.sweep import sweep

            with scope.store.freeing():
                return sweep(scope.store, grace_s=grace_s, delete=delete, progress=scope.progress)
        from bundlerun.remotes.gc.sweep import collect

        binding = scope.binding(scope.context())
        return collect(
            binding.remote, binding.uuid, grace_s=grace_s, delete=delete, progress=scope.progress
        )

    @outside_only(BEFORE)
    def doctor(self) -> list[Check]:
        """The state of all that a run needs, each failure with the command that mends it."""
        from bundlerun.api.checkup import checkup

        return checkup(self.scope)

    def _out(self, entry: Entry) -> Bundle:
        return Bundle.of(entry, self.scope)

    def _all_out(self, entries: Iterable[Entry]) -> list[Bundle]:
        return [Bundle.of(entry, self.scope) for entry in entries]
